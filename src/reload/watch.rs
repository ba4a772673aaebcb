//! Notices that a file changed: by events of the file system, by a look every second for file systems that send none,
//! and when told to.
//!
//! Directories are watched, not files: editors replace a file by renaming another over it, and Kubernetes swaps a
//! symlink two directories away.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Waited after the last event before files are read.
const QUIET: Duration = Duration::from_millis(10);
/// Waited where a change was seen and no event has told of it: events come late where there is much to do, and what was
/// looked at may be half a file.
const UNTOLD: Duration = Duration::from_millis(100);
/// Waited at most for a writer that has not closed its file yet.
const SETTLE_MAX: Duration = Duration::from_millis(150);
/// After this long, what somebody wrote counts as finished though the file was never closed.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// How often files are looked at without being told.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why files are to be read again, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// A file changed, or somebody asked.
    Reload {
        /// Somebody still has the key file open for writing.
        unfinished: bool,
        /// Somebody asked.
        rung: bool,
    },
    /// Nothing happened for a while: time for housekeeping.
    Idle,
    /// The process is ending.
    Stop,
}

/// Told from outside.
#[derive(Clone, Debug)]
pub struct Bell(Sender<Message>);

enum Message {
    File(Event),
    Missed,
    Ring,
    Stop,
}

impl Bell {
    /// Read everything again (SIGHUP).
    pub fn ring(&self) {
        let _ = self.0.send(Message::Ring);
    }

    /// End the watch.
    pub fn stop(&self) {
        let _ = self.0.send(Message::Stop);
    }
}

/// Watches a set of files that may change with every reload.
pub struct Watch {
    inbox: Receiver<Message>,
    // None where the system has no watches left: the look every second still finds every change.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    hops: HashSet<PathBuf>,
    files: Vec<PathBuf>,
    seen: Vec<Option<Stamp>>,
    /// Since when somebody writes; an entry stays until the file is closed or replaced, also when it has become old.
    writing: HashMap<PathBuf, Instant>,
    key_hops: HashSet<PathBuf>,
    /// Since when the key file is empty, where no event has told of it: it was cut off to be written anew, most likely.
    emptied: Option<Instant>,
    /// A change of the key file was not looked at, because it was unfinished.
    deferred: bool,
}

/// What a look compares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    real: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
    inode: (u64, u64),
}

