//! The common entry: a line for each setting, plain strings, times in UTC. It is read where it stands, without a tree.
//!
//! This takes less than TOML does and nothing that TOML refuses; it knows no mistakes. What it does not take, [`entry`]
//! reads, and says what is wrong if anything is.

use jiff::Timestamp;
use toml::value::Datetime;

use super::entry;
use super::interner::Interner;
use super::parse::HEADER;
use super::{KeySpec, KeyState, StoredHash};

/// The entry whose text this is.
pub(super) fn plain(text: &str, interner: &mut Interner) -> Option<KeySpec> {
    let mut settings = Settings::default();
    let mut lines = text.lines();
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
        let (name, value) = line.split_once('=')?;
        let (name, value) = (trim(name), trim(value));
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
            previous: Box::default(),
            remarks: None,
        })
    }
}

/// A setting may stand once.
fn once<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// Without the white space of TOML at either end.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// What stands for itself in TOML, in strings and comments alike.
fn is_printable(c: u8) -> bool {
    (b' '..=b'~').contains(&c)
}

/// A string of one line in which nothing is escaped.
fn string(value: &str) -> Option<&str> {
    let text = value.strip_prefix('"')?.strip_suffix('"')?;
    text.bytes().all(|c| is_printable(c) && c != b'"' && c != b'\\').then_some(text)
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
    let shape = value.bytes().map(|c| if c.is_ascii_digit() { b'0' } else { c });
    if !shape.eq(*b"0000-00-00T00:00:00Z") {
        return None;
    }
    entry::instant(&value.parse::<Datetime>().ok()?)
}
