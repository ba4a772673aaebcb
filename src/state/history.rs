//! The file while it is only read, beside a gateway that writes it or when none does.

use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Row, params};

use super::count::Counts;
use super::schema::{self, STEPS};
use super::store::{StoreError, Units, Unusable, first_days, natural};

/// A writer holds the file for milliseconds; this long it is stuck.
const BUSY_MAX: Duration = Duration::from_secs(2);

const KEYS: &str = "
    SELECT id, allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out, first_us, last_us, client
    FROM keys WHERE id = ?1 OR ?1 IS NULL";
const DAYS: &str = "
    SELECT id, sums.* FROM (
        SELECT sum(allowed), sum(refused), sum(throttled), sum(shadow_denied), sum(units), sum(bytes_in), sum(bytes_out),
            hour / 24 AS day, key
        FROM hours WHERE hour BETWEEN ?1 AND ?2 GROUP BY key, day
    ) sums JOIN keys ON keys.number = sums.key
    ORDER BY id, day";
/// Hour by hour: there are fewer of them than rows of other keys.
const DAYS_OF_KEY: &str = "
    WITH RECURSIVE asked (hour) AS (SELECT ?1 UNION ALL SELECT hour + 1 FROM asked WHERE hour < ?2)
    SELECT id, sum(hours.allowed), sum(hours.refused), sum(hours.throttled), sum(hours.shadow_denied), sum(hours.units),
        sum(hours.bytes_in), sum(hours.bytes_out), hours.hour / 24 AS day
    FROM keys CROSS JOIN asked CROSS JOIN hours ON hours.hour = asked.hour AND hours.key = keys.number
    WHERE id = ?3 GROUP BY day ORDER BY day";
const REASONS: &str = "
    WITH RECURSIVE asked (hour) AS (SELECT ?1 UNION ALL SELECT hour + 1 FROM asked WHERE hour < ?2)
    SELECT reason, sum(count)
    FROM keys CROSS JOIN asked CROSS JOIN refusals ON refusals.hour = asked.hour AND refusals.key = keys.number
    WHERE id = ?3 GROUP BY reason ORDER BY sum(count) DESC, reason";
const UNITS: &str = "
    SELECT coalesce(sum(iif(day >= ?1, charges.units, 0)), 0), coalesce(sum(iif(day >= ?2, charges.units, 0)), 0),
        coalesce(sum(iif(day >= ?3, charges.units, 0)), 0)
    FROM charges WHERE day BETWEEN min(?2, ?3) AND ?1 AND key = (SELECT number FROM keys WHERE id = ?4)";

/// A view of one moment.
pub struct History {
    connection: Connection,
}

/// All that was ever counted of a key, and when it was used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    /// Its stable name.
    pub id: String,
    /// Since the file was made.
    pub counts: Counts,
    /// Microseconds since the epoch.
    pub first_us: Option<i64>,
    /// Likewise.
    pub last_us: Option<i64>,
    /// Who used it last: an address, or `unix:`.
    pub client: Option<String>,
}

/// One day of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayHistory {
    /// The key.
    pub id: String,
    /// Days since the epoch.
    pub day: u32,
    /// In the hours of it that were asked for.
    pub counts: Counts,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system says why.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody does not let go of it.
    #[error("another program has locked it")]
    Locked,
    /// It holds no history of ours.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// SQLite says why.
    #[error("{0}")]
    Sqlite(rusqlite::Error),
}

impl History {
    /// Opens a state file; there is none where no gateway has made it yet.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn open(path: &Path) -> Result<Option<Self>, HistoryError> {
        // SQLite takes what begins with `file:` for a URI.
        let path = &std::path::absolute(path)?;
        // It is not opened to be looked at: where this process writes it, too, closing it would let go of SQLite's locks.
        match path.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_MAX)?;
        // So that all answers are of one moment.
        connection.execute_batch("BEGIN")?;
        let is_empty = schema::version(&connection, STEPS.len())?.is_none();
        Ok((!is_empty).then_some(Self { connection }))
    }

    /// Every key that was ever used, in no order.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn keys(&self) -> Result<Vec<KeyHistory>, HistoryError> {
        self.keys_named(None)
    }

    /// One key, if it was ever used.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn key(&self, id: &str) -> Result<Option<KeyHistory>, HistoryError> {
        Ok(self.keys_named(Some(id))?.pop())
    }

    fn keys_named(&self, id: Option<&str>) -> Result<Vec<KeyHistory>, HistoryError> {
        let mut statement = self.connection.prepare(KEYS)?;
        let key = |row: &Row<'_>| {
            let (id, counts) = (row.get(0)?, counts(row)?);
            Ok(KeyHistory { id, counts, first_us: row.get(8)?, last_us: row.get(9)?, client: row.get(10)? })
        };
        let keys = statement.query_map([id], key)?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// What a key was charged in the day, the week and the month of this wall time, microseconds since the epoch.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn units(&self, id: &str, now_us: i64) -> Result<Units, HistoryError> {
        let [day, week, month] = first_days(now_us);
        let units = |row: &Row<'_>| Ok([row.get(0)?, row.get(1)?, row.get(2)?].map(natural));
        let [day, week, month] = self.connection.query_row(UNITS, params![day, week, month, id], units)?;
        Ok(Units { day, week, month })
    }

    /// The days of these hours (counted since the epoch) on which a key was used, or any key: by id, then by day.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn days(&self, hours: RangeInclusive<u32>, id: Option<&str>) -> Result<Vec<DayHistory>, HistoryError> {
        let (first, last) = hours.into_inner();
        let mut statement = self.connection.prepare(if id.is_some() { DAYS_OF_KEY } else { DAYS })?;
        let mut rows = match id {
            Some(id) => statement.query(params![first, last, id])?,
            None => statement.query(params![first, last])?,
        };
        let mut days = Vec::new();
        while let Some(row) = rows.next()? {
            days.push(DayHistory { id: row.get(0)?, counts: counts(row)?, day: row.get(8)? });
        }
        Ok(days)
    }

    /// Why a key was refused in these hours, and how often: the most frequent reason first.
    ///
    /// # Errors
    /// [`HistoryError`]
    pub fn reasons(&self, hours: RangeInclusive<u32>, id: &str) -> Result<Vec<(String, u64)>, HistoryError> {
        let (first, last) = hours.into_inner();
        let mut statement = self.connection.prepare(REASONS)?;
        let rows = statement.query_map(params![first, last, id], |row| Ok((row.get(0)?, natural(row.get(1)?))))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The columns after the first.
fn counts(row: &Row<'_>) -> rusqlite::Result<Counts> {
    let mut columns = [0; Counts::COLUMNS];
    for (n, column) in columns.iter_mut().enumerate() {
        *column = natural(row.get(n + 1)?);
    }
    Ok(Counts::from_columns(columns))
}

impl From<rusqlite::Error> for HistoryError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<StoreError> for HistoryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unusable(why) => Self::Unusable(why),
            StoreError::Io(error) => Self::Io(error),
            StoreError::Sqlite(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
                _ => Self::Sqlite(error),
            },
        }
    }
}