impl Watch {
    /// Starts watching `files`, of which `keys` is the key file.
    pub fn start(files: Vec<PathBuf>, keys: &Path) -> (Self, Bell) {
        let (bell, inbox) = channel();
        let sender = bell.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is an overflow of the event queue: something changed.
            let _ = sender.send(event.map_or(Message::Missed, Message::File));
        });
        let watcher = watcher.inspect_err(|error| tracing::warn!(event = "watch_failed", error = %error)).ok();
        let mut watch = Self {
            inbox,
            watcher,
            folders: BTreeSet::new(),
            hops: HashSet::new(),
            files: Vec::new(),
            seen: Vec::new(),
            writing: HashMap::new(),
            key_hops: HashSet::new(),
            emptied: None,
            deferred: false,
        };
        watch.follow(files, keys);
        (watch, Bell(bell))
    }

    /// Watches these files from now on, through every symlink on the way to them. True if that is not what was watched
    /// before.
    pub fn follow(&mut self, files: Vec<PathBuf>, keys: &Path) -> bool {
        let before = std::mem::take(&mut self.hops);
        self.hops = files.iter().flat_map(|file| hops(file)).collect();
        self.key_hops = hops(keys).into_iter().collect();
        self.writing.retain(|path, _| self.hops.contains(path));
        let folders: BTreeSet<PathBuf> =
            self.hops.iter().filter_map(|hop| hop.parent().map(Path::to_path_buf)).collect();
        if let Some(watcher) = &mut self.watcher {
            for gone in self.folders.difference(&folders) {
                // It may be gone from the disk as well.
                let _ = watcher.unwatch(gone);
            }
            for folder in &folders {
                // Watched again even if it was before: it may have been removed and made anew.
                if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                    tracing::debug!(event = "watch_failed", error = %error);
                }
            }
        }
        self.folders = folders;
        if files != self.files {
            self.seen = files.iter().map(|file| stamp(file)).collect();
            self.files = files;
        }
        self.hops != before
    }

    /// Waits for something to do.
    pub fn wait(&mut self) -> Wake {
        let look_at = Instant::now() + LOOK_EVERY;
        loop {
            let left = look_at.saturating_duration_since(Instant::now());
            let told = match self.inbox.recv_timeout(left) {
                Ok(Message::File(event)) if self.concerns(&event) => Some(event),
                Ok(Message::File(_)) if !left.is_zero() => continue,
                Ok(Message::File(_)) | Err(RecvTimeoutError::Timeout) => None,
                // Somebody who asks wants what is there now.
                Ok(Message::Ring) => return self.reload(false, true),
                Ok(Message::Missed) => return self.settle(),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Wake::Stop,
            };
            if let Some(event) = told {
                self.note_writers(&event);
                return self.settle();
            }
            // A change that sent no event, or whose event is still on its way; or one that has waited long enough.
            if self.stamps() != self.seen || (self.deferred && !self.is_unfinished()) {
                self.note_emptied();
                return self.settle_after(UNTOLD);
            }
            return Wake::Idle;
        }
    }

    /// Waits until writers are done: at most [`SETTLE_MAX`], so that one who never closes does not hold up the others.
    pub fn settle(&mut self) -> Wake {
        self.settle_after(QUIET)
    }

    /// [`Watch::settle`] once nothing has happened for so long.
    fn settle_after(&mut self, quiet: Duration) -> Wake {
        let deadline = Instant::now() + SETTLE_MAX;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let pause = if self.writing.is_empty() { quiet.min(left) } else { left };
            match self.inbox.recv_timeout(pause) {
                Ok(Message::File(event)) if self.concerns(&event) => self.note_writers(&event),
                Ok(Message::File(_) | Message::Missed) => {}
                Ok(Message::Ring) => return self.reload(false, true),
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return Wake::Stop,
                Err(RecvTimeoutError::Timeout) => break,
            }
            if left.is_zero() {
                break;
            }
        }
        self.reload(self.is_unfinished(), false)
    }

    fn reload(&mut self, unfinished: bool, rung: bool) -> Wake {
        self.deferred = unfinished;
        // Looked at before the files are read: what changes while they are is found by the next look.
        self.seen = self.stamps();
        Wake::Reload { unfinished, rung }
    }

    /// The key file is being written, and not for too long.
    fn is_unfinished(&self) -> bool {
        let young = |since: &Instant| since.elapsed() < WRITE_MAX;
        self.key_hops.iter().filter_map(|hop| self.writing.get(hop)).chain(&self.emptied).any(young)
    }

    fn note_emptied(&mut self) {
        let is_empty = |hop: &PathBuf| hop.metadata().is_ok_and(|it| it.is_file() && it.len() == 0);
        let since = self.emptied.unwrap_or_else(Instant::now);
        self.emptied = self.key_hops.iter().any(is_empty).then_some(since);
    }

    fn note_writers(&mut self, event: &Event) {
        let is_writing = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
        for path in event.paths.iter().filter(|path| self.hops.contains(*path)) {
            // From now on events tell.
            self.emptied = None;
            if is_writing {
                self.writing.entry(path.clone()).or_insert_with(Instant::now);
            } else {
                self.writing.remove(path);
            }
        }
    }

    /// Reading a file is an event, too, and the log may be written in the same folder.
    fn concerns(&self, event: &Event) -> bool {
        let is_change = match event.kind {
            EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
            EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
                true
            }
        };
        is_change && event.paths.iter().any(|path| self.hops.contains(path))
    }

    fn stamps(&self) -> Vec<Option<Stamp>> {
        self.files.iter().map(|file| stamp(file)).collect()
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let real = file.canonicalize().ok()?;
    let metadata = real.metadata().ok()?;
    Some(Stamp {
        real,
        modified: metadata.modified().ok(),
        length: metadata.len(),
        inode: (metadata.dev(), metadata.ino()),
    })
}

/// Every path whose change can change what `file` is: the file itself, and each symlink on the way to it.
fn hops(file: &Path) -> Vec<PathBuf> {
    const LINKS_MAX: usize = 40;
    let mut found = Vec::new();
    let mut todo = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    'links: for _ in 0..LINKS_MAX {
        let mut walked = PathBuf::new();
        for (at, part) in todo.components().enumerate() {
            if part == Component::ParentDir {
                walked.pop();
                continue;
            }
            walked.push(part);
            if let Ok(target) = walked.read_link() {
                let rest = todo.components().skip(at + 1);
                let from = walked.parent().unwrap_or(Path::new("/"));
                let next: PathBuf = from.join(target).components().chain(rest).collect();
                found.push(walked);
                todo = next;
                continue 'links;
            }
        }
        found.push(walked);
        return found;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_file_that_no_event_tells_of_is_not_finished() {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = folder.path().join("keys.toml");
        std::fs::write(&keys, "[[key]]\n").expect("a file");
        let (mut watch, _bell) = Watch::start(vec![keys.clone()], &keys);
        watch.watcher = None;
        while watch.inbox.try_recv().is_ok() {}
        std::fs::write(&keys, "").expect("a file");
        assert_eq!(watch.wait(), Wake::Reload { unfinished: true, rung: false });
        std::fs::write(&keys, "[[key]]\nid = \"a\"\n").expect("a file");
        assert_eq!(watch.wait(), Wake::Reload { unfinished: false, rung: false });
        assert_eq!(watch.wait(), Wake::Idle);
    }
}
