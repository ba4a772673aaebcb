//! Protocols end to end, between clients and servers that none of us wrote.

mod curl;
mod events;
mod fronts;
mod grpc;
mod mixed;

use serde_json::{Value, json};

use crate::harness::{Gateway, Key, Setup};

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
