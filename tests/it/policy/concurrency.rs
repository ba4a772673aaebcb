//! As many requests at the same time as a key may have, and each one's place is given back when it is over.

use std::io::{Read as _, Write as _};
use std::thread;

use http::Request;

use super::{Site, statuses};
use crate::harness::{Conn, Frames, Key, Reply, Req, eventually, over_h2};

const LIMITED: (&str, &str) = ("concurrency_limited", "concurrency_limited");

fn site(concurrency: u32) -> (Site, Key) {
    let key = Key::new();
    let keys = key.entry("a", &format!("concurrency = {concurrency}"));
    (Site::start("[server]\nworkers = 2\n[[route]]\ntimeout = \"60s\"\n", &keys), key)
}

/// Waits until a place is free, and takes it for no longer than a request lasts.
fn becomes_free(request: &Req) -> Reply {
    eventually("a place to be free", || Some(request.send()).filter(|reply| reply.status == 200))
}

#[test]
fn beyond_it_a_request_is_refused_and_told_why() {
    let (site, key) = site(8);
    let gate = site.gateway.get("/gate").bearer(&key);
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let gate = gate.clone();
            thread::spawn(move || gate.send())
        })
        .collect();
    eventually("all of them to be there", || (site.upstream.count("/gate") == 8).then_some(()));
    let request = site.gateway.get("/x").bearer(&key);
    let (reply, line) = site.throttled(&request, LIMITED, "concurrency");
    let policies = "\"concurrency\";q=8;qu=\"concurrent-requests\"";
    assert_eq!(reply.header("ratelimit-policy"), Some(policies));
    assert_eq!((reply.header("ratelimit"), reply.header("retry-after")), (Some("\"concurrency\";r=0;t=1"), Some("1")));
    assert_eq!((&line["limit.limit"], &line["limit.remaining"]), (&8.into(), &0.into()), "{line:#}");
    site.upstream.open_gate();
    for reply in waiting {
        let reply = reply.join().unwrap();
        assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some(policies)));
    }
    becomes_free(&request);
}

#[test]
fn a_place_is_held_to_the_end_of_the_response_body() {
    let (site, key) = site(1);
    let mut conn = site.gateway.connect();
    // More than sockets hold: it does not end before the client has read most of it.
    let length = 64 << 20;
    conn.write(&site.gateway.get(&format!("/bytes/{length}")).bearer(&key).bytes()).unwrap();
    assert_eq!(conn.read_head().unwrap().content_length(), Some(length));
    let request = site.gateway.get("/x").bearer(&key);
    for _ in 0..3 {
        site.throttled(&request, LIMITED, "concurrency");
    }
    // Some of it was read together with the head.
    let mut left = Vec::with_capacity(1 << 16);
    let mut read = 0;
    while read < length - (1 << 17) {
        left.clear();
        read += conn.stream().take(1 << 16).read_to_end(&mut left).unwrap() as u64;
    }
    becomes_free(&request);
}

#[test]
fn a_client_that_leaves_gives_its_place_back() {
    let (site, key) = site(1);
    let request = site.gateway.get("/x").bearer(&key);
    // Before the answer; in the middle of it; in the middle of its own body.
    for path in ["/hang", "/flood", "/upload"] {
        let mut conn = site.gateway.connect();
        let asked = site.gateway.request("POST", path).bearer(&key);
        match path {
            "/upload" => {
                let upload = asked.header("Content-Length", "100000").header("Expect", "100-continue");
                conn.write(&upload.bytes()).unwrap();
                assert!(conn.read_head().unwrap().first.contains(" 100 "), "it was let in");
                conn.write(&[b'x'; 5_000]).unwrap();
            }
            "/flood" => {
                conn.write(&asked.bytes()).unwrap();
                conn.stream().read_exact(&mut [0; 1_000]).unwrap();
            }
            _ => {
                conn.write(&asked.bytes()).unwrap();
                site.upstream.request(path);
            }
        }
        site.throttled(&request, LIMITED, "concurrency");
        drop(conn);
        becomes_free(&request);
        let line = site.gateway.wait_decision("its line", |line| line["url.path"] == path);
        assert_eq!((&line["decision"], &line["outcome"]), (&"allow".into(), &"client_gone".into()), "{line:#}");
    }
}

#[test]
fn an_upstream_that_fails_gives_the_place_back() {
    let (site, key) = site(1);
    let mut conn = site.gateway.connect();
    for path in ["/reset", "/garbage", "/hangup", "/reset"] {
        assert_eq!(conn.send(&site.gateway.get(path).bearer(&key)).status, 502, "{path}");
    }
    assert!(conn.try_send(&site.gateway.get("/midway").bearer(&key)).is_err());
    becomes_free(&site.gateway.get("/x").bearer(&key));
}

#[test]
fn one_request_after_the_other_is_never_more_than_one() {
    let (site, key) = site(1);
    let requests = ["/x", "/bytes/100000", "/chunked"].map(|path| site.gateway.get(path).bearer(&key));
    let mut conn = site.gateway.connect();
    for request in &requests {
        assert_eq!(statuses(&mut conn, request, 100), [200; 100], "on one connection");
    }
    // Each on a connection of its own, and so on either worker.
    for request in &requests {
        assert_eq!((0..100).map(|_| request.send().status).collect::<Vec<_>>(), [200; 100], "on its own connection");
    }
}

