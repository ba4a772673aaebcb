//! `body_bytes_max`: how much a client may send, whether it says so first or not.

use bytes::Bytes;
use http::Request;

use crate::harness::{Frames, Gateway, Key, Setup, Upstream, eventually, over_h2};

const CONFIG: &str = "[http]\nbody_bytes_max = \"1KiB\"\n[[route]]\npath = \"/*\"\n[[route]]\npath = \"/large/*\"\n\
    body_bytes_max = \"2KiB\"\n[[route]]\npath = \"/any/*\"\nbody_bytes_max = \"none\"\n";

fn world(fields: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, CONFIG, &key.entry("a", fields)).start();
    (upstream, key, gateway)
}

#[test]
fn a_body_that_says_it_is_too_large_is_refused_before_it_comes() {
    let (upstream, key, gateway) = world("limits = [\"2/h\"]");
    for (path, length, passes) in [
        ("/a", 1025, false),
        ("/a", 1024, true),
        ("/a", 5_000_000_000, false),
        ("/large/a", 2049, false),
        ("/large/a", 2048, true),
    ] {
        let mut conn = gateway.connect();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n\r\n",
            key.text
        );
        conn.write(head.as_bytes()).unwrap();
        let first = conn.read_head().unwrap();
        if passes {
            assert!(first.first.contains(" 100 "), "{path} {length}: {first:?}");
            conn.write(&vec![b'x'; length as usize]).unwrap();
            assert_eq!(conn.read_reply("POST").unwrap().status, 200);
            assert_eq!(upstream.request(path).body_len, length);
        } else {
            assert!(first.first.contains(" 413 "), "{path} {length}: nobody asks for the body: {first:?}");
            assert_eq!(first.get("connection"), Some("close"));
            assert!(conn.is_closed_by_peer());
        }
    }
    assert_eq!(upstream.seen().len(), 2, "and nothing refused was forwarded, or charged");
    let refused = gateway.wait_decision("a refusal", |l| l["http.response.status_code"] == 413);
    assert_eq!((&refused["decision"], &refused["reason"]), (&"deny".into(), &"body_too_large".into()));
    assert_eq!((&refused["fault"], &refused["upstream.name"]), (&"client".into(), &serde_json::Value::Null));
    let spent = gateway.request("POST", "/a").bearer(&key).body(&[0; 2000]).send();
    assert_eq!(spent.status, 429, "a limit comes first");
}

#[test]
fn a_route_that_takes_any_body_takes_it() {
    let (upstream, key, gateway) = world("");
    let body = vec![b'x'; 300_000];
    assert_eq!(gateway.request("POST", "/any/a").bearer(&key).body(&body).send().status, 200);
    assert_eq!(upstream.request("/any/a").body_len, 300_000);
}

/// A chunked request of this many chunks of 512 bytes, as far as its last chunk but without its end.
fn chunked(path: &str, key: &Key, chunks: usize) -> Vec<u8> {
    let key = &key.text;
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n");
    head.into_bytes().into_iter().chain(format!("200\r\n{}\r\n", "x".repeat(512)).repeat(chunks).into_bytes()).collect()
}

#[test]
fn a_body_that_grows_too_large_ends_before_the_upstream_has_the_whole() {
    let (upstream, key, gateway) = world("");
    for (path, chunks, passes) in
        [("/fits", 2, true), ("/grows", 3, false), ("/large/fits", 4, true), ("/large/grows", 9, false)]
    {
        let mut conn = gateway.connect();
        conn.write(&chunked(path, &key, chunks)).unwrap();
        if passes {
            conn.write(b"0\r\n\r\n").unwrap();
        }
        // Where it does not pass nothing more is sent: the answer does not wait for the end.
        let reply = conn.read_reply("POST").unwrap();
        assert_eq!(reply.status, if passes { 200 } else { 413 }, "{path}");
        assert_eq!(upstream.count(path), usize::from(passes), "{path}");
        if !passes {
            crate::verdicts::assert_problem(&reply, "body_too_large");
            assert!(conn.is_closed_by_peer());
            let line = gateway.line_of(&reply);
            assert_eq!((&line["decision"], &line["reason"]), (&"deny".into(), &"body_too_large".into()));
            assert_eq!((&line["fault"], &line["outcome"]), (&"client".into(), &"complete".into()));
            assert_eq!((&line["upstream.name"], &line["upstream.attempts"]), (&"default".into(), &1.into()));
        }
    }
    assert_eq!(gateway.get("/after").bearer(&key).send().status, 200);
}

#[test]
fn the_limit_holds_over_http_2() {
    let (upstream, key, gateway) = world("");
    let send = |path: &str, declared: bool, length: usize, kind: &'static str| {
        let mut request =
            Request::post(format!("http://a{path}")).header("x-api-key", &key.text).header("content-type", kind);
        if declared {
            request = request.header("content-length", length);
        }
        let request = request.body(Frames::of(&Bytes::from(vec![b'x'; length]), None)).unwrap();
        over_h2(gateway.addr(), |h2| async move { h2.send(request).await })
    };
    assert_eq!(send("/fits", false, 1024, "text/plain").status, 200);
    for (path, declared) in [("/declared", true), ("/grows", false)] {
        let answer = send(path, declared, 100_000, "text/plain");
        assert_eq!((answer.status, answer.whole), (413, true), "{path}");
        let of_grpc = send(path, declared, 100_000, "application/grpc");
        assert_eq!((of_grpc.status, of_grpc.headers["grpc-status"].as_bytes()), (200, &b"13"[..]), "{path}");
        assert_eq!(upstream.count(path), 0);
    }
    let lines = eventually("a line each", || Some(gateway.decisions()).filter(|l| l.len() == 5));
    assert_eq!(lines.iter().filter(|l| l["reason"] == "body_too_large").count(), 4);
}
