//! Protocols end to end, between clients and servers that none of us wrote.

mod autobahn;
mod curl;
mod events;
mod fronts;
mod grpc;
mod mixed;
mod websocket;
mod websocket_ends;
mod websocket_h2;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Gateway, Key, Program, Setup};

/// A plain listener and one with the certificate of [`front`].
const TWO_LISTENERS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
    tls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";

/// A gateway with both listeners in front of `url`.
fn front(url: &str, config: &str, keys: &str) -> Gateway {
    Setup::before(url, &format!("{config}\n{TWO_LISTENERS}"), keys).certificate("t", "localhost").start()
}

fn ca(gateway: &Gateway) -> String {
    gateway.dir.path().join("t.pem").display().to_string()
}

fn bearer(key: &Key) -> Value {
    json!({ "Authorization": format!("Bearer {}", key.text) })
}

/// A `websockets` server and its URL.
fn ws_server() -> (Program, String) {
    let mut server = Program::python::<&str>("ws_server.py", &[]);
    let port = server.port();
    (server, format!("http://127.0.0.1:{port}"))
}

fn ws_server_on(socket: &Path) -> Program {
    let mut server = Program::python("ws_server.py", &[Path::new("--unix"), socket]);
    server.port();
    server
}

/// A `websockets` client at work on a job.
fn ws_client(url: &str, mut job: Value) -> Program {
    job["url"] = json!(url);
    let mut client = Program::python::<&str>("ws_client.py", &[]);
    client.tell(&job.to_string());
    client
}

/// What a client that goes through a job says.
fn ws(url: &str, job: Value) -> Vec<Value> {
    ws_client(url, job).all()
}

fn ws_url(gateway: &Gateway, path: &str) -> String {
    format!("ws://{}{path}", gateway.addr())
}

fn wss_url(gateway: &Gateway, path: &str) -> String {
    format!("wss://localhost:{}{path}", gateway.listener(1).port())
}

/// The decision line of the handshake and the tunnel's own at its end.
#[track_caller]
fn both_lines(gateway: &Gateway, path: &str) -> (Value, Value) {
    let decision = gateway.wait_decision("the handshake's line", |l| l["url.path"] == path);
    let tunnel = gateway.wait_event("tunnel", |l| l["request_id"] == decision["request_id"]);
    assert!(decision["request_id"].is_string(), "{decision:#}");
    (decision, tunnel)
}
