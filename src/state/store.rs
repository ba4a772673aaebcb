//! The file while it is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior, params};

use super::count::{DAY_HOURS, Delta, hour_of};
use super::pending::Pending;
use super::schema::{self, STEPS};
use crate::vocab::period::Period;

/// History of hours is kept for so long.
pub const DAYS_KEPT: u32 = 90;
/// Charges are kept for so long: as of the longest month, and of a week that began before it.
const CHARGE_DAYS_KEPT: u32 = 40;
/// A file up to this size is looked through when it is opened: some 100 ms.
const CHECKED_MAX: u64 = 32 << 20;
/// Another process may hold the file for so long before it counts as failed.
const BUSY_MAX: Duration = Duration::from_secs(1);
/// Pages of the file kept in memory, KiB.
const CACHE_KIB: i32 = 8 << 10;

/// What [`Store::write`] does for a key, for each of its hours, for each reason in them, and for their days.
const KEY: &str = "
    INSERT INTO keys (id, first_us, last_us, client,
        allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (id) DO UPDATE SET
        first_us = min(coalesce(first_us, excluded.first_us), coalesce(excluded.first_us, first_us)),
        client = iif(excluded.last_us >= coalesce(last_us, excluded.last_us), excluded.client, client),
        last_us = max(coalesce(last_us, excluded.last_us), coalesce(excluded.last_us, last_us)),
        allowed = allowed + excluded.allowed, refused = refused + excluded.refused,
        throttled = throttled + excluded.throttled, shadow_denied = shadow_denied + excluded.shadow_denied,
        units = units + excluded.units,
        bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out
    RETURNING number";
const HOUR: &str = "
    INSERT INTO hours (hour, key, allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
    ON CONFLICT (hour, key) DO UPDATE SET
        allowed = allowed + excluded.allowed, refused = refused + excluded.refused,
        throttled = throttled + excluded.throttled, shadow_denied = shadow_denied + excluded.shadow_denied,
        units = units + excluded.units,
        bytes_in = bytes_in + excluded.bytes_in, bytes_out = bytes_out + excluded.bytes_out";
const REASON: &str = "
    INSERT INTO refusals (hour, key, reason, count) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (hour, key, reason) DO UPDATE SET count = count + excluded.count";
const CHARGE: &str = "
    INSERT INTO charges (day, key, units) VALUES (?1, ?2, ?3)
    ON CONFLICT (day, key) DO UPDATE SET units = units + excluded.units";

/// From the first day that any of the three periods needs, up to today.
const UNITS: &str = "
    SELECT id, of_day, of_week, of_month FROM (
        SELECT key, sum(iif(day >= ?1, units, 0)) AS of_day, sum(iif(day >= ?2, units, 0)) AS of_week,
            sum(iif(day >= ?3, units, 0)) AS of_month
        FROM charges WHERE day BETWEEN min(?2, ?3) AND ?1 GROUP BY key
    ) sums JOIN keys ON keys.number = sums.key";

/// A few of what is too old. Nobody waits for an hour with a million keys to be gone.
const EXPIRE: [&str; 3] = [
    "DELETE FROM hours WHERE (hour, key) IN (SELECT hour, key FROM hours WHERE hour < ?1 LIMIT 10000)",
    "DELETE FROM refusals WHERE (hour, key, reason) IN
        (SELECT hour, key, reason FROM refusals WHERE hour < ?1 LIMIT 10000)",
    "DELETE FROM charges WHERE (day, key) IN (SELECT day, key FROM charges WHERE day < ?1 LIMIT 10000)",
];

/// The file, open for writing.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// What a key was charged in the periods of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// In its day.
    pub day: u64,
    /// In its ISO week.
    pub week: u64,
    /// In its month.
    pub month: u64,
}

/// Why a file cannot be opened, or not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It has to give way to a new one.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// It cannot be had; it may be fine.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// SQLite says why.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
}

/// Why a file is of no use to us.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It was never a database, or is one no more.
    #[error("the file is damaged or not a database: {0}")]
    Corrupt(String),
    /// Another program's.
    #[error("the file is the database of another program")]
    Foreign,
    /// Of a Keyward that came after this one.
    #[error("the file is of a newer version ({0})")]
    Newer(i64),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Unusable::Corrupt(error.to_string()).into(),
            _ => Self::Sqlite(error),
        }
    }
}

