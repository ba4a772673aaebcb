//! Clients and upstreams that leave in the middle: one true line each, whatever happened.

use std::io::Read;
use std::thread;

use crate::harness::{Conn, Key, Setup, Upstream, eventually};

#[test]
fn a_client_that_leaves_during_the_answer_has_one_line() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/flood").bearer(&key).bytes()).unwrap();
    let mut first = [0; 1000];
    conn.stream().read_exact(&mut first).unwrap();
    drop(conn);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/flood");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
    assert_eq!((&line["http.response.status_code"], &line["decision"]), (&200.into(), &"allow".into()));
    assert!(line["http.response.body.size"].as_u64().unwrap() < 268_435_456, "{line:#}");
}

#[test]
fn a_client_that_leaves_during_the_head_has_one_line() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    // The first two may still become the preface of HTTP/2.
    for (at, part) in ["P", "PRI * HTTP/2.0\r\n", "PO", "GET / HTTP/1.1\r\nHost: a"].iter().enumerate() {
        let mut conn = gateway.connect();
        conn.write(part.as_bytes()).unwrap();
        drop(conn);
        let line = eventually("its line", || gateway.decisions().into_iter().nth(at));
        assert_eq!(line["outcome"], "client_gone", "{part:?}: {line:#}");
    }
}

#[test]
fn a_client_that_leaves_before_the_answer_has_one_line() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/hang").bearer(&key).bytes()).unwrap();
    upstream.request("/hang");
    drop(conn);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/hang");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
}

#[test]
fn a_client_that_leaves_during_its_upload_has_one_line() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let request = gateway.request("POST", "/cut").bearer(&key).header("Content-Length", "1000000");
    conn.write(&request.bytes()).unwrap();
    conn.write(&[b'x'; 5000]).unwrap();
    drop(conn);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/cut");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
    assert!(line["http.request.body.size"].as_u64().unwrap() <= 5000, "{line:#}");
    assert_eq!(upstream.count("/cut"), 0, "half a body is no request");
}

#[test]
fn an_upstream_that_leaves_during_its_answer_is_told_so() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for path in ["/midway", "/cutchunk"] {
        let cut = gateway.connect().try_send(&gateway.get(path).bearer(&key));
        assert!(cut.is_err(), "{path}: a cut body is never passed off as whole");
        let line = gateway.wait_decision("its line", |l| l["url.path"] == path);
        assert_eq!(line["outcome"], "upstream_gone", "{line:#}");
        assert_eq!((&line["fault"], &line["http.response.status_code"]), (&"upstream".into(), &200.into()), "{line:#}");
    }
}

#[test]
fn as_many_lines_as_requests_with_clients_leaving_midway() {
    let (upstream, key, narrow) = (Upstream::start(), Key::new(), Key::new());
    let entries = key.entry("a", "") + &narrow.entry("narrow", "limits = [\"5/h\"]");
    let mut gateway = Setup::with(&upstream, "", &entries).start();
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let addr = gateway.addr();
            let flood = gateway.get("/flood").bearer(&key);
            let ordinary = [gateway.get("/x").bearer(&key), gateway.get("/x"), gateway.get("/x").bearer(&narrow)];
            thread::spawn(move || {
                for round in 0..12 {
                    let mut conn = Conn::open(addr);
                    if (client + round) % 3 == 0 {
                        conn.write(&flood.bytes()).unwrap();
                        let mut some = [0; 500];
                        conn.stream().read_exact(&mut some).unwrap();
                    } else {
                        conn.send(&ordinary[round % 3]);
                        conn.send(&ordinary[(round + 1) % 3]);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // 8 clients × 12 rounds: 32 leave after one request, 64 send two.
    eventually("every line", || (gateway.decided() >= 32 + 2 * 64).then_some(()));
    gateway.stop();
    let lines = gateway.decisions();
    assert_eq!(lines.len(), 32 + 2 * 64);
    assert_eq!(lines.iter().filter(|l| l["outcome"] == "client_gone").count(), 32);
    let mut ids: Vec<String> = lines.iter().map(|l| l["request_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), lines.len(), "every request has its own id");
}

#[test]
fn a_connection_that_never_asks_has_no_line() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for _ in 0..5 {
        drop(gateway.connect());
    }
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    gateway.stop();
    assert_eq!(gateway.decided(), 1);
}
