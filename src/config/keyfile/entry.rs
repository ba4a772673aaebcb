//! One `[[key]]`.

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use toml::value::{Datetime, Offset};

use super::interner::Interner;
use super::{KeySpec, KeyState, PreviousSecret, Remarks, StoredHash, rules};
use crate::config::gateway::{Located, rates};
use crate::config::problems::{Problems, Wrong};
use crate::config::reader::{Item, Table, located};

/// An entry as it was read: with a spec if it could be, and with a problem if it must not be used.
pub(super) struct Read {
    pub(super) spec: Option<KeySpec>,
    pub(super) id: Option<Located<Box<str>>>,
    /// Every hash of it that can be read.
    pub(super) hashes: Vec<Located<StoredHash>>,
    pub(super) problem: Option<String>,
    pub(super) span: Range<usize>,
}

impl Read {
    /// Notes a problem, and with it that the entry must not be used.
    pub(super) fn quarantine(&mut self, problems: &Problems, span: Range<usize>, wrong: Wrong) {
        let before = problems.len();
        problems.add(span, wrong);
        if self.problem.is_none() {
            self.problem = problems.location(before);
        }
    }
}

/// How `state` is written.
pub(super) const STATES: [(&str, KeyState); 5] = [
    ("active", KeyState::Active),
    ("disabled", KeyState::Disabled),
    ("revoked", KeyState::Revoked),
    ("compromised", KeyState::Compromised),
    ("honey", KeyState::Honey),
];

pub(super) fn entry(mut table: Table<'_>, interner: &mut Interner) -> Read {
    let (problems, span) = (table.problems(), table.span());
    let before = problems.len();
    let id = required(&mut table, "id", id);
    let hash = required(&mut table, "hash", hash);
    let mut hashes: Vec<_> = hash.iter().cloned().collect();
    let previous = previous(&mut table, &mut hashes);
    let spec = KeySpec {
        id: id.as_ref().map(|id| id.value.clone()).unwrap_or_default(),
        hash: match &hash {
            Some(hash) => hash.value,
            None => StoredHash::Sha256(crate::vocab::digest::Digest::new([0; 32])),
        },
        owner: table.parsed("owner", header_text).unwrap_or_default(),
        created: time(&mut table, "created"),
        expires: time(&mut table, "expires"),
        not_before: time(&mut table, "not_before"),
        state: table.one_of("state", &STATES, KeyState::Active),
        plan: table.parsed("plan", plan).map(|plan| interner.word(&plan)),
        limits: rates(&mut table).map(|rates| interner.rates(rates)),
        roles: interner.roles(roles(&mut table)),
        rules: rules::rules(&mut table).map(|rules| interner.rules(rules)),
        previous: previous.into(),
        remarks: remarks(&mut table).map(Box::new),
    };
    table.finish();
    let problem = problems.location(before);
    if problem.is_none()
        && let (Some(from), Some(until)) = (spec.not_before, spec.expires)
        && until <= from
    {
        let message = "the key expires before it begins, so it is never good";
        problems.warn(span.clone(), Wrong::new("never-valid", message));
    }
    Read { spec: (problem.is_none()).then_some(spec), id, hashes, problem, span }
}

fn required<T>(table: &mut Table<'_>, key: &'static str, read: fn(&str) -> Result<T, Wrong>) -> Option<Located<T>> {
    match table.get(key) {
        Some(item) => Some(located(item.parsed(read)?, item.span)),
        None => {
            let wrong = Wrong::new("missing-key", format!("the entry has no `{key}`"));
            table.problems().add(table.span(), wrong);
            None
        }
    }
}

pub(super) fn id(text: &str) -> Result<Box<str>, Wrong> {
    let start = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let member = |c: u8| start(c) || b"._-".contains(&c);
    let good = text.len() <= 63 && text.bytes().next().is_some_and(start) && text.bytes().all(member);
    match good {
        true => Ok(text.into()),
        false => Err(Wrong::value("an id is 1 to 63 of the characters `a-z0-9._-` and begins with a letter or digit")),
    }
}

/// What was written instead of a hash may be the key itself, so no message repeats it.
fn hash(text: &str) -> Result<StoredHash, Wrong> {
    StoredHash::parse(text).ok_or_else(|| {
        let wrong = Wrong::new("invalid-hash", "a hash is `sha256:` and 64 hex characters");
        let is_hex = text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
        let has_scheme = ["sha256:", "hmac-sha256:"].iter().any(|scheme| text.starts_with(scheme));
        match (is_hex, has_scheme) {
            (true, _) => wrong.hint("put `sha256:` before it"),
            (_, true) => wrong.hint("what follows `sha256:` is not 64 hex characters"),
            _ => wrong.hint("store the hash, not the key: `keyward key hash`"),
        }
    })
}

