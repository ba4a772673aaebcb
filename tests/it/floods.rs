//! Floods and slow ones: whatever one client does, others are served and memory stays bounded.

use std::time::Duration;

use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame,
};
use crate::harness::{Conn, Fate, Gateway, Key, RawH2, Setup, Upstream, tool, wait_within};

/// How much more memory the gateway may have after a flood, KiB.
const GROWTH_MAX: u64 = 64 * 1024;
const STREAMS: u32 = 20_000;

fn world() -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway =
        Setup::with(&upstream, "[http]\nheader_timeout = \"2s\"\nbody_idle_timeout = \"2s\"\n", &key.entry("a", ""));
    (upstream, key, gateway.start())
}

fn head(key: &Key, path: &str) -> Vec<u8> {
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", path.as_bytes()),
        (b":authority", b"a"),
        (b"x-api-key", key.text.as_bytes()),
    ];
    block(fields)
}

/// Writes until everything is written, or the gateway will have no more of it, or reads no more.
fn pour(h2: &mut RawH2, mut next: impl FnMut(u32) -> Vec<u8>, count: u32) {
    h2.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    for batch in 0..count / 100 {
        let bytes: Vec<u8> = (0..100).flat_map(|n| next(batch * 100 + n)).collect();
        if h2.write(&bytes).is_err() {
            return;
        }
    }
}

/// During the flood and after it another client is served, over both protocols, and memory is bounded.
fn is_harmless(what: &str, flood: impl FnOnce(&mut RawH2, &Key)) {
    let (_upstream, key, gateway) = world();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    let before = gateway.rss_kib();
    let mut h2 = RawH2::open(gateway.addr(), &[]);
    flood(&mut h2, &key);
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "{what}");
    let mut other = RawH2::open(gateway.addr(), &[]);
    other.write(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head(&key, "/"))).unwrap();
    assert_eq!(other.fate(1), Fate::Status(200), "{what}");
    let growth = gateway.rss_kib().saturating_sub(before);
    tell(&format!("{what}: {growth} KiB more"));
    assert!(growth < GROWTH_MAX, "{what}: {growth} KiB more");
}

#[expect(clippy::print_stderr, reason = "the figures are worth keeping")]
fn tell(figure: &str) {
    eprintln!("{figure}");
}

