//! The state file in a scratch folder, under times that are written here.

mod sums;
mod thread;
mod unusable;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::count::{Counts, DAY_HOURS, Delta, Used, hour_of};
use super::history::{History, KeyHistory};
use super::pending::Pending;
use super::store::{DAYS_KEPT, Store, Units};
use crate::vocab::denial::Denial;

/// 2026-11-28T12:00:00Z, a Saturday.
const NOON: &str = "2026-11-28T12:00:00Z";

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().expect("a time").as_microsecond()
}

/// A scratch folder with no state file in it yet.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a scratch folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state.db")
    }

    fn store(&self) -> Store {
        Store::open(&self.path()).expect("a store")
    }

    /// The names of what is in it.
    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.0.path()).expect("the folder").flatten();
        let mut names: Vec<_> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn history(path: &Path) -> History {
    History::open(path).expect("a readable file").expect("a file with tables")
}

/// `n` allowed requests.
fn allowed(n: u64) -> Delta {
    Delta { counts: Counts { allowed: n, units: n, ..Counts::default() }, ..Delta::default() }
}

fn refused(denial: Denial) -> Delta {
    let mut delta = Delta::default();
    if denial.is_throttle() {
        delta.counts.throttled = 1;
    } else {
        delta.counts.refused = 1;
    }
    delta.add_reason(denial, 1);
    delta
}

fn used(time: &str, client: &str) -> Delta {
    let client = client.parse().ok();
    let used = Some(Used { first_us: at(time), last_us: at(time), client });
    Delta { used, ..allowed(1) }
}

/// Adds each in the hour of its time.
fn write(store: &mut Store, deltas: &[(&str, &str, Delta)]) {
    let mut pending = Pending::new(usize::MAX);
    for (id, time, delta) in deltas {
        pending.add(id, hour_of(at(time)), delta).expect("room");
    }
    store.write(&pending).expect("a commit");
}

fn units(store: &Store, time: &str) -> Vec<(String, [u64; 3])> {
    let mut all = Vec::new();
    let each = |id: &str, Units { day, week, month }: Units| all.push((id.to_owned(), [day, week, month]));
    store.units(at(time), each).expect("units");
    all.sort();
    all
}

/// All the hours there are.
const ALL: RangeInclusive<u32> = 0..=u32::MAX - 1;

#[test]
fn commits_add_up_per_key_hour_and_reason() {
    let folder = Folder::new();
    let mut store = folder.store();
    for _ in 0..3 {
        write(
            &mut store,
            &[
                ("a", "2026-11-28T11:59:59Z", allowed(2)),
                ("a", NOON, allowed(1)),
                ("a", NOON, refused(Denial::Expired)),
                ("a", NOON, refused(Denial::Expired)),
                ("a", NOON, refused(Denial::RateLimited)),
                ("b", "2026-11-27T12:00:00Z", allowed(5)),
            ],
        );
    }
    let history = history(&folder.path());
    let a = Counts { allowed: 9, refused: 6, throttled: 3, units: 9, ..Counts::default() };
    assert_eq!(history.key("a").expect("a read").map(|key| key.counts), Some(a));
    assert_eq!(history.key("c").expect("a read"), None);
    let day = hour_of(at(NOON)) / DAY_HOURS;
    let days = history.days(ALL, None).expect("a read");
    let days: Vec<_> = days.iter().map(|it| (it.id.as_str(), it.day, it.counts.requests())).collect();
    assert_eq!(days, [("a", day, 18), ("b", day - 1, 15)]);
    let noon = hour_of(at(NOON));
    let since_noon = history.days(noon..=noon, Some("a")).expect("a read");
    assert_eq!(since_noon.iter().map(|it| it.counts.requests()).collect::<Vec<_>>(), [12]);
    assert_eq!(history.days(noon..=noon, None).expect("a read"), since_noon);
    let reasons = [("expired".to_owned(), 6), ("rate_limited".to_owned(), 3)];
    assert_eq!(history.reasons(noon - 1..=noon, "a").expect("a read"), reasons);
    assert_eq!(history.reasons(noon - 1..=noon, "b").expect("a read"), []);
}

#[test]
fn a_key_was_used_first_last_and_by_whom_whatever_comes_in_which_order() {
    let folder = Folder::new();
    let mut store = folder.store();
    write(&mut store, &[("a", NOON, allowed(1))]);
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].last_us, None, "a tunnel that ended is no use");
    for (time, client) in [
        ("2026-11-28T12:00:05Z", "192.0.2.1"),
        ("2026-11-28T12:00:09Z", "2001:db8::9"),
        ("2026-11-28T12:00:07Z", "192.0.2.2"),
        ("2026-11-28T12:00:01Z", "192.0.2.3"),
    ] {
        write(&mut store, &[("a", NOON, used(time, client))]);
        write(&mut store, &[("a", NOON, allowed(1))]);
    }
    let expected = KeyHistory {
        id: "a".to_owned(),
        counts: Counts { allowed: 9, units: 9, ..Counts::default() },
        first_us: Some(at("2026-11-28T12:00:01Z")),
        last_us: Some(at("2026-11-28T12:00:09Z")),
        client: Some("2001:db8::9".to_owned()),
    };
    assert_eq!(history(&folder.path()).key("a").expect("a read"), Some(expected));
    write(&mut store, &[("a", NOON, used("2026-11-28T12:00:10Z", "nobody"))]);
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].client.as_deref(), Some("unix:"));
}

