//! `leak_in_response`: an upstream that echoes keys, and what becomes of its responses.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use crate::harness::{Frames, Gateway, Key, Setup, over_h2};

/// A server that answers each path with these bytes, whatever they are.
pub(crate) fn scripted(answers: Vec<(&str, Vec<u8>)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let answers: HashMap<String, Vec<u8>> = answers.into_iter().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
    // It ends with the process: a test may still hold a connection.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = answers.clone();
            thread::spawn(move || serve(&stream, &answers));
        }
    });
    addr
}

fn serve(mut stream: &TcpStream, answers: &HashMap<String, Vec<u8>>) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    while let Some(Ok(first)) = lines.next() {
        while !lines.next()?.ok()?.is_empty() {}
        let answer = answers.get(first.split(' ').nth(1)?)?;
        stream.write_all(answer).ok()?;
    }
    Some(())
}

pub(crate) fn sized(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 500 Broken\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn chunked(headers: &str, pieces: &[&str], trailers: &str) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 200 OK\r\n{headers}Transfer-Encoding: chunked\r\n\r\n");
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        write!(text, "{:x}\r\n{piece}\r\n", piece.len()).unwrap();
    }
    format!("{text}0\r\n{trailers}\r\n").into_bytes()
}

const JSON: &str = "Content-Type: application/json\r\n";

fn config(action: &str) -> String {
    format!("[alerts.rule.leak_in_response]\naction = \"{action}\"\n[[route]]\nname = \"all\"\nscan_response = true\n")
}

fn gateway(answers: Vec<(&str, Vec<u8>)>, config: &str, keys: &[(&str, &Key)]) -> Gateway {
    let entries: String = keys.iter().map(|(id, key)| key.entry(id, "")).collect();
    Setup::before(&format!("http://{}", scripted(answers)), config, &entries).start()
}

fn alert(gateway: &Gateway) -> Value {
    gateway.wait_event("alert", |line| line["alert.rule"] == "leak_in_response")
}

fn stars(key: &Key) -> String {
    "*".repeat(key.text.len())
}

#[test]
fn a_key_in_a_header_is_told_of_masked_or_withheld() {
    for action in ["alert", "redact", "block"] {
        let key = Key::new();
        let echo = format!("X-Debug: got {} from you\r\nX-Other: 1\r\n", key.text);
        // The body is no text, and the route asks for nothing: headers are always looked at.
        let config = format!("[alerts.rule.leak_in_response]\naction = \"{action}\"\n");
        let gateway = gateway(vec![("/", sized(&echo, "oops"))], &config, &[("a", &key)]);
        let reply = gateway.get("/").bearer(&key).send();
        let line = gateway.line_of(&reply);
        match action {
            "alert" => assert_eq!(reply.header("x-debug"), Some(&*format!("got {} from you", key.text))),
            "redact" => assert_eq!(reply.header("x-debug"), Some(&*format!("got {} from you", stars(&key)))),
            _ => {
                assert_eq!((reply.status, &reply.json()["code"]), (502, &"upstream_error".into()));
                assert!(!reply.everything().contains(&key.text) && reply.header("x-other").is_none());
                assert_eq!((&line["reason"], &line["fault"]), (&"upstream_error".into(), &"upstream".into()));
                assert_eq!((&line["decision"], &line["outcome"]), (&"allow".into(), &"upstream_gone".into()));
            }
        }
        if action != "block" {
            assert_eq!((reply.status, reply.text().as_str(), reply.header("x-other")), (500, "oops", Some("1")));
            assert_eq!((&line["reason"], &line["outcome"]), (&"allowed".into(), &"complete".into()));
        }
        let alert = alert(&gateway);
        assert_eq!((&alert["alert.severity"], &alert["level"]), (&"critical".into(), &"error".into()));
        assert_eq!((&alert["alert.subject"], &alert["alert.count"]), (&"key:a".into(), &1.into()));
        let evidence = &alert["alert.evidence"];
        for (name, value) in [
            ("request_id", reply.request_id()),
            ("leak.what", "presented_key"),
            ("leak.place", "header:x-debug"),
            ("leak.action", action),
            ("upstream.name", "default"),
        ] {
            assert_eq!(evidence[name], Value::from(vec![value]), "{name} in {alert}");
        }
        assert_eq!(evidence["key.fingerprint"][0], line["key.fingerprint"]);
    }
}

