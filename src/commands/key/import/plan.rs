//! What becomes of each entry of an import, beside what is in the key file already.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use super::draft::{Draft, Entry, Gathered, Hashes, Place};
use super::ids::{Ids, id_of};
use crate::commands::console::Failure;
use crate::commands::key::entry;
use crate::commands::key::settings::hash_text;
use crate::config::keyfile::{self, KeyState, StoredHash};
use crate::config::source::SourceFile;
use crate::vocab::digest::Digest;

/// What becomes of one entry.
pub(super) enum Outcome {
    /// It is a new key.
    New { id: String },
    /// Its key is in the key file already, as the secret of this one, or as one that was rotated out.
    Present { id: String, former: bool },
    /// An entry before it has the same name and the same key.
    Again { first: Place },
    /// It is not imported, and why.
    Refused(String),
}

/// What becomes of every entry, in order, and what is to be added to the key file for it.
pub(super) struct Plan {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) tables: Vec<Table>,
}

/// 32 bytes of a digest. It is a key of a map: an import tells nobody how long it looked for what.
type Bytes = [u8; 32];

/// Decides, without changing the document.
pub(super) fn plan(gathered: &Gathered, document: &mut DocumentMut) -> Result<Plan, Failure> {
    let entries = &gathered.entries;
    let known = Known::of(document)?;
    let mut ids = Ids::new(known.ids.clone());
    let mut outcomes = first_look(entries, &known);
    for (entry, outcome) in entries.iter().zip(&outcomes) {
        if matches!(outcome, Some(Outcome::Present { .. })) {
            ids.claim(&id_of(&entry.draft.name));
        }
    }
    let mut tables = Vec::new();
    for (entry, outcome) in entries.iter().zip(&mut outcomes) {
        let (None, Ok(hashes)) = (&outcome, &entry.key) else { continue };
        *outcome = Some(match new(&entry.draft, hashes, gathered, &mut ids) {
            Ok((id, table)) => {
                tables.push(table);
                Outcome::New { id }
            }
            Err(why) => Outcome::Refused(why),
        });
    }
    let mut outcomes: Vec<_> = outcomes.into_iter().flatten().collect();
    judge(&mut tables, &mut outcomes)?;
    Ok(Plan { outcomes, tables })
}

/// Adds what was planned to the document.
pub(super) fn carry_out(tables: Vec<Table>, document: &mut DocumentMut) -> Result<(), Failure> {
    tables.into_iter().try_for_each(|table| entry::append(document, table))
}

/// What a key file has.
struct Known {
    ids: HashSet<String>,
    /// Whose each hash is, and whether it was rotated out.
    plain: HashMap<Bytes, (String, bool)>,
    peppered: HashMap<Bytes, (String, bool)>,
}

impl Known {
    fn of(document: &mut DocumentMut) -> Result<Self, Failure> {
        let mut known = Self { ids: HashSet::new(), plain: HashMap::new(), peppered: HashMap::new() };
        for entry in entry::all(document)? {
            let id = entry::text(entry, "id").unwrap_or_default();
            known.ids.insert(id.to_owned());
            known.hash(entry, id, false);
            match entry.get("previous") {
                Some(Item::Value(Value::Array(list))) => {
                    let old = list.iter().filter_map(Value::as_inline_table);
                    old.for_each(|old| known.hash(old, id, true));
                }
                Some(Item::ArrayOfTables(list)) => list.iter().for_each(|old| known.hash(old, id, true)),
                None | Some(Item::None | Item::Value(_) | Item::Table(_)) => {}
            }
        }
        Ok(known)
    }

    fn hash(&mut self, table: &dyn TableLike, id: &str, former: bool) {
        let (map, digest) = match entry::text(table, "hash").and_then(StoredHash::parse) {
            Some(StoredHash::Sha256(digest)) => (&mut self.plain, digest),
            Some(StoredHash::HmacSha256(digest)) => (&mut self.peppered, digest),
            None => return,
        };
        map.entry(*digest.as_bytes()).or_insert_with(|| (id.to_owned(), former));
    }

    /// Whose key it is.
    fn whose(&self, hashes: &Hashes) -> Option<&(String, bool)> {
        let peppered = hashes.peppered.as_ref().and_then(|digest| self.peppered.get(digest.as_bytes()));
        peppered.or_else(|| self.plain.get(hashes.plain.as_bytes()))
    }
}

