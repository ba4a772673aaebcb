//! gRPC: grpcio's client, the gateway over TLS and over h2c, grpcio's server behind h2c and https.

use serde_json::{Value, json};

use super::{ca, front};
use crate::harness::{Gateway, Key, Program, eventually, write_certificate};

pub(super) fn server() -> (Program, String) {
    let mut server = Program::python::<&str>("grpc_server.py", &[]);
    let port = server.port();
    (server, format!("h2c://127.0.0.1:{port}"))
}

pub(super) fn metadata(key: &Key) -> Value {
    json!({ "authorization": format!("Bearer {}", key.text), "x-app": "of the application" })
}

fn calls_to(target: &str, ca: Option<&str>, metadata: &Value, calls: &Value) -> Vec<Value> {
    let mut client = Program::python::<&str>("grpc_client.py", &[]);
    let job = json!({ "target": target, "ca": ca, "metadata": metadata, "calls": calls });
    client.tell(&job.to_string());
    client.all()
}

/// Over h2c, or over TLS.
pub(super) fn calls(gateway: &Gateway, tls: bool, metadata: &Value, calls: &Value) -> Vec<Value> {
    let port = gateway.listener(usize::from(tls)).port();
    let target = if tls { format!("localhost:{port}") } else { format!("127.0.0.1:{port}") };
    calls_to(&target, tls.then(|| ca(gateway)).as_deref(), metadata, calls)
}

/// Without the headers that the gateway adds, which are trailing metadata where an answer has nothing else.
fn without_what_differs(mut said: Vec<Value>) -> Vec<Value> {
    for call in &mut said {
        for place in ["initial", "trailing"] {
            let Some(metadata) = call[place].as_object_mut() else { continue };
            metadata.retain(|name, _| !["x-request-id", "x-api-key-fingerprint", "date"].contains(&name.as_str()));
        }
    }
    said
}

/// Every kind of call.
fn all_kinds() -> Value {
    json!([
        ["unary", "hello"],
        ["unary", ""],
        ["collect", 100, 1000],
        ["collect", 3, 1_000_000],
        ["count", 0],
        ["count", 1000],
        ["chat", "a", "b", "c", "d"],
        ["chat", "a", "fail"],
        ["chat"],
        ["call", "Fail", "9 not in this state: ü % \u{20ac}"],
        ["call", "Fail", "5 nothing there"],
        ["call", "Fail", "16 by the application"],
        ["call", "/keyward.Test/Missing", ""],
        ["call", "/keyward.Nowhere/Missing", ""],
        ["big", 8_000_000],
        ["cancel"],
    ])
}

#[test]
fn every_kind_of_call_is_as_without_a_gateway() {
    let ((_server, url), key) = (server(), Key::new());
    let gateway = front(&url, "", &key.entry("a", ""));
    let direct = calls_to(&url.replace("h2c://", ""), None, &metadata(&key), &all_kinds());
    assert_eq!(direct.len(), all_kinds().as_array().unwrap().len());
    let codes: Vec<u64> = direct.iter().filter_map(|c| c["code"].as_u64()).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, 0, 15, 0, 9, 5, 16, 12, 12, 0, 1], "{direct:#?}");
    assert_eq!(direct[9]["trailing"]["grpc-status-details-bin"], "080920726963682064657461696c73", "{direct:#?}");
    for tls in [false, true] {
        let through = without_what_differs(calls(&gateway, tls, &metadata(&key), &all_kinds()));
        for (through, direct) in through.iter().zip(&direct) {
            assert_eq!(through, direct, "TLS: {tls}");
        }
        assert_eq!(through.len(), direct.len());
    }
}

