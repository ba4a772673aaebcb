//! `fastapi-simple-security`: the SQLite file of the FastAPI library of that name, or the lines of `name;key;date` that a
//! fork of it reads when it starts.
//!
//! The library can renew a key that was revoked, so it becomes one that is disabled here, which `keyward key renew` takes
//! again. Its times are UTC and do not say so. Its counts of use are kept as pairs of `meta`.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use super::draft::{Draft, Gathered, Place};
use super::times::moment;
use crate::cli::STDIN;
use crate::commands::console::Failure;

/// How every SQLite file begins.
pub(super) const MAGIC: &[u8] = b"SQLite format 3\0";
const TABLE: &str = "fastapi_simple_security";
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(5);
const NOT_ACTIVE: &str = "not active in fastapi_simple_security";

/// Reads the lines of the fork.
pub(super) fn lines(text: &str, into: &mut Gathered) -> Result<(), Failure> {
    for (number, line) in text.lines().enumerate() {
        let (place, line) = (Place::Line(number + 1), line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split(';');
        let (Some(name), Some(key), Some(date), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            into.refuse(place, "", "the line is not NAME;KEY;DATE")?;
            continue;
        };
        let mut draft = Draft::of(name);
        if date.is_empty() {
            draft.expires = into.expires_default;
            draft
                .remark("it has no date, which there means 15 days from each start; here `keys.expires_default` holds");
        } else if let Some(date) = moment(date) {
            draft.expires = Some(date.at);
        } else {
            into.refuse(place, name, "its date is no time, as 2027-01-01T12:00:00")?;
            continue;
        }
        into.key(place, draft, key)?;
    }
    Ok(())
}

/// Reads the table of the library. The file is read where it is: a copy of it would be a copy of the keys.
pub(super) fn table(file: &Path, into: &mut Gathered) -> Result<(), Failure> {
    if file == Path::new(STDIN) {
        return Err(Failure::Usage("a SQLite file is read by its path, not from stdin".into()));
    }
    let doing = format!("failed to read {}", into.file);
    let wrong = |error: rusqlite::Error| Failure::because(&doing)(error);
    let database = open(file).map_err(wrong)?;
    let columns = columns(&database).map_err(wrong)?;
    if columns.is_empty() {
        return Err(into.broken(None, format_args!("there is no table `{TABLE}` in it")));
    }
    // The library adds this column when it starts, so that the oldest files have none.
    let name = if columns.iter().any(|column| column == "name") { "name" } else { "NULL" };
    let select = format!(
        "SELECT api_key, is_active, never_expire, expiration_date, latest_query_date, total_queries, {name} \
         FROM {TABLE} ORDER BY rowid"
    );
    let mut statement = database.prepare(&select).map_err(wrong)?;
    let mut rows = statement.query([]).map_err(wrong)?;
    let mut number = 0;
    while let Some(row) = rows.next().map_err(wrong)? {
        number += 1;
        take(row, Place::Row(number), into)?;
    }
    Ok(())
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags)?;
    database.busy_timeout(BUSY)?;
    // What a file of unknown origin defines is not carried out.
    database.pragma_update(None, "trusted_schema", false)?;
    Ok(database)
}

/// The columns of the table; none where there is no such table, be there a view of its name.
fn columns(database: &Connection) -> rusqlite::Result<Vec<String>> {
    let select =
        "SELECT c.name FROM sqlite_schema s, pragma_table_info(s.name) c WHERE s.type = 'table' AND s.name = ?1";
    let mut statement = database.prepare(select)?;
    let names = statement.query_map([TABLE], |row| row.get(0))?;
    names.collect()
}

fn take(row: &Row<'_>, place: Place, into: &mut Gathered) -> Result<(), Failure> {
    let field = |at: usize| row.get_ref(at).unwrap_or(ValueRef::Null);
    let text = |at: usize| field(at).as_str().unwrap_or_default();
    let is_one = |at: usize| field(at).as_i64() == Ok(1);
    let name = text(6);
    let mut draft = Draft::of(name);
    if !is_one(1) {
        draft.disabled = Some(NOT_ACTIVE);
    }
    // Anything but nothing and zero is true there.
    let never = !matches!(field(2), ValueRef::Null | ValueRef::Integer(0));
    if !never {
        match moment(text(3)) {
            Some(date) => draft.expires = Some(date.at),
            None => return into.refuse(place, name, "its expiration_date is no time"),
        }
    }
    if let Ok(count) = field(5).as_i64() {
        draft.meta("total_queries", &count.to_string());
    }
    if let Some(last) = moment(text(4)) {
        draft.meta("latest_query_date", &last.at.to_string());
    }
    match field(0).as_str() {
        Ok(key) => into.key(place, draft, key),
        Err(_) => into.refuse(place, name, "its api_key is no text"),
    }
}
