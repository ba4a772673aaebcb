//! Several protocols at once through one gateway, to servers of every kind it takes.

use std::thread;

use serde_json::json;

use super::{bearer, ca, front, grpc, ws, ws_server_on, ws_url, wss_url};
use crate::harness::{Key, Program, curl_ok, python_http_server};

/// One gateway before a Unix socket, an HTTP/1.0 server, h2c and a Unix socket with WebSockets.
#[test]
fn every_kind_of_server_at_once() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Key::new());
    let socket = |name: &str| folder.path().join(name);
    std::fs::write(folder.path().join("f.txt"), "file").unwrap();
    let mut events = Program::python("events_server.py", &[socket("events.sock")]);
    events.port();
    let _sockets = ws_server_on(&socket("ws.sock"));
    let old = python_http_server(folder.path(), "HTTP/1.0");
    let (_calls, calls_url) = grpc::server();
    let mut config = String::new();
    for (name, path, url) in [
        ("events", "/events-app/*", format!("unix:{}", socket("events.sock").display())),
        ("sockets", "/ws/*", format!("unix:{}", socket("ws.sock").display())),
        ("calls", "/keyward.Test/*", calls_url),
        ("old", "/*", old.url()),
    ] {
        config += &format!("[[route]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"{name}\"\n");
        config += &format!("[upstream.{name}]\nservers = [\"{url}\"]\n");
    }
    let gateway = front(&old.url(), &config, &key.entry("a", ""));
    let (auth, ca) = (format!("authorization: Bearer {}", key.text), ca(&gateway));
    thread::scope(|scope| {
        for tls in [false, true] {
            let (gateway, key, auth, ca) = (&gateway, &key, &auth, &ca);
            scope.spawn(move || {
                let url = if tls { wss_url(gateway, "/ws/echo") } else { ws_url(gateway, "/ws/echo") };
                let job = json!({ "headers": bearer(key), "ca": tls.then_some(ca), "steps": [["echo_bytes", 500_000], ["ping"]] });
                let said = ws(&url, job);
                assert_eq!((&said[1]["same"], &said.last().unwrap()["code"]), (&json!(true), &json!(1000)), "{said:#?}");
            });
            scope.spawn(move || {
                let said =
                    grpc::calls(gateway, tls, &grpc::metadata(key), &json!([["chat", "a", "b"], ["big", 1_000_000]]));
                assert!(said.len() == 2 && said.iter().all(|c| c["code"] == 0), "{said:#?}");
            });
            scope.spawn(move || {
                let (base, flag) = if tls {
                    (format!("https://localhost:{}", gateway.listener(1).port()), "--http2")
                } else {
                    (format!("http://{}", gateway.addr()), "--http1.1")
                };
                let get = |path: &str| curl_ok(&["-f", flag, "--cacert", ca, "-H", auth, &format!("{base}{path}")]);
                for n in 0..20 {
                    assert_eq!(get("/f.txt"), "file");
                    assert_eq!(get(&format!("/events-app/{n}")), format!("/events-app/{n}"));
                }
            });
        }
    });
    let routes = |name: &str| gateway.decisions().iter().filter(|l| l["http.route"] == name).count();
    crate::harness::eventually("every line", || {
        (["events", "sockets", "calls", "old"].map(routes) == [40, 2, 4, 40]).then_some(())
    });
    let line = gateway.wait_decision("a line", |l| l["http.route"] == "events");
    assert!(line["upstream.address"].as_str().unwrap().contains("events.sock"), "{line:#}");
}
