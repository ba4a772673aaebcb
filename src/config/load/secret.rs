//! Secrets that a file refers to.

use std::env;
use std::ffi::OsString;
use std::sync::Arc;

use super::{at, read_bytes};
use crate::config::diagnostics::Report;
use crate::config::gateway::{Located, SecretRef};
use crate::config::mask;
use crate::config::source::SourceFile;
use crate::vocab::secret::Secret;

const SECRET_BYTES_MAX: u64 = 64 << 10;

/// The secret that `reference` names in `named_in`, without one trailing line end; an empty one is refused.
pub fn resolve_secret(reference: &Located<SecretRef>, named_in: &Arc<SourceFile>) -> Result<Secret, Report> {
    let problem = |message| at(named_in, &reference.span, "unreadable-secret", message, None);
    let (mut bytes, what) = match &reference.value {
        SecretRef::Env(name) => {
            let what = format!("the environment variable {}", mask::quoted(name));
            match env::var_os(name) {
                Some(value) => (bytes(value), what),
                None => return Err(problem(format!("{what} is not set"))),
            }
        }
        SecretRef::File(path) => {
            let what = format!("the secret file {}", mask::path(path));
            let bytes =
                read_bytes(path, SECRET_BYTES_MAX).map_err(|why| problem(format!("failed to read {what}: {why}")))?;
            (bytes, what)
        }
    };
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err(problem(format!("{what} is empty")));
    }
    Ok(Secret::new(bytes))
}

fn bytes(value: OsString) -> Vec<u8> {
    use std::os::unix::ffi::OsStringExt;
    value.into_vec()
}