#[test]
fn an_https_upstream_serves_calls_too() {
    let (key, folder) = (Key::new(), tempfile::tempdir().unwrap());
    write_certificate(folder.path(), "s", "grpc.test");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut server = Program::python("grpc_server.py", &["--tls", &file("s.pem"), &file("s.key")]);
    let url = format!("https://127.0.0.1:{}", server.port());
    let config = format!(
        "[upstream.default]\nservers = [\"{url}\"]\ntls = {{ ca = \"{}\", server_name = \"grpc.test\" }}\n",
        file("s.pem")
    );
    let gateway = front(&url, &config, &key.entry("a", ""));
    for tls in [false, true] {
        let asked = json!([["unary", "hello"], ["chat", "a", "b"], ["count", 100], ["big", 3_000_000]]);
        let said = calls(&gateway, tls, &metadata(&key), &asked);
        assert!(said.len() == 4 && said.iter().all(|c| c["code"] == 0), "{said:#?}");
    }
}

#[test]
fn metadata_passes_and_the_key_does_not() {
    let ((_server, url), key) = (server(), Key::new());
    let gateway = front(&url, "", &key.entry("a", "owner = \"o\""));
    let said = calls(&gateway, true, &metadata(&key), &json!([["call", "Metadata", ""], ["unary", "x"]]));
    let text = said[0]["text"].as_str().unwrap_or_else(|| panic!("{said:#?}"));
    let found: Vec<(String, String)> = serde_json::from_str(text).unwrap();
    let value = |name: &str| found.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(value("x-app"), Some("of the application"));
    assert_eq!((value("x-consumer-id"), value("x-consumer-username")), (Some("a"), Some("o")), "{found:#?}");
    assert!(value("authorization").is_none() && !text.contains(key.secret().unwrap()));
    assert!(value("user-agent").is_some_and(|v| v.contains("grpc")), "{found:#?}");
    assert_eq!(
        (&said[1]["initial"]["x-initial"], &said[1]["initial"]["x-initial-bin"]),
        (&json!("first"), &json!("00ff"))
    );
    assert_eq!(
        (&said[1]["trailing"]["x-trailing"], &said[1]["trailing"]["x-trailing-bin"]),
        (&json!("last"), &json!("00fe"))
    );
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/keyward.Test/Unary");
    for (name, value) in [
        ("http.request.method", json!("POST")),
        ("http.response.status_code", json!(200)),
        ("network.protocol.version", json!("2")),
        ("outcome", json!("complete")),
        // One byte, with gRPC's five in front.
        ("http.request.body.size", json!(6)),
        ("http.response.body.size", json!(6)),
    ] {
        assert_eq!(line[name], value, "{name} in {line:#}");
    }
}

#[test]
fn refusals_are_grpc_statuses() {
    let ((_server, url), key, limited) = (server(), Key::new(), Key::new());
    let config = "[keys]\nsources = [\"bearer\", \"header:x-api-key\"]\n[[route]]\nname = \"test\"\n\
        path = \"/keyward.Test/*\"\n[[route]]\nname = \"get\"\npath = \"/get/*\"\nmethods = [\"GET\"]\n\
        [[route]]\nname = \"down\"\npath = \"/down/*\"\nupstream = \"down\"\n[upstream.down]\nservers = [\"h2c://127.0.0.1:1\"]\n";
    let keys = key.entry("a", "") + &limited.entry("b", "limits = [\"1/h\"]");
    let gateway = front(&url, config, &keys);
    let unary = json!([["unary", "x"]]);
    let two = json!({ "authorization": format!("Bearer {}", key.text), "x-api-key": key.text });
    for (metadata, asked, code, reason) in [
        (json!({}), &unary, 16, "missing_key"),
        (json!({ "authorization": "Bearer nonsense" }), &unary, 16, "unknown_key"),
        (json!({ "x-api-key": key.bad_checksum() }), &unary, 16, "bad_checksum"),
        (two, &unary, 13, "duplicate_credential"),
        (metadata(&key), &json!([["call", "/nowhere/X", ""]]), 12, "no_route"),
        (metadata(&key), &json!([["call", "/get/X", ""]]), 12, "method_not_allowed"),
        (metadata(&key), &json!([["call", "/down/X", ""]]), 14, "upstream_unavailable"),
    ] {
        for tls in [false, true] {
            let said = calls(&gateway, tls, &metadata, asked);
            assert_eq!(said[0]["code"], code, "{reason}: {said:#?}");
            let words = said[0]["details"].as_str().unwrap_or_default();
            assert!(!words.is_empty() && !words.contains("HTTP status"), "it says why: {said:#?}");
        }
        let lines = || gateway.decisions().iter().filter(|l| l["reason"] == reason).count();
        eventually(reason, || (lines() == 2).then_some(()));
    }
    let said = calls(&gateway, false, &metadata(&limited), &json!([["unary", "x"], ["unary", "x"], ["chat", "x"]]));
    let codes: Vec<&Value> = said.iter().map(|c| &c["code"]).collect();
    assert_eq!(codes, [0, 8, 8], "{said:#?}");
}

