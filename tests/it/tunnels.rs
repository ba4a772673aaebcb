//! WebSockets as bytes: the handshake, what flows, and how it ends. Real clients and servers are elsewhere.

use std::io::{Read as _, Write as _};

use crate::harness::{Conn, Gateway, Key, Req, Setup, Upstream};

fn handshake(gateway: &Gateway, key: &Key, path: &str) -> Req {
    gateway
        .get(path)
        .bearer(key)
        .header("Connection", "keep-alive, Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

fn open(gateway: &Gateway, key: &Key) -> (Conn, String) {
    let mut conn = gateway.connect();
    let reply = conn.send(&handshake(gateway, key, "/socket"));
    assert_eq!(reply.status, 101);
    let upgrade = (reply.header("connection"), reply.header("upgrade"), reply.header("sec-websocket-accept"));
    assert_eq!(upgrade, (Some("upgrade"), Some("websocket"), Some("x")));
    let id = reply.request_id().to_owned();
    (conn, id)
}

fn echoes(conn: &Conn, bytes: &[u8]) {
    let mut stream = conn.stream();
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, bytes);
}

fn start(config: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    (upstream, key, gateway)
}

#[test]
fn a_tunnel_has_a_line_at_its_beginning_and_one_at_its_end() {
    let (upstream, key, gateway) = start("");
    let (conn, id) = open(&gateway, &key);
    echoes(&conn, b"\x81\x05hello");
    echoes(&conn, &vec![7; 300_000]);
    let begin = gateway.wait_decision("the beginning", |line| line["request_id"] == id.as_str());
    assert_eq!(
        (&begin["http.response.status_code"], &begin["outcome"]),
        (&101.into(), &"complete".into()),
        "{begin:#}"
    );
    assert!(gateway.events("tunnel").is_empty());
    drop(conn);
    let end = gateway.wait_event("tunnel", |line| line["request_id"] == id.as_str());
    let sizes = (&end["http.request.body.size"], &end["http.response.body.size"]);
    assert_eq!(sizes, (&300_007.into(), &300_007.into()), "{end:#}");
    assert_eq!((&end["key.id"], &end["outcome"]), (&"a".into(), &"complete".into()), "{end:#}");
    assert_eq!(end["upstream.address"], upstream.addr.to_string());
    let seen = upstream.request("/socket");
    assert_eq!((seen.get("connection"), seen.get("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(seen.get("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(seen.get("authorization"), None);
}

#[test]
fn what_is_no_websocket_is_no_tunnel() {
    let (upstream, key, gateway) = start("");
    // Refused before anything is asked of the upstream.
    let other = Key::new();
    assert_eq!(gateway.connect().send(&handshake(&gateway, &other, "/socket")).status, 401);
    assert_eq!(upstream.seen().len(), 0);
    // The upstream says no, in its own words.
    assert_eq!(gateway.connect().send(&handshake(&gateway, &key, "/status/404")).status, 404);
    // It agrees to something else.
    let reply = gateway.connect().send(&handshake(&gateway, &key, "/switch"));
    crate::verdicts::assert_problem(&reply, "upstream_error");
    // `Upgrade: h2c` is a request like any other, and the upstream never hears of it.
    for upgrade in ["h2c", "TLS/1.0", "HTTP/2.0"] {
        let request = gateway
            .get("/plain")
            .bearer(&key)
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", upgrade)
            .header("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA");
        assert_eq!(gateway.connect().send(&request).status, 200, "{upgrade}");
    }
    for seen in upstream.seen().iter().filter(|seen| seen.path() == "/plain") {
        let upgrade = (seen.get("upgrade"), seen.get("http2-settings"), seen.get("connection"));
        assert_eq!(upgrade, (None, None, None));
    }
}

#[test]
fn a_drain_lets_tunnels_be_until_the_grace_is_over_and_then_says_so() {
    let (_upstream, key, mut gateway) = start("[server]\nshutdown_grace = \"1s\"\n");
    let (conn, id) = open(&gateway, &key);
    let (torn, torn_id) = open(&gateway, &key);
    // The upstream is in the middle of a frame here: one of ours must not go into it.
    echoes(&torn, b"\x81\x05hel");
    gateway.signal("TERM");
    gateway.wait_event("drain", |_| true);
    echoes(&conn, b"\x81\x05hello");
    let (mut last, mut torn_last) = (Vec::new(), Vec::new());
    conn.stream().read_to_end(&mut last).unwrap();
    assert_eq!(last, [0x88, 2, 0x03, 0xe9]);
    drop(torn.stream().read_to_end(&mut torn_last));
    assert_eq!(torn_last, b"");
    drop((conn, torn));
    gateway.wait_exit();
    for id in [id, torn_id] {
        let end = gateway.wait_event("tunnel", |line| line["request_id"] == id.as_str());
        assert!(end["http.request.body.size"].as_u64().is_some_and(|bytes| bytes > 0), "{end:#}");
    }
}

#[test]
fn a_tunnel_ends_when_the_upstream_does() {
    let (upstream, key, gateway) = start("");
    let (conn, id) = open(&gateway, &key);
    echoes(&conn, b"\x82\x01x");
    // The echo ends with what it is told last.
    conn.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    conn.stream().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
    let end = gateway.wait_event("tunnel", |line| line["request_id"] == id.as_str());
    assert_eq!(end["outcome"], "complete", "{end:#}");
    drop(upstream);
}
