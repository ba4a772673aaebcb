//! What may stand only once in the file: every id, every hash.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::StoredHash;
use super::parse::Entry;
use crate::config::mask::quoted;
use crate::config::problems::{Problems, Wrong};
use crate::config::source::SourceFile;

/// Quarantines every entry that shares its id or one of its hashes with another, good or not.
pub(super) fn quarantine(entries: &mut [Entry], problems: &Problems, source: &Arc<SourceFile>) {
    let keyed = RandomState::new();
    let ids = twins(entries, |entry| entry.id().into_iter(), |id| keyed.hash_one(id));
    let hashes = twins(entries, |entry| entry.hashes().map(identity), |(_, digest)| first_bytes(digest));
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

/// Each value that has a twin, with one of its twins, in the order of the file. By sorting: a million entries need little
/// memory for it. `rank` is the same for equal values, and mostly another for others.
fn twins<'e, T: Ord, I: Iterator<Item = T>>(
    entries: &'e [Entry],
    values: impl Fn(&'e Entry) -> I,
    rank: impl Fn(&T) -> u64,
) -> BTreeMap<Place, Place> {
    let short = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let mut all: Vec<(u64, u32, u32)> = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        all.extend(values(entry).enumerate().map(|(at, value)| (rank(&value), short(number), short(at))));
    }
    all.sort_unstable();
    let mut twins = BTreeMap::new();
    for alike in all.chunk_by(|a, b| a.0 == b.0).filter(|alike| alike.len() > 1) {
        let mut numbers: Vec<u32> = alike.iter().map(|(_, number, _)| *number).collect();
        numbers.dedup();
        let of_entry = |number: u32| {
            values(&entries[number as usize]).enumerate().map(move |(at, value)| (value, (number as usize, at)))
        };
        let mut alike: Vec<(T, Place)> = numbers.into_iter().flat_map(of_entry).collect();
        alike.sort_unstable();
        for same in alike.chunk_by(|a, b| a.0 == b.0) {
            if let [(_, first), (_, second), ..] = same {
                twins.insert(*first, *second);
                twins.extend(same[1..].iter().map(|(_, here)| (*here, *first)));
            }
        }
    }
    twins
}

/// As good as random, unless somebody makes up hashes.
fn first_bytes(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

fn identity(hash: StoredHash) -> (bool, [u8; 32]) {
    match hash {
        StoredHash::Sha256(digest) => (false, *digest.as_bytes()),
        StoredHash::HmacSha256(digest) => (true, *digest.as_bytes()),
    }
}
