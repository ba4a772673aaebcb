//! WebSockets over HTTP/1.1: the `websockets` client, the gateway, the `websockets` server.

use std::fs;

use serde_json::{Value, json};

use super::{bearer, both_lines, ca, front, ws, ws_server, ws_url, wss_url};
use crate::harness::{Gateway, Key, free_port, served_by, tool, write_certificate};

/// Messages of every kind, and what a server without a gateway answers to them.
fn all_kinds(url: &str, headers: &Value, ca: Option<&str>) -> Vec<Value> {
    let steps = json!([
        ["echo", "hello"],
        ["echo", ""],
        ["echo_bytes", 0],
        ["echo_bytes", 126],
        ["echo_bytes", 65_536],
        ["echo_bytes", 1_000_000],
        ["echo_text", 1_000_000],
        ["echo_parts", ["one", "two", "three"]],
        ["ping"],
        ["echo", "after the ping"],
        ["close", 3456, "enough"],
    ]);
    let mut said = ws(url, json!({ "headers": headers, "ca": ca, "steps": steps }));
    // The handshake's headers are another test's matter.
    said[0]["headers"] = Value::Null;
    said
}

fn entry(key: &Key) -> String {
    key.entry("a", "")
}

#[test]
fn every_kind_of_message_passes() {
    let ((server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, "", &entry(&key));
    let direct = all_kinds(&format!("{}/echo", url.replace("http", "ws")), &json!({}), None);
    assert_eq!(direct.last().unwrap(), &json!({ "code": 3456, "reason": "enough" }), "{direct:#?}");
    assert!(direct.iter().all(|l| l["same"] != false) && direct.len() == 12, "{direct:#?}");
    assert_eq!(all_kinds(&ws_url(&gateway, "/echo"), &bearer(&key), None), direct);
    assert_eq!(all_kinds(&wss_url(&gateway, "/echo"), &bearer(&key), Some(&ca(&gateway))), direct);
    let ended = server.said().into_iter().filter(|l| l["code"] == 3456 && l["reason"] == "enough").count();
    assert_eq!(ended, 3, "the server heard the client's close code each time: {:#?}", server.said());
}

#[test]
fn a_tunnel_has_a_decision_line_and_a_line_at_its_end() {
    let ((_server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, "", &entry(&key));
    let steps = json!([["echo_bytes", 100_000], ["echo", "hello"], ["wait"]]);
    let job = json!({ "headers": bearer(&key), "plain": true, "steps": steps });
    let mut client = super::ws_client(&ws_url(&gateway, "/echo"), job);
    client.word("waiting");
    let decision = gateway.wait_decision("the line at the 101", |l| l["url.path"] == "/echo");
    assert!(gateway.events("tunnel").is_empty(), "the tunnel is still open");
    for (name, value) in [
        ("decision", json!("allow")),
        ("reason", json!("allowed")),
        ("key.id", json!("a")),
        ("http.request.method", json!("GET")),
        ("http.response.status_code", json!(101)),
        ("network.protocol.version", json!("1.1")),
        ("upstream.attempts", json!(1)),
    ] {
        assert_eq!(decision[name], value, "{name} in {decision:#}");
    }
    client.tell("");
    let opened = client.all().remove(0);
    assert_eq!(opened["headers"]["x-request-id"], decision["request_id"], "{opened:#}");
    let (decision, tunnel) = both_lines(&gateway, "/echo");
    assert_eq!(gateway.decided(), 1);
    // Two masked frames (14 and 6 bytes of framing), a close frame; the echoes are not masked.
    let (sent, got) = (tunnel["http.request.body.size"].as_u64(), tunnel["http.response.body.size"].as_u64());
    assert!((100_019..100_100).contains(&sent.unwrap_or_default()), "{tunnel:#}");
    assert!((100_010..100_100).contains(&got.unwrap_or_default()), "{tunnel:#}");
    assert_eq!(tunnel["outcome"], "complete", "{tunnel:#}");
    assert!(tunnel["duration_us"].as_u64() >= decision["duration_us"].as_u64(), "{tunnel:#}");
}

/// The headers a server got, lowercased, from what the client received at `/headers`.
fn headers_at_server(said: &[Value]) -> Vec<(String, String)> {
    let text = said.iter().find_map(|l| l["received"].as_str()).unwrap_or_else(|| panic!("{said:#?}"));
    let pairs: Vec<(String, String)> = serde_json::from_str(text).unwrap();
    pairs.into_iter().map(|(n, v)| (n.to_lowercase(), v)).collect()
}

fn all<'a>(headers: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
}

#[test]
fn subprotocols_pass_and_the_servers_choice_comes_back() {
    let ((_server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, "", &entry(&key));
    let job = json!({ "headers": bearer(&key), "subprotocols": ["chat", "superchat"], "steps": [["receive"]] });
    let said = ws(&ws_url(&gateway, "/headers"), job);
    assert_eq!(said[0]["subprotocol"], "superchat");
    let headers = headers_at_server(&said);
    assert_eq!(all(&headers, "sec-websocket-protocol").join(", "), "chat, superchat");
    for (name, value) in [("upgrade", "websocket"), ("sec-websocket-version", "13"), ("x-consumer-id", "a")] {
        assert_eq!(all(&headers, name), [value], "{headers:#?}");
    }
    assert!(all(&headers, "connection")[0].to_lowercase().contains("upgrade"), "{headers:#?}");
    assert_eq!(all(&headers, "sec-websocket-extensions").len(), 1, "compression is the application's: {headers:#?}");
    assert!(all(&headers, "authorization").is_empty(), "the key does not go on: {headers:#?}");
    assert!(said[0]["headers"]["sec-websocket-extensions"].is_string(), "{said:#?}");
}

fn with_sources(url: &str, key: &Key) -> Gateway {
    let config = "[keys]\nsources = [\"bearer\", \"query:k\", \"websocket-protocol\"]\n[plan.p]\nlimits = [\"3/h\"]\n";
    front(url, config, &key.entry("a", "plan = \"p\""))
}

#[test]
fn a_key_comes_by_header_by_query_and_by_subprotocol() {
    let ((server, url), key) = (ws_server(), Key::new());
    let gateway = with_sources(&url, &key);
    let steps = json!([["receive"]]);
    let by_header = ws(&ws_url(&gateway, "/headers"), json!({ "headers": bearer(&key), "steps": steps }));
    assert_eq!(by_header[0]["opened"], 101);
    let by_query = ws(&ws_url(&gateway, &format!("/headers?a=1&k={}&b=2", key.text)), json!({ "steps": steps }));
    assert_eq!(by_query[0]["opened"], 101);
    let offered = json!([format!("keyward.{}", key.text), "chat"]);
    let job = json!({ "subprotocols": offered, "steps": steps });
    let by_protocol = ws(&ws_url(&gateway, "/headers"), job);
    assert_eq!((&by_protocol[0]["opened"], &by_protocol[0]["subprotocol"]), (&json!(101), &json!("chat")));
    assert_eq!(all(&headers_at_server(&by_protocol), "sec-websocket-protocol"), ["chat"]);
    gateway.wait_decision("the last line", |line| line["key.source"] == "websocket-protocol");
    let sources: Vec<Value> = gateway.decisions().iter().map(|l| l["key.source"].clone()).collect();
    assert_eq!(sources, ["bearer", "query:k", "websocket-protocol"]);
    // The server saw the key nowhere.
    let seen = format!("{:?}", server.said());
    assert!(seen.contains("/headers?a=1&b=2") && !seen.contains(key.secret().unwrap()), "{seen}");
    // The plan's three are spent: the fourth handshake is refused as any request is.
    let refused = ws(&ws_url(&gateway, "/headers"), json!({ "headers": bearer(&key), "steps": [] }));
    assert_eq!(refused[0]["refused"], 429, "{refused:#?}");
    assert!(refused[0]["headers"]["retry-after"].is_string(), "{refused:#?}");
}

#[test]
fn the_key_as_the_only_subprotocol_leaves_none() {
    let ((_server, url), key) = (ws_server(), Key::new());
    let gateway = with_sources(&url, &key);
    let job = json!({ "subprotocols": [format!("keyward.{}", key.text)], "steps": [["receive"]] });
    let said = ws(&ws_url(&gateway, "/headers"), job);
    // A browser takes an answer without a subprotocol; so does this client.
    assert_eq!((&said[0]["opened"], &said[0]["subprotocol"]), (&json!(101), &Value::Null), "{said:#?}");
    assert!(all(&headers_at_server(&said), "sec-websocket-protocol").is_empty());
}

#[test]
fn a_refused_handshake_is_a_plain_answer_and_never_reaches_the_server() {
    let ((server, url), key) = (ws_server(), Key::new());
    let gateway = with_sources(&url, &key);
    let broken = format!("keyward.{}", key.bad_checksum());
    for (job, reason) in [
        (json!({ "steps": [] }), "missing_key"),
        (json!({ "headers": { "Authorization": "Bearer nonsense" }, "steps": [] }), "unknown_key"),
        (json!({ "subprotocols": [broken, "chat"], "steps": [] }), "bad_checksum"),
    ] {
        let said = ws(&ws_url(&gateway, "/echo"), job);
        assert_eq!(said[0]["refused"], 401, "{reason}: {said:#?}");
        let headers = &said[0]["headers"];
        assert_eq!(headers["content-type"], "application/problem+json", "{said:#?}");
        assert!(headers["www-authenticate"].is_string() && headers["upgrade"].is_null(), "{said:#?}");
        let body: Value = serde_json::from_str(said[0]["body"].as_str().unwrap()).expect("a problem");
        assert_eq!(body["status"], 401);
        gateway.wait_decision(reason, |l| l["reason"] == reason && l["http.response.status_code"] == 401);
    }
    assert!(server.said().is_empty(), "{:#?}", server.said());
    assert!(gateway.events("tunnel").is_empty());
}

#[test]
fn the_server_may_refuse_and_its_answer_comes_back() {
    let ((_server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, "", &entry(&key));
    let said = ws(&ws_url(&gateway, "/refuse"), json!({ "headers": bearer(&key), "steps": [] }));
    assert_eq!((&said[0]["refused"], &said[0]["body"]), (&json!(403), &json!("not here\n")), "{said:#?}");
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/refuse");
    assert_eq!((&line["decision"], &line["http.response.status_code"]), (&json!("allow"), &json!(403)));
    assert!(gateway.events("tunnel").is_empty());
}

#[test]
fn what_the_server_says_first_arrives() {
    let ((_server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, "", &entry(&key));
    for _ in 0..10 {
        let said = ws(&ws_url(&gateway, "/hello"), json!({ "headers": bearer(&key), "steps": [["receive"]] }));
        assert_eq!(said[1]["received"], "hello", "{said:#?}");
    }
}

/// HAProxy with TLS and a choice of `alpn` before the server at `url`.
fn haproxy_with_tls(dir: &std::path::Path, url: &str, alpn: &str) -> crate::harness::Server {
    write_certificate(dir, "h", "ws.test");
    let both = ["h.pem", "h.key"].map(|f| fs::read_to_string(dir.join(f)).unwrap()).concat();
    fs::write(dir.join("both.pem"), both).unwrap();
    let (addr, server) = (free_port(), url.trim_start_matches("http://"));
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nlisten tls\n  \
         bind {addr} ssl crt {} alpn {alpn}\n  server s {server}\n",
        dir.join("both.pem").display()
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let mut command = tool("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    served_by(command, addr)
}

#[test]
fn an_upstream_with_tls_gets_sockets_too_also_where_it_would_rather_speak_http_2() {
    let ((_server, url), key) = (ws_server(), Key::new());
    for alpn in ["http/1.1", "h2,http/1.1"] {
        let folder = tempfile::tempdir().unwrap();
        let haproxy = haproxy_with_tls(folder.path(), &url, alpn);
        let config = format!(
            "[upstream.default]\nservers = [\"https://{}\"]\ntls = {{ ca = \"{}\", server_name = \"ws.test\" }}\n",
            haproxy.addr,
            folder.path().join("h.pem").display()
        );
        let gateway = front("", &config, &entry(&key));
        for _ in 0..2 {
            // A request first, so that there is a connection that could be taken; the server's answer to it is 426.
            assert_eq!(gateway.get("/plain").bearer(&key).send().status, 426, "{alpn}");
            let job = json!({ "headers": bearer(&key), "steps": [["echo", "hello"], ["echo_bytes", 100_000]] });
            let said = ws(&ws_url(&gateway, "/echo"), job);
            assert_eq!((&said[0]["opened"], said.len()), (&json!(101), 4), "{alpn}: {said:#?}");
        }
    }
}
