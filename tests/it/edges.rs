//! Forms of requests and listeners that are rare and right, or rare and dangerous.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::harness::{Gateway, Key, Setup, Upstream, free_port, raw};

#[test]
fn an_absolute_target_reaches_the_upstream_as_a_path() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("http://api.example.com/x?y=1").bearer(&key).send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/x");
    assert_eq!((seen.target(), seen.all("host")), ("/x?y=1", vec!["api.example.com"]));
    assert_eq!(gateway.line_of(&reply)["url.path"], "/x");
}

#[test]
fn an_absolute_target_cannot_name_another_host_than_host() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\nhost = \"admin.internal\"\n[[route]]\nhost = \"api.example.com\"\nauth = \"open\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    for (target, host) in
        [("http://admin.internal/x", "api.example.com"), ("http://api.example.com/x", "admin.internal")]
    {
        let reply = gateway.get(target).header("Host", host).send();
        assert!(reply.status >= 400, "{target} with Host {host}: {}", reply.everything());
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn connect_is_no_way_through() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let target = upstream.addr.to_string();
    // Refusals of gRPC calls have status 200, by which a CONNECT would have its tunnel.
    for more in ["", "Content-Type: application/grpc\r\n"] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nX-API-Key: {}\r\n{more}\r\n", key.text);
        if let Ok((mut conn, reply)) = raw(gateway.addr(), head.as_bytes()) {
            assert!(reply.status >= 400, "{}", reply.everything());
            drop(conn.write(b"GET /tunnelled HTTP/1.1\r\nHost: a\r\n\r\n"));
            drop(conn.read_head());
        }
    }
    assert_eq!(upstream.count("/tunnelled"), 0);
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn an_upgrade_that_is_not_granted_is_an_ordinary_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let request = gateway.get("/up").bearer(&key).header("Connection", "Upgrade, HTTP2-Settings");
    let reply = request.header("Upgrade", "h2c").header("HTTP2-Settings", "AAMAAABkAAQAAP__").send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/up");
    assert_eq!((seen.get("upgrade"), seen.get("http2-settings")), (None, None), "{}", seen.raw());
}

#[test]
fn a_question_to_the_server_itself_has_an_answer() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.request("OPTIONS", "*").bearer(&key).send();
    assert!(gateway.line_of(&reply)["url.path"].is_string(), "{}", reply.everything());
}

#[test]
fn ipv6_is_listened_on() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[[listener]]\naddress = \"[::1]:0\"\n", &key.entry("a", "")).start();
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!(reply.status, 200);
    let line = gateway.line_of(&reply);
    assert_eq!((&line["client.address"], &line["network.peer.address"]), (&"::1".into(), &"::1".into()));
    assert_eq!(upstream.request("/").all("x-forwarded-for"), ["::1"]);
}

/// A gateway on a port of its own choosing.
fn on(port: u16, upstream: &Upstream, keys: &str) -> Gateway {
    let config = format!("[[listener]]\naddress = \"127.0.0.1:{port}\"\n");
    Setup::with(upstream, &config, keys).start()
}

#[test]
fn a_new_process_takes_over_beside_the_old_one() {
    let (old, new, key) = (Upstream::start(), Upstream::start(), Key::new());
    let port = free_port().port();
    let mut first = on(port, &old, &key.entry("a", ""));
    assert_eq!(first.get("/first").bearer(&key).send().status, 200);
    let second = on(port, &new, &key.entry("a", ""));
    first.stop();
    for _ in 0..20 {
        assert_eq!(second.get("/second").bearer(&key).send().status, 200);
    }
    assert_eq!((old.count("/first"), new.count("/second")), (1, 20));
}

#[test]
fn a_pepper_may_stand_in_a_file() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = Setup::with(&upstream, "[keys]\npepper = \"file:pepper.txt\"\n", &key.entry("plain", ""));
    fs::write(setup.dir.path().join("pepper.txt"), "a pepper of thirty-two bytes or so\n").unwrap();
    let gateway = setup.start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["key", "new", "peppered", "-c", "keyward.toml"]).current_dir(gateway.dir.path());
    let made = Key::from_text(crate::harness::wait_within(command, crate::harness::PATIENCE).ok().stdout.trim_end());
    crate::harness::eventually("the key", || (gateway.get("/").bearer(&made).send().status == 200).then_some(()));
    assert!(fs::read_to_string(gateway.keys_path()).unwrap().contains("hmac-sha256:"));
    assert!(!gateway.text().contains("thirty-two"));
}
