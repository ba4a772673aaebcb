//! A key file, from its text to the snapshot that serves: at the start, and when one entry has changed since.
//!
//! Reading the file, telling of it in the log and dropping the snapshot before are not in it.

use divan::Bencher;
use keyward::config::keyfile::{parse, parse_again};
use keyward::snapshot::Snapshot;

use crate::world::{self, World, source_of};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// A key file of so many entries. The last one is another in each version.
pub(crate) fn text(count: usize, version: usize) -> String {
    let last = world::entry(count - 1, &format!("team {version}"));
    (0..count - 1).map(|n| world::entry(n, "payments team")).chain([last]).collect()
}

/// What a start does.
pub(crate) fn from_nothing(text: &str) -> Snapshot {
    World::new(text).build()
}

/// What a reload does, again and again: the file with its one change is read, and the next snapshot is built beside the
/// one that serves.
pub(crate) fn one_changed(count: usize) -> impl FnMut() -> Snapshot {
    let versions = [text(count, 0), text(count, 1)];
    let mut world = World::new(&versions[0]);
    let mut turn = 0;
    move || {
        turn += 1;
        let read = parse_again(&source_of(&versions[turn % 2]), &world.keys);
        let Ok((keys, _)) = read else { panic!("the keys are good") };
        world.keys = keys;
        world.build()
    }
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn parse_alone(bencher: Bencher<'_, '_>, keys: usize) {
    let text = text(keys, 0);
    bencher.with_inputs(|| source_of(&text)).bench_local_refs(|source| parse(source).is_ok());
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn start(bencher: Bencher<'_, '_>, keys: usize) {
    let text = text(keys, 0);
    bencher.bench_local(|| from_nothing(&text));
}

#[divan::bench(args = SIZES, sample_count = 5, sample_size = 1)]
fn one_entry_changed(bencher: Bencher<'_, '_>, keys: usize) {
    bencher.bench_local(one_changed(keys));
}
