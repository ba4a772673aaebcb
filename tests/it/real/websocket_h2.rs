//! WebSockets over HTTP/2, RFC 8441: extended CONNECT at the gateway, an HTTP/1.1 upgrade at the upstream.

use std::time::Duration;

use serde_json::{Value, json};

use super::{bearer, ca, front, ws_server};
use crate::harness::{Gateway, Key, PATIENCE, Program};

fn start(config: &str) -> (Program, Key, Gateway) {
    let ((server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, config, &key.entry("a", ""));
    (server, key, gateway)
}

fn client(gateway: &Gateway, tls: bool, streams: &Value) -> Program {
    let mut client = Program::python::<&str>("ws_over_h2.py", &[]);
    let port = gateway.listener(usize::from(tls)).port();
    client.tell(&json!({ "port": port, "ca": tls.then(|| ca(gateway)), "streams": streams }).to_string());
    client
}

/// What each stream ended with, by its path.
fn results<'a>(said: &'a [Value]) -> impl Fn(&str) -> &'a Value {
    move |path| said.iter().find(|l| l["path"] == path).unwrap_or_else(|| panic!("{path}: {said:#?}"))
}

#[test]
fn several_sockets_share_one_connection() {
    let (server, key, gateway) = start("");
    for tls in [false, true] {
        let messages = json!([5, 126, 70_000, 1_000_000, 1]);
        let streams: Vec<Value> = (0..4)
            .map(|n| json!({ "path": format!("/echo/{tls}/{n}"), "headers": bearer(&key), "messages": messages }))
            .collect();
        let said = client(&gateway, tls, &json!(streams)).all();
        assert_eq!(said[0]["extended_connect"], 1, "{said:#?}");
        for n in 0..4 {
            let path = format!("/echo/{tls}/{n}");
            let result = results(&said)(&path).clone();
            assert_eq!((&result["status"], &result["echoed"]), (&json!(200), &messages), "{result:#}");
            assert_eq!((&result["code"], &result["ended"]), (&json!(1000), &json!("end")), "{result:#}");
            let decision = gateway.wait_decision("its line", |l| l["url.path"] == path.as_str());
            assert_eq!(decision["network.protocol.version"], "2", "{decision:#}");
            let tunnel = gateway.wait_event("tunnel", |l| l["request_id"] == decision["request_id"]);
            let sent = tunnel["http.request.body.size"].as_u64().unwrap();
            assert!((1_070_132..1_070_300).contains(&sent), "{tunnel:#}");
            assert_eq!(tunnel["outcome"], "complete", "{tunnel:#}");
        }
    }
    let asked: Vec<Value> = server.said().into_iter().filter(|l| l["asked"].is_string()).collect();
    assert_eq!(asked.len(), 8);
    let headers = asked[0]["headers"].to_string().to_lowercase();
    for part in ["[\"upgrade\",\"websocket\"]", "\"sec-websocket-key\"", "[\"sec-websocket-version\",\"13\"]"] {
        assert!(headers.contains(part), "{headers}");
    }
    assert!(!headers.contains("\"authorization\"") && !headers.contains("\":"), "{headers}");
}

#[test]
fn refusals_are_answers_on_their_stream() {
    let (server, key, gateway) = start("[keys]\nsources = [\"bearer\", \"websocket-protocol\"]\n");
    let by_protocol = json!({ "sec-websocket-protocol": format!("keyward.{}, chat, more", key.text) });
    let streams = json!([
        { "path": "/echo/none", "messages": [1] },
        { "path": "/echo/bad", "headers": { "Authorization": "Bearer nonsense" }, "messages": [1] },
        { "path": "/refuse", "headers": bearer(&key) },
        { "path": "/echo/good", "headers": by_protocol, "messages": [7, 9] },
    ]);
    let said = client(&gateway, true, &streams).all();
    let result = results(&said);
    for (path, code) in [("/echo/none", "missing_key"), ("/echo/bad", "invalid_key")] {
        assert_eq!(result(path)["status"], 401, "{said:#?}");
        let body: Value = serde_json::from_str(result(path)["body"].as_str().unwrap()).expect("a problem");
        assert_eq!(body["code"], code);
    }
    assert_eq!(result("/refuse")["status"], 403, "{said:#?}");
    assert_eq!((&result("/echo/good")["status"], &result("/echo/good")["echoed"]), (&json!(200), &json!([7, 9])));
    assert_eq!(result("/echo/good")["headers"]["sec-websocket-protocol"], "more", "{said:#?}");
    let asked: Vec<Value> =
        server.said().iter().filter(|l| l["asked"].is_string()).map(|l| l["asked"].clone()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
}

#[test]
fn another_protocol_is_refused_and_harms_no_other_stream() {
    let (server, key, gateway) = start("");
    let streams = json!([
        { "path": "/echo/tcp", "headers": bearer(&key), "protocol": "connect-tcp" },
        { "path": "/echo/good", "headers": bearer(&key), "messages": [7] },
    ]);
    let said = client(&gateway, true, &streams).all();
    let result = results(&said);
    assert!(result("/echo/tcp")["status"].as_u64().is_none_or(|s| (400..=501).contains(&s)), "{said:#?}");
    assert_eq!(result("/echo/good")["echoed"], json!([7]));
    assert!(!format!("{:?}", server.said()).contains("/echo/tcp"));
}

#[test]
fn a_server_that_just_closes_ends_its_stream_only() {
    let (_server, key, gateway) = start("");
    let streams = json!([
        { "path": "/cut", "headers": bearer(&key), "messages": [3, 3] },
        { "path": "/close/4001", "headers": bearer(&key), "messages": [3, 3] },
        { "path": "/echo", "headers": bearer(&key), "messages": [7, 300_000, 7] },
    ]);
    let said = client(&gateway, true, &streams).all();
    let result = results(&said);
    assert_eq!(result("/cut")["code"], 1006, "{said:#?}");
    assert_eq!(result("/close/4001")["code"], 4001, "{said:#?}");
    assert_eq!(result("/echo")["echoed"], json!([7, 300_000, 7]), "{said:#?}");
}

#[test]
fn a_drain_closes_sockets_over_h2_as_others() {
    let (_server, key, mut gateway) = start("[server]\nshutdown_grace = \"500ms\"\n");
    let streams = json!([{ "path": "/echo", "headers": bearer(&key), "messages": [7], "stay": true }]);
    let client = client(&gateway, true, &streams);
    client.word("opened");
    gateway.wait_decision("its line", |l| l["url.path"] == "/echo");
    gateway.signal("TERM");
    let ran = client.finish(PATIENCE + Duration::from_secs(5)).ok();
    assert!(ran.stdout.contains("\"code\": 1001"), "{ran:?}");
    gateway.wait_exit();
    assert_eq!(gateway.events("tunnel").len(), 1);
}
