//! Where lines go, and that a log that fails takes nothing down.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Gateway, Key, Setup, Upstream, eventually};

#[test]
fn lines_go_to_a_file() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = Setup::with(&upstream, "[log]\noutput = \"file:gateway.log\"\n", &key.entry("a", ""));
    let mut gateway = setup.log_to("gateway.log").start();
    for _ in 0..20 {
        let reply = gateway.get("/").bearer(&key).send();
        gateway.line_of(&reply);
    }
    gateway.stop();
    let text = fs::read_to_string(gateway.dir.path().join("gateway.log")).unwrap();
    assert_eq!(text.lines().filter(|l| l.contains("\"decision\"")).count(), 20);
    assert!(text.ends_with('\n'), "the last line is whole");
}

#[test]
fn lines_go_to_stderr() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[log]\noutput = \"stderr\"\n", &key.entry("a", "")).start();
    gateway.line_of(&gateway.get("/").bearer(&key).send());
}

#[test]
fn a_restart_goes_on_where_the_file_ends() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup =
        Setup::with(&upstream, "[log]\noutput = \"file:gateway.log\"\n", &key.entry("a", "")).log_to("gateway.log");
    fs::write(setup.dir.path().join("gateway.log"), "what was there before\n").unwrap();
    let mut gateway = setup.start();
    gateway.stop();
    assert!(gateway.text().contains("what was there before"));
}

#[test]
fn a_moved_log_file_is_opened_again() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup =
        Setup::with(&upstream, "[log]\noutput = \"file:gateway.log\"\n", &key.entry("a", "")).log_to("gateway.log");
    let gateway = setup.start();
    gateway.line_of(&gateway.get("/one").bearer(&key).send());
    let (file, moved) = (gateway.dir.path().join("gateway.log"), gateway.dir.path().join("gateway.log.1"));
    fs::rename(&file, &moved).unwrap();
    gateway.signal("USR1");
    eventually("a new file", || {
        gateway.get("/two").bearer(&key).send();
        fs::read_to_string(&file).ok().filter(|t| t.contains("/two"))
    });
    assert!(fs::read_to_string(&moved).unwrap().contains("/one"));
}

#[test]
fn a_closed_stdout_does_not_take_the_gateway_down() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).closed_stdout().start();
    for _ in 0..200 {
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    }
    assert!(gateway.is_running());
}

#[test]
fn a_full_disk_does_not_take_the_gateway_down() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[log]\noutput = \"file:/dev/full\"\n";
    let mut gateway = Setup::with(&upstream, config, &key.entry("a", "")).blind().start();
    let mut conn = gateway.connect();
    for _ in 0..2000 {
        assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200);
    }
    assert!(gateway.is_running());
    gateway.signal("TERM");
    gateway.wait_exit();
}

/// Sends many requests while nobody reads the log, and counts those that were answered.
fn unheard(on_full: &str) -> (Gateway, Arc<AtomicUsize>, thread::JoinHandle<()>, Upstream) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = format!("[log]\non_full = \"{on_full}\"\n[server]\nworkers = 1\n");
    let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).unread().start();
    let answered = Arc::new(AtomicUsize::new(0));
    let (counted, mut conn, request) = (Arc::clone(&answered), gateway.connect(), gateway.get("/").bearer(&key));
    // What makes a line long makes a log fill.
    let request = request.header("User-Agent", &"agent ".repeat(600));
    let client = thread::spawn(move || {
        for _ in 0..MANY {
            assert_eq!(conn.send(&request).status, 200);
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (gateway, answered, client, upstream)
}

const MANY: usize = 3000;

#[test]
fn a_log_that_nobody_reads_slows_requests_and_loses_no_line() {
    let (mut gateway, answered, client, _upstream) = unheard("wait");
    // Either everything fitted into buffers, or requests wait.
    let mut last = (0, Instant::now());
    eventually("the log to be full", || {
        let now = answered.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, Instant::now());
        }
        (now == MANY || last.1.elapsed() > Duration::from_millis(500)).then_some(())
    });
    gateway.read_on();
    client.join().unwrap();
    gateway.stop();
    assert_eq!(gateway.decided(), MANY);
}

#[test]
fn a_log_that_may_drop_lines_holds_up_nobody() {
    let (mut gateway, _, client, _upstream) = unheard("drop");
    client.join().unwrap();
    gateway.read_on();
    assert_eq!(gateway.get("/").send().status, 401);
    gateway.stop();
}

#[test]
fn no_level_quiets_decisions() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[log]\nlevel = \"error\"\n";
    let mut gateway = Setup::with(&upstream, config, &key.entry("a", "")).blind().start();
    gateway.line_of(&gateway.get("/").bearer(&key).send());
    gateway.line_of(&gateway.get("/").send());
    gateway.stop();
    assert_eq!(gateway.decided(), 2);
}
