//! Editing a TOML file under other people's hands: comments, order and formatting are kept, two writers never lose an
//! entry, and a reader sees the old file or the new one, whole.
//!
//! The lock is a file of its own beside the edited one (`.keys.toml.lock`), for three reasons: the edited file may not
//! exist yet; a rename puts a new file in its place, so a writer who waited for a lock on the old one would hold a lock on
//! nothing; and a lock on the folder is not to be had over NFS, where an exclusive lock needs a file open for writing. It
//! is never deleted, because deleting a lock file that somebody waits for brings the second case back.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use toml_edit::DocumentMut;

use super::diagnostics::{Diagnostic, Report, SYNTAX, Severity};
use super::source::SourceFile;

/// How long a writer waits for another one.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest chain of symbolic links that is followed, as in Linux.
const LINKS_MAX: usize = 40;
/// Byte order mark.
const MARK: char = '\u{feff}';
/// Of a file made here: it holds hashes, and owners' names.
const MODE_NEW: u32 = 0o600;

/// Why a file was not edited. In every case it is as it was.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The system refused one step.
    #[error("failed to {step} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        step: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Somebody holds the lock and does not let go.
    #[error("failed to lock {}: another process has been editing it for {} s", path.display(), LOCK_WAIT_MAX.as_secs())]
    Busy {
        /// The file to edit.
        path: PathBuf,
    },
    /// It is not TOML.
    #[error("failed to read {0:?}")]
    Invalid(Report),
}

/// Changes the file at `path`, or the one that a symbolic link there points to. A file that does not exist is made when
/// `change` puts something into it. Where `change` refuses or changes nothing, nothing is written.
pub fn edit<T, E: From<EditError>>(path: &Path, change: impl FnOnce(&mut DocumentMut) -> Result<T, E>) -> Result<T, E> {
    let target = follow_links(path)?;
    existing(&target)?;
    // Held until the end of this function, also when `change` refuses.
    let _lock = lock(&target)?;
    let before = read(&target)?;
    let text = before.as_ref().map_or("", |(text, _)| text);
    let mut document = parse(&target, text)?;
    let answer = change(&mut document)?;
    let after = in_the_manner_of(text, document.to_string());
    // A tree of a large file is much larger: there is room for one.
    drop(document);
    if after != text {
        // What cannot be read back must never replace what can.
        parse(&target, &after)?;
        replace(&target, &after, before.as_ref().map(|(_, metadata)| metadata))?;
    }
    Ok(answer)
}

/// The text as an editable tree.
pub fn parse(path: &Path, text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| {
        EditError::Invalid(Report::from_one(Diagnostic {
            severity: Severity::Error,
            code: SYNTAX,
            file: Arc::new(SourceFile::new(path, text)),
            span: error.span(),
            // Only the message: it is made of fixed words, while the whole error shows the line as it is.
            message: error.message().lines().collect::<Vec<_>>().join(", "),
            hint: None,
        }))
    })
}

/// The file that a write to `path` has to replace: links are followed, also one to a file that is still to be made.
fn follow_links(path: &Path) -> Result<PathBuf, EditError> {
    let mut target = path.to_owned();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&target) {
            // An absolute link replaces the folder it is joined to.
            Ok(link) => target = folder(&target).join(link),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(target),
            Err(error) => return Err(failed("read", &target)(error)),
        }
    }
    Err(failed("follow the links of", path)(io::ErrorKind::InvalidInput.into()))
}

/// Waits for the other writers. The lock ends with the returned file.
fn lock(target: &Path) -> Result<File, EditError> {
    let path = sibling(target, "lock")?;
    let file = lock_file(&path, target).map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    // The system queues those who wait, but has no limit on waiting: so a thread waits, and this one has the limit. Should
    // the lock come too late, the file is dropped at the failed send, and with it the lock.
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(file.lock().map(|()| file)));
    match receiver.recv_timeout(LOCK_WAIT_MAX) {
        Ok(locked) => locked.map_err(failed("lock", &path)),
        Err(_) => Err(EditError::Busy { path: target.to_owned() }),
    }
}