#[test]
fn a_key_in_a_chunked_body_is_found_wherever_it_is_cut() {
    let (key, stranger) = (Key::new(), Key::new());
    let text = format!("{{\"error\":\"no such key {}\"}}", stranger.text);
    let paths: Vec<String> = (0..=text.len()).map(|at| format!("/{at}")).collect();
    let cut = |at: usize| chunked(JSON, &[&text[..at], &text[at..]], "");
    let answers = || paths.iter().enumerate().map(|(at, path)| (path.as_str(), cut(at))).collect();
    let masked = text.replace(&stranger.text, &stars(&stranger));
    for (action, expected) in [("redact", &masked), ("alert", &text)] {
        let gateway = gateway(answers(), &config(action), &[("a", &key)]);
        let mut conn = gateway.connect();
        for path in &paths {
            let reply = conn.send(&gateway.get(path).bearer(&key));
            assert_eq!((reply.status, &reply.text()), (200, expected), "{action} at {path}");
        }
        let alert = alert(&gateway);
        assert_eq!(alert["alert.evidence"]["leak.what"][0], "key", "one of ours, if not that of the request");
        assert_eq!(alert["alert.evidence"]["leak.place"][0], "body");
        assert_eq!(gateway.events("alert").len(), 1, "one alert in the cooldown");
    }
}

#[test]
fn a_body_with_a_key_is_cut_before_it() {
    let key = Key::new();
    let (before, after) = key.text.split_at(20);
    let answers = vec![
        ("/sized", sized(JSON, &format!("{{\"key\":\"{}\"}}", key.text))),
        ("/chunked", chunked(JSON, &["fine so far\n", &format!("now {before}"), &format!("{after} then")], "")),
        ("/trailer", chunked("", &["fine"], &format!("X-Key: {}\r\n", key.text))),
        ("/fine", chunked(JSON, &["fine so far\n", before], "")),
    ];
    let gateway = gateway(answers, &config("block"), &[("a", &key)]);
    for path in ["/sized", "/chunked", "/trailer"] {
        let mut conn = gateway.connect();
        conn.write(&gateway.get(path).bearer(&key).header("TE", "trailers").bytes()).unwrap();
        let mut heard = Vec::new();
        let read = conn.read_into("GET", &mut |part| heard.extend_from_slice(part));
        assert!(read.is_err(), "{path}: the end is missing");
        assert!(conn.is_closed_by_peer(), "{path}");
        let heard = String::from_utf8(heard).unwrap();
        assert!(!heard.contains(before), "{path}: {heard}");
        let line = gateway.wait_decision(path, |line| line["url.path"] == path);
        assert_eq!((&line["outcome"], &line["fault"]), (&"upstream_gone".into(), &"upstream".into()), "{path}");
    }
    let reply = gateway.get("/fine").bearer(&key).send();
    assert_eq!(reply.text(), format!("fine so far\n{before}"), "a part of a key is none");
}

#[test]
fn a_sized_body_keeps_its_length_when_it_is_masked() {
    let key = Key::new();
    let body = format!("key={} digest={} key={}", key.text, key.digest_hex(), key.text);
    let text = "Content-Type: text/plain; charset=utf-8\r\n";
    let gateway = gateway(vec![("/", sized(text, &body))], &config("redact"), &[("a", &key)]);
    let mut conn = gateway.connect();
    for _ in 0..2 {
        let reply = conn.send(&gateway.get("/").bearer(&key));
        assert_eq!(reply.header("content-length"), Some(&*body.len().to_string()));
        let hash = "*".repeat(64);
        assert_eq!(reply.text(), format!("key={} digest={hash} key={}", stars(&key), stars(&key)));
    }
    let line = gateway.wait_decision("a line", |line| line["http.response.body.size"] == body.len());
    assert_eq!(line["outcome"], "complete");
    assert_eq!(alert(&gateway)["alert.count"], 3);
}

#[test]
fn trailers_are_looked_at_and_masked() {
    let key = Key::new();
    let answer = chunked("", &["body"], &format!("X-Sum: 1\r\nX-Key: {}\r\n", key.text));
    let config = "[alerts.rule.leak_in_response]\naction = \"redact\"\n";
    let gateway = gateway(vec![("/", answer)], config, &[("a", &key)]);
    let reply = gateway.get("/").bearer(&key).header("TE", "trailers").send();
    let of = |name: &str| reply.trailers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.clone());
    assert_eq!((of("x-sum"), of("x-key")), (Some("1".to_owned()), Some(stars(&key))));
    assert_eq!(alert(&gateway)["alert.evidence"]["leak.place"][0], "trailer:x-key");
}

