//! Opening at any price: what is of no use gives way to a new file.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::store::{Store, StoreError, Units, Unusable};

/// What SQLite keeps beside a database.
const BESIDE: [&str; 2] = ["-wal", "-shm"];

/// Opens the file at `path` and gives `each` key's [`Units`] of now. A file that is unusable is moved aside, loudly, and a
/// new one made in its place. `now_us` is wall time, microseconds since the epoch.
///
/// # Errors
/// There is no file to be had.
pub fn open(path: &Path, now_us: i64, mut each: impl FnMut(&str, Units)) -> Result<Store, StoreError> {
    let mut try_open = || {
        let store = Store::open(path)?;
        store.units(now_us, &mut each)?;
        Ok(store)
    };
    match try_open() {
        Err(StoreError::Unusable(why)) => {
            replace(path, now_us, &why)?;
            try_open()
        }
        opened => opened,
    }
}

/// Makes room for a new file.
///
/// # Errors
/// The folder cannot be written.
pub(super) fn replace(path: &Path, now_us: i64, why: &Unusable) -> io::Result<()> {
    let moved = move_aside(path, now_us)?;
    let (path, moved) = (path.display().to_string(), moved.display().to_string());
    tracing::error!(event = "state_moved_aside", path = path.as_str(), to = moved.as_str(), reason = %why);
    Ok(())
}

/// Renames a database to `PATH.corrupt-TIME`, with what belongs to it.
fn move_aside(path: &Path, now_us: i64) -> io::Result<PathBuf> {
    let time = Timestamp::from_microsecond(now_us).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = (1_u32..).map(|n| match n {
        1 => with(path, &format!(".corrupt-{time}")),
        n => with(path, &format!(".corrupt-{time}-{n}")),
    });
    let free = |name: &PathBuf| name.symlink_metadata().is_err();
    let Some(to) = names.take(100).find(free) else { return Err(io::ErrorKind::AlreadyExists.into()) };
    std::fs::rename(path, &to)?;
    for suffix in BESIDE {
        // Mostly there is none. One that is left behind is of no database, and SQLite starts it anew.
        let _ = std::fs::rename(with(path, suffix), with(&to, suffix));
    }
    Ok(to)
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
