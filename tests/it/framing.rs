//! Requests that a strict parser refuses: one 400, a closed connection, one line, and nothing at the upstream.

use std::time::{Duration, Instant};

use crate::harness::{Gateway, Key, Setup, Upstream, poll, raw};

/// Sends bytes that are no request, and says what is wrong with how that ends.
fn complaint(gateway: &Gateway, upstream: &Upstream, bytes: &[u8]) -> Option<String> {
    let before = count(gateway);
    let seen = upstream.seen().len();
    let asked = Instant::now();
    let (mut conn, reply) = match raw(gateway.addr(), bytes) {
        Ok(answered) => answered,
        Err(error) => return Some(format!("no answer: {error}")),
    };
    if reply.status != 400 {
        return Some(format!("answered {}", reply.status));
    }
    conn.stream().set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    if !conn.is_closed_by_peer() {
        return Some("the connection stays open".to_owned());
    }
    if asked.elapsed() > Duration::from_secs(5) {
        return Some(format!("it took {:?}", asked.elapsed()));
    }
    // The line may wait until the client has gone as well.
    drop(conn);
    poll(Duration::from_secs(3), || (count(gateway) > before).then_some(()));
    if count(gateway) != before + 1 {
        return Some(format!("{} lines", count(gateway) - before));
    }
    let line = gateway.decisions().pop().expect("the line");
    if line["http.response.status_code"] != 400 || line["outcome"] != "complete" || !line["request_id"].is_string() {
        return Some(format!("its line is not true: {line}"));
    }
    (upstream.seen().len() != seen).then(|| "forwarded".to_owned())
}

fn count(gateway: &Gateway) -> usize {
    gateway.decisions().iter().filter(|l| l["reason"] == "malformed_request" && l["decision"] == "deny").count()
}

