//! What only HTTP/2 servers do: few streams, early answers, goodbyes. The server here does each on demand.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{Request, Response};
use tokio::sync::Notify;

use crate::harness::{Gateway, Key, PATIENCE, Setup, eventually};

/// A server over HTTP/2 without TLS.
struct Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    held: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

impl Server {
    /// One that takes so many streams at once on each connection.
    fn start(streams: u32) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = Server { addr, connections: Arc::default(), held: Arc::default(), release: Arc::default() };
        let (connections, held, release) = (server.connections.clone(), server.held.clone(), server.release.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(stream, streams, held.clone(), release.clone()));
                }
            });
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(stream: tokio::net::TcpStream, streams: u32, held: Arc<AtomicUsize>, release: Arc<Notify>) {
    let mut builder = h2::server::Builder::new();
    let Ok(mut connection) = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        if request.uri().path() == "/goodbye" {
            connection.graceful_shutdown();
        }
        tokio::spawn(answer(request, respond, held.clone(), release.clone()));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    held: Arc<AtomicUsize>,
    release: Arc<Notify>,
) {
    let (head, mut body) = request.into_parts();
    match head.uri.path() {
        // Answered before the body is there, which is waited for all the same.
        "/early" => {
            let _ = respond.send_response(Response::new(()), true);
        }
        "/hold" => {
            held.fetch_add(1, Ordering::SeqCst);
            release.notified().await;
        }
        _ => {}
    }
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        let _ = body.flow_control().release_capacity(data.len());
    }
    let _ = respond.send_response(Response::new(()), true);
}

fn gateway(servers: &[&Server], settings: &str, key: &Key) -> Gateway {
    let urls: Vec<String> = servers.iter().map(|server| format!("\"h2c://{}\"", server.addr)).collect();
    let config = format!(
        "[server]\nworkers = 1\n[upstream.default]\nservers = [{}]\nhost = \"a.example\"\n{settings}",
        urls.join(", ")
    );
    Setup::before("", &config, &key.entry("a", "")).start()
}

/// The head of an upload without a length, and a first piece of it.
fn upload(path: &str, key: &Key, length: usize) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", key.text);
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n", "x".repeat(length)).into_bytes()
}

#[test]
fn a_body_that_the_client_does_not_finish_is_nothing_against_the_server() {
    let (a, b, key) = (Server::start(100), Server::start(100), Key::new());
    let settings = "eject = { failures = 1, for = \"60s\" }\n[http]\nbody_idle_timeout = \"300ms\"\n\
                    [[route]]\nbody_bytes_max = \"10KiB\"\n";
    let gateway = gateway(&[&a, &b], settings, &key);
    for _ in 0..4 {
        let mut conn = gateway.connect();
        conn.write(&upload("/large", &key, 20_000)).unwrap();
        let reply = conn.read_reply("POST").unwrap();
        crate::verdicts::assert_problem(&reply, "body_too_large");
        let line = gateway.line_of(&reply);
        assert_eq!((&line["reason"], &line["fault"]), (&"body_too_large".into(), &"client".into()), "{line:#}");
    }
    let mut conn = gateway.connect();
    conn.write(&upload("/silent", &key, 100)).unwrap();
    let line = gateway.wait_decision("a line", |line| line["url.path"] == "/silent");
    assert_eq!((&line["outcome"], &line["fault"]), (&"timeout".into(), &"client".into()), "{line:#}");
    assert!(conn.is_closed_by_peer());
    assert_eq!(gateway.events("upstream_health").len(), 0);
}

#[test]
fn a_websocket_that_a_server_cannot_have_costs_no_connection() {
    let (server, key) = (Server::start(100), Key::new());
    let gateway = gateway(&[&server], "", &key);
    for _ in 0..5 {
        let request = gateway.get("/").bearer(&key).header("Connection", "Upgrade").header("Upgrade", "websocket");
        assert_eq!(request.header("Sec-WebSocket-Version", "13").send().status, 200);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn an_upload_behind_its_answer_takes_no_place_from_others() {
    let (server, key) = (Server::start(1), Key::new());
    let gateway = gateway(&[&server], "[[route]]\ntimeout = \"3s\"\n", &key);
    let mut conn = gateway.connect();
    conn.write(&upload("/early", &key, 100)).unwrap();
    assert_eq!(conn.read_reply("POST").unwrap().status, 200);
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    assert!(server.connections() <= 2, "{} connections", server.connections());
}

#[test]
fn a_stream_that_ends_is_the_next_ones_at_once() {
    let (server, key) = (Server::start(1), Key::new());
    let gateway = gateway(&[&server], "connections_max = 1\n", &key);
    let started = Instant::now();
    let clients = [(); 2].map(|()| {
        let (mut conn, request) = (gateway.connect(), gateway.get("/").bearer(&key));
        thread::spawn(move || (0..300).all(|_| conn.send(&request).status == 200))
    });
    assert!(clients.into_iter().all(|client| client.join().unwrap()));
    assert!(started.elapsed() < PATIENCE, "each waited for the next tick: {:?}", started.elapsed());
}

#[test]
fn a_server_that_says_goodbye_costs_nobody_a_request() {
    let (server, key) = (Server::start(100), Key::new());
    let gateway = gateway(&[&server], "retries = 0\n", &key);
    let held = gateway.get("/hold").bearer(&key);
    let held = thread::spawn(move || held.send().status);
    eventually("a request that lasts", || (server.held.load(Ordering::SeqCst) == 1).then_some(()));
    assert_eq!(gateway.get("/goodbye").bearer(&key).send().status, 200);
    assert_eq!(gateway.request("POST", "/pay").bearer(&key).body(b"once").send().status, 200);
    assert_eq!(server.connections(), 2);
    server.release.notify_one();
    assert_eq!(held.join().unwrap(), 200, "what was underway comes to its end");
}
