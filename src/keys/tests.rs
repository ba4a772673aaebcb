//! What a ring takes over from the one before.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::gateway::{self, Gateway};
use crate::config::keyfile::{KeyFile, parse_again};
use crate::config::source::SourceFile;
use crate::limits::Ledger;
use crate::vocab::clock::Clock;

/// Rings one after the other, as reloads make them.
struct Rings {
    clock: Clock,
    ledger: Ledger,
    file: KeyFile,
    ring: Option<Arc<Ring>>,
}

impl Rings {
    fn new() -> Self {
        let clock = Clock::manual(Duration::from_secs(1));
        let ledger = Ledger::new(clock.clone());
        Self { clock, ledger, file: KeyFile::default(), ring: None }
    }

    fn next(&mut self, config: &str, keys: &str) -> Arc<Ring> {
        self.file = parse_again(&Arc::new(SourceFile::new("keys.toml", keys)), &self.file).expect("good keys").0;
        let ring = Ring::new(&self.file, &gateway(config), false, &mut self.ledger, self.ring.as_ref());
        self.ring = Some(Arc::clone(&ring));
        self.ledger.sweep();
        ring
    }

    /// Empties every bucket of the key.
    fn spend(&self, key: &Key) {
        for bucket in &key.buckets {
            while bucket.take(NonZeroU32::MIN, self.clock.mono()).is_some() {}
        }
    }

    /// What its buckets hold.
    fn left(&self, key: &Key) -> Vec<u64> {
        key.buckets.iter().map(|bucket| bucket.read(NonZeroU32::MIN, self.clock.mono()).remaining).collect()
    }
}

fn gateway(text: &str) -> Gateway {
    let text = format!("upstream.default.servers = [\"http://a\"]\n{text}");
    gateway::parse(&Arc::new(SourceFile::new("keyward.toml", text))).expect("a good file").0
}

fn entry(number: usize, more: &str) -> String {
    format!("[[key]]\nid = \"key-{number}\"\nhash = \"sha256:{number:064x}\"\n{more}\n")
}

fn entries(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|number| entry(number, "limits = [\"5/h\"]")).collect()
}

fn by_id<'r>(ring: &'r Ring, id: &str) -> &'r Arc<Key> {
    ring.keys().iter().find(|key| key.id() == id).expect("the key is there")
}

fn same(one: &Ring, other: &Ring) -> usize {
    one.keys().iter().filter(|key| other.keys().iter().any(|it| Arc::ptr_eq(it, key))).count()
}

#[test]
fn where_nothing_has_changed_the_ring_is_the_same() {
    let mut rings = Rings::new();
    let first = rings.next("", &entries(0..5));
    assert!(Arc::ptr_eq(&first, &rings.next("", &entries(0..5))));
    assert!(Arc::ptr_eq(&first, &rings.next("[http]\nheaders_max = 7\n", &entries(0..5))), "it has no part in this");
    assert!(!Arc::ptr_eq(&first, &rings.next("", &entries(0..6))));
}

#[test]
fn keys_that_have_not_changed_are_the_same_and_the_others_keep_what_is_spent() {
    let mut rings = Rings::new();
    let first = rings.next("", &entries(0..50));
    for key in first.keys() {
        rings.spend(key);
    }
    let text = entries(0..50).replace("\"key-7\"\n", "\"key-7\"\nowner = \"o\"\n");
    let second = rings.next("", &text);
    assert_eq!(same(&first, &second), 49);
    let third = rings.next("", &entries((0..50).rev()));
    let fourth = rings.next("", &(entry(99, "") + &entries(1..50) + &entry(0, "limits = [\"5/h\", \"7/h\"]")));
    for ring in [&second, &third] {
        assert!(ring.keys().iter().all(|key| rings.left(key) == [0]), "one was refilled");
    }
    assert_eq!(rings.left(by_id(&fourth, "key-0")), [0, 7]);
    assert_eq!(fourth.keys().iter().filter(|key| rings.left(key) == [0]).count(), 49);
}

