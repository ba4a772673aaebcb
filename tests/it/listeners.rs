//! Where connections come in beside TCP over IPv4: Unix sockets, IPv6, both at once.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::harness::{Conn, Gateway, Key, Req, Setup, Upstream, curl, curl_ok, eventually, keyward};

const UNIX: &str = "[server]\nworkers = 2\n[[listener]]\naddress = \"unix:in.sock\"\n";

fn on_unix(more: &str) -> (Upstream, Key, Gateway, PathBuf) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, &format!("{UNIX}{more}"), &key.entry("a", "")).start();
    let path = gateway.dir.path().join("in.sock");
    (upstream, key, gateway, path)
}

/// What curl gets over a Unix socket.
fn get(path: &Path, key: &Key, url: &str, more: &[&str]) -> String {
    let (socket, auth) = (path.display().to_string(), format!("x-api-key: {}", key.text));
    let mut args = vec!["--unix-socket", &socket, "-H", &auth];
    args.extend(more);
    args.push(url);
    curl_ok(&args)
}

#[test]
fn a_unix_socket_is_a_listener_like_any_other() {
    let (upstream, key, mut gateway, path) = on_unix("");
    let meta = fs::metadata(&path).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o666, "as nginx and systemd make theirs");
    assert!(gateway.text().contains("http://unix:"), "{}", gateway.text());
    // A plaintext key is taken there, and the client has no address to pass on or to make up.
    assert_eq!(get(&path, &key, "http://localhost/a", &["-H", "x-forwarded-for: 9.9.9.9"]), "ok");
    assert_eq!(get(&path, &key, "http://localhost/b", &["--http2-prior-knowledge"]), "ok");
    for at in ["/a", "/b"] {
        assert_eq!(upstream.request(at).get("x-forwarded-for"), None);
    }
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/a");
    assert_eq!((&line["client.address"], &line["network.peer.address"]), (&"unix:".into(), &"unix:".into()));
    assert!(line.get("client.port").is_none(), "{line}");
    gateway.stop();
    assert!(!path.exists(), "its file is removed");
}

#[test]
fn a_unix_socket_may_have_permissions_tls_and_a_trusted_proxy() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[server]\ntrusted_proxies = [\"unix:\"]\n[[listener]]\naddress = \"unix:in.sock\"\nmode = \"0600\"\n\
        tls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("t", "localhost").start();
    let (path, ca) = (gateway.dir.path().join("in.sock"), gateway.dir.path().join("t.pem").display().to_string());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let more = ["--cacert", &ca, "-H", "x-forwarded-for: 192.0.2.7"];
    assert_eq!(get(&path, &key, "https://localhost/", &more), "ok");
    let line = gateway.wait_decision("its line", |_| true);
    assert_eq!((&line["client.address"], &line["network.peer.address"]), (&"192.0.2.7".into(), &"unix:".into()));
}

#[test]
fn a_path_is_taken_over_from_the_dead_and_never_from_the_living() {
    let (_upstream, key, mut gateway, path) = on_unix("");
    let ran = keyward(gateway.dir.path(), &["run", "-c", "keyward.toml"]).exits(1);
    assert!(ran.stderr.contains("somebody listens there"), "{ran:?}");
    assert_eq!(get(&path, &key, "http://localhost/", &[]), "ok", "and the living one goes on");

    gateway.signal("KILL");
    gateway.wait_exit();
    assert!(path.exists() && UnixStream::connect(&path).is_err(), "it left its file behind");
    let upstream = Upstream::start();
    let config = format!("[[listener]]\naddress = \"unix:{}\"\n", path.display());
    let mut next = Setup::with(&upstream, &config, &key.entry("a", "")).start();
    assert_eq!(get(&path, &key, "http://localhost/", &[]), "ok");

    // Whoever has bound the path since keeps it.
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    next.stop();
    assert!(path.exists());
    drop(successor);
}

#[test]
fn what_waits_on_a_unix_socket_is_answered_before_the_end() {
    let (_upstream, key, mut gateway, path) = on_unix("");
    let request = Req::new(([127, 0, 0, 1], 1).into(), "GET", "/").bearer(&key).header("Connection", "close");
    gateway.signal("STOP");
    let mut waiting: Vec<UnixStream> = (0..20).map(|_| UnixStream::connect(&path).unwrap()).collect();
    for stream in &mut waiting {
        std::io::Write::write_all(stream, &request.bytes()).unwrap();
    }
    gateway.signal("TERM");
    gateway.signal("CONT");
    for stream in &mut waiting {
        let mut reply = String::new();
        std::io::Read::read_to_string(stream, &mut reply).unwrap();
        assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn ipv6_is_served_alone_and_beside_ipv4() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"[::1]:0\"\n[[listener]]\naddress = \"[::]:0\"\ninsecure = \"allow\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let (six, both) = (gateway.listener(0), gateway.listener(1).port());
    assert!(six.is_ipv6());
    assert!(Conn::try_open(([127, 0, 0, 1], six.port()).into()).is_err());
    let auth = format!("x-api-key: {}", key.text);
    for (url, path, address) in [
        (format!("http://{six}/six"), "/six", "::1"),
        (format!("http://[::1]:{both}/both-six"), "/both-six", "::1"),
        // Unmapped: the same client has one address, whichever socket it comes by.
        (format!("http://127.0.0.1:{both}/both-four"), "/both-four", "127.0.0.1"),
    ] {
        assert_eq!(curl_ok(&["-g", "-H", &auth, &url]), "ok", "{url}");
        let seen = upstream.request(path);
        assert_eq!(seen.get("x-forwarded-for"), Some(address));
        let line = gateway.wait_decision("its line", |l| l["url.path"] == path);
        assert_eq!((&line["client.address"], &line["network.peer.address"]), (&address.into(), &address.into()));
    }
    let seen = upstream.request("/six");
    assert_eq!(seen.get("x-forwarded-host"), Some(six.to_string().as_str()));
}

#[test]
fn two_gateways_stand_on_one_ipv6_port_and_the_old_one_leaves() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let start = |address: &str| {
        let config = format!("[[listener]]\naddress = \"{address}\"\ninsecure = \"allow\"\n");
        Setup::with(&upstream, &config, &key.entry("a", "")).start()
    };
    let mut old = start("[::]:0");
    let port = old.addr().port();
    let next = start(&format!("[::]:{port}"));
    old.stop();
    let (auth, url) = (format!("x-api-key: {}", key.text), format!("http://[::1]:{port}/"));
    eventually("the new one to serve", || (curl(&["-g", "-H", &auth, &url]).code == 0).then_some(()));
    eventually("its line", || (next.decided() == 1).then_some(()));
}
