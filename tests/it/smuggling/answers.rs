//! The other direction: what a server answers is read in one way or not at all, a connection on which it said too much is
//! never used again, and no byte of it reaches another client.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::reading::requests;
use crate::harness::{Gateway, Key, PATIENCE, Setup};

/// What a client gets of a server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// 502.
    Bad,
    /// Status and body, and whether the connection may be used again.
    Good(u16, &'static str, bool),
    /// A good head, and a body that is seen not to be whole.
    Cut,
}
use Fate::{Bad, Cut, Good};

/// What stands behind many an answer: another, to a request that nobody has made.
macro_rules! extra {
    () => {
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
    };
}

/// A method, what the server answers, and what becomes of it. A `$` at the end: the server then hangs up.
struct Row(&'static str, &'static str, &'static str, Fate);

macro_rules! body {
    ($what:literal, $body:literal, $fate:expr) => {
        Row($what, "GET", concat!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", $body), $fate)
    };
}

macro_rules! field {
    ($what:literal, $field:expr) => {
        Row($what, "GET", concat!("HTTP/1.1 200 OK\r\n", $field, "\r\n\r\nhello"), Bad)
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // What is good.
    Row("a length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", true)),
    Row("no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", true)),
    Row("chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Good(200, "hello", true)),
    Row("chunks and a trailer", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n", Good(200, "hello", true)),
    Row("until the end", "GET", "HTTP/1.1 200 OK\r\n\r\nhello$", Good(200, "hello", false)),
    Row("HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", false)),
    Row("HTTP/1.0 until the end", "GET", "HTTP/1.0 200 OK\r\n\r\nhello$", Good(200, "hello", false)),
    Row("close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello$", Good(200, "hello", false)),
    Row("a close that is none", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", false)),
    Row("HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Good(200, "", true)),
    Row("HEAD with chunks", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Good(200, "", true)),
    Row("204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", Good(204, "", true)),
    Row("304", "GET", "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", Good(304, "", true)),
    Row("304 with a length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Good(304, "", true)),
    Row("100 first", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", true)),
    Row("103 first", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", true)),
    Row("a length of zero", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Good(200, "", true)),
    Row("bytes over 0x7f in a value", "GET", "HTTP/1.1 200 OK\r\nX-A: \u{e9}\r\nContent-Length: 5\r\n\r\nhello", Good(200, "hello", true)),

    // Too much said.
    Row("an answer too many", "GET", concat!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", extra!()), Good(200, "hello", false)),
    Row("an answer too many behind chunks", "GET", concat!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", extra!()), Good(200, "hello", false)),
    Row("a byte too many", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", Good(200, "hello", false)),
    Row("a line end too many", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\r\n", Good(200, "hello", false)),
    Row("HEAD with a body", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Good(200, "", false)),
    Row("HEAD with chunks in it", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Good(200, "", false)),
    Row("HEAD with an answer too many", "HEAD", concat!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", extra!()), Good(200, "", false)),
    Row("204 with a body", "GET", "HTTP/1.1 204 No Content\r\n\r\nhello", Good(204, "", false)),
    Row("204 with a length and a body", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", Good(204, "", false)),
    Row("204 with chunks", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Good(204, "", false)),
    Row("304 with a body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", Good(304, "", false)),
    Row("304 with an answer too many", "GET", concat!("HTTP/1.1 304 Not Modified\r\n\r\n", extra!()), Good(304, "", false)),
    Row("a length of zero and an answer too many", "GET", concat!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", extra!()), Good(200, "", false)),

    // Status lines.
    Row("no status line", "GET", "hello\r\n\r\n", Bad),
    Row("nothing", "GET", "$", Bad),
    Row("an empty line first", "GET", "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a space first", "GET", " HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("HTTP/0.9", "GET", "<p>hello</p>$", Bad),
    Row("HTTP/2", "GET", "HTTP/2 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("HTTP/1.2", "GET", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("another protocol", "GET", "ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("two digits", "GET", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("four digits", "GET", "HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("letters", "GET", "HTTP/1.1 2oo OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a minus", "GET", "HTTP/1.1 -20 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("status 000", "GET", "HTTP/1.1 000 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("two spaces", "GET", "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a tab", "GET", "HTTP/1.1\t200 OK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a NUL in the reason", "GET", "HTTP/1.1 200 O\0K\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a CR in the reason", "GET", "HTTP/1.1 200 O\rK\r\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("a LF behind the status line", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\r\n\r\nhello", Bad),
    Row("LFs throughout", "GET", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", Bad),
    Row("a request", "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", Bad),
    Row("an upgrade that nobody asked for", "GET", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", Bad),
    Row("half a head", "GET", "HTTP/1.1 200 OK\r\nContent-Len$", Bad),
    Row("100 and no more", "GET", "HTTP/1.1 100 Continue\r\n\r\n$", Bad),
    Row("half a head for a POST", "POST", "HTTP/1.1 200 OK\r\nContent-Len$", Bad),
    Row("100 and no more for a POST", "POST", "HTTP/1.1 100 Continue\r\n\r\n$", Bad),

    // Fields.
    field!("two lengths", "Content-Length: 5\r\nContent-Length: 6"),
    field!("a length twice", "Content-Length: 5\r\nContent-Length: 5"),
    field!("a list of lengths", "Content-Length: 5, 5"),
    field!("a plus", "Content-Length: +5"),
    field!("a minus", "Content-Length: -5"),
    field!("a hexadecimal length", "Content-Length: 0x5"),
    field!("an empty length", "Content-Length:"),
    field!("a length beyond 64 bits", "Content-Length: 18446744073709551621"),
    field!("a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
    field!("chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
    field!("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
    field!("chunked, identity", "Transfer-Encoding: chunked, identity"),
    field!("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    field!("identity", "Transfer-Encoding: identity"),
    field!("identity and a length", "Transfer-Encoding: identity\r\nContent-Length: 5"),
    field!("xchunked", "Transfer-Encoding: xchunked"),
    field!("an empty coding", "Transfer-Encoding:\r\nContent-Length: 5"),
    field!("a vertical tab before chunked", "Transfer-Encoding: \u{b}chunked"),
    field!("a space before a colon", "Content-Length : 5"),
    field!("a space before a coding's colon", "Transfer-Encoding : chunked\r\nContent-Length: 5"),
    field!("a folded field", "X-A: b\r\n c\r\nContent-Length: 5"),
    field!("a folded length", "Content-Length:\r\n 5"),
    field!("a space before the first field", " X-A: b\r\nContent-Length: 5"),
    field!("no colon", "X-A\r\nContent-Length: 5"),
    field!("no name", ": b\r\nContent-Length: 5"),
    field!("a space in a name", "X A: b\r\nContent-Length: 5"),
    field!("a NUL in a value", "X-A: b\0c\r\nContent-Length: 5"),
    field!("a CR in a value", "X-A: b\rX-B: c\r\nContent-Length: 5"),
    field!("a LF in a value", "X-A: b\nX-B: c\r\nContent-Length: 5"),
    field!("a DEL in a value", "X-A: b\u{7f}\r\nContent-Length: 5"),
    field!("a control byte in a value", "X-A: b\u{1}\r\nContent-Length: 5"),
    Row("chunks in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Bad),

    // Bodies.
    Row("a body that is too short", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello$", Cut),
    body!("chunks without an end", "5\r\nhello\r\n$", Cut),
    body!("a chunk without an end", "9\r\nhello$", Cut),
    body!("no size", "5\r\nhello\r\n\r\n0\r\n\r\n", Cut),
    body!("a size of 0x5", "5\r\nhello\r\n0x5\r\nhello\r\n0\r\n\r\n", Cut),
    body!("a plus before a size", "5\r\nhello\r\n+5\r\nhello\r\n0\r\n\r\n", Cut),
    body!("a minus before a size", "5\r\nhello\r\n-1\r\n\r\n", Cut),
    body!("a space before a size", "5\r\nhello\r\n 5\r\nhello\r\n0\r\n\r\n", Cut),
    body!("a space behind a size", "5\r\nhello\r\n5 \r\nhello\r\n0\r\n\r\n", Cut),
    body!("a size beyond 64 bits", "5\r\nhello\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", Cut),
    body!("a size that is no number", "5\r\nhello\r\nzz\r\nhello\r\n0\r\n\r\n", Cut),
    body!("a LF behind a size", "5\r\nhello\r\n5\nhello\r\n0\r\n\r\n", Cut),
    body!("a LF behind a chunk", "5\r\nhello\n0\r\n\r\n", Cut),
    body!("other bytes behind a chunk", "5\r\nhelloXX0\r\n\r\n", Cut),
    body!("a LF behind the last size", "5\r\nhello\r\n0\n\r\n", Cut),
    body!("a LF for an end", "5\r\nhello\r\n0\r\n\n", Cut),
    body!("a LF in an extension", "5\r\nhello\r\n5;a\nhello\r\n0\r\n\r\n", Cut),
    body!("a trailer with a LF", "5\r\nhello\r\n0\r\nX-A: b\n\r\n", Cut),
    body!("a trailer with a space before its colon", "5\r\nhello\r\n0\r\nX-A : b\r\n\r\n", Cut),
    body!("a folded trailer", "5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n", Cut),
];

/// A server that answers as its row says, and remembers on which connection it was asked for what.
struct Scripted {
    url: String,
    asked: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Scripted {
    fn start(script: fn(&str) -> Option<Vec<u8>>) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&asked);
        // It ends with the test's process: nothing else would connect to it.
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let remembered = Arc::clone(&remembered);
                thread::spawn(move || serve(stream, number, &remembered, script));
            }
        });
        Scripted { url, asked }
    }

    /// The connections on which a path was asked for.
    fn connections(&self, path: &str) -> Vec<usize> {
        self.asked.lock().unwrap().iter().filter(|(_, p)| p == path).map(|(number, _)| *number).collect()
    }
}

fn serve(
    mut stream: TcpStream,
    number: usize,
    asked: &Mutex<Vec<(usize, String)>>,
    script: fn(&str) -> Option<Vec<u8>>,
) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..length]);
        let (whole, _) = requests(&bytes);
        let Some(request) = whole.first() else { continue };
        bytes.clear();
        asked.lock().unwrap().push((number, request.target.clone()));
        let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", request.target.len(), request.target);
        let mut answer = script(&request.target).unwrap_or_else(|| plain.into_bytes());
        let hangs_up = answer.last() == Some(&b'$');
        answer.truncate(answer.len() - usize::from(hangs_up));
        if stream.write_all(&answer).is_err() || hangs_up {
            return;
        }
    }
}

fn row(target: &str) -> Option<Vec<u8>> {
    let number: usize = target.strip_prefix("/row-")?.parse().ok()?;
    Some(ROWS[number].2.chars().map(|c| c as u32 as u8).collect())
}

fn gateway(server: &Scripted) -> (Key, Gateway) {
    let key = Key::new();
    // One worker has one pool. Ejection has its own tests.
    let config = format!("[server]\nworkers = 1\n[upstream.default]\nservers = [\"{}\"]\nretries = 0\n", server.url);
    let gateway = Setup::before(&server.url, &config, &key.entry("a", "")).start();
    (key, gateway)
}

#[test]
fn every_answer_is_read_in_one_way_or_not_at_all() {
    assert!(ROWS.len() > 100, "{} rows", ROWS.len());
    let server = Scripted::start(row);
    let (key, gateway) = gateway(&server);
    let mut complaints = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let (path, after) = (format!("/row-{number}"), format!("/after-{number}"));
        let mut conn = gateway.connect();
        let answer = conn.try_send(&gateway.request(row.1, &path).bearer(&key));
        let fate = match &answer {
            Ok(reply) if reply.status == 502 => Bad,
            Ok(reply) => Good(reply.status, "", false),
            Err(_) => Cut,
        };
        let good = match row.3 {
            Bad | Cut => fate == row.3,
            Good(status, body, _) => answer.as_ref().is_ok_and(|r| r.status == status && r.body == body.as_bytes()),
        };
        if !good {
            complaints.push(format!("{}: {:?}, and {answer:?}", row.0, row.3));
        }
        drop(conn);
        // Whoever asks next gets their own answer.
        let next = gateway.get(&after).bearer(&key).send();
        if next.status != 200 || next.body != after.as_bytes() {
            complaints.push(format!("{}: the next client got {}", row.0, next.everything()));
        }
        let is_reused = server.connections(&path).last() == server.connections(&after).last();
        if is_reused != matches!(row.3, Good(_, _, true)) {
            complaints.push(format!("{}: {:?}, and its connection was used again: {is_reused}", row.0, row.3));
        }
        // A GET may be sent once more where the server hangs up on a connection that had been idle.
        let most = if row.2.ends_with('$') && (row.1, row.3) == ("GET", Bad) { 2 } else { 1 };
        if !(1..=most).contains(&server.connections(&path).len()) {
            complaints.push(format!("{}: asked {} times", row.0, server.connections(&path).len()));
        }
    }
    assert!(complaints.is_empty(), "{} of {}: {complaints:#?}", complaints.len(), ROWS.len());
}

#[test]
fn answers_without_end_are_cut_off() {
    fn endless(target: &str) -> Option<Vec<u8>> {
        let line = format!("X-A: {}\r\n", "b".repeat(1000));
        match target {
            "/head" => Some([b"HTTP/1.1 200 OK\r\n".as_slice(), &line.repeat(1000).into_bytes()].concat()),
            "/fields" => Some([b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(10_000), b"\r\n"].concat()),
            "/hints" => Some(b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n".repeat(100_000)),
            "/extension" => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;".as_slice();
                Some([head, &b"e".repeat(1 << 20), b"\r\nhello\r\n0\r\n\r\n"].concat())
            }
            "/trailers" => {
                let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n".as_slice();
                Some([head, &line.repeat(1000).into_bytes(), b"\r\n"].concat())
            }
            _ => None,
        }
    }
    let server = Scripted::start(endless);
    let (key, gateway) = gateway(&server);
    let before = gateway.rss_kib();
    for path in ["/head", "/fields", "/hints", "/extension", "/trailers"] {
        let mut conn = gateway.connect();
        conn.stream().set_read_timeout(Some(PATIENCE + Duration::from_secs(5))).unwrap();
        let answer = conn.try_send(&gateway.get(path).bearer(&key));
        assert!(answer.as_ref().is_ok_and(|r| r.status == 502) || answer.is_err(), "{path}: {answer:?}");
        assert_eq!(gateway.get("/after").bearer(&key).send().body, b"/after", "{path}");
        assert_ne!(server.connections(path).last(), server.connections("/after").last(), "{path}");
    }
    assert!(gateway.rss_kib() < before + 32 * 1024);
}