impl Store {
    /// Opens the file, makes it if it is not there, and brings it up to date.
    ///
    /// # Errors
    /// [`StoreError`]; a file that is unusable was not changed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite takes what begins with `file:` for a URI.
        let path = &std::path::absolute(path)?;
        make(path)?;
        recognize(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        // Before anything is written: it may be somebody else's.
        schema::version(&connection, STEPS.len())?;
        if path.metadata()?.len() <= CHECKED_MAX {
            check(&connection)?;
        }
        // Readers and the writer do not wait for each other. A commit is the system's to write out: it outlives this
        // process, if not a power cut, which takes the last commits but never the file.
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        schema::migrate(&mut connection, STEPS)?;
        for statement in [KEY, HOUR, REASON, CHARGE, UNITS].iter().chain(&EXPIRE) {
            // Ours by its header, but a table is not there, or not as it was made.
            connection.prepare_cached(statement).map_err(|error| Unusable::Corrupt(error.to_string()))?;
        }
        Ok(Self { identity: identity(path)?, path: path.clone(), connection })
    }

    /// Whether the file is still where it was opened: what is written to one that was removed or replaced, nobody reads.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|found| found == self.identity)
    }

    /// Adds all that is pending, or nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn write(&mut self, pending: &Pending) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (id, hours) in pending.keys() {
            add_key(&transaction, id, hours)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Gives `each` key that was charged in the day, the week or the month of this wall time (microseconds since the
    /// epoch), with what.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn units(&self, now_us: i64, mut each: impl FnMut(&str, Units)) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(UNITS)?;
        let mut rows = statement.query(first_days(now_us))?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(0)?.as_str().map_err(|error| Unusable::Corrupt(error.to_string()))?;
            let [day, week, month] = [row.get(1)?, row.get(2)?, row.get(3)?].map(natural);
            each(id, Units { day, week, month });
        }
        Ok(())
    }

    /// Forgets some of what is older than it has to be, and says whether there may be more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn expire(&mut self, now_us: i64) -> Result<bool, StoreError> {
        let now = hour_of(now_us);
        let hour = now.saturating_sub(DAYS_KEPT * DAY_HOURS);
        let day = (now / DAY_HOURS).saturating_sub(CHARGE_DAYS_KEPT);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut gone = 0;
        for (statement, first) in EXPIRE.iter().zip([hour, hour, day]) {
            gone += transaction.prepare_cached(statement)?.execute([first])?;
        }
        transaction.commit()?;
        Ok(gone > 0)
    }
}

/// The days, counted since the epoch, on which the day, the week and the month of this wall time begin.
pub(super) fn first_days(now_us: i64) -> [u32; 3] {
    Period::ALL.map(|period| hour_of(period.begin_us(now_us)) / DAY_HOURS)
}

/// A new file is its owner's alone: it says who called when. One that is there stays as it is.
fn make(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match path.metadata() {
        Ok(found) if found.is_file() => return Ok(()),
        Ok(_) => return Err(io::Error::other("not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    path.metadata().map(|found| (found.dev(), found.ino()))
}

/// Looks at the first bytes. SQLite would take what it keeps beside a database for useless if there is none, and delete it.
/// Not for a file that this process has open: closing it here would let go of the locks that SQLite has on it.
///
/// # Errors
/// It cannot be read, or is of no use.
fn recognize(path: &Path) -> Result<(), StoreError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut head = Vec::with_capacity(MAGIC.len());
    File::open(path)?.take(MAGIC.len() as u64).read_to_end(&mut head)?;
    if head.is_empty() || head == MAGIC {
        return Ok(());
    }
    Err(Unusable::Corrupt("it does not begin as one".to_owned()).into())
}

/// Looks through the whole file.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Unusable::Corrupt(found).into()) }
}

fn add_key(transaction: &Transaction<'_>, id: &str, hours: &[(u32, Delta)]) -> Result<(), StoreError> {
    let mut sum = Delta::default();
    hours.iter().for_each(|(_, delta)| sum.add(delta));
    let [a, r, t, s, u, i, o] = sum.counts.columns().map(integer);
    let (first, last) = (sum.used.map(|used| used.first_us), sum.used.map(|used| used.last_us));
    let client = sum.used.map(|used| used.client.map_or_else(|| "unix:".to_owned(), |client| client.to_string()));
    let row = params![id, first, last, client, a, r, t, s, u, i, o];
    let key: i64 = transaction.prepare_cached(KEY)?.query_row(row, |row| row.get(0))?;
    for (hour, delta) in hours {
        let [a, r, t, s, u, i, o] = delta.counts.columns().map(integer);
        transaction.prepare_cached(HOUR)?.execute(params![hour, key, a, r, t, s, u, i, o])?;
        for (reason, count) in &delta.reasons {
            transaction.prepare_cached(REASON)?.execute(params![hour, key, reason.reason(), integer(*count)])?;
        }
        if u > 0 {
            transaction.prepare_cached(CHARGE)?.execute(params![hour / DAY_HOURS, key, u])?;
        }
    }
    Ok(())
}

/// SQLite's integers end at 2⁶³.
fn integer(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// And what we count begins with 0.
pub(super) fn natural(count: i64) -> u64 {
    u64::try_from(count).unwrap_or_default()
}
