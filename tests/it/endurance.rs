//! Bytes that nobody meant: whatever comes, the gateway goes on, and nothing in it panics.

use std::fs;
use std::time::Duration;

use crate::harness::{Conn, Gateway, Key, Setup, Upstream};

/// A small generator with a fixed seed: a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }

    /// `bytes` with a few places changed, cut out, doubled or grown.
    fn mutate(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = bytes.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(out.len().max(1)).min(out.len().saturating_sub(1));
            match self.next(5) {
                0 => out[at] = self.next(256) as u8,
                1 => drop(out.drain(at..(at + 1 + self.next(8)).min(out.len()))),
                2 => out.extend_from_within(at..),
                3 => out.insert(at, b"\0\r\n :\xff\"[]=#."[self.next(12)]),
                _ => out.truncate(at.max(1)),
            }
            if out.is_empty() {
                out.push(b'x');
            }
        }
        out
    }
}

#[track_caller]
fn is_well(gateway: &mut Gateway, key: &Key) {
    assert!(gateway.is_running());
    assert_eq!(gateway.get("/").bearer(key).send().status, 200);
    assert!(!gateway.text().contains("panic"), "{}", gateway.text());
}

#[test]
fn broken_requests_break_nothing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[keys]\nsources = [\"bearer\", \"header:x-api-key\", \"query:k\", \"cookie:k\", \"basic\", \"websocket-protocol\"]\n";
    let mut gateway = Setup::with(&upstream, config, &key.entry("a", "limits = [\"100000/s\"]")).start();
    let plain = gateway.get("/a?k=x&y=%20").header("Cookie", "k=1; b=2").header("Authorization", "Basic dTpw").bytes();
    let chunked =
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nX: y\r\n\r\n"
            .to_vec();
    let preface =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x05\x01\x05\0\0\0\x01\x82\x84\x87\x41\x01".to_vec();
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for round in 0..400 {
        let seed = [&plain, &chunked, &preface][round % 3];
        let bytes = random.mutate(seed);
        let mut conn = Conn::open(gateway.addr());
        conn.stream().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        if conn.write(&bytes).is_ok() {
            drop(conn.read_reply("GET"));
        }
        if round % 100 == 99 {
            is_well(&mut gateway, &key);
        }
    }
    is_well(&mut gateway, &key);
    gateway.stop();
}

#[test]
fn broken_files_break_nothing() {
    let (upstream, key, other) = (Upstream::start(), Key::new(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    let fields = "expires = 2097-01-01T00:00:00Z\nlimits = [\"5/s\"]\nmeta = { a = \"b\" }\nprevious = []";
    let seed = other.entry("other", fields) + &key.entry("a", "");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..60 {
        let before = gateway.events("reload").len();
        fs::write(gateway.keys_path(), random.mutate(seed.as_bytes())).unwrap();
        fs::write(gateway.config_path(), random.mutate(config.as_bytes())).unwrap();
        gateway.signal("HUP");
        crate::harness::eventually("a word about it", || (gateway.events("reload").len() > before).then_some(()));
    }
    fs::write(gateway.config_path(), &config).unwrap();
    fs::write(gateway.keys_path(), key.entry("a", "note = \"mended\"")).unwrap();
    crate::harness::eventually("everything to be well again", || {
        (gateway.get("/").bearer(&key).send().status == 200).then_some(())
    });
    is_well(&mut gateway, &key);
    gateway.stop();
}
