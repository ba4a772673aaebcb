//! What is smuggled: bytes that two servers read differently. Each row is either refused, or forwarded in one form that
//! nobody can read differently; a request without a key that hides behind it never reaches the upstream.

mod answers;
mod chunks;
mod downgrade;
mod framing;
mod heads;
mod peers;
mod reading;
mod recorder;

use std::time::Duration;

use crate::harness::{Conn, Key, PATIENCE, Setup, Upstream, eventually};
use recorder::Recorder;

/// What becomes of a row's request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// 400, and the connection is closed.
    Refused,
    /// The upstream gets it once, with this body; the request behind it is answered on its own.
    Passes(&'static str),
    /// It is answered with this status by the gateway itself.
    Answered(u16),
}

use Fate::{Answered, Passes, Refused};

/// Bytes, and what becomes of them. In the bytes `@` is the row's own path, `{h}` a good Host and a good key, `{k}` the
/// key alone, and a character up to U+00FF one byte. [`HIDDEN`] follows behind every row.
pub(crate) struct Row(pub(crate) &'static str, pub(crate) &'static str, pub(crate) Fate);

/// A request without a key.
pub(crate) const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";
/// It is 33 bytes long; where a body has that length, it is the body.
const HIDDEN_LENGTH: usize = 33;

pub(crate) fn rows() -> impl Iterator<Item = (usize, &'static Row)> {
    [heads::ROWS, framing::ROWS, chunks::ROWS].into_iter().flatten().enumerate()
}

pub(crate) fn path(number: usize) -> String {
    format!("/row-{number}")
}

fn bytes(number: usize, row: &Row, key: &str) -> Vec<u8> {
    let key = format!("X-API-Key: {key}\r\n");
    let text = row.1.replace("{h}", &format!("Host: a\r\n{key}")).replace("{k}", &key);
    let text = text.replace('@', &path(number)) + HIDDEN;
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("a byte")).collect()
}

/// How a gateway ended a connection with a row on it.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The statuses of its answers.
    pub(crate) statuses: Vec<u16>,
    pub(crate) is_closed: bool,
}

/// Sends a row and reads what comes: until the end, or until every request has its answer.
pub(crate) fn play(conn: &mut Conn, number: usize, row: &Row, key: &str, patience: Duration) -> Ended {
    conn.stream().set_read_timeout(Some(patience)).unwrap();
    let mut ended = Ended { statuses: Vec::new(), is_closed: false };
    let method = row.1.trim_start().split(' ').next().unwrap_or_default();
    // A gateway may have closed before it has read everything.
    if conn.write(&bytes(number, row, key)).is_err() {
        ended.is_closed = true;
    }
    let answers = if matches!(row.2, Passes(HIDDEN)) { 1 } else { 2 };
    while ended.statuses.len() < answers {
        let asked = if ended.statuses.is_empty() { method } else { "GET" };
        match conn.read_reply(asked) {
            Ok(reply) => ended.statuses.push(reply.status),
            Err(_) => break,
        }
    }
    ended.is_closed |= ended.statuses.len() < answers && conn.is_closed_by_peer();
    ended
}

/// What is wrong with how a row ended for the client.
fn complaint(row: &Row, ended: &Ended) -> Option<String> {
    let first = ended.statuses.first().copied();
    let good = match row.2 {
        Refused => first == Some(400) && ended.statuses.len() == 1 && ended.is_closed,
        Passes(_) => first == Some(200) && matches!(ended.statuses.get(1), None | Some(401)),
        Answered(status) => first == Some(status) && matches!(ended.statuses.get(1), None | Some(401)),
    };
    (!good).then(|| format!("{}: {:?}, and {ended:?}", row.0, row.2))
}

/// What is wrong with what of a row the upstream got.
fn forwarded(number: usize, row: &Row, recorder: &Recorder) -> Option<String> {
    let seen = recorder.requests(&path(number));
    let bodies: Vec<_> = seen.iter().map(|r| String::from_utf8_lossy(&r.body).into_owned()).collect();
    let good = match row.2 {
        Refused | Answered(_) => bodies.is_empty(),
        Passes(body) => bodies == [body],
    };
    (!good).then(|| format!("{}: {:?}, and the upstream got {seen:?}", row.0, row.2))
}

