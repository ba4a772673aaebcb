//! Stopping: what runs is finished, what is new is refused, and the exit code says that it went well.

use std::thread;
use std::time::Duration;

use crate::harness::{Conn, Key, Setup, Upstream, eventually, poll};

#[test]
fn a_request_that_runs_is_finished() {
    for signal in ["TERM", "INT"] {
        let (upstream, key) = (Upstream::start(), Key::new());
        let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
        let addr = gateway.addr();
        let request = gateway.get("/gate").bearer(&key);
        let client = thread::spawn(move || Conn::open(addr).send(&request));
        upstream.request("/gate");
        gateway.signal(signal);
        gateway.wait_event("drain", |_| true);
        eventually("new connections to be refused", || Conn::try_open(addr).is_err().then_some(()));
        assert!(gateway.is_running(), "{signal}: it waits for what runs");
        upstream.open_gate();
        let reply = client.join().unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (200, "released"), "{signal}");
        assert_eq!(gateway.wait_exit().code(), Some(0), "{signal}");
        assert_eq!(gateway.decided(), 1, "its line was still written");
        assert_eq!(gateway.events("stop").len(), 1);
    }
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut idle: Vec<Conn> = (0..4).map(|_| gateway.connect()).collect();
    assert_eq!(idle[0].send(&gateway.get("/").bearer(&key)).status, 200);
    gateway.stop();
    for conn in &mut idle {
        assert!(conn.is_closed_by_peer());
    }
}

#[test]
fn grace_has_an_end() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "[server]\nshutdown_grace = \"500ms\"\n", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/hang").bearer(&key).bytes()).unwrap();
    upstream.request("/hang");
    gateway.signal("TERM");
    gateway.wait_exit();
    assert_eq!(gateway.decided(), 1, "what was cut off has its line too:\n{}", gateway.text());
}

#[test]
fn a_second_signal_stops_at_once() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/hang").bearer(&key).bytes()).unwrap();
    upstream.request("/hang");
    gateway.signal("TERM");
    gateway.wait_event("drain", |_| true);
    gateway.signal("TERM");
    // The default grace is 30 s, twice what this suite waits.
    gateway.wait_exit();
}

#[test]
fn nobody_answers_connection_close_with_silence() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let reply = conn.send(&gateway.get("/").bearer(&key).header("Connection", "close"));
    assert_eq!(reply.status, 200);
    assert!(conn.is_closed_by_peer());
}

#[test]
fn a_connection_that_was_just_used_gets_one_more_answer_and_is_told_that_it_is_the_last() {
    let (upstream, key) = (Upstream::start(), Key::new());
    // A connection is kept for a second; on a machine that stands still for longer it is closed rightly.
    let is_kept = (0..3).any(|_| {
        let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
        let [mut idle, mut conn] = [gateway.connect(), gateway.connect()];
        assert_eq!(idle.send(&gateway.get("/").bearer(&key)).status, 200);
        // So long that it is closed at once.
        poll(Duration::from_millis(1500), || None::<()>);
        let reply = conn.send(&gateway.get("/").bearer(&key));
        assert_eq!((reply.status, reply.header("connection")), (200, None));
        gateway.signal("TERM");
        assert!(idle.is_closed_by_peer());
        poll(Duration::from_millis(200), || None::<()>);
        let answered = conn.try_send(&gateway.get("/last").bearer(&key)).inspect(|reply| {
            assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        });
        assert!(conn.is_closed_by_peer());
        assert_eq!(gateway.wait_exit().code(), Some(0));
        answered.is_ok()
    });
    assert!(is_kept);
}

#[test]
fn what_waits_in_the_queue_of_a_listener_is_answered() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "[server]\nworkers = 1\n", &key.entry("a", "")).start();
    let request = gateway.get("/").bearer(&key);
    // Stopped, it accepts nothing: the kernel does.
    gateway.signal("STOP");
    let mut waiting: Vec<Conn> = (0..20).map(|_| gateway.connect()).collect();
    for conn in &mut waiting {
        conn.write(&request.bytes()).unwrap();
    }
    gateway.signal("TERM");
    gateway.signal("CONT");
    for conn in &mut waiting {
        assert_eq!(conn.read_reply("GET").unwrap().status, 200);
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}