/// Text that is sent to the upstream as the value of a header.
pub(super) fn header_text(text: &str) -> Result<Box<str>, Wrong> {
    match text.contains(char::is_control) || text.len() > 256 {
        true => Err(Wrong::value("expected at most 256 bytes without control characters")),
        false => Ok(text.into()),
    }
}

pub(super) fn plan(text: &str) -> Result<Box<str>, Wrong> {
    match text.is_empty() {
        true => Err(Wrong::value("expected the name of a plan").hint("for none leave `plan` out")),
        false => header_text(text),
    }
}

pub(in crate::config) fn role(text: &str) -> Result<Box<str>, Wrong> {
    match text.is_empty() || text.contains(',') {
        true => Err(Wrong::value("a role is not empty and has no comma")),
        false => header_text(text),
    }
}

fn roles(table: &mut Table<'_>) -> Vec<Box<str>> {
    let roles = table.strings("roles", role).into_iter();
    roles.map(|role| role.value).collect()
}

fn remarks(table: &mut Table<'_>) -> Option<Remarks> {
    let remarks = Remarks {
        note: text(table, "note"),
        reason: text(table, "reason"),
        state_changed: time(table, "state_changed"),
        meta: meta(table),
    };
    (remarks != Remarks::default()).then_some(remarks)
}

fn text(table: &mut Table<'_>, key: &'static str) -> Box<str> {
    let text = table.string(key);
    text.map(|text| text.value.into()).unwrap_or_default()
}

fn meta(table: &mut Table<'_>) -> BTreeMap<Box<str>, Box<str>> {
    let Some(meta) = table.table("meta") else {
        return BTreeMap::new();
    };
    meta.pairs()
        .filter_map(|(key, item)| {
            let value = item.string()?.value;
            Some((key.value.into(), value.into()))
        })
        .collect()
}

fn previous(table: &mut Table<'_>, hashes: &mut Vec<Located<StoredHash>>) -> Vec<PreviousSecret> {
    let mut previous = Vec::new();
    for mut table in table.tables("previous").unwrap_or_default() {
        let hash = required(&mut table, "hash", hash);
        let until = match table.get("until") {
            Some(item) => timestamp(&item),
            None => {
                let wrong = Wrong::new("missing-key", "a previous secret needs `until`");
                table.problems().add(table.span(), wrong);
                None
            }
        };
        table.finish();
        hashes.extend(hash.clone());
        if let (Some(hash), Some(until)) = (hash, until) {
            previous.push(PreviousSecret { hash: hash.value, until });
        }
    }
    previous
}

fn time(table: &mut Table<'_>, key: &'static str) -> Option<Timestamp> {
    timestamp(&table.get(key)?)
}

fn timestamp(item: &Item<'_>) -> Option<Timestamp> {
    let value = item.value();
    let wrong = match (value.as_datetime(), value.is_str()) {
        (Some(time), _) if time.offset.is_some() => match instant(time) {
            Some(time) => return Some(time),
            None => Wrong::new("invalid-time", "there is no such time"),
        },
        (Some(_), _) => Wrong::new("invalid-time", "a time needs a date and a zone")
            .hint("as in `2027-01-31T00:00:00Z`, or `+01:00` for `Z`"),
        (None, true) => {
            Wrong::new("invalid-time", "a time is written without quotes").hint("as in `2027-01-31T00:00:00Z`")
        }
        (None, false) => Wrong::new("wrong-type", "expected a time").hint("as in `2027-01-31T00:00:00Z`"),
    };
    item.wrong(wrong);
    None
}

pub(super) fn instant(time: &Datetime) -> Option<Timestamp> {
    let (date, time, offset) = (time.date?, time.time?, time.offset?);
    let small = |n: u8| i8::try_from(n).ok();
    let year = i16::try_from(date.year).ok()?;
    let date = Date::new(year, small(date.month)?, small(date.day)?).ok()?;
    let time = Time::new(
        small(time.hour)?,
        small(time.minute)?,
        // A leap second is the last second that there is.
        small(time.second.unwrap_or(0).min(59))?,
        i32::try_from(time.nanosecond.unwrap_or(0)).ok()?,
    )
    .ok()?;
    let minutes = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i32::from(minutes),
    };
    let offset = jiff::tz::Offset::from_seconds(minutes * 60).ok()?;
    offset.to_timestamp(date.to_datetime(time)).ok()
}
