//! One JSON object a request: its fields, their types, and what is never in it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::{Key, Setup, Upstream, curl_ok, sha256_hex};

fn is_text(v: &Value) -> bool {
    v.as_str().is_some_and(|s| !s.is_empty())
}

fn is_hex(length: usize) -> impl Fn(&Value) -> bool {
    move |v| v.as_str().is_some_and(|s| s.len() == length && s.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// `2026-11-21T10:00:00.123456Z`.
fn is_time(v: &Value) -> bool {
    let Some(text) = v.as_str() else { return false };
    text.len() == 27 && text.ends_with('Z') && text.as_bytes()[19] == b'.' && text.parse::<jiff::Timestamp>().is_ok()
}

#[track_caller]
fn has(line: &Value, fields: &[(&str, Value)]) {
    for (name, value) in fields {
        assert_eq!(&line[name], value, "{name} in {line:#}");
    }
}

/// The fields of an allowed request whose values are known beforehand.
fn expected() -> Value {
    serde_json::json!({
        "event": "decision",
        "level": "info",
        "decision": "allow",
        "reason": "allowed",
        "fault": null,
        "key.id": "a",
        "key.owner": "o",
        "key.plan": "gold",
        "key.source": "bearer",
        "key.state": "active",
        "client.address": "127.0.0.1",
        "network.peer.address": "127.0.0.1",
        "http.request.method": "POST",
        "server.address": "api.example.com",
        "url.path": "/echo/x",
        "url.query": "q=1&r=%20",
        "http.route": "all",
        "network.protocol.version": "1.1",
        "tls.protocol.version": null,
        "http.response.status_code": 200,
        "http.request.body.size": 12,
        "http.response.body.size": 12,
        "upstream.name": "default",
        "upstream.attempts": 1,
        "outcome": "complete",
        "limit.policy": "100/h burst 200",
        "limit.limit": 100,
        "limit.remaining": 199,
    })
}

#[test]
fn an_allowed_line_has_every_field_that_applies() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[plan.gold]\nlimits = [\"100/h burst 200\"]\n[[route]]\nname = \"all\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "owner = \"o\"\nplan = \"gold\"")).start();
    let mut conn = gateway.connect();
    let request =
        gateway.request("POST", "/echo/x?q=1&r=%20").bearer(&key).header("User-Agent", "test/1 \"quoted\" \u{e9}");
    let reply = conn.send(&request.body(b"twelve bytes"));
    assert_eq!(reply.status, 200);
    let line = gateway.line_of(&reply);
    has(&line, &[("client.port", conn.local_port().into())]);
    for (name, value) in expected().as_object().unwrap() {
        assert_eq!(&line[name], value, "{name} in {line:#}");
    }
    assert!(line["upstream.address"].as_str().unwrap().contains(&upstream.addr.to_string()), "{line:#}");
    assert!(line["user_agent.original"].as_str().unwrap().starts_with("test/1 \"quoted\""), "{line:#}");
    assert!(is_time(&line["time"]), "{line:#}");
    assert!(is_text(&line["request_id"]) && is_hex(12)(&line["key.fingerprint"]), "{line:#}");
    let (whole, waited) = (line["duration_us"].as_u64().unwrap(), line["upstream_duration_us"].as_u64().unwrap());
    assert!(waited <= whole, "{line:#}");
    assert!(line["limit.reset_s"].is_u64() && line["generation"].is_u64(), "{line:#}");
}

#[test]
fn a_trace_goes_through_the_gateway() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let reply = gateway.get("/").bearer(&key).header("traceparent", &parent).send();
    let line = gateway.line_of(&reply);
    if let Some(logged) = line["trace_id"].as_str() {
        assert_eq!(logged, trace);
        assert!(is_hex(16)(&line["span_id"]), "{line:#}");
    }
    assert!(upstream.request("/").get("traceparent").is_some_and(|t| t.contains(trace)));
}

#[test]
fn a_line_over_tls_and_http_2_says_so() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("t", "localhost").start();
    let ca = gateway.dir.path().join("t.pem").display().to_string();
    let auth = format!("authorization: Bearer {}", key.text);
    for (flags, tls, http) in [(["--http2", "--tlsv1.3"], "1.3", "2"), (["--http1.1", "--tls-max=1.2"], "1.2", "1.1")] {
        let flags: Vec<&str> = flags.iter().flat_map(|f| f.split('=')).collect();
        let url = format!("https://localhost:{}/{http}", gateway.addr().port());
        let mut args = vec!["--cacert", &ca, "-H", &auth, &url];
        args.extend(flags);
        curl_ok(&args);
        let path = format!("/{http}");
        let line = gateway.wait_decision("its line", |l| l["url.path"] == path.as_str());
        has(&line, &[("network.protocol.version", http.into()), ("server.address", "localhost".into())]);
        assert!(line["tls.protocol.version"].as_str().unwrap().contains(tls), "{line:#}");
    }
}

