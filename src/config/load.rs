//! From paths to meaning: the only I/O of the configuration.

mod certificates;
mod find;
mod secret;
#[cfg(test)]
mod tests;
mod upstream_tls;
mod webhooks;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::certificates::{load_certificates, load_client_ca};
pub use self::find::{PLACES, find_config, sidecar};
pub use self::secret::resolve_secret;
pub use self::upstream_tls::{UpstreamTls, load_upstream_tls};
pub use self::webhooks::{Hook, load_webhooks};
use super::diagnostics::{Diagnostic, Report, Severity};
use super::gateway::{self, Gateway, Located};
use super::keyfile::{self, KeyFile};
use super::mask;
use super::source::SourceFile;

/// The largest file that is read: a million keys have room in it.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What a file means, the file itself, and what it warns of.
pub struct Loaded<T> {
    /// What it means.
    pub value: T,
    /// The file: spans inside `value` are of this.
    pub source: Arc<SourceFile>,
    /// Warnings only.
    pub warnings: Report,
}

/// Reads `keyward.toml`.
pub fn load_gateway(path: &Path) -> Result<Loaded<Gateway>, Report> {
    let source = read_gateway(path)?;
    let (value, warnings) = gateway::parse(&source)?;
    Ok(Loaded { value, source, warnings })
}

/// The text of `keyward.toml`.
pub(crate) fn read_gateway(path: &Path) -> Result<Arc<SourceFile>, Report> {
    let text = read_text(path).map_err(|why| {
        Report::from_one(Diagnostic {
            severity: Severity::Error,
            code: "unreadable-file",
            file: Arc::new(SourceFile::new(path, "")),
            span: None,
            message: format!("failed to read the file: {why}"),
            hint: None,
        })
    })?;
    Ok(Arc::new(SourceFile::new(path, text)))
}

/// Reads the key file that `file` names in `named_in` (for one named by a flag: [`SourceFile::command_line`]).
pub fn load_keys(file: &Located<PathBuf>, named_in: &Arc<SourceFile>) -> Result<Loaded<KeyFile>, Report> {
    load_keys_again(file, named_in, &KeyFile::default())
}

/// The same where `before` is what was read the last time.
pub fn load_keys_again(
    file: &Located<PathBuf>,
    named_in: &Arc<SourceFile>,
    before: &KeyFile,
) -> Result<Loaded<KeyFile>, Report> {
    let source = read_keys(file, named_in)?;
    let (value, warnings) = keyfile::parse_again(&source, before)?;
    Ok(Loaded { value, source, warnings })
}

/// The key file to read, and the file that names it: `keys.file`, unless a flag names another.
pub fn keys_file(
    gateway: &Gateway,
    named_in: &Arc<SourceFile>,
    flag: Option<&Path>,
) -> (Located<PathBuf>, Arc<SourceFile>) {
    match flag {
        None => (gateway.keys.file.clone(), Arc::clone(named_in)),
        Some(path) => {
            let value = path.to_path_buf();
            (Located { value, span: 0..0 }, Arc::new(SourceFile::command_line()))
        }
    }
}

fn read_keys(file: &Located<PathBuf>, named_in: &Arc<SourceFile>) -> Result<Arc<SourceFile>, Report> {
    let path = &file.value;
    match read_text(path) {
        Ok(text) => Ok(Arc::new(SourceFile::new(path, text))),
        Err(why) => {
            let missing = matches!(&why, Unread::Io(error) if error.kind() == io::ErrorKind::NotFound);
            let hint = missing
                .then(|| "`keyward key new ID` makes it with a first key, `keyward init` an empty one".to_owned());
            let message = format!("failed to read the key file {}: {why}", mask::path(path));
            let code = if missing { "missing-keys-file" } else { "unreadable-file" };
            Err(at(named_in, &file.span, code, message, hint))
        }
    }
}

/// An error at the place that named what could not be had.
fn at(
    source: &Arc<SourceFile>,
    span: &Range<usize>,
    code: &'static str,
    message: String,
    hint: Option<String>,
) -> Report {
    Report::from_one(Diagnostic {
        severity: Severity::Error,
        code,
        file: Arc::clone(source),
        // A default is written nowhere.
        span: (!span.is_empty()).then(|| span.clone()),
        message,
        hint,
    })
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("{}", plain(.0))]
    Io(#[from] io::Error),
    #[error("larger than {} MiB", .0 >> 20)]
    Large(u64),
    #[error("not UTF-8 (byte {0})")]
    NotUtf8(usize),
}

/// The system's words without their number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

fn read_bytes(path: &Path, max: u64) -> Result<Vec<u8>, Unread> {
    let file = File::open(path)?;
    // All at once: a buffer that grows is copied, and for a moment there twice.
    let length = file.metadata()?.len().min(max);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default().saturating_add(1));
    file.take(max + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= max => Ok(bytes),
        _ => Err(Unread::Large(max)),
    }
}

fn read_text(path: &Path) -> Result<String, Unread> {
    let bytes = read_bytes(path, FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|error| Unread::NotUtf8(error.utf8_error().valid_up_to()))
}
