//! What may stand only once in the file: every id, every hash.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;

use super::StoredHash;
use super::parse::Entry;
use crate::config::mask::quoted;
use crate::config::problems::{Problems, Wrong};
use crate::config::source::SourceFile;

/// Quarantines every entry that shares its id or one of its hashes with another, good or not.
pub(super) fn quarantine(entries: &mut [Entry], problems: &Problems, source: &Arc<SourceFile>) {
    let ids = twins(entries, |entry| entry.id().into_iter());
    let hashes = twins(entries, |entry| entry.hashes().map(identity));
    for (number, _) in ids.keys().chain(hashes.keys()) {
        entries[*number].open(source);
    }
    let line = |entries: &[Entry], number: usize| problems.source().position(entries[number].start()).line;
    for ((number, _), (other, _)) in ids {
        let other = line(entries, other);
        let Entry::Read(read) = &mut entries[number] else { continue };
        let Some(id) = read.id.clone() else { continue };
        let message = format!("two entries have the id {}", quoted(&id.value));
        let hint = format!("the other begins in line {other}; both are refused until one has another id");
        read.quarantine(problems, id.span, Wrong::new("duplicate-id", message).hint(hint));
    }
    for ((number, place), (other, _)) in hashes {
        let wrong = match other == number {
            true => Wrong::new("duplicate-hash", "this entry has the same hash twice"),
            false => Wrong::new("duplicate-hash", "two entries have the same hash").hint(format!(
                "the other begins in line {}; both are refused until one has another key",
                line(entries, other)
            )),
        };
        let Entry::Read(read) = &mut entries[number] else { continue };
        let span = read.hashes[place].span.clone();
        read.quarantine(problems, span, wrong);
    }
}

/// The number of an entry, and which of its values.
type Place = (usize, usize);

/// A keyed hash of a value, and its place.
type Hashed = (u64, u64, u32, u32);

/// Each value that has a twin, with one of its twins, in the order of the file. By sorting hashes: a million entries need
/// little memory for it. Nobody can bring about that two values have the same 128 bits under keys of the moment.
fn twins<'e, T: Hash, I: Iterator<Item = T>>(
    entries: &'e [Entry],
    values: impl Fn(&'e Entry) -> I,
) -> BTreeMap<Place, Place> {
    let (one, other) = (RandomState::new(), RandomState::new());
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut all: Vec<Hashed> = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        for (at, value) in values(entry).enumerate() {
            all.push((one.hash_one(&value), other.hash_one(&value), short(number), short(at)));
        }
    }
    all.sort_unstable();
    let place = |&(_, _, number, at): &Hashed| (number as usize, at as usize);
    let mut twins = BTreeMap::new();
    for alike in all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        if let [first, second, ..] = alike {
            twins.insert(place(first), place(second));
            twins.extend(alike[1..].iter().map(|here| (place(here), place(first))));
        }
    }
    twins
}

fn identity(hash: StoredHash) -> (bool, [u8; 32]) {
    match hash {
        StoredHash::Sha256(digest) => (false, *digest.as_bytes()),
        StoredHash::HmacSha256(digest) => (true, *digest.as_bytes()),
    }
}
