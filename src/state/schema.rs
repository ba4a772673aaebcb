//! The tables, and how a file comes to have them.

use rusqlite::{Connection, TransactionBehavior};

use super::store::{StoreError, Unusable};

/// "KWst": in the header of the file, as whose it is.
pub(super) const APPLICATION_ID: i32 = 0x4b57_7374;

/// What brings a file from each version to the next. A version that was released is never changed.
///
/// Rows that are written together lie together: all keys of an hour. `charges` are sums of `hours.units`, so that a start
/// reads days and not hours.
pub(super) const STEPS: &[&str] = &[
    "
    CREATE TABLE keys (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        first_us INTEGER, last_us INTEGER, client TEXT,
        allowed INTEGER NOT NULL, refused INTEGER NOT NULL, throttled INTEGER NOT NULL, shadow_denied INTEGER NOT NULL,
        units INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE hours (
        hour INTEGER NOT NULL, key INTEGER NOT NULL,
        allowed INTEGER NOT NULL, refused INTEGER NOT NULL, throttled INTEGER NOT NULL, shadow_denied INTEGER NOT NULL,
        units INTEGER NOT NULL, bytes_in INTEGER NOT NULL, bytes_out INTEGER NOT NULL,
        PRIMARY KEY (hour, key)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE refusals (
        hour INTEGER NOT NULL, key INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (hour, key, reason)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE charges (
        day INTEGER NOT NULL, key INTEGER NOT NULL, units INTEGER NOT NULL,
        PRIMARY KEY (day, key)
    ) STRICT, WITHOUT ROWID;
",
    "
    CREATE TABLE outbox (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        receiver TEXT NOT NULL, at_us INTEGER NOT NULL, text TEXT NOT NULL
    ) STRICT;
",
];

/// Whose file it is and of which version: `None` where nothing is in it yet.
///
/// # Errors
/// It is not ours, or not a database; or it cannot be read.
pub(super) fn version(connection: &Connection, known: usize) -> Result<Option<usize>, StoreError> {
    let application_id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application_id, version, tables) == (0, 0, 0) {
        return Ok(None);
    }
    if application_id != APPLICATION_ID {
        return Err(Unusable::Foreign.into());
    }
    match usize::try_from(version) {
        Ok(version) if version <= known => Ok(Some(version)),
        _ => Err(Unusable::Newer(version).into()),
    }
}

/// Brings a file to the last version, whatever it has now.
///
/// # Errors
/// As for [`version`], or it cannot be written.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    if version(connection, steps.len())? == Some(steps.len()) {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Now that nobody else writes: another process may have been faster.
    let from = version(&transaction, steps.len())?.unwrap_or_default();
    for step in &steps[from..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or_default())?;
    transaction.commit()?;
    Ok(())
}
