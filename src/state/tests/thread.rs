//! The thread that keeps the state, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::super::count::Counted;
use super::super::writer::State;
use super::*;
use crate::config::source::SourceFile;
use crate::config::{gateway, keyfile};
use crate::keys::Key;
use crate::snapshot::{Builder, Parts};
use crate::vocab::clock::Clock;

/// A key with this id.
fn key(id: &str) -> Arc<Key> {
    let source = Arc::new(SourceFile::new("keyward.toml", "upstream.default.servers = [\"http://127.0.0.1:1\"]\n"));
    let (gateway, _) = gateway::parse(&source).expect("a configuration");
    let hash = "ab".repeat(32);
    let text = format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{hash}\"\n");
    let (keys, _) = keyfile::parse(&Arc::new(SourceFile::new("keys.toml", text))).expect("a key file");
    let mut builder = Builder::new(clock(), &[3; 64]);
    let upstream_tls = &BTreeMap::new();
    let parts = Parts { gateway: &gateway, keys: &keys, pepper: None, upstream_tls, entrances: Vec::new() };
    Arc::clone(&builder.build(parts).ring.keys()[0])
}

fn clock() -> Clock {
    Clock::manual(Duration::from_micros(u64::try_from(at(NOON)).expect("after 1970")))
}

fn start(path: &Path) -> State {
    State::start(path, clock(), Box::new(|_| {}), |_, _| {}).expect("a thread")
}

fn counted(key: &Arc<Key>, delta: Delta) -> Vec<Counted> {
    vec![Counted { key: Arc::clone(key), hour: hour_of(at(NOON)), delta }]
}

/// Waits for the thread to have written so many requests.
fn wait_for(path: &Path, requests: u64) {
    let began = Instant::now();
    let written = || {
        let history = History::open(path).ok().flatten()?;
        Some(history.keys().ok()?.iter().map(|key| key.counts.requests()).sum::<u64>())
    };
    while written() != Some(requests) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?} of {requests}", written());
        std::thread::yield_now();
    }
}

#[test]
fn what_was_handed_over_is_in_the_file_when_the_thread_has_ended() {
    let (folder, key) = (Folder::new(), key("a"));
    let state = start(&folder.path());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (outlet, key) = (state.outlet(), Arc::clone(&key));
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let mut counts = counted(&key, allowed(3));
                    while !counts.is_empty() {
                        counts = outlet.hand_over(counts);
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("it only counts");
    }
    drop(state);
    assert_eq!(folder.files(), ["state.db"], "a file that nobody has open is one file");
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].counts.allowed, 600);
    let mut charged = Vec::new();
    let each = |id: &str, units: Units| charged.push((id.to_owned(), units));
    drop(State::start(&folder.path(), clock(), Box::new(|_| {}), each).expect("a thread"));
    assert_eq!(charged, [("a".to_owned(), Units { day: 600, week: 600, month: 600 })]);
}

#[test]
fn nothing_is_written_before_the_lines_are() {
    let (folder, key) = (Folder::new(), key("a"));
    let ((asked, asks), (answer, answers)) = (channel(), channel::<()>());
    let await_log = Box::new(move |_: &dyn Fn() -> bool| {
        let _ = asked.send(());
        let _ = answers.recv();
    });
    let state = State::start(&folder.path(), clock(), await_log, |_, _| {}).expect("a thread");
    assert_eq!(state.outlet().hand_over(counted(&key, allowed(1))).len(), 0);
    asks.recv().expect("a question");
    // What comes from now on may have lines that nobody has waited for.
    assert_eq!(state.outlet().hand_over(counted(&key, allowed(10))).len(), 0);
    assert_eq!(history(&folder.path()).keys().expect("a read"), []);
    answer.send(()).expect("it waits");
    wait_for(&folder.path(), 1);
    asks.recv().expect("a question");
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].counts.allowed, 1);
    answer.send(()).expect("it waits");
    wait_for(&folder.path(), 11);
}

#[test]
fn a_log_that_takes_nothing_does_not_hold_up_the_end() {
    let (folder, key) = (Folder::new(), key("a"));
    let stuck = Box::new(|patient: &dyn Fn() -> bool| {
        while patient() {
            std::thread::yield_now();
        }
    });
    let state = State::start(&folder.path(), clock(), stuck, |_, _| {}).expect("a thread");
    assert_eq!(state.outlet().hand_over(counted(&key, allowed(1))).len(), 0);
    drop(state);
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].counts.allowed, 1);
}

#[test]
fn what_cannot_be_written_is_kept_until_it_can() {
    let (folder, key) = (Folder::new(), key("a"));
    let path = folder.0.path().join("later").join("state.db");
    let state = start(&path);
    assert_eq!(state.outlet().hand_over(counted(&key, allowed(1))).len(), 0);
    assert_eq!(state.outlet().hand_over(counted(&key, allowed(2))).len(), 0);
    std::fs::create_dir(folder.0.path().join("later")).expect("a folder");
    wait_for(&path, 3);
    assert_eq!(state.outlet().lost(), 0);
}

#[test]
fn who_is_busy_takes_nothing_and_loses_nothing() {
    let (folder, key) = (Folder::new(), key("a"));
    let (answer, answers) = channel::<()>();
    let await_log = Box::new(move |_: &dyn Fn() -> bool| {
        let _ = answers.recv();
    });
    let state = State::start(&folder.path(), clock(), await_log, |_, _| {}).expect("a thread");
    let outlet = state.outlet();
    let began = Instant::now();
    let (mut handed_over, mut returned) = (0, Vec::new());
    while returned.is_empty() {
        returned = outlet.hand_over(counted(&key, allowed(1)));
        handed_over += u64::from(returned.is_empty());
        assert!(began.elapsed() < Duration::from_secs(30), "{handed_over} and nothing came back");
    }
    drop(answer);
    wait_for(&folder.path(), handed_over);
    assert_eq!(outlet.hand_over(returned).len(), 0);
    drop(state);
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].counts.allowed, handed_over + 1);
}

#[test]
fn a_file_that_is_spoiled_while_it_is_written_is_moved_aside() {
    let (folder, key) = (Folder::new(), key("a"));
    let state = start(&folder.path());
    state.outlet().hand_over(counted(&key, allowed(1)));
    wait_for(&folder.path(), 1);
    let other = rusqlite::Connection::open(folder.path()).expect("the file");
    other.execute_batch("DROP TABLE hours").expect("a dropped table");
    drop(other);
    state.outlet().hand_over(counted(&key, allowed(5)));
    wait_for(&folder.path(), 5);
    assert!(folder.files().iter().any(|name| name.starts_with("state.db.corrupt-")), "{:?}", folder.files());
}

#[test]
fn a_file_that_is_taken_away_is_made_anew() {
    let (folder, key) = (Folder::new(), key("a"));
    let state = start(&folder.path());
    state.outlet().hand_over(counted(&key, allowed(1)));
    wait_for(&folder.path(), 1);
    std::fs::remove_file(folder.path()).expect("a file to remove");
    state.outlet().hand_over(counted(&key, allowed(5)));
    wait_for(&folder.path(), 5);
    drop(state);
    assert_eq!(history(&folder.path()).keys().expect("a read")[0].counts.allowed, 5);
}
