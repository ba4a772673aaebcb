//! A new process takes over from the old one, and no client notices.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::harness::{Conn, Gateway, Key, Setup, Upstream, Wrk, curl_ok, eventually, tool};

fn setup(upstream: &Upstream, key: &Key, address: &str) -> Setup {
    let config = format!("[server]\nworkers = 2\n[[listener]]\naddress = \"{address}\"\n");
    Setup::with(upstream, &config, &key.entry("a", ""))
}

/// Load of both kinds on one address: kept-alive connections, and a new one for every request.
fn load(address: &str, key: &Key) -> [Wrk; 2] {
    let url = format!("http://{address}/");
    let auth = format!("authorization: Bearer {}", key.text);
    let kept = Wrk::start(&url, 16, std::slice::from_ref(&auth));
    [kept, Wrk::start(&url, 16, &[auth, "connection: close".to_owned()])]
}

/// Waits until it has decided a few hundred more.
fn serves(gateway: &Gateway, what: &str) {
    let before = gateway.decided();
    eventually(what, || (gateway.decided() > before + 300).then_some(()));
}

#[test]
fn a_second_process_takes_over_without_a_failed_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut old = setup(&upstream, &key, "127.0.0.1:0").start();
    let address = old.addr().to_string();
    let mut clients = load(&address, &key);
    let mut next;
    // Twice, so that a successor is also a predecessor.
    for _ in 0..2 {
        serves(&old, "the old one to serve");
        next = setup(&upstream, &key, &address).start();
        serves(&next, "both to serve");
        old.signal("TERM");
        assert_eq!(old.wait_exit().code(), Some(0), "{}", old.text());
        assert_eq!(old.events("stop")[0]["result"], "clean");
        serves(&next, "the new one to serve alone");
        old = next;
    }
    clients.iter_mut().for_each(Wrk::stop_without_a_failure);
}

/// Starts a gateway with a listening socket of ours, as systemd does.
fn activated(mut setup: Setup, socket: OwnedFd) -> Gateway {
    setup.stdin = Some(socket);
    setup.write();
    let mut command = tool("sh");
    let pass = "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" run -c keyward.toml";
    command.args(["-c", pass, env!("CARGO_BIN_EXE_keyward")]);
    Gateway::spawn(command, setup, None)
}

#[test]
fn a_socket_that_is_passed_on_outlives_its_gateways_without_a_failed_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let start = || activated(setup(&upstream, &key, &address), socket.try_clone().unwrap().into());
    let mut old = start();
    let mut clients = load(&address, &key);
    // One after the other: in between the socket holds what comes.
    for _ in 0..2 {
        serves(&old, "the old one to serve");
        old.signal("TERM");
        assert_eq!(old.wait_exit().code(), Some(0), "{}", old.text());
        assert_eq!(old.events("stop")[0]["result"], "clean");
        old = start();
    }
    // Side by side.
    let next = start();
    serves(&next, "both to serve");
    old.signal("TERM");
    assert_eq!(old.wait_exit().code(), Some(0), "{}", old.text());
    serves(&next, "the new one to serve alone");
    clients.iter_mut().for_each(Wrk::stop_without_a_failure);
}

#[test]
fn what_comes_while_nobody_serves_waits_on_the_socket_that_was_passed_on() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut early = Conn::open(address);
    let setup = setup(&upstream, &key, &address.to_string());
    let request = crate::harness::Req::new(address, "GET", "/").bearer(&key);
    early.write(&request.bytes()).unwrap();
    let mut gateway = activated(setup, socket.try_clone().unwrap().into());
    assert_eq!(early.read_reply("GET").unwrap().status, 200);
    gateway.stop();
    assert!(Conn::try_open(address).is_ok(), "the socket is not the gateway's to close");
}

#[test]
fn a_unix_socket_is_passed_on_and_its_file_stays() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = setup(&upstream, &key, "unix:in.sock");
    let path = setup.dir.path().join("in.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut gateway = activated(setup, socket.try_clone().unwrap().into());
    let auth = format!("x-api-key: {}", key.text);
    assert_eq!(curl_ok(&["--unix-socket", &path.display().to_string(), "-H", &auth, "http://localhost/"]), "ok");
    gateway.stop();
    assert!(UnixStream::connect(&path).is_ok());
    drop(socket);
}

#[test]
fn a_socket_that_no_listener_takes_is_told_of() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let gateway = activated(setup(&upstream, &key, "127.0.0.1:0"), socket.into());
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    assert_eq!(gateway.wait_event("inherited_socket_unused", |_| true)["address"], address.as_str());
}

#[test]
fn the_socket_of_the_probes_is_passed_on_like_any_other() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = format!("[admin]\naddress = \"{address}\"\n");
    let setup = Setup::with(&upstream, &config, &key.entry("a", ""));
    let mut gateway = activated(setup, socket.try_clone().unwrap().into());
    assert_eq!((gateway.admin(), gateway.ask("/readyz").status), (address, 200));
    gateway.stop();
    assert!(Conn::try_open(address).is_ok(), "the socket is not the gateway's to close");
}
