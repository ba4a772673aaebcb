//! Connections between requests: after a second they give back what they read and write with, and nobody notices.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{Conn, Gateway, Key, Req, Setup, Upstream, eventually, poll};

fn gateway(http: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, &format!("[http]\n{http}\n"), &key.entry("a", "")).start();
    (upstream, key, gateway)
}

/// Until connections that say nothing rest. On a machine that is late they do not yet, and then a test shows less.
fn silence() {
    poll(Duration::from_millis(1500), || None::<()>);
}

/// So many connections, each of which rests after a request.
fn resting(gateway: &Gateway, key: &Key, count: usize) -> Vec<Conn> {
    let mut conns: Vec<Conn> = (0..count).map(|_| gateway.connect()).collect();
    for conn in &mut conns {
        assert_eq!(conn.send(&gateway.get("/").bearer(key)).status, 200);
    }
    silence();
    conns
}

#[test]
fn whatever_comes_after_a_rest_is_served_as_before() {
    let (upstream, key, gateway) = gateway("");
    let get = |path: &str| gateway.get(path).bearer(&key);
    let long_head = get("/long").header("X-Long", &"x".repeat(6000));
    let long_body = gateway.request("POST", "/body").bearer(&key).body(&[b'b'; 5000]);
    let chunked = gateway.request("POST", "/chunks").bearer(&key).header("Transfer-Encoding", "chunked");
    let two = [get("/first").bytes(), get("/second").bytes()].concat();
    let cases: [(Vec<u8>, usize); 6] = [
        (get("/plain").bytes(), 1),
        (long_head.bytes(), 1),
        (long_body.bytes(), 1),
        ([chunked.bytes(), b"3\r\nabc\r\n0\r\n\r\n".to_vec()].concat(), 1),
        (two, 2),
        ([b"\r\n".to_vec(), get("/crlf").bytes()].concat(), 1),
    ];
    // Each whole, and each in pieces.
    let mut conns = resting(&gateway, &key, 2 * cases.len());
    for (at, conn) in conns.iter_mut().enumerate() {
        let (bytes, replies) = &cases[at / 2];
        let piece = if at % 2 == 0 { bytes.len() } else { 19 };
        bytes.chunks(piece).for_each(|piece| conn.write(piece).unwrap());
        for _ in 0..*replies {
            assert_eq!(conn.read_reply("GET").unwrap().status, 200, "{at}: {}", String::from_utf8_lossy(bytes));
        }
    }
    assert_eq!(upstream.count("/second"), 2);
    assert!(upstream.seen().iter().filter(|s| s.path() == "/body").all(|s| s.body == [b'b'; 5000]));
    assert!(upstream.seen().iter().filter(|s| s.path() == "/chunks").all(|s| s.body == b"abc"));
    // An empty line, and another rest behind it.
    conns[0].write(b"\r\n").unwrap();
    silence();
    for conn in &mut conns {
        assert_eq!(conn.send(&get("/again")).status, 200);
    }
    // Two empty lines are one too many, whenever they come, and so is a bare LF.
    conns[0].write(b"\r\n").unwrap();
    silence();
    for (conn, bad) in conns.iter_mut().zip([&b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], b"GET / HTTP/1.1\n\n"]) {
        conn.write(bad).unwrap();
        assert_eq!(conn.read_reply("GET").unwrap().status, 400);
        assert!(conn.is_closed_by_peer());
    }
    eventually("their lines", || {
        let refused = gateway.decisions().iter().filter(|l| l["reason"] == "malformed_request").count();
        (refused == 2).then_some(())
    });
}

#[test]
fn the_clock_runs_on_through_a_rest() {
    let (_upstream, key, gateway) = gateway("idle_timeout = \"3s\"\nheader_timeout = \"1s\"");
    let since = Instant::now();
    let mut conns = resting(&gateway, &key, 2);
    conns[0].write(b"GET / HTTP/1.1\r\nX-Slow: ").unwrap();
    assert!(conns[0].is_closed_by_peer(), "an unfinished head is held for ever");
    gateway.wait_decision("its line", |l| l["reason"] == "malformed_request" && l["outcome"] == "timeout");
    assert!(conns[1].is_closed_by_peer(), "an idle connection is held for ever");
    assert!(since.elapsed() >= Duration::from_secs(3), "cut early");
    assert_eq!(gateway.decided(), 3, "silence is no request");
}

#[test]
fn who_leaves_a_resting_connection_has_left() {
    let (_upstream, key, gateway) = gateway("connections_max = 2");
    let mut conns = resting(&gateway, &key, 2);
    // One says its last with the request.
    conns[0].write(&gateway.get("/gate").bearer(&key).bytes()).unwrap();
    conns[0].stream().shutdown(Shutdown::Write).unwrap();
    gateway.wait_decision("its line", |l| l["url.path"] == "/gate" && l["outcome"] == "client_gone");
    drop(conns);
    eventually("room for two more", || {
        let mut others = [Conn::try_open(gateway.addr()).ok()?, Conn::try_open(gateway.addr()).ok()?];
        let served = |conn: &mut Conn| conn.try_send(&gateway.get("/").bearer(&key)).is_ok_and(|r| r.status == 200);
        others.iter_mut().all(served).then_some(())
    });
    assert_eq!(gateway.decisions().iter().filter(|l| l["outcome"] != "complete").count(), 1);
}

#[test]
fn resting_connections_are_small() {
    const CONNECTIONS: u64 = 400;
    let (_upstream, key, gateway) = gateway("");
    drop(resting(&gateway, &key, 1));
    let before = gateway.rss_kib();
    let held = resting(&gateway, &key, CONNECTIONS as usize);
    // Buffers alone would be 16. In a release build it is about 3.
    eventually("their memory to be given back", || (gateway.rss_kib() < before + 8 * CONNECTIONS).then_some(()));
    drop(held);
}

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn over_tls(addr: SocketAddr, certificate: &std::path::Path) -> Tls {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let session = ClientConnection::new(Arc::new(config), "a.test".try_into().unwrap()).unwrap();
    let stream = Conn::open(addr).stream().try_clone().unwrap();
    let mut tls = StreamOwned::new(session, stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).unwrap();
    }
    tls
}

/// Sends, and reads an answer whose body is `ok`.
fn is_answered(tls: &mut Tls, request: &Req) -> bool {
    tls.write_all(&request.bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut bytes = [0; 1024];
        match tls.read(&mut bytes) {
            Ok(0) | Err(_) => return false,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
        }
    }
    answer.starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn over_tls_as_well() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"a.pem\", key = \"a.key\" }]\n";
    let setup = Setup::with(&upstream, listener, &key.entry("a", "")).certificate("a", "a.test");
    let mut gateway = setup.start();
    let pem = gateway.dir.path().join("a.pem");
    let (short, long) = (gateway.get("/").bearer(&key), gateway.get("/").bearer(&key).header("X", &"x".repeat(6000)));
    let [mut early, mut late] = [over_tls(gateway.addr(), &pem), over_tls(gateway.addr(), &pem)];
    assert!(is_answered(&mut early, &short));
    for request in [&short, &long, &short] {
        silence();
        assert!(is_answered(&mut early, request) && is_answered(&mut late, request));
    }
    silence();
    gateway.signal("TERM");
    for mut tls in [early, late] {
        // Without a close_notify this would be an error.
        assert_eq!(tls.read_to_end(&mut Vec::new()).expect("a proper end"), 0);
    }
    assert_eq!(gateway.wait_exit().code(), Some(0));
}
