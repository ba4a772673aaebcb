//! What refusals and answers look like to a client that only reads HTTP.

use crate::harness::{Key, Setup, Upstream};

#[test]
fn audit_headers_name_the_request_and_the_key_but_never_the_key_itself() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let allowed = gateway.get("/").bearer(&key).send();
    let refused = gateway.get("/").bearer(&Key::new()).send();
    for reply in [&allowed, &refused] {
        assert_eq!(reply.all("x-request-id").len(), 1);
        let fingerprint = reply.header("x-api-key-fingerprint").expect("a fingerprint");
        assert!(fingerprint.len() == 12 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()), "{fingerprint}");
        assert_eq!(gateway.line_of(reply)["key.fingerprint"], fingerprint);
    }
    assert_ne!(allowed.request_id(), refused.request_id());
    assert_eq!(gateway.get("/").send().header("x-api-key-fingerprint"), None, "nothing was presented");
}

#[test]
fn audit_headers_can_be_turned_off() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[keys]\naudit_headers = false\n", &key.entry("a", "")).start();
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-request-id"), None);
    assert_eq!(reply.header("x-api-key-fingerprint"), None);
    let refused = gateway.get("/").send();
    let id = refused.json()["request_id"].as_str().unwrap().to_owned();
    gateway.wait_decision("the line the body points to", |l| l["request_id"] == id.as_str());
}

#[test]
fn a_refusal_keeps_the_connection_for_the_next_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for _ in 0..3 {
        assert_eq!(conn.send(&gateway.get("/")).status, 401);
        assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200);
    }
}

#[test]
fn a_refused_body_is_never_read_as_the_next_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let inner = gateway.get("/smuggled").bearer(&key).bytes();
    let refused = conn.send(&gateway.request("POST", "/outer").body(&inner));
    assert_eq!(refused.status, 401);
    // Either the connection goes on in step or it is closed; the body is no request in both cases.
    if let Ok(next) = conn.try_send(&gateway.get("/next").bearer(&key)) {
        assert_eq!(next.status, 200);
        upstream.request("/next");
    }
    assert_eq!(upstream.count("/smuggled"), 0);
    assert_eq!(upstream.count("/outer"), 0);
}

#[test]
fn a_refused_head_request_has_no_body() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "", "").start();
    let mut conn = gateway.connect();
    for _ in 0..2 {
        let reply = conn.send(&gateway.request("HEAD", "/"));
        assert_eq!((reply.status, reply.body.len()), (401, 0));
        assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"api\""));
    }
}