#[test]
fn streams_that_are_reset_at_once() {
    is_harmless("rapid reset", |h2, key| {
        let head = head(key, "/gate");
        let reset = |n: u32| {
            let stream = n * 2 + 1;
            [frame(HEADERS, END_HEADERS | END_STREAM, stream, &head), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
                .concat()
        };
        pour(h2, reset, STREAMS);
        assert!(matches!(h2.fate(u32::MAX), Fate::GoAway(_) | Fate::Closed), "rapid reset ends the connection");
    });
}

#[test]
fn streams_that_make_the_gateway_reset_them() {
    is_harmless("made to reset", |h2, key| {
        let head = head(key, "/gate");
        // A window of nothing is an error of the stream.
        let bad = |n: u32| {
            let stream = n * 2 + 1;
            [frame(HEADERS, END_HEADERS, stream, &head), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        };
        pour(h2, bad, STREAMS);
    });
}

#[test]
fn heads_that_never_end() {
    is_harmless("continuation", |h2, key| {
        h2.write(&frame(HEADERS, END_STREAM, 1, &head(key, "/"))).unwrap();
        let field = block([(b"x-a".as_slice(), [b'b'; 200].as_slice())]);
        pour(h2, |_| frame(CONTINUATION, 0, 1, &field), STREAMS * 5);
        assert!(matches!(h2.fate(u32::MAX), Fate::GoAway(_) | Fate::Closed), "a head has a largest size");
    });
    is_harmless("empty continuation", |h2, key| {
        h2.write(&frame(HEADERS, END_STREAM, 1, &head(key, "/"))).unwrap();
        pour(h2, |_| frame(CONTINUATION, 0, 1, &[]), STREAMS * 5);
    });
}

#[test]
fn pings_and_settings_whose_answers_nobody_reads() {
    is_harmless("ping", |h2, _| {
        pour(h2, |_| frame(PING, 0, 0, &[7; 8]), STREAMS * 10);
    });
    is_harmless("settings", |h2, _| {
        pour(h2, |n| frame(SETTINGS, 0, 0, &[&[0, 4], &(n % 60_000 + 1).to_be_bytes()[..]].concat()), STREAMS * 10);
    });
}

#[test]
fn frames_that_say_nothing() {
    is_harmless("empty data", |h2, key| {
        h2.write(&frame(HEADERS, END_HEADERS, 1, &head(key, "/empty"))).unwrap();
        pour(h2, |_| frame(DATA, 0, 1, &[]), STREAMS * 10);
    });
    is_harmless("priority", |h2, _| {
        pour(h2, |n| frame(PRIORITY, 0, n * 2 + 1, &[0, 0, 0, 0, 16]), STREAMS * 10);
    });
    is_harmless("heads without a request", |h2, _| {
        pour(h2, |n| frame(HEADERS, END_HEADERS | END_STREAM, n * 2 + 1, &[]), STREAMS);
    });
    is_harmless("window updates", |h2, _| {
        pour(h2, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), STREAMS * 10);
    });
}

#[test]
fn streams_that_nobody_reads() {
    is_harmless("zero windows", |h2, key| {
        // SETTINGS_INITIAL_WINDOW_SIZE = 0
        h2.write(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).unwrap();
        for n in 0..128 {
            h2.write(&frame(HEADERS, END_HEADERS | END_STREAM, n * 2 + 1, &head(key, "/flood"))).unwrap();
        }
        // The first head is there; bodies cannot be.
        assert_eq!(h2.fate(1), Fate::Status(200));
        // And in the end the gateway has waited for long enough.
        assert!(matches!(h2.fate(u32::MAX), Fate::GoAway(_) | Fate::Closed));
    });
}

#[test]
fn slow_connections_by_the_hundreds() {
    let (_upstream, key, gateway) = world();
    let url = format!("http://{}/slow", gateway.addr());
    let length = gateway.rss_kib();
    for how in [&["-H"][..], &["-B", "-s", "8192"], &["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3"]] {
        let mut slow = tool("slowhttptest");
        slow.args(how).args(["-c", "300", "-r", "300", "-i", "1", "-l", "4", "-x", "24", "-p", "1", "-u", &url]);
        let attack = std::thread::spawn(move || wait_within(slow, Duration::from_secs(60)));
        let mut served = 0;
        while !attack.is_finished() {
            let reply = Conn::open(gateway.addr()).send(&gateway.get("/").bearer(&key));
            assert_eq!(reply.status, 200, "{how:?}");
            served += 1;
        }
        attack.join().expect("slowhttptest ends");
        let growth = gateway.rss_kib().saturating_sub(length);
        tell(&format!("slowhttptest {how:?}: {served} others served, {growth} KiB more"));
        assert!(served > 0 && growth < GROWTH_MAX, "{how:?}: {served} served, {growth} KiB more");
    }
}

#[test]
fn ten_thousand_idle_connections() {
    const COUNT: usize = 10_000;
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: open_files.maximum, maximum: open_files.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("as many files as there may be");
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[http]\nconnections_max = 12000\nidle_timeout = \"10m\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(request.send().status, 200);
    let before = gateway.rss_kib();
    let mut held = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        let mut conn = gateway.connect();
        assert_eq!(conn.send(&request).status, 200);
        held.push(conn);
    }
    let growth = gateway.rss_kib() - before;
    tell(&format!("{COUNT} idle connections, each after a request: {before} KiB before, {growth} KiB more"));
    assert!(growth < 40 * COUNT as u64, "{growth} KiB");
    assert_eq!(request.send().status, 200, "another client is served");
    let last = held.last_mut().expect("a connection");
    assert_eq!(last.send(&request).status, 200, "and so is each of them");
}