#[test]
fn a_refused_line_names_no_upstream() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "", "").start();
    let line = gateway.line_of(&gateway.get("/x").bearer(&Key::new()).send());
    has(
        &line,
        &[("decision", "deny".into()), ("fault", "client".into()), ("key.id", Value::Null), ("key.owner", Value::Null)],
    );
    assert!(line["upstream.address"].is_null() && line["upstream_duration_us"].is_null(), "{line:#}");
    assert!(line["limit.policy"].is_null(), "{line:#}");
}

#[test]
fn a_refused_key_that_is_known_is_named() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway =
        Setup::with(&upstream, "", &key.entry("old", "owner = \"o\"\nstate = \"revoked\"\nreason = \"left\"")).start();
    let line = gateway.line_of(&gateway.get("/x").bearer(&key).send());
    has(
        &line,
        &[
            ("key.id", "old".into()),
            ("key.owner", "o".into()),
            ("key.state", "revoked".into()),
            ("reason", "revoked".into()),
        ],
    );
}

#[test]
fn the_same_bad_key_and_different_bad_keys_look_different() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "limits.failures_per_ip = \"none\"\n", "").start();
    let fingerprint = |key: &Key| {
        let line = gateway.line_of(&gateway.get("/").bearer(key).send());
        line["key.fingerprint"].as_str().unwrap().to_owned()
    };
    let one = Key::new();
    let first = fingerprint(&one);
    assert_eq!(first, fingerprint(&one));
    let others: BTreeSet<String> = (0..20).map(|_| fingerprint(&Key::new())).collect();
    assert!(others.len() == 20 && !others.contains(&first));
    assert!(!sha256_hex(one.text.as_bytes()).contains(&first), "no line can confirm a guess");
}

#[test]
fn credentials_in_a_query_keep_their_name_and_lose_their_value() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[keys]\nsources = [\"query:api_key\", \"bearer\"]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let k = &key.text;
    for (target, logged) in [
        (format!("/?x=1&api_key={k}&y=2"), "x=1&api_key=REDACTED&y=2"),
        ("/?api_key=not-a-key-of-ours&z=1".to_owned(), "api_key=REDACTED&z=1"),
        (format!("/?api%5fkey={k}"), "=REDACTED"),
        (format!("/?%61pi_key={k}"), "=REDACTED"),
        (format!("/?other={k}"), "other="),
    ] {
        let line = gateway.line_of(&gateway.get(&target).send());
        let query = line["url.query"].as_str().unwrap();
        assert!(query.contains(logged) && !query.contains("not-a-key"), "{target} became {query}");
        assert!(!query.contains(key.secret().unwrap()), "{query}");
    }
}

#[test]
fn anything_of_our_keys_shape_is_redacted_wherever_it_stands() {
    let (upstream, key, stray) = (Upstream::start(), Key::new(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let encoded = stray.text.replace('_', "%5F");
    for request in [
        gateway.get(&format!("/files/{}/x", stray.text)),
        gateway.get(&format!("/files/{encoded}")),
        gateway.get(&format!("/?callback=https%3A%2F%2Fx%2F%3Fk%3D{}", stray.text)),
        gateway.get("/").header("User-Agent", &format!("agent {}", stray.text)),
        gateway.get("/").header("Host", &format!("{}.example.com", stray.text)),
        gateway.get("/").header("traceparent", &stray.text),
        gateway.get("/").header("X-Request-Id", &stray.text),
        gateway.request(&stray.text, "/"),
    ] {
        let sent = request.bearer(&key).send();
        gateway.line_of(&sent);
    }
    // The harness fails on any secret in any output, but say it here as well.
    assert!(!gateway.text().contains(stray.secret().unwrap()), "{}", gateway.text());
}

#[test]
fn a_line_stays_one_line_whatever_a_client_sends() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let nasty = "a\"},{\\\"event\\\":\\\"decision\\\"}\u{7f}\u{e9}";
    for target in ["/%0A%22%7B", "/a%FF?b=%00%0d%0a", "/\"quoted\"", "/a\\b"] {
        let request = gateway.get(target).bearer(&key).header("User-Agent", &nasty.replace('\u{7f}', ""));
        let reply = request.send();
        let line = gateway.line_of(&reply);
        assert!(is_text(&line["url.path"]), "{line}");
    }
    for line in gateway.lines().iter().filter(|l| !l.is_empty()) {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|v| v.is_object()), "not one JSON object: {line}");
    }
}

#[test]
fn the_gateway_tells_its_own_life() {
    let upstream = Upstream::start();
    let mut gateway = Setup::with(&upstream, "", "").start();
    gateway.stop();
    for event in ["start", "ready", "drain", "stop"] {
        let lines = gateway.events(event);
        assert_eq!(lines.len(), 1, "{event}:\n{}", gateway.text());
        assert!(is_time(&lines[0]["time"]) && lines[0]["level"] == "info", "{}", lines[0]);
    }
    assert!(gateway.events("ready")[0]["listeners"][0].as_str().unwrap().starts_with("http://127.0.0.1:"));
}