/// Opens the lock file, and makes it first where it is not there.
fn lock_file(path: &Path, target: &Path) -> io::Result<File> {
    let mut open = OpenOptions::new();
    open.write(true).mode(MODE_NEW);
    match open.clone().create_new(true).open(path) {
        Ok(file) => {
            // Root, editing another user's file once, must not lock that user out for ever. Others may not do this, nor
            // need to. Only a file made just now is given away: one that was there may be a link to something of root's.
            if let Ok(of) = fs::metadata(target).or_else(|_| fs::metadata(folder(target))) {
                let _ = fchown(&file, Some(of.uid()), Some(of.gid()));
            }
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::symlink_metadata(path)?.is_file() {
                open.open(path)
            } else {
                Err(io::Error::other("it is not a regular file"))
            }
        }
        Err(error) => Err(error),
    }
}

/// What the file is, or `None` where there is none.
fn existing(target: &Path) -> Result<Option<Metadata>, EditError> {
    let metadata = match fs::metadata(target) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", target)(error)),
    };
    if metadata.is_file() {
        Ok(Some(metadata))
    } else {
        let source = io::Error::other("it is not a regular file");
        Err(failed("edit", target)(source))
    }
}

/// Its text with it.
fn read(target: &Path) -> Result<Option<(String, Metadata)>, EditError> {
    let Some(metadata) = existing(target)? else {
        return Ok(None);
    };
    let text = fs::read_to_string(target).map_err(failed("read", target))?;
    Ok(Some((text, metadata)))
}

/// Writes a new file beside the old one and puts it in its place.
fn replace(target: &Path, text: &str, old: Option<&Metadata>) -> Result<(), EditError> {
    let fresh = Fresh::create(target)?;
    let mut file = &fresh.file;
    if let Some(old) = old {
        let new = file.metadata().map_err(failed("read", &fresh.path))?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            // A key file that its gateway can no longer read would hold a revocation up, so this is no trifle to skip.
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(failed("keep the owner of", target))?;
        }
        let mode = fs::Permissions::from_mode(old.mode() & 0o7777);
        file.set_permissions(mode).map_err(failed("keep the mode of", target))?;
    }
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write", &fresh.path))?;
    fs::rename(&fresh.path, target).map_err(failed("replace", target))?;
    // The rename is on disk only when the folder is.
    let folder = folder(target);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// A file that goes away unless it is renamed.
struct Fresh {
    path: PathBuf,
    file: File,
}

impl Fresh {
    fn create(target: &Path) -> Result<Self, EditError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = sibling(target, &format!("{}-{count}.tmp", std::process::id()))?;
        // One left by a crashed process of the same number is in nobody's use: the lock is ours.
        let _ = fs::remove_file(&path);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE_NEW)
            .open(&path)
            .map_err(failed("create", &path))?;
        Ok(Self { path, file })
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // After the rename there is nothing here by this name.
        let _ = fs::remove_file(&self.path);
    }
}

/// toml_edit ends the lines it writes with `\n` and drops a byte order mark: a file that ends all of its lines with `\r\n`
/// keeps doing so, and keeps its mark.
fn in_the_manner_of(before: &str, mut after: String) -> String {
    let lines = before.matches('\n').count();
    if lines > 0 && before.matches("\r\n").count() == lines {
        after = after.replace("\r\n", "\n").replace('\n', "\r\n");
    }
    if before.starts_with(MARK) && !after.starts_with(MARK) {
        after.insert(0, MARK);
    }
    after
}

/// `.NAME.SUFFIX` in the folder of `target`.
fn sibling(target: &Path, suffix: &str) -> Result<PathBuf, EditError> {
    let Some(name) = target.file_name() else {
        return Err(failed("edit", target)(io::ErrorKind::IsADirectory.into()));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(suffix);
    Ok(folder(target).join(hidden))
}

fn folder(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed<'a>(step: &'static str, path: &'a Path) -> impl Fn(io::Error) -> EditError + 'a {
    move |source| EditError::Io { step, path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