#[test]
fn what_is_not_text_or_not_asked_for_passes_unread() {
    let (key, legacy) = (Key::new(), Key::from_text("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"));
    let body = format!("key {}", key.text);
    let mut late = " ".repeat(1 << 20);
    late.push_str(&key.text);
    let answers = vec![
        ("/gzip", sized(&format!("{JSON}Content-Encoding: gzip\r\n"), &body)),
        ("/binary", sized("Content-Type: application/octet-stream\r\n", &body)),
        ("/untyped", sized("", &body)),
        ("/late", sized(JSON, &late)),
        ("/unasked", sized(JSON, &body)),
        ("/foreign", sized(JSON, &format!("key {}.", legacy.text))),
    ];
    let mut config = config("redact");
    config.push_str("[[route]]\npath = \"/unasked\"\n");
    let gateway = gateway(answers, &config, &[("a", &key), ("legacy", &legacy)]);
    for path in ["/gzip", "/binary", "/untyped", "/unasked"] {
        assert_eq!(gateway.get(path).bearer(&key).send().text(), body, "{path}");
    }
    assert!(gateway.get("/late").bearer(&key).send().text() == late, "beyond the first MiB nobody looks");
    let theirs = gateway.get("/foreign").bearer(&key).send().text();
    assert!(theirs.contains(&legacy.text), "a key of another make is known only while it is used");
    let own = gateway.get("/foreign").bearer(&legacy).send().text();
    assert_eq!(own, format!("key {}.", stars(&legacy)));
    let alert = alert(&gateway);
    assert_eq!((&alert["alert.subject"], gateway.events("alert").len()), (&"key:legacy".into(), 1));
}

#[test]
fn over_http2_each_action_does_the_same() {
    for action in ["alert", "redact", "block"] {
        let key = Key::new();
        let (before, after) = key.text.split_at(9);
        let answers = vec![
            ("/head", sized(&format!("X-Key: {}\r\n", key.text), "")),
            ("/body", chunked(JSON, &["first\n", before, after, "\nlast"], "")),
        ];
        let gateway = gateway(answers, &config(action), &[("a", &key)]);
        over_h2(gateway.addr(), async |h2| {
            let request = |path: &str| {
                let builder = Request::get(format!("http://a{path}")).header("x-api-key", &key.text);
                builder.body(Frames::of(&Bytes::new(), None)).unwrap()
            };
            let (head, body) = (h2.send(request("/head")).await, h2.send(request("/body")).await);
            let in_head = head.headers.get("x-key").map(|value| value.to_str().unwrap().to_owned());
            let in_body = String::from_utf8(body.body).unwrap();
            match action {
                "alert" => {
                    assert_eq!((head.status, in_head), (500, Some(key.text.clone())));
                    assert_eq!((body.whole, in_body), (true, format!("first\n{}\nlast", key.text)));
                }
                "redact" => {
                    assert_eq!((head.status, in_head), (500, Some(stars(&key))));
                    assert_eq!((body.whole, in_body), (true, format!("first\n{}\nlast", stars(&key))));
                }
                _ => {
                    assert_eq!((head.status, in_head), (502, None));
                    assert_eq!((body.whole, in_body), (false, "first\n".to_owned()));
                }
            }
        });
        assert_eq!(alert(&gateway)["alert.subject"], "key:a");
    }
}

#[test]
fn a_rule_that_is_off_looks_at_nothing_and_another_action_comes_with_a_reload() {
    let key = Key::new();
    let off = "[alerts.rule.leak_in_response]\nenabled = false\naction = \"redact\"\n";
    let answer = sized(&format!("X-Key: {}\r\n", key.text), "");
    let gateway = gateway(vec![("/", answer)], off, &[("a", &key)]);
    assert_eq!(gateway.get("/").bearer(&key).send().header("x-key"), Some(&*key.text));
    let config = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), config.replace("false", "true")).unwrap();
    gateway.reload_after(0);
    assert_eq!(gateway.get("/").bearer(&key).send().header("x-key"), Some(&*stars(&key)));
    alert(&gateway);
    assert_eq!(gateway.events("alert").len(), 1);
}