#[test]
fn an_insecure_listener_refuses_calls_alike() {
    let ((_server, url), key) = (server(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n";
    let gateway = crate::harness::Setup::before(&url, config, &key.entry("a", "")).start();
    for metadata in [metadata(&key), json!({ "authorization": "Bearer nonsense" })] {
        let said = calls(&gateway, false, &metadata, &json!([["unary", "x"], ["chat", "x"]]));
        assert_eq!((&said[0]["code"], &said[1]["code"]), (&json!(7), &json!(7)), "{said:#?}");
    }
}

#[test]
fn a_deadline_ends_the_call_at_the_server_too() {
    let ((_server, url), key) = (server(), Key::new());
    let gateway = front(&url, "", &key.entry("a", ""));
    let asked = json!([["call", "Hang", "", 0.3], ["call", "Hung", ""]]);
    for tls in [false, true] {
        let said = calls(&gateway, tls, &metadata(&key), &asked);
        assert_eq!((&said[0]["code"], &said[1]["text"]), (&json!(4), &json!("given up")), "{said:#?}");
    }
    // The server was told of the deadline, too: which side ends the call is open, that it has a line each time is not.
    let lines = || gateway.decisions().iter().filter(|l| l["url.path"] == "/keyward.Test/Hang").count();
    eventually("its lines", || (lines() == 2).then_some(()));
}

#[test]
fn a_call_that_its_client_cancels_is_one_that_its_client_left() {
    let ((_server, url), key) = (server(), Key::new());
    let gateway = front(&url, "", &key.entry("a", ""));
    let said = calls(&gateway, true, &metadata(&key), &json!([["cancel"], ["unary", "after"]]));
    assert_eq!((&said[0]["code"], &said[1]["code"]), (&json!(1), &json!(0)), "{said:#?}");
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/keyward.Test/Chat");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
}

#[test]
fn the_routes_timeout_is_a_status_too() {
    let ((_server, url), key) = (server(), Key::new());
    let gateway = front(&url, "[[route]]\ntimeout = \"300ms\"\n", &key.entry("a", ""));
    let said = calls(&gateway, true, &metadata(&key), &json!([["call", "Hang", ""], ["call", "Hung", ""]]));
    assert_eq!((&said[0]["code"], &said[1]["text"]), (&json!(14), &json!("given up")), "{said:#?}");
    gateway.wait_decision("its line", |l| l["reason"] == "upstream_timeout");
}

#[test]
fn a_server_that_goes_away_is_a_status_and_its_return_is_noticed() {
    let ((server, url), key) = (server(), Key::new());
    let gateway = front(&url, "", &key.entry("a", ""));
    let unary = json!([["unary", "x"]]);
    assert_eq!(calls(&gateway, false, &metadata(&key), &unary)[0]["code"], 0);
    drop(server);
    assert_eq!(calls(&gateway, false, &metadata(&key), &unary)[0]["code"], 14);
    let port = url.rsplit(':').next().unwrap();
    let mut again = Program::python("grpc_server.py", &["--port", port]);
    again.port();
    let said = calls(&gateway, false, &metadata(&key), &all_kinds());
    assert_eq!((&said[0]["code"], &said[6]["code"]), (&json!(0), &json!(0)), "{said:#?}");
}
