//! A service that remembers every request, byte for byte, and misbehaves where the path asks it to.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::wire::{self, Head, Headers};
use super::{PATIENCE, eventually};

/// A fixed date, so that a test can tell the upstream's from anyone else's.
pub(crate) const DATE: &str = "Mon, 01 Jan 2024 00:00:00 GMT";
const BODY_KEPT: usize = 1 << 20;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    /// The first MiB.
    pub(crate) body: Vec<u8>,
    pub(crate) body_len: u64,
    pub(crate) body_sha256: String,
    pub(crate) trailers: Headers,
    pub(crate) peer_port: u16,
}

impl Seen {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.head.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.first.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.head.raw).into_owned()
    }
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Seen>>,
    /// `/gate` waits for this.
    open: Mutex<bool>,
    opened: Condvar,
    stopping: AtomicBool,
}

/// The recording upstream.
pub(crate) struct Upstream {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    pub(crate) fn start() -> Upstream {
        Upstream::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// At an address of the test's choice.
    pub(crate) fn at(addr: SocketAddr) -> Upstream {
        let listener = TcpListener::bind(addr).expect("a loopback port");
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let shared = Arc::clone(&accepting);
                // A connection that breaks is the test's doing; what was seen is already recorded.
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        });
        Upstream { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests came.
    pub(crate) fn seen_count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// The target of the last request.
    pub(crate) fn last_target(&self) -> String {
        self.shared.seen.lock().unwrap().last().map(|seen| seen.target().to_owned()).unwrap_or_default()
    }

    /// How many requests came for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|s| s.path() == path).count()
    }

    /// The last request for a path, which must be there or arrive.
    pub(crate) fn request(&self, path: &str) -> Seen {
        eventually(&format!("the upstream to see {path}"), || {
            self.shared.seen.lock().unwrap().iter().rev().find(|s| s.path() == path).cloned()
        })
    }