fn every_row(behind_another: bool) {
    assert_eq!(HIDDEN.len(), HIDDEN_LENGTH);
    assert!(rows().count() > 400, "{} rows", rows().count());
    let (recorder, key) = (Recorder::start(), Key::new());
    let gateway = Setup::before(&recorder.url(), "", &key.entry("a", "")).start();
    let mut complaints = Vec::new();
    for (number, row) in rows() {
        let mut conn = gateway.connect();
        if behind_another {
            assert_eq!(conn.send(&gateway.get("/first").bearer(&key)).status, 200);
        }
        let ended = play(&mut conn, number, row, &key.text, PATIENCE);
        complaints.extend(complaint(row, &ended));
    }
    assert_eq!(gateway.get("/last").bearer(&key).send().status, 200);
    complaints.extend(rows().filter_map(|(number, row)| forwarded(number, row, &recorder)));
    complaints.extend(recorder.ambiguous());
    assert!(recorder.requests("/hidden").is_empty(), "a request without a key got through");
    assert!(complaints.is_empty(), "{} of {}: {complaints:#?}", complaints.len(), rows().count());

    let refused = rows().filter(|(_, row)| matches!(row.2, Refused)).count();
    let lines = || gateway.decisions().iter().filter(|l| l["reason"] == "malformed_request").count();
    eventually("a line for each", || (lines() >= refused).then_some(()));
    assert_eq!(lines(), refused, "one line for each that was refused");
}

#[test]
fn every_row_is_refused_or_has_one_form() {
    every_row(false);
}

#[test]
fn every_row_behind_another_request_is_refused_or_has_one_form() {
    every_row(true);
}

#[test]
fn a_bad_request_waits_for_the_answers_before_it() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let mut bytes = gateway.get("/echo/1").bearer(&key).bytes();
    bytes.extend(gateway.get("/gate").bearer(&key).bytes());
    bytes.extend(b"GET /bad HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n");
    conn.write(&bytes).unwrap();
    upstream.request("/gate");
    upstream.open_gate();
    let statuses: Vec<u16> = (0..3).map(|_| conn.read_reply("GET").unwrap().status).collect();
    assert_eq!(statuses, [200, 200, 400]);
    assert!(conn.is_closed_by_peer());
    drop(conn);
    gateway.stop();
    let reasons: Vec<_> = gateway.decisions().iter().map(|l| l["reason"].clone()).collect();
    assert_eq!(reasons, ["allowed", "allowed", "malformed_request"]);
    assert_eq!(upstream.seen().len(), 2);
}

#[test]
fn a_body_that_turns_bad_reaches_nobody_as_a_whole_and_ends_its_upstream_connection() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[server]\nworkers = 1\n", &key.entry("a", "")).start();
    let port = |path: &str| {
        assert_eq!(gateway.get(path).bearer(&key).send().status, 200);
        upstream.request(path).peer_port
    };
    let before = port("/before");
    let mut conn = gateway.connect();
    let head = gateway.request("POST", "/body").bearer(&key).header("Transfer-Encoding", "chunked");
    conn.write(&head.bytes()).unwrap();
    conn.write(b"5\r\nhello\r\n").unwrap();
    // Sent on its own, so that the first chunk may be on its way already.
    conn.write(b"5 \r\nworld\r\n0\r\n\r\n").unwrap();
    let reply = conn.read_reply("POST").unwrap();
    assert_eq!((reply.status, reply.header("connection")), (400, Some("close")));
    crate::verdicts::assert_problem(&reply, "bad_request");
    assert!(conn.is_closed_by_peer());
    let line = gateway.line_of(&reply);
    let told = [&line["decision"], &line["reason"], &line["fault"], &line["outcome"]];
    assert_eq!(told, ["deny", "malformed_request", "client", "complete"], "{line:#}");
    assert_eq!(upstream.count("/body"), 0);
    assert_ne!(port("/after"), before, "a connection with half a body on it is never used again");
}
