//! The whole of `keys.toml`: its entries one by one, then what may stand only once in the file.

use std::collections::HashMap;
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
    let mut entries: Vec<Entry> = tables
        .into_iter()
        .map(|table| entry::entry(table.under(&single)))
        .collect();
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
    let mut ids = HashMap::<String, Vec<usize>>::with_capacity(entries.len());
    let mut hashes = HashMap::<(bool, [u8; 32]), Vec<(usize, usize)>>::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        if let Some(id) = &entry.id {
            ids.entry(id.value.clone()).or_default().push(number);
        }
        for (place, hash) in entry.hashes.iter().enumerate() {
            let list = hashes.entry(identity(hash.value)).or_default();
            list.push((number, place));
        }
    }
    let line = |entries: &[Entry], number: usize| {
        let span = entries[number].span.start;
        problems.source().position(span).line
    };
    for numbers in ids.into_values().filter(|numbers| numbers.len() > 1) {
        for (at, &number) in numbers.iter().enumerate() {
            let Some(id) = entries[number].id.clone() else {
                continue;
            };
            let other = line(entries, numbers[usize::from(at == 0)]);
            let message = format!("two entries have the id {}", quoted(&id.value));
            let wrong = Wrong::new("duplicate-id", message).hint(format!(
                "the other begins in line {other}; both are refused until one has another id"
            ));
            entries[number].quarantine(problems, id.span, wrong);
        }
    }
    for places in hashes.into_values().filter(|places| places.len() > 1) {
        for (at, &(number, place)) in places.iter().enumerate() {
            let span = entries[number].hashes[place].span.clone();
            let (other, _) = places[usize::from(at == 0)];
            let wrong = match other == number {
                true => Wrong::new("duplicate-hash", "this entry has the same hash twice"),
                false => {
                    Wrong::new("duplicate-hash", "two entries have the same hash").hint(format!(
                        "the other begins in line {}; both are refused until one has another key",
                        line(entries, other)
                    ))
                }
            };
            entries[number].quarantine(problems, span, wrong);
        }
    }
}

fn identity(hash: StoredHash) -> (bool, [u8; 32]) {
    match hash {
        StoredHash::Sha256(digest) => (false, *digest.as_bytes()),
        StoredHash::HmacSha256(digest) => (true, *digest.as_bytes()),
    }
}
