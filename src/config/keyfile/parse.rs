//! The whole of `keys.toml`: its entries one by one, then what may stand only once in the file.

use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use super::entry::{self, Entry};
use super::{KeyFile, Quarantined, StoredHash};
use crate::config::diagnostics::{Report, Severity};
use crate::config::mask::quoted;
use crate::config::problems::{self, Problems, Wrong};
use crate::config::reader::Table;
use crate::config::source::SourceFile;

/// Reads `keys.toml`. What is no list of `[[key]]` is refused as a whole, so that a half-written file is never half
/// applied; an entry that is wrong on its own is quarantined, and the report warns of it.
pub fn parse(source: &Arc<SourceFile>) -> Result<(KeyFile, Report), Report> {
    let document = problems::document(source)?;
    let whole = Problems::new(source, Severity::Error);
    let mut file = Table::new(&whole, "", document.get_ref(), 0..0);
    let tables = file.tables("key").unwrap_or_default();
    file.finish();
    if whole.len() > 0 {
        return Err(whole.into_report());
    }

    let single = Problems::new(source, Severity::Warning);
    let mut entries: Vec<Entry> = tables.into_iter().map(|table| entry::entry(table.under(&single))).collect();
    quarantine_twins(&mut entries, &single);

    let mut keys = KeyFile::default();
    for entry in entries {
        match (entry.spec, entry.problem) {
            (Some(spec), None) => {
                keys.keys.push(spec);
                keys.places.push(entry.span);
            }
            (_, problem) => keys.quarantined.push(Quarantined {
                id: entry.id.map(|id| id.value),
                hashes: entry.hashes.into_iter().map(|hash| hash.value).collect(),
                problem: problem.unwrap_or_default(),
            }),
        }
    }
    Ok((keys, single.into_report()))
}

/// Quarantines every entry that shares its id or one of its hashes with another, good or not.
fn quarantine_twins(entries: &mut [Entry], problems: &Problems) {
    let (ids, hashes) = twins(entries);
    let line = |entries: &[Entry], number: usize| {
        let start = entries[number].span.start;
        problems.source().position(start).line
    };
    for (number, other) in ids {
        let Some(id) = entries[number].id.clone() else {
            continue;
        };
        let message = format!("two entries have the id {}", quoted(&id.value));
        let wrong = Wrong::new("duplicate-id", message).hint(format!(
            "the other begins in line {}; both are refused until one has another id",
            line(entries, other)
        ));
        entries[number].quarantine(problems, id.span, wrong);
    }
    for ((number, place), (other, _)) in hashes {
        let span = entries[number].hashes[place].span.clone();
        let wrong = match other == number {
            true => Wrong::new("duplicate-hash", "this entry has the same hash twice"),
            false => Wrong::new("duplicate-hash", "two entries have the same hash").hint(format!(
                "the other begins in line {}; both are refused until one has another key",
                line(entries, other)
            )),
        };
        entries[number].quarantine(problems, span, wrong);
    }
}

/// Each of them that has a twin, with one of its twins, in the order of the file.
type Twins<T> = BTreeMap<T, T>;

/// The numbers of entries with one id, and of entries and places in them with one hash.
fn twins(entries: &[Entry]) -> (Twins<usize>, Twins<(usize, usize)>) {
    let mut ids = HashMap::with_capacity(entries.len());
    let mut hashes = HashMap::with_capacity(entries.len());
    let (mut id_twins, mut hash_twins) = (Twins::new(), Twins::new());
    for (number, entry) in entries.iter().enumerate() {
        if let Some(id) = &entry.id {
            meet(&mut ids, id.value.as_str(), number, &mut id_twins);
        }
        for (place, hash) in entry.hashes.iter().enumerate() {
            let here = (number, place);
            meet(&mut hashes, identity(hash.value), here, &mut hash_twins);
        }
    }
    (id_twins, hash_twins)
}

/// Puts `here` in its place, or makes it and who has that place twins.
fn meet<K: Eq + Hash, T: Copy + Ord>(seen: &mut HashMap<K, T>, key: K, here: T, twins: &mut Twins<T>) {
    match seen.entry(key) {
        Vacant(place) => {
            place.insert(here);
        }
        Occupied(first) => {
            twins.entry(*first.get()).or_insert(here);
            twins.insert(here, *first.get());
        }
    }
}

fn identity(hash: StoredHash) -> (bool, [u8; 32]) {
    match hash {
        StoredHash::Sha256(digest) => (false, *digest.as_bytes()),
        StoredHash::HmacSha256(digest) => (true, *digest.as_bytes()),
    }
}