#[test]
fn units_are_those_of_the_day_the_week_and_the_month() {
    let folder = Folder::new();
    let mut store = folder.store();
    for (time, count) in [
        ("2026-10-31T23:59:59Z", 1_000_000),
        ("2026-11-01T00:00:00Z", 100_000),
        ("2026-11-22T23:59:59Z", 10_000),
        ("2026-11-23T00:00:00Z", 1_000),
        ("2026-11-27T23:59:59Z", 100),
        ("2026-11-28T00:00:00Z", 10),
        (NOON, 1),
    ] {
        write(&mut store, &[("a", time, allowed(count))]);
    }
    write(&mut store, &[("b", "2026-11-24T00:00:00Z", allowed(7)), ("c", "2026-10-31T23:59:59Z", allowed(7))]);
    write(&mut store, &[("d", "2026-11-28T13:00:00Z", refused(Denial::Expired))]);
    for (time, expected) in [
        (NOON, vec![("a", [11, 1_111, 111_111]), ("b", [0, 7, 7])]),
        ("2026-11-29T23:59:59Z", vec![("a", [0, 1_111, 111_111]), ("b", [0, 7, 7])]),
        ("2026-11-30T00:00:00Z", vec![("a", [0, 0, 111_111]), ("b", [0, 0, 7])]),
        // The first of December is a Tuesday: the week is older than the month.
        ("2026-12-01T00:00:00Z", vec![]),
        // A clock that was set back knows nothing of what is still to come.
        ("2026-11-01T12:00:00Z", vec![("a", [100_000, 1_100_000, 100_000]), ("c", [0, 7, 0])]),
    ] {
        let found = units(&store, time);
        let found: Vec<_> = found.iter().map(|(id, units)| (id.as_str(), *units)).collect();
        assert_eq!(found, expected, "{time}");
        let Units { day, week, month } = history(&folder.path()).units("a", at(time)).expect("a read");
        let of_a = expected.iter().find(|(id, _)| *id == "a").map_or([0; 3], |(_, units)| *units);
        assert_eq!([day, week, month], of_a, "{time}");
    }
}

#[test]
fn history_is_kept_for_90_days_and_what_a_key_came_to_for_ever() {
    let folder = Folder::new();
    let mut store = folder.store();
    let first = hour_of(at(NOON)) - DAYS_KEPT * DAY_HOURS;
    let mut pending = Pending::new(usize::MAX);
    for hour in [first - 2_000, first - 1, first, first + 1] {
        pending.add("a", hour, &refused(Denial::Expired)).expect("room");
        pending.add("a", hour, &allowed(1)).expect("room");
    }
    store.write(&pending).expect("a commit");
    while store.expire(at(NOON)).expect("a commit") {}
    let history = history(&folder.path());
    let kept: u64 = history.days(ALL, None).expect("a read").iter().map(|day| day.counts.requests()).sum();
    assert_eq!(kept, 4);
    assert_eq!(history.reasons(first - 2_000..=first + 1, "a").expect("a read"), [("expired".to_owned(), 2)]);
    assert_eq!(history.keys().expect("a read")[0].counts.requests(), 8);
}

#[test]
fn expiring_much_takes_more_than_one_turn() {
    let folder = Folder::new();
    let mut store = folder.store();
    let mut pending = Pending::new(usize::MAX);
    for n in 0..15_000 {
        pending.add(&format!("key-{n}"), 1, &allowed(1)).expect("room");
    }
    store.write(&pending).expect("a commit");
    let turns = (0..).take_while(|_| store.expire(at(NOON)).expect("a commit")).count();
    assert_eq!(turns, 2);
    assert_eq!(history(&folder.path()).days(ALL, None).expect("a read"), []);
    assert_eq!(units(&store, "1970-01-01T01:00:00Z"), []);
}

#[test]
fn a_new_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let mut store = folder.store();
    write(&mut store, &[("a", NOON, allowed(1))]);
    assert_eq!(folder.files(), ["state.db", "state.db-shm", "state.db-wal"]);
    for file in folder.files() {
        let mode = folder.0.path().join(&file).metadata().expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_full_table_of_pending_counts_takes_what_it_knows_and_tells_of_the_rest() {
    let mut pending = Pending::new(2);
    assert_eq!(pending.add("a", 1, &allowed(1)), Ok(()));
    assert_eq!(pending.add("a", 2, &allowed(1)), Ok(()));
    assert_eq!(pending.add("b", 1, &allowed(3)), Err(3));
    assert_eq!(pending.add("a", 3, &allowed(4)), Err(4));
    assert_eq!(pending.add("a", 2, &allowed(5)), Ok(()));
    assert_eq!((pending.rows(), pending.requests()), (2, 7));
    pending.clear();
    assert_eq!((pending.rows(), pending.requests()), (0, 0));
    assert_eq!(pending.add("b", 1, &allowed(3)), Ok(()));
}
