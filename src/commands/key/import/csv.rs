//! `csv`: a header line that names the columns, in any order, then one key a line (RFC 4180).

use ::csv::{Position, ReaderBuilder, StringRecord, Trim};

use super::draft::{Draft, Gathered, Place};
use super::times::moment;
use crate::cli::when::When;
use crate::commands::console::Failure;
use crate::config::mask::quoted;

const COLUMNS: [&str; 4] = ["id", "key", "owner", "expires"];

/// The crate's own words may say what stood there.
const NO_CSV: &str = "it is not CSV";

/// Where in a record the columns are.
struct Columns {
    id: usize,
    key: usize,
    owner: Option<usize>,
    expires: Option<usize>,
    count: usize,
}

pub(super) fn read(text: &str, into: &mut Gathered) -> Result<(), Failure> {
    let mut reader = ReaderBuilder::new().flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|_| into.broken(None, NO_CSV))?;
    let columns = columns(&header.clone(), into)?;
    let (mut record, mut lines) = (StringRecord::new(), Lines { text, at: 0, line: 1 });
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let at = record.position().map_or(0, Position::byte);
                let place = Place::Line(lines.line_at(usize::try_from(at).unwrap_or(usize::MAX)));
                take(&record, &columns, place, into)?;
            }
            Err(_) => return Err(into.broken(None, NO_CSV)),
        }
    }
}

/// Counts lines. The crate's own count lags where lines end with `\r\n`, and at empty ones.
struct Lines<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of the record that the crate says begins here: the ends of lines before it belong to it.
    fn line_at(&mut self, at: usize) -> usize {
        let bytes = self.text.as_bytes();
        let ends = bytes[at.min(bytes.len())..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let at = (at + ends).min(bytes.len());
        self.line += bytes[self.at.min(at)..at].iter().filter(|byte| **byte == b'\n').count();
        self.at = at;
        self.line
    }
}

fn columns(header: &StringRecord, into: &mut Gathered) -> Result<Columns, Failure> {
    let place = Some(Place::Line(1));
    let find = |name: &str| header.iter().position(|column| column.eq_ignore_ascii_case(name));
    let (Some(id), Some(key)) = (find("id"), find("key")) else {
        let why =
            "the first line has no columns `id` and `key`: it says which column is what, as `id,key,owner,expires`";
        return Err(into.broken(place, why));
    };
    for name in COLUMNS {
        if header.iter().filter(|column| column.eq_ignore_ascii_case(name)).count() > 1 {
            return Err(into.broken(place, format_args!("there are two columns `{name}`")));
        }
    }
    for column in header {
        if !COLUMNS.iter().any(|known| column.eq_ignore_ascii_case(known)) {
            into.remark(place, format!("the column {} is not carried over", quoted(column)));
        }
    }
    Ok(Columns { id, key, owner: find("owner"), expires: find("expires"), count: header.len() })
}

fn take(record: &StringRecord, columns: &Columns, place: Place, into: &mut Gathered) -> Result<(), Failure> {
    let field = |at: usize| record.get(at).unwrap_or_default();
    let optional = |at: Option<usize>| at.map(field).filter(|text| !text.is_empty());
    let name = field(columns.id);
    if record.len() > columns.count {
        // A comma without quotes around it: what stands in the key's column may be half a key.
        return into.refuse(place, name, "the line has more fields than the header");
    }
    let mut draft = Draft { name: name.into(), owner: optional(columns.owner).map(str::to_owned), ..Draft::default() };
    if let Some(text) = optional(columns.expires) {
        match expiry(text, &mut draft, into) {
            Some(expires) => draft.expires = expires,
            None => return into.refuse(place, name, "its expiry is no time, as 2027-01-01 or 2027-01-01T12:00:00Z"),
        }
    }
    into.key(place, draft, field(columns.key))
}

/// When a key ends, in any form that `keyward key new --expires` takes, and without a zone too; `Some(None)` = never.
#[expect(clippy::option_option, reason = "no time and no end are two things")]
fn expiry(text: &str, draft: &mut Draft, into: &Gathered) -> Option<Option<jiff::Timestamp>> {
    if let Ok(when) = When::parse_expiry(text) {
        return when.resolve(into.now).ok();
    }
    let moment = moment(text)?;
    if !moment.zoned {
        draft.remark("its expiry has no zone: it is taken as UTC");
    }
    Some(Some(moment.at))
}