/// Requests with something wrong; `{host}` stands for a good Host and a good key, `{auth}` for the key alone.
const MALFORMED: &[(&str, &str)] = &[
    ("no Host", "GET / HTTP/1.1\r\n{auth}\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\n{host}Host: b\r\n\r\n"),
    ("a Host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n{auth}\r\n"),
    ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n{auth}\r\n"),
    ("a Host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n{auth}\r\n"),
    ("a Host with a bad port", "GET / HTTP/1.1\r\nHost: a:port\r\n{auth}\r\n"),
    ("two lengths", "POST / HTTP/1.1\r\n{host}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("a length list", "POST / HTTP/1.1\r\n{host}Content-Length: 5, 6\r\n\r\nhello"),
    ("a signed length", "POST / HTTP/1.1\r\n{host}Content-Length: +5\r\n\r\nhello"),
    ("a negative length", "POST / HTTP/1.1\r\n{host}Content-Length: -1\r\n\r\n"),
    ("chunked, not last", "POST / HTTP/1.1\r\n{host}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    ("an unknown coding", "POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("a space before the colon", "GET / HTTP/1.1\r\n{host}X-A : b\r\n\r\n"),
    ("a folded header", "GET / HTTP/1.1\r\n{host}X-A: b\r\n c\r\n\r\n"),
    ("a bad header name", "GET / HTTP/1.1\r\n{host}X(A): b\r\n\r\n"),
    ("a control byte in a value", "GET / HTTP/1.1\r\n{host}X-A: b\u{1}c\r\n\r\n"),
    ("a NUL in a value", "GET / HTTP/1.1\r\n{host}X-A: b\0c\r\n\r\n"),
    ("a bare CR in a value", "GET / HTTP/1.1\r\n{host}X-A: b\rc\r\n\r\n"),
    ("a space in the path", "GET /a b HTTP/1.1\r\n{host}\r\n"),
    ("a control byte in the path", "GET /a\u{7}b HTTP/1.1\r\n{host}\r\n"),
    ("chunks of an old client", "POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("no version", "GET /\r\n{host}\r\n"),
    ("a version from the future", "GET / HTTP/3.7\r\n{host}\r\n"),
    ("a bad method", "G@T / HTTP/1.1\r\n{host}\r\n"),
    ("not HTTP", "\u{16}\u{3}\u{1} hello there\r\n\r\n"),
];

#[test]
fn what_a_strict_parser_refuses_is_a_bad_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let auth = format!("Authorization: Bearer {}\r\n", key.text);
    let host = format!("Host: a\r\n{auth}");
    let mut complaints = Vec::new();
    for (what, request) in MALFORMED {
        let bytes = request.replace("{auth}", &auth).replace("{host}", &host);
        complaints.extend(complaint(&gateway, &upstream, bytes.as_bytes()).map(|c| format!("{what}: {c}")));
    }
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn a_path_that_changes_meaning_is_refused_where_a_route_guards_by_path() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/v1/*\"\n[[route]]\npath = \"/public/*\"\nauth = \"open\"\n[[route]]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    for path in [
        "/public/../v1/x",
        "/v1/./x",
        "/v1/..",
        "/public/%2e%2e/v1/x",
        "/public/%2E./v1/x",
        "/v1/.%2e/x",
        "/v1/%2fx",
        "/v1%2Fx",
        "/v1//x",
        "//v1/x",
        "/v1/\\x",
        "/v1/%5cx",
        "/v1/x;a=b/y",
        "/v1/..;/x",
        "/v1/%00x",
    ] {
        let before = count(&gateway);
        let reply = gateway.get(path).bearer(&key).send();
        assert_eq!(reply.status, 400, "{path}: {}", reply.everything());
        crate::verdicts::assert_problem(&reply, "bad_request");
        assert_eq!(gateway.line_of(&reply)["reason"], "malformed_request", "{path}");
        assert_eq!(count(&gateway), before + 1);
    }
    assert!(upstream.seen().is_empty());
    for path in ["/v1/x.y", "/v1/...", "/v1/a..b", "/v1/%20x", "/v1/x?a=../b//c;d"] {
        assert_eq!(gateway.get(path).bearer(&key).send().status, 200, "{path} means one thing only");
    }
}

#[test]
fn a_broken_chunk_ends_the_request_and_only_that() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for body in ["zz\r\nhello\r\n0\r\n\r\n", "5\r\nhelloXX0\r\n\r\n", "ffffffffffffffffff\r\nhello\r\n"] {
        let head = format!(
            "POST /chunks HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: chunked\r\n\r\n",
            key.text
        );
        let (_, reply) = raw(gateway.addr(), (head + body).as_bytes()).unwrap();
        assert_eq!(reply.status, 400, "{body:?}: {}", reply.everything());
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "after {body:?}");
    }
    assert_eq!(upstream.count("/chunks"), 0, "no upstream got a whole request out of a broken one");
}

#[test]
fn two_requests_in_one_packet_get_two_answers_in_order() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let mut both = gateway.request("POST", "/echo/1").bearer(&key).body(b"first").bytes();
    both.extend(gateway.request("POST", "/echo/2").bearer(&key).body(b"second").bytes());
    conn.write(&both).unwrap();
    assert_eq!(conn.read_reply("POST").unwrap().text(), "first");
    assert_eq!(conn.read_reply("POST").unwrap().text(), "second");
}

#[test]
fn an_old_client_is_served() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let request = format!("GET / HTTP/1.0\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", key.text);
    let (mut conn, reply) = raw(gateway.addr(), request.as_bytes()).unwrap();
    assert_eq!(reply.status, 200);
    assert!(conn.is_closed_by_peer(), "an HTTP/1.0 client that asks for nothing gets its connection closed");
}

#[test]
fn a_bad_request_after_good_ones_has_a_line_of_its_own() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for _ in 0..2 {
        assert_eq!(conn.send(&gateway.get("/good").bearer(&key)).status, 200);
    }
    conn.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n").unwrap();
    assert_eq!(conn.read_reply("GET").unwrap().status, 400);
    assert!(conn.is_closed_by_peer());
    drop(conn);
    gateway.stop();
    let reasons: Vec<_> = gateway.decisions().iter().map(|l| l["reason"].clone()).collect();
    assert_eq!(reasons, ["allowed", "allowed", "malformed_request"]);
}
