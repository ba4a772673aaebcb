//! What is to be sent to others and was not taken yet: kept beside the counts, by whoever sends it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::schema::{self, STEPS};
use super::store::StoreError;

/// Another connection may hold the file for so long before it counts as failed.
const BUSY_MAX: Duration = Duration::from_secs(1);

/// The table. Where it cannot be had nothing is kept, which is told of once until it can be again.
pub struct Outbox {
    /// `None` = nothing is kept.
    path: Option<PathBuf>,
    is_failing: bool,
}

/// One thing that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Names it here.
    pub row: i64,
    /// Since when, microseconds since the epoch.
    pub at_us: i64,
    /// What it is.
    pub text: String,
}

impl Outbox {
    /// In this file, or nowhere.
    pub fn new(path: Option<&Path>) -> Self {
        Self { path: path.map(Path::to_path_buf), is_failing: false }
    }

    /// Everything that waits for `receiver`, the oldest first.
    pub fn waiting(&mut self, receiver: &str) -> Vec<Waiting> {
        let select = "SELECT number, at_us, text FROM outbox WHERE receiver = ?1 ORDER BY number";
        let read = |connection: &Connection| {
            let mut statement = connection.prepare(select)?;
            let waiting =
                |row: &rusqlite::Row<'_>| Ok(Waiting { row: row.get(0)?, at_us: row.get(1)?, text: row.get(2)? });
            statement.query_map([receiver], waiting)?.collect()
        };
        self.with(read).unwrap_or_default()
    }

    /// Keeps something; `None` where that cannot be done.
    pub fn put(&mut self, receiver: &str, at_us: i64, text: &str) -> Option<i64> {
        self.with(|connection| {
            let insert = "INSERT INTO outbox (receiver, at_us, text) VALUES (?1, ?2, ?3) RETURNING number";
            connection.prepare(insert)?.query_row(params![receiver, at_us, text], |row| row.get(0))
        })
    }

    /// It was taken, or will never be.
    pub fn remove(&mut self, row: i64) {
        self.with(|connection| connection.prepare("DELETE FROM outbox WHERE number = ?1")?.execute([row]));
    }

    /// Forgets what is older than `at_us`, whoever it waits for.
    pub fn expire(&mut self, at_us: i64) {
        self.with(|connection| connection.prepare("DELETE FROM outbox WHERE at_us < ?1")?.execute([at_us]));
    }

    fn with<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let path = self.path.as_deref()?;
        match open(path).and_then(|connection| Ok(work(&connection)?)) {
            Ok(value) => {
                self.is_failing = false;
                Some(value)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(event = "outbox_unavailable", error = %error);
                }
                None
            }
        }
    }
}

/// For one piece of work: alerts are rare, and whoever writes counts can mend a file only if nobody else holds it.
fn open(path: &Path) -> Result<Connection, StoreError> {
    let path = &std::path::absolute(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "synchronous", "normal")?;
    schema::migrate(&mut connection, STEPS)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Store;

    #[test]
    fn what_waits_is_there_after_a_restart_until_it_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let _store = Store::open(&path).expect("a store");
        let mut outbox = Outbox::new(Some(&path));
        let first = outbox.put("a", 10, "one").expect("a row");
        outbox.put("b", 20, "two").expect("a row");
        outbox.put("a", 30, "three").expect("a row");
        let texts = |outbox: &mut Outbox, receiver| -> Vec<String> {
            outbox.waiting(receiver).into_iter().map(|waiting| waiting.text).collect()
        };
        let mut again = Outbox::new(Some(&path));
        assert_eq!(texts(&mut again, "a"), ["one", "three"]);
        again.remove(first);
        assert_eq!(texts(&mut outbox, "a"), ["three"]);
        outbox.expire(25);
        assert_eq!((texts(&mut outbox, "a").len(), texts(&mut outbox, "b").len()), (1, 0));
    }

    #[test]
    fn a_file_that_cannot_be_had_keeps_nothing_and_one_that_was_replaced_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("state.db");
        let mut outbox = Outbox::new(Some(&path));
        assert_eq!(outbox.put("a", 1, "one"), None, "there is no file");
        drop(Store::open(&path).expect("a store"));
        assert!(outbox.put("a", 1, "one").is_some());
        std::fs::rename(&path, folder.path().join("old.db")).expect("a rename");
        drop(Store::open(&path).expect("a new store"));
        assert_eq!(outbox.waiting("a"), []);
        assert_eq!(Outbox::new(None).put("a", 1, "one"), None);
    }
}