#[test]
fn a_websocket_holds_its_place_to_the_end() {
    let (site, key) = site(1);
    let handshake = site
        .gateway
        .get("/socket")
        .bearer(&key)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let request = site.gateway.get("/x").bearer(&key);
    let mut conn = site.gateway.connect();
    let reply = conn.send(&handshake);
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("ratelimit-policy"), Some("\"concurrency\";q=1;qu=\"concurrent-requests\""));
    // The line of its beginning is written, and the place still taken.
    site.gateway.line_of(&reply);
    site.throttled(&request, LIMITED, "concurrency");
    let mut stream = conn.stream();
    stream.write_all(b"\x81\x05hello").unwrap();
    stream.read_exact(&mut [0; 7]).unwrap();
    site.throttled(&handshake, LIMITED, "concurrency");
    drop(conn);
    site.gateway.wait_event("tunnel", |line| line["key.id"] == "a");
    becomes_free(&request);
}

#[test]
fn streams_of_one_http2_connection_count_each() {
    let (site, key) = site(2);
    let addr = site.gateway.addr();
    let ask = |path: &str| {
        let request = Request::get(format!("http://{addr}{path}")).header("x-api-key", &key.text);
        request.body(Frames::default()).unwrap()
    };
    over_h2(addr, |connection| async move {
        let (one, two) = tokio::join!(connection.send_some(ask("/flood"), 10), connection.send_some(ask("/flood"), 10));
        // Each stream was dropped after a few bytes; both places come back.
        assert_eq!((one.unwrap().status, two.unwrap().status), (200, 200));
    });
    let request = site.gateway.get("/x").bearer(&key);
    becomes_free(&request);
    over_h2(addr, |connection| async move {
        let held = [connection.start(ask("/flood")).await, connection.start(ask("/flood")).await];
        let third = connection.send(ask("/x")).await;
        assert_eq!(third.status, 429);
        assert_eq!(third.headers["ratelimit-policy"], "\"concurrency\";q=2;qu=\"concurrent-requests\"");
        drop(held);
    });
    becomes_free(&request);
}

#[test]
fn many_connections_never_have_one_request_more_underway() {
    let (site, key) = site(8);
    let (gate, quick) = (site.gateway.get("/gate").bearer(&key), site.gateway.get("/x").bearer(&key));
    let addr = site.gateway.addr();
    let storm = |request: &Req, count: usize| -> Vec<_> {
        let client = |_| {
            let request = request.clone();
            thread::spawn(move || statuses(&mut Conn::open(addr), &request, count))
        };
        (0..64).map(client).collect()
    };
    let clients = storm(&gate, 1);
    // Those that came through wait, and all others were refused.
    eventually("all but eight to be refused", || (site.gateway.decided() == 56).then_some(()));
    eventually("the eight to arrive", || (site.upstream.count("/gate") == 8).then_some(()));
    site.upstream.open_gate();
    let sent: Vec<u16> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert_eq!(sent.iter().filter(|status| **status == 200).count(), 8);
    assert_eq!(sent.iter().filter(|status| **status == 429).count(), 56);
    // After a storm of short ones as many places are free as before.
    let sent: Vec<u16> = storm(&quick, 20).into_iter().flat_map(|client| client.join().unwrap()).collect();
    assert!(sent.iter().all(|status| matches!(status, 200 | 429)), "{sent:?}");
    let mut held: Vec<Conn> = (0..8).map(|_| site.gateway.connect()).collect();
    for conn in &mut held {
        conn.write(&site.gateway.get("/flood").bearer(&key).bytes()).unwrap();
        assert!(conn.read_head().unwrap().first.contains(" 200 "));
    }
    site.throttled(&quick, LIMITED, "concurrency");
}

#[test]
fn a_plan_gives_each_key_as_many_and_a_reload_forgets_nobody() {
    let (one, two) = (Key::new(), Key::new());
    let keys = |more: &str| one.entry("one", &format!("plan = \"p\"\n{more}")) + &two.entry("two", "plan = \"p\"");
    let site = Site::start("[plan.p]\nconcurrency = 1\n[[route]]\ntimeout = \"60s\"\n", &keys(""));
    let mut held = site.gateway.connect();
    held.write(&site.gateway.get("/hang").bearer(&one).bytes()).unwrap();
    site.upstream.request("/hang");
    let request = site.gateway.get("/x").bearer(&one);
    site.throttled(&request, LIMITED, "concurrency");
    site.allowed(&site.gateway.get("/x").bearer(&two));
    site.reload_keys(&keys("note = \"n\""));
    site.throttled(&request, LIMITED, "concurrency");
    site.reload_keys(&keys("concurrency = 2"));
    site.allowed(&request);
    drop(held);
    site.reload_keys(&keys(""));
    becomes_free(&request);
}