/// Finds what is no key, what is in the key file already, and what stands more than once.
fn first_look<'e>(entries: &'e [Entry], known: &Known) -> Vec<Option<Outcome>> {
    let mut seen: HashMap<Bytes, &'e Entry> = HashMap::with_capacity(entries.len());
    let look = |entry: &'e Entry| match &entry.key {
        Err(why) => Some(Outcome::Refused(why.clone())),
        Ok(hashes) => match known.whose(hashes) {
            Some((id, former)) => Some(Outcome::Present { id: id.clone(), former: *former }),
            None => repeated(&mut seen, entry, &hashes.plain),
        },
    };
    entries.iter().map(look).collect()
}

fn repeated<'e>(seen: &mut HashMap<Bytes, &'e Entry>, entry: &'e Entry, digest: &Digest) -> Option<Outcome> {
    let first = *seen.entry(*digest.as_bytes()).or_insert(entry);
    if std::ptr::eq(first, entry) {
        return None;
    }
    if first.draft.name == entry.draft.name {
        return Some(Outcome::Again { first: first.place });
    }
    Some(Outcome::Refused(format!("it has the same key as the one of {}, under another name", named(first.place))))
}

/// `line 7`, `row 7`.
pub(super) fn named(place: Place) -> String {
    match place {
        Place::Line(line) => format!("line {line}"),
        Place::Row(row) => format!("row {row}"),
    }
}

/// The id and the entry of a new key.
fn new(draft: &Draft, hashes: &Hashes, gathered: &Gathered, ids: &mut Ids) -> Result<(String, Table), String> {
    let is_key = |text: &str| gathered.secrets.contains(Digest::sha256(text.as_bytes()).as_bytes());
    if draft.texts().any(is_key) {
        return Err("its name or another text is a key of this file, and would be stored as it is".into());
    }
    let id = id_of(&draft.name);
    let Some(id) = ids.give(&id) else {
        return Err(format!("there is a key with the id {id:?} and another secret: rename one of them"));
    };
    let hash = hash_text(&hashes.plain, hashes.peppered.as_ref());
    match table(&id, hash, draft, gathered.now) {
        Ok(table) => Ok((id, table)),
        Err(_) => Err("one of its times is outside the years 0 to 9999".into()),
    }
}

/// The entry, with the fields in the order of the documentation.
fn table(id: &str, hash: String, draft: &Draft, now: Timestamp) -> Result<Table, Failure> {
    let text = |text: &Option<String>| text.as_ref().map(Value::from);
    let list = |texts: &[String]| (!texts.is_empty()).then(|| entry::array(texts));
    let state = draft.disabled.map(|_| KeyState::Disabled.as_str());
    let fields = [
        ("id", Some(Value::from(id))),
        ("hash", Some(Value::from(hash))),
        ("owner", text(&draft.owner)),
        ("note", text(&draft.note)),
        ("created", Some(entry::moment(draft.created.unwrap_or(now))?)),
        ("expires", draft.expires.map(entry::moment).transpose()?),
        ("state", state.map(Value::from)),
        ("reason", draft.disabled.map(Value::from)),
        ("limits", list(&draft.limits)),
        ("quota", text(&draft.quota)),
        ("roles", list(&draft.roles)),
        ("meta", (!draft.meta.is_empty()).then(|| entry::pairs(&draft.meta))),
    ];
    let mut table = Table::new();
    for (name, value) in fields {
        if let Some(value) = value {
            entry::set(&mut table, name, value);
        }
    }
    Ok(table)
}

/// The gateway's own reader has the last word on new entries.
fn judge(tables: &mut Vec<Table>, outcomes: &mut [Outcome]) -> Result<(), Failure> {
    let mut text = String::new();
    for table in tables.iter() {
        // One at a time: a tree is twenty times as large as its text.
        let mut alone = DocumentMut::new();
        entry::append(&mut alone, table.clone())?;
        text.push_str(&alone.to_string());
    }
    let (file, _) = keyfile::parse(&Arc::new(SourceFile::new("new entries", text)))?;
    if file.quarantined.is_empty() {
        return Ok(());
    }
    // `new entries:LINE:COLUMN: what is wrong`
    let why = |problem: &str| problem.split_once(": ").map_or(problem, |(_, why)| why).to_owned();
    let bad: HashMap<_, _> =
        file.quarantined.iter().filter_map(|bad| Some((bad.id.as_deref()?, why(&bad.problem)))).collect();
    tables.retain(|table| entry::text(table, "id").is_none_or(|id| !bad.contains_key(id)));
    for outcome in outcomes {
        if let Outcome::New { id } = &outcome
            && let Some(why) = bad.get(id.as_str())
        {
            *outcome = Outcome::Refused(format!("the gateway would not take it: {why}"));
        }
    }
    Ok(())
}
