//! Server-Sent Events and long polls: nothing is held back.

use std::thread;

use serde_json::{Value, json};

use super::{bearer, ca, front};
use crate::harness::{Gateway, Key, Program, Req, curl_ok};

fn start(config: &str) -> (Program, String, Key, Gateway) {
    let (mut server, key) = (Program::python::<&str>("events_server.py", &[]), Key::new());
    let url = format!("http://127.0.0.1:{}", server.port());
    let gateway = front(&url, config, &key.entry("a", ""));
    (server, url, key, gateway)
}

const EVENTS: u64 = 40;

fn subscribe(url: &str, headers: &Value, ca: Option<&str>, http2: bool, confirm: &str) -> Value {
    let mut client = Program::python::<&str>("events_client.py", &[]);
    client.tell(&json!({ "url": url, "headers": headers, "ca": ca, "http2": http2, "confirm": confirm }).to_string());
    client.all().remove(0)
}

/// The server sends an event when the one before it has been seen: anything that holds one back stops the stream.
#[test]
fn each_event_arrives_before_the_next_is_sent() {
    let (_server, url, key, gateway) = start("");
    let (plain, secure) = (gateway.addr(), gateway.listener(1).port());
    let ca = ca(&gateway);
    for (n, (base, ca, http2, version, old)) in [
        (format!("http://{plain}"), None, false, "HTTP/1.1", ""),
        (format!("http://{plain}"), None, true, "HTTP/2", ""),
        (format!("https://localhost:{secure}"), Some(ca.as_str()), false, "HTTP/1.1", ""),
        (format!("https://localhost:{secure}"), Some(ca.as_str()), true, "HTTP/2", ""),
        (format!("http://{plain}"), None, false, "HTTP/1.1", "?old"),
        (format!("https://localhost:{secure}"), Some(ca.as_str()), true, "HTTP/2", "?old"),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = format!("{base}/events/s{n}/{EVENTS}{old}");
        let seen = subscribe(&stream, &bearer(&key), ca, http2, &format!("{url}/seen/s{n}/"));
        assert_eq!(
            (&seen["status"], &seen["version"], &seen["events"]),
            (&json!(200), &json!(version), &json!(EVENTS))
        );
        // How fast this machine is just now is not what is tested: that one event took less than 100 ms is.
        let fastest = seen["ms"].as_array().unwrap().iter().filter_map(Value::as_f64).fold(f64::MAX, f64::min);
        assert!(fastest < 100.0, "{seen:#}");
        let path = format!("/events/s{n}/{EVENTS}");
        let line = gateway.wait_decision("its line", |l| l["url.path"] == path.as_str());
        assert_eq!(line["outcome"], "complete", "{line:#}");
    }
}

#[test]
fn a_client_that_leaves_a_stream_ends_it_at_the_server() {
    let (_server, _url, key, gateway) = start("");
    let mut conn = gateway.connect();
    conn.write(&gateway.get("/events/left/1000").bearer(&key).bytes()).unwrap();
    assert!(conn.read_head().unwrap().first.contains(" 200 "));
    drop(conn);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/events/left/1000");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
}

#[test]
fn a_long_poll_waits_and_others_do_not() {
    let (_server, url, key, gateway) = start("[[route]]\ntimeout = \"60s\"\n");
    let auth = format!("authorization: Bearer {}", key.text);
    let ca = ca(&gateway);
    let plain = format!("http://{}/poll/all", gateway.addr());
    let secure = format!("https://localhost:{}/poll/all", gateway.listener(1).port());
    let ways =
        [("--http1.0", &plain), ("--http1.1", &plain), ("--http2-prior-knowledge", &plain), ("--http2", &secure)];
    let polls = ways.map(|(flag, url)| {
        let (auth, ca, url) = (auth.clone(), ca.clone(), url.clone());
        thread::spawn(move || curl_ok(&["-f", flag, "-H", &auth, "--cacert", &ca, &url]))
    });
    for _ in 0..50 {
        assert_eq!(gateway.get("/other").bearer(&key).send().text(), "/other");
    }
    assert!(gateway.decisions().iter().all(|l| l["url.path"] == "/other"), "a poll was answered too early");
    let server = url.trim_start_matches("http://").parse().unwrap();
    assert_eq!(Req::new(server, "POST", "/answer/all").send().status, 204);
    for poll in polls {
        assert_eq!(poll.join().unwrap(), "answered");
    }
}
