//! The common entry: a line for each setting, plain strings, times in UTC. It is read where it stands, without a tree.
//!
//! This takes less than TOML does and nothing that TOML refuses; it knows no mistakes. What it does not take, [`entry`]
//! reads, and says what is wrong if anything is.

use jiff::Timestamp;
use memchr::memchr;
use toml::value::{Datetime, Offset};

use super::entry;
use super::interner::Interner;
use super::parse::HEADER;
use super::{KeySpec, KeyState, StoredHash};

/// The entry whose text this is.
pub(super) fn plain(text: &str, interner: &mut Interner) -> Option<KeySpec> {
    let mut settings = Settings::default();
    let mut lines = lines(text);
    if trim(lines.next()?) != HEADER {
        return None;
    }
    for line in lines {
        settings.line(line)?;
    }
    settings.spec(interner)
}

/// The settings of one entry, as they are written.
#[derive(Default)]
struct Settings<'t> {
    id: Option<&'t str>,
    hash: Option<&'t str>,
    owner: Option<&'t str>,
    plan: Option<&'t str>,
    state: Option<&'t str>,
    limits: Option<Vec<&'t str>>,
    roles: Option<Vec<&'t str>>,
    created: Option<Timestamp>,
    expires: Option<Timestamp>,
    not_before: Option<Timestamp>,
}

impl<'t> Settings<'t> {
    fn line(&mut self, line: &'t str) -> Option<()> {
        let line = trim(line);
        if line.is_empty() {
            return Some(());
        }
        if let Some(comment) = line.strip_prefix('#') {
            return comment.bytes().all(|c| is_printable(c) || c == b'\t').then_some(());
        }
        let equals = memchr(b'=', line.as_bytes())?;
        let (name, value) = (trim(&line[..equals]), trim(&line[equals + 1..]));
        match name {
            "id" => once(&mut self.id, string(value)?),
            "hash" => once(&mut self.hash, string(value)?),
            "owner" => once(&mut self.owner, string(value)?),
            "plan" => once(&mut self.plan, string(value)?),
            "state" => once(&mut self.state, string(value)?),
            "limits" => once(&mut self.limits, strings(value)?),
            "roles" => once(&mut self.roles, strings(value)?),
            "created" => once(&mut self.created, time(value)?),
            "expires" => once(&mut self.expires, time(value)?),
            "not_before" => once(&mut self.not_before, time(value)?),
            _ => None,
        }
    }

    fn spec(self, interner: &mut Interner) -> Option<KeySpec> {
        if let (Some(from), Some(until)) = (self.not_before, self.expires)
            && until <= from
        {
            return None;
        }
        let state = match self.state {
            None => KeyState::Active,
            Some(word) => entry::STATES.iter().find(|(name, _)| *name == word)?.1,
        };
        Some(KeySpec {
            id: entry::id(self.id?).ok()?,
            hash: StoredHash::parse(self.hash?)?,
            owner: self.owner.map(entry::header_text).transpose().ok()?.unwrap_or_default(),
            created: self.created,
            expires: self.expires,
            not_before: self.not_before,
            state,
            plan: self.plan.map(entry::plan).transpose().ok()?.map(|plan| interner.word(&plan)),
            limits: match self.limits {
                None => None,
                Some(texts) => Some(interner.good_rates(&texts)?),
            },
            roles: interner
                .roles(self.roles.unwrap_or_default().into_iter().map(entry::role).collect::<Result<_, _>>().ok()?),
            rules: None,
            previous: Box::default(),
            remarks: None,
        })
    }
}

/// A setting may stand once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Each line without its end, which is as TOML wants it.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = memchr(b'\n', text.as_bytes()) else { return rest.take() };
        rest = Some(&text[end + 1..]);
        let line = &text[..end];
        Some(line.strip_suffix('\r').unwrap_or(line))
    })
}

/// Without the white space of TOML at either end.
fn trim(text: &str) -> &str {
    let is_text = |c: &u8| *c != b' ' && *c != b'\t';
    let start = text.as_bytes().iter().position(is_text).unwrap_or(text.len());
    let end = text.as_bytes().iter().rposition(is_text).map_or(start, |last| last + 1);
    &text[start..end]
}

/// What stands for itself in TOML, in strings and comments alike.
fn is_printable(c: u8) -> bool {
    (b' '..=b'~').contains(&c)
}

/// A string of one line in which nothing is escaped.
fn string(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    // Looked at to the end, which is faster than to stop.
    let plain = text.bytes().fold(true, |plain, c| plain & is_printable(c) & (c != b'"') & (c != b'\\'));
    plain.then_some(text)
}

/// A list of such strings, on one line.
fn strings(value: &str) -> Option<Vec<&str>> {
    let inner = trim(value.strip_prefix('[')?.strip_suffix(']')?);
    if inner.is_empty() {
        return Some(Vec::new());
    }
    // A comma in a string makes two of it, neither of which is one.
    inner.split(',').map(|item| string(trim(item))).collect()
}

/// `2026-11-21T10:00:00Z`
fn time(value: &str) -> Option<Timestamp> {
    let [y, e, a, r, b'-', m, o, b'-', d, i, b'T', h, u, b':', n, t, b':', s, c, b'Z'] = *value.as_bytes() else {
        return None;
    };
    let digit = |c: u8| c.is_ascii_digit().then(|| c - b'0');
    let two = |ten: u8, one: u8| Some(digit(ten)? * 10 + digit(one)?);
    let date = toml::value::Date {
        year: u16::from(two(y, e)?) * 100 + u16::from(two(a, r)?),
        month: two(m, o)?,
        day: two(d, i)?,
    };
    // A leap second is left to those who know about it.
    let (hour, minute, second) = (two(h, u)?, two(n, t)?, two(s, c).filter(|second| *second < 60)?);
    let time = toml::value::Time { hour, minute, second: Some(second), nanosecond: None };
    entry::instant(&Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) })
}
