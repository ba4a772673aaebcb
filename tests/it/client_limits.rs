//! A limit on everything a client can make the gateway hold.

use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use crate::harness::{Conn, Gateway, Key, PATIENCE, Setup, Upstream, eventually, tool};

fn gateway(http: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, &format!("[http]\n{http}\n"), &key.entry("a", "")).start();
    (upstream, key, gateway)
}

#[test]
fn a_client_that_dawdles_over_its_head_is_cut() {
    let (_upstream, key, gateway) = gateway("header_timeout = \"1s\"");
    let mut conn = gateway.connect();
    conn.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ").unwrap();
    assert!(conn.is_closed_by_peer(), "an unfinished head is held for ever");
    let mut silent = gateway.connect();
    assert!(silent.is_closed_by_peer(), "a connection that says nothing is held for ever");
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn half_a_head_behind_a_whole_request_has_the_time_of_a_head() {
    let (upstream, key, gateway) = gateway("header_timeout = \"1s\"\nidle_timeout = \"10m\"");
    let mut conn = gateway.connect();
    let mut bytes = gateway.get("/gate").bearer(&key).bytes();
    bytes.extend(b"GET /half HTTP/1.1\r\nHost: a\r\nX-Slow: ");
    conn.write(&bytes).unwrap();
    upstream.request("/gate");
    upstream.open_gate();
    assert_eq!(conn.read_reply("GET").unwrap().status, 200);
    assert!(conn.is_closed_by_peer(), "an unfinished head is held for ever");
    gateway.wait_decision("its line", |l| l["reason"] == "malformed_request" && l["outcome"] == "timeout");
    let mut idle = gateway.connect();
    assert_eq!(idle.send(&gateway.get("/").bearer(&key)).status, 200);
    idle.stream().set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    assert!(!idle.is_closed_by_peer(), "a connection between requests has longer");
}

#[test]
fn a_connection_that_is_idle_is_closed() {
    let (_upstream, key, gateway) = gateway("idle_timeout = \"1s\"");
    let mut conn = gateway.connect();
    assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200);
    assert!(conn.is_closed_by_peer());
}

#[test]
fn a_client_that_stops_sending_its_body_is_cut() {
    let (upstream, key, gateway) = gateway("body_idle_timeout = \"1s\"");
    let mut conn = gateway.connect();
    let request = gateway.request("POST", "/stalled").bearer(&key).header("Content-Length", "1000");
    conn.write(&request.bytes()).unwrap();
    conn.write(b"a little").unwrap();
    assert!(conn.is_closed_by_peer());
    gateway.wait_decision("its line", |l| l["url.path"] == "/stalled" && l["outcome"] != "complete");
    assert_eq!(upstream.count("/stalled"), 0);
}

#[test]
fn a_client_that_stops_reading_is_cut() {
    let (_upstream, key, gateway) = gateway("body_idle_timeout = \"1s\"");
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/flood").bearer(&key).bytes()).unwrap();
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/flood");
    assert_ne!(line["outcome"], "complete", "{line:#}");
}

#[test]
fn a_head_has_a_largest_size_and_number_of_headers() {
    let (upstream, key, gateway) = gateway("header_bytes_max = \"8KiB\"\nheaders_max = 20");
    let long = gateway.get("/long").bearer(&key).header("X-Long", &"x".repeat(16_384));
    let mut many = gateway.get("/many").bearer(&key);
    for n in 0..40 {
        many = many.header(&format!("X-H-{n}"), "1");
    }
    let long_target = gateway.get(&format!("/{}", "t".repeat(16_384))).bearer(&key);
    for request in [long, many, long_target] {
        let before = gateway.decided();
        let reply = request.send();
        assert!([400, 414, 431].contains(&reply.status), "{}", reply.everything());
        eventually("its line", || (gateway.decided() > before).then_some(()));
    }
    assert!(upstream.seen().is_empty());
    let fits = gateway.get("/fits").bearer(&key).header("X-Long", &"x".repeat(2000));
    assert_eq!(fits.send().status, 200);
}

#[test]
fn ordinary_heads_fit_the_defaults() {
    let (_upstream, key, gateway) = gateway("");
    let mut request = gateway.get("/").bearer(&key).header("Cookie", &"c=".repeat(8000));
    for n in 0..80 {
        request = request.header(&format!("X-H-{n}"), "value");
    }
    assert_eq!(request.send().status, 200);
}

/// Whether one more connection is served while others are held.
fn is_served(gateway: &Gateway, key: &Key) -> bool {
    let Ok(mut conn) = Conn::try_open(gateway.addr()) else {
        return false;
    };
    conn.stream().set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    conn.try_send(&gateway.get("/").bearer(key)).is_ok_and(|r| r.status == 200)
}

#[test]
fn connections_have_a_largest_number() {
    for setting in ["connections_max = 3", "connections_per_ip_max = 3"] {
        let (_upstream, key, gateway) = gateway(setting);
        let mut held: Vec<Conn> = (0..3).map(|_| gateway.connect()).collect();
        for conn in &mut held {
            assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200, "{setting}");
        }
        assert!(!is_served(&gateway, &key), "{setting}: a fourth is served");
        for conn in &mut held {
            assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200, "{setting}: a held one is dropped");
        }
        drop(held);
        eventually("room for one more", || is_served(&gateway, &key).then_some(()));
    }
}

#[test]
fn silent_connections_do_not_keep_others_out() {
    let (_upstream, key, gateway) = gateway("");
    let held: Vec<Conn> = (0..500).map(|_| gateway.connect()).collect();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    let mut one = held.into_iter().next().unwrap();
    one.stream().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let waiting = one.stream().read(&mut [0; 1]).unwrap_err();
    assert!(matches!(waiting.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
    one.stream().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(one.send(&gateway.get("/").bearer(&key)).status, 200);
}

#[test]
fn a_listener_outlives_a_shortage_of_file_descriptors() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = Setup::with(&upstream, "", &key.entry("a", ""));
    setup.write();
    let mut command = tool("bash");
    command.args(["-c", "ulimit -n 60; exec \"$0\" run -c keyward.toml", env!("CARGO_BIN_EXE_keyward")]);
    let mut gateway = Gateway::spawn(command, setup, None);
    let held: Vec<Conn> = (0..150).filter_map(|_| Conn::try_open(gateway.addr()).ok()).collect();
    assert!(held.len() > 60, "the kernel takes connections that nobody accepts");
    assert!(gateway.is_running());
    drop(held);
    eventually("the listener to accept again", || is_served(&gateway, &key).then_some(()));
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}