    /// Lets everything go that waits at `/gate`.
    pub(crate) fn open_gate(&self) {
        *self.shared.open.lock().unwrap() = true;
        self.shared.opened.notify_all();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        self.open_gate();
        drop(TcpStream::connect(self.addr));
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
    let mut answered = 0;
    while let Some(head) = wire::read_head(&mut reader)? {
        if head.first.contains(" /early ") {
            return answer_early(&mut reader, stream);
        }
        let seen = read_request(&mut reader, stream, head)?;
        shared.seen.lock().unwrap().push(seen.clone());
        // One answer a connection: the next request on it meets silence and an end.
        let is_done = seen.path() == "/once" && answered > 0;
        if is_done || !respond(stream, &seen, shared)? {
            return Ok(());
        }
        answered += 1;
    }
    Ok(())
}

/// Refuses a body before it has come, and reads what comes of it all the same, so that the answer is not lost.
fn answer_early(reader: &mut BufReader<TcpStream>, stream: &TcpStream) -> io::Result<()> {
    send(stream, "413 Too Large", "Connection: close\r\n", b"too much", false)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    io::copy(reader, &mut io::sink()).map(drop)
}

fn read_request(reader: &mut BufReader<TcpStream>, mut out: &TcpStream, head: Head) -> io::Result<Seen> {
    let mut body = Vec::new();
    let mut body_len = 0;
    let mut hash = Sha256::new();
    let mut trailers = Headers::new();
    if head.get("expect").is_some() {
        out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut sink = |part: &[u8]| {
        body_len += part.len() as u64;
        hash.update(part);
        if body.len() < BODY_KEPT {
            body.extend_from_slice(part);
        }
    };
    if head.is_chunked() {
        trailers = wire::read_chunked(reader, &mut sink)?;
    } else if let Some(length) = head.content_length() {
        wire::read_sized(reader, length, &mut sink)?;
    }
    let body_sha256 = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    let peer_port = out.peer_addr()?.port();
    Ok(Seen { head, body, body_len, body_sha256, trailers, peer_port })
}

/// Answers as the path says; false where the connection ends.
fn respond(mut out: &TcpStream, seen: &Seen, shared: &Shared) -> io::Result<bool> {
    let is_head = seen.head.first.starts_with("HEAD ");
    let mut parts = seen.path().trim_start_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    match first {
        "bytes" => send_pattern(out, number, is_head)?,
        "echo" => send(out, "200 OK", &seen.head.get("content-type").map(ct).unwrap_or_default(), &seen.body, is_head)?,
        "status" => send_status(out, number, is_head)?,
        "chunked" => out.write_all(CHUNKED.as_bytes())?,
        "hop" => send(out, "200 OK", HOP_HEADERS, b"hop", is_head)?,
        "hints" => {
            out.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")?;
            send(out, "200 OK", "", b"hinted", is_head)?;
        }
        "gate" => {
            let guard = shared.open.lock().unwrap();
            drop(shared.opened.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap());
            send(out, "200 OK", "", b"released", is_head)?;
        }
        "close" => {
            send(out, "200 OK", "", b"bye", is_head)?;
            return Ok(false);
        }
        _ => return misbehave(out, first, is_head, shared),
    }
    Ok(true)
}

fn misbehave(mut out: &TcpStream, how: &str, is_head: bool, shared: &Shared) -> io::Result<bool> {
    match how {
        // Says nothing until the test is over.
        "hang" => {
            let guard = shared.open.lock().unwrap();
            drop(shared.opened.wait_timeout_while(guard, Duration::from_secs(60), |open| !*open).unwrap());
        }
        // Starts an answer and then says nothing more.
        "stall" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nten bytes.")?;
            let guard = shared.open.lock().unwrap();
            drop(shared.opened.wait_timeout_while(guard, Duration::from_secs(60), |open| !*open).unwrap());
        }
        // Says more than it was asked for: an answer to a request that nobody has made yet.
        "extra" => {
            let both =
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
            out.write_all(both.as_bytes())?;
            return Ok(true);
        }
        "switch" => out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")?,
        // Agrees to a WebSocket, and says whatever it is told.
        "socket" => {
            out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n")?;
            drop(io::copy(&mut { out }, &mut { out }));
        }
        "reset" => reset(out)?,
        "hangup" => {}
        "garbage" => out.write_all(b"this is not HTTP at all\r\n\r\n")?,
        "badlength" => out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 9\r\n\r\nhello")?,
        "midway" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")?;
            out.write_all(&pattern(10_000))?;
            reset(out)?;
        }
        "cutchunk" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")?;
        }
        // More than any client here reads; a client that leaves ends it.
        "flood" => {
            out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 268435456\r\n\r\n")?;
            let part = pattern(1 << 16);
            for _ in 0..4096 {
                out.write_all(&part)?;
            }
        }
        _ => {
            send(out, "200 OK", "", b"ok", is_head)?;
            return Ok(true);
        }
    }
    Ok(false)
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\
    Trailer: X-Checksum\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Checksum: abc123\r\n\r\n";

const HOP_HEADERS: &str = "Connection: X-Private-Hop\r\nX-Private-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
    Proxy-Authenticate: Basic\r\nX-Public: 1\r\nX-Request-ID: of-the-upstream\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n";

fn ct(value: &str) -> String {
    format!("Content-Type: {value}\r\n")
}

fn send(mut out: &TcpStream, status: &str, headers: &str, body: &[u8], is_head: bool) -> io::Result<()> {
    let length = body.len();
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nDate: {DATE}\r\n{headers}Content-Length: {length}\r\n\r\n").into_bytes();
    if !is_head {
        bytes.extend_from_slice(body);
    }
    out.write_all(&bytes)
}

fn send_status(mut out: &TcpStream, status: u64, is_head: bool) -> io::Result<()> {
    if status == 204 || status == 304 {
        return out.write_all(format!("HTTP/1.1 {status} Nothing\r\nDate: {DATE}\r\nETag: \"v1\"\r\n\r\n").as_bytes());
    }
    send(out, &format!("{status} Told"), "", b"told", is_head)
}

fn send_pattern(mut out: &TcpStream, length: u64, is_head: bool) -> io::Result<()> {
    out.write_all(format!("HTTP/1.1 200 OK\r\nDate: {DATE}\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    if is_head {
        return Ok(());
    }
    let part = pattern(1 << 16);
    let mut left = length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(part.len());
        out.write_all(&part[..now])?;
        left -= now as u64;
    }
    Ok(())
}

/// A body whose every byte depends on its place.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(31) ^ (n >> 8)) as u8).collect()
}

fn reset(out: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(out).set_linger(Some(Duration::ZERO))
}