#[test]
fn a_key_that_comes_back_finds_what_it_has_left() {
    let mut rings = Rings::new();
    let first = rings.next("", &entries(0..20));
    rings.spend(by_id(&first, "key-3"));
    drop(first);
    rings.next("", &entries(4..20));
    rings.next("", &entries(5..21));
    let last = rings.next("", &entries(0..20));
    assert_eq!(rings.left(by_id(&last, "key-3")), [0]);
    assert_eq!(rings.left(by_id(&last, "key-4")), [5]);
}

#[test]
fn new_terms_make_new_keys_with_what_was_spent() {
    let mut rings = Rings::new();
    let keys = entries(0..3) + &entry(9, "plan = \"gold\"");
    let first = rings.next("[plan.gold]\nlimits = [\"3/h\"]\n", &keys);
    for key in first.keys() {
        rings.spend(key);
    }
    let second = rings.next("[plan.gold]\nlimits = [\"4/h\", \"3/h\"]\n", &keys);
    assert_eq!(rings.left(by_id(&second, "key-9")), [4, 0]);
    assert_eq!(
        by_id(&second, "key-9").policies().map(|it| it.as_bytes()),
        Some(&br#""4/h";q=4;w=3600, "3/h";q=3;w=3600"#[..])
    );
    let names = |key: &Key| key.identity().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(by_id(&second, "key-9")), ["x-consumer-id", "x-consumer-plan"]);
    let third = rings.next("[plan.gold]\nlimits = [\"4/h\", \"3/h\"]\n[keys.identity]\nid = \"X-Who\"\n", &keys);
    assert_eq!(names(by_id(&third, "key-9")), ["x-who", "x-consumer-plan"]);
    assert_eq!(rings.left(by_id(&third, "key-9")), [4, 0]);
    // Without its plan it is not good, and once the plan is back it has what it had.
    let fourth = rings.next("", &keys);
    assert_eq!(fourth.keys().len(), 3);
    let fifth = rings.next("[plan.gold]\nlimits = [\"4/h\", \"3/h\"]\n", &keys);
    assert_eq!(rings.left(by_id(&fifth, "key-9")), [4, 0]);
    assert!(fifth.keys().iter().all(|key| key.id() == "key-9" || rings.left(key) == [0]));
}

#[test]
fn keys_are_counted_by_state_for_as_long_as_none_changes_it_by_itself() {
    let states = ["disabled", "revoked", "compromised", "honey"].map(|state| format!("state = \"{state}\""));
    let times =
        ["expires = 2030-01-01T00:00:00Z", "expires = 2020-01-01T00:00:00Z", "not_before = 2029-01-01T00:00:00Z"];
    let file: String = states
        .iter()
        .map(String::as_str)
        .chain(times)
        .chain(["", "", "plan = \"none\"", "expires = \"soon\""])
        .enumerate()
        .map(|(n, more)| entry(n, more))
        .collect();
    let us = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_microsecond();
    let ring = Rings::new().next("", &file);
    let count = |at: &str| {
        let census = Census::of(&ring, us(at));
        census.states().map(|(_, count)| count).collect::<Vec<_>>()
    };
    // active, disabled, revoked, compromised, honey, expired, not_yet_valid, quarantined
    assert_eq!(count("2028-01-01T00:00:00Z"), [3, 1, 1, 1, 1, 1, 1, 2]);
    assert_eq!(count("2029-01-01T00:00:00Z"), [4, 1, 1, 1, 1, 1, 0, 2]);
    assert_eq!(count("2030-01-01T00:00:00Z"), [3, 1, 1, 1, 1, 2, 0, 2]);
    let census = Census::of(&ring, us("2028-01-01T00:00:00Z"));
    assert!(census.is_good(us("2028-01-01T00:00:00Z")) && census.is_good(us("2028-12-31T23:59:59Z")));
    assert!(!census.is_good(us("2029-01-01T00:00:00Z")) && !census.is_good(us("2027-12-31T23:59:59Z")));
}
