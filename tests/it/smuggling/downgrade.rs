//! From HTTP/2 to HTTP/1.1: what HTTP/1.1 cannot carry, or would carry as something else, is refused; frame by frame.

use super::recorder::Recorder;
use crate::harness::frames::{CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, block, frame};
use crate::harness::{Fate, Key, RawH2, Setup};

/// What is added to, or taken from, a good request: a field with an empty name takes the one named by its value away.
struct Row(&'static str, &'static [(&'static str, &'static str)], &'static [u8], Expect);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The stream or the connection ends, or the answer is 400: nothing reaches the upstream.
    Refused,
    /// The upstream gets it, with this body.
    Passes(&'static str),
}
use Expect::{Passes, Refused};

/// In front of the other fields.
const WITHOUT: &str = "-";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("a plain request", &[], b"", Passes("")),
    Row("a body", &[(":method", "POST")], b"hello", Passes("hello")),
    Row("a body and its length", &[(":method", "POST"), ("content-length", "5")], b"hello", Passes("hello")),
    Row("te: trailers", &[("te", "trailers")], b"", Passes("")),
    Row("host as authority", &[("host", "a")], b"", Passes("")),
    Row("host alone", &[(WITHOUT, ":authority"), ("host", "a")], b"", Passes("")),
    Row("bytes over 0x7f in a value", &[("x-a", "b\u{ff}c")], b"", Passes("")),
    Row("a tab in a value", &[("x-a", "b\tc")], b"", Passes("")),

    Row("CR LF in a value", &[("x-a", "b\r\nx-b: c")], b"", Refused),
    Row("a request in a value", &[("x-a", "b\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n")], b"", Refused),
    Row("a LF in a value", &[("x-a", "b\nc")], b"", Refused),
    Row("a CR in a value", &[("x-a", "b\rc")], b"", Refused),
    Row("a NUL in a value", &[("x-a", "b\0c")], b"", Refused),
    Row("0x01 in a value", &[("x-a", "b\u{1}c")], b"", Refused),
    Row("a DEL in a value", &[("x-a", "b\u{7f}c")], b"", Refused),
    Row("an upper-case name", &[("X-A", "b")], b"", Refused),
    Row("an empty name", &[("", "b")], b"", Refused),
    Row("a space in a name", &[("x a", "b")], b"", Refused),
    Row("a space behind a name", &[("x-a ", "b")], b"", Refused),
    Row("a colon in a name", &[("x-a:b", "c")], b"", Refused),
    Row("a name that begins with a colon", &[(":x-a", "b")], b"", Refused),
    Row("a name with CR LF", &[("x-a: b\r\nx-b", "c")], b"", Refused),
    Row("a name with a request", &[("x: y\r\n\r\nGET /hidden HTTP/1.1\r\nx", "c")], b"", Refused),
    Row("a name with a NUL", &[("x\0a", "b")], b"", Refused),
    Row("a name with a byte over 0x7f", &[("x\u{e9}a", "b")], b"", Refused),

    Row("transfer-encoding", &[("transfer-encoding", "chunked")], b"", Refused),
    Row("transfer-encoding with a body", &[(":method", "POST"), ("transfer-encoding", "chunked")], b"0\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n", Refused),
    Row("transfer_encoding", &[(":method", "POST"), ("transfer_encoding", "chunked")], b"0\r\n\r\n", Refused),
    Row("content_length", &[(":method", "POST"), ("content_length", "0")], b"hello", Refused),
    Row("connection", &[("connection", "close")], b"", Refused),
    Row("connection that names a field", &[("connection", "x-a"), ("x-a", "b")], b"", Refused),
    Row("keep-alive", &[("keep-alive", "timeout=5")], b"", Refused),
    Row("proxy-connection", &[("proxy-connection", "keep-alive")], b"", Refused),
    Row("upgrade", &[("upgrade", "h2c")], b"", Refused),
    Row("te: gzip", &[("te", "gzip")], b"", Refused),
    Row("te: trailers and more", &[("te", "trailers, gzip")], b"", Refused),

    Row("a length beyond the body", &[(":method", "POST"), ("content-length", "9")], b"hello", Refused),
    Row("a body beyond the length", &[(":method", "POST"), ("content-length", "4")], b"hello", Refused),
    Row("a length and no body", &[(":method", "POST"), ("content-length", "5")], b"", Refused),
    Row("a length of zero and a body", &[(":method", "POST"), ("content-length", "0")], b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n", Refused),
    Row("two lengths", &[(":method", "POST"), ("content-length", "5"), ("content-length", "6")], b"hello", Refused),
    Row("a length twice", &[(":method", "POST"), ("content-length", "5"), ("content-length", "5")], b"hello", Refused),
    Row("a list of lengths", &[(":method", "POST"), ("content-length", "5, 5")], b"hello", Refused),
    Row("a plus", &[(":method", "POST"), ("content-length", "+5")], b"hello", Refused),
    Row("a length that is no number", &[(":method", "POST"), ("content-length", "5x")], b"hello", Refused),
    Row("an empty length", &[(":method", "POST"), ("content-length", "")], b"hello", Refused),
    Row("a length beyond 64 bits", &[(":method", "POST"), ("content-length", "18446744073709551621")], b"hello", Refused),

    Row("no method", &[(WITHOUT, ":method")], b"", Refused),
    Row("no path", &[(WITHOUT, ":path")], b"", Refused),
    Row("no scheme", &[(WITHOUT, ":scheme")], b"", Refused),
    Row("no authority and no host", &[(WITHOUT, ":authority")], b"", Refused),
    Row("two methods", &[(":method", "GET"), (":method", "POST")], b"", Refused),
    Row("two paths", &[(":path", "@"), (":path", "@")], b"", Refused),
    Row("two schemes", &[(":scheme", "http"), (":scheme", "http")], b"", Refused),
    Row("two authorities", &[(":authority", "a"), (":authority", "a")], b"", Refused),
    Row("a status", &[(":status", "200")], b"", Refused),
    Row("an unknown pseudo-field", &[(":foo", "b")], b"", Refused),
    Row("a pseudo-field behind a field", &[("x-a", "b"), (":path", "@")], b"", Refused),
    Row("a protocol for GET", &[(":protocol", "websocket")], b"", Refused),

    Row("a space in the method", &[(":method", "GET /hidden HTTP/1.1\r\nx:")], b"", Refused),
    Row("a method with a blank", &[(":method", "GE T")], b"", Refused),
    Row("CR LF in the method", &[(":method", "GET\r\n")], b"", Refused),
    Row("an empty method", &[(":method", "")], b"", Refused),
    Row("CONNECT with a path", &[(":method", "CONNECT")], b"", Refused),
    Row("a space in the path", &[(":path", "@ HTTP/1.1")], b"", Refused),
    Row("a request in the path", &[(":path", "@ HTTP/1.1\r\nHost: a\r\n\r\nGET /hidden HTTP/1.1\r\nx: y")], b"", Refused),
    Row("a LF in the path", &[(":path", "@\nb")], b"", Refused),
    Row("a NUL in the path", &[(":path", "@\0b")], b"", Refused),
    Row("a tab in the path", &[(":path", "@\tb")], b"", Refused),
    Row("a DEL in the path", &[(":path", "@\u{7f}b")], b"", Refused),
    Row("an empty path", &[(":path", "")], b"", Refused),
    Row("a path without a slash", &[(":path", "row")], b"", Refused),
    Row("an absolute path", &[(":path", "http://b@")], b"", Refused),
    Row("an asterisk for GET", &[(":path", "*")], b"", Refused),
    Row("a query for a path", &[(":path", "?a")], b"", Refused),
    Row("a scheme of FTP", &[(":scheme", "ftp")], b"", Refused),
    Row("a scheme with a request", &[(":scheme", "http://a/ HTTP/1.1\r\n\r\n")], b"", Refused),
    Row("a scheme with a slash", &[(":scheme", "http://b/?")], b"", Refused),
    Row("an empty scheme", &[(":scheme", "")], b"", Refused),

    Row("another host", &[("host", "b")], b"", Refused),
    Row("two hosts", &[("host", "a"), ("host", "b")], b"", Refused),
    Row("two hosts without an authority", &[(WITHOUT, ":authority"), ("host", "a"), ("host", "b")], b"", Refused),
    Row("a user in the authority", &[(":authority", "u@a")], b"", Refused),
    Row("a space in the authority", &[(":authority", "a b")], b"", Refused),
    Row("a path in the authority", &[(":authority", "a/b")], b"", Refused),
    Row("CR LF in the authority", &[(":authority", "a\r\nx: y")], b"", Refused),
    Row("an empty authority", &[(":authority", "")], b"", Refused),
    Row("a bad port in the authority", &[(":authority", "a:b")], b"", Refused),
    Row("an escape in the authority", &[(":authority", "%61")], b"", Refused),
];

/// The fields of a row: a good request's, with those of the row in place of their namesakes.
fn fields(row: &Row, path: &str, key: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let good = [(":method", "GET"), (":scheme", "http"), (":path", "@"), (":authority", "a"), ("x-api-key", key)];
    let is_replaced = |name: &str| row.1.iter().any(|(n, v)| *n == name || (*n == WITHOUT && *v == name));
    let (behind, own): (Vec<_>, Vec<_>) = row.1.iter().partition(|(name, _)| !name.starts_with(':'));
    let good = good.iter().filter(|(name, _)| !is_replaced(name));
    // Pseudo-fields first, as long as the row does not want it otherwise.
    let (pseudo, others): (Vec<_>, Vec<_>) = good.partition(|(name, _)| name.starts_with(':'));
    let all = if row.0.contains("behind a field") {
        [pseudo, others, behind.to_vec(), own].concat()
    } else {
        [pseudo, own, others, behind].concat()
    };
    let bytes = |text: &str| text.replace('@', path).chars().map(|c| c as u32 as u8).collect::<Vec<u8>>();
    all.into_iter().filter(|(name, _)| *name != WITHOUT).map(|(name, value)| (bytes(name), bytes(value))).collect()
}

#[test]
fn what_http_1_cannot_carry_is_refused() {
    let (recorder, key) = (Recorder::start(), Key::new());
    let gateway = Setup::before(&recorder.url(), "", &key.entry("a", "")).start();
    let mut complaints = Vec::new();
    for (number, row) in ROWS.iter().enumerate() {
        let path = format!("/row-{number}");
        let mut h2 = RawH2::open(gateway.addr(), &[]);
        let fields = fields(row, &path, &key.text);
        let head = block(fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
        let flags = END_HEADERS | if row.2.is_empty() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, flags, 1, &head);
        if !row.2.is_empty() {
            bytes.extend(frame(DATA, END_STREAM, 1, row.2));
        }
        drop(h2.write(&bytes));
        let fate = h2.fate(1);
        let good = match row.3 {
            Refused => fate != Fate::Status(200) && fate != Fate::Status(0),
            Passes(_) => fate == Fate::Status(200),
        };
        if !good {
            complaints.push(format!("{}: {:?}, and {fate:?}", row.0, row.3));
        }
    }
    assert_eq!(gateway.get("/last").bearer(&key).send().status, 200);
    for (number, row) in ROWS.iter().enumerate() {
        let seen: Vec<_> = recorder.requests(&format!("/row-{number}")).iter().map(|r| r.body.clone()).collect();
        let expected: Vec<Vec<u8>> = match row.3 {
            Refused => Vec::new(),
            Passes(body) => vec![body.as_bytes().to_vec()],
        };
        if seen != expected {
            complaints.push(format!("{}: the upstream got {seen:?}", row.0));
        }
    }
    complaints.extend(recorder.ambiguous());
    assert!(recorder.requests("/hidden").is_empty(), "a request without a key got through");
    assert!(complaints.is_empty(), "{} of {}: {complaints:#?}", complaints.len(), ROWS.len());
}

#[test]
fn trailers_over_http_2_frame_and_route_nothing() {
    let (recorder, key) = (Recorder::start(), Key::new());
    let gateway = Setup::before(&recorder.url(), "", &key.entry("a", "")).start();
    let head: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", b"/trailers"),
        (b":authority", b"a"),
        (b"x-api-key", key.text.as_bytes()),
    ];
    let trailers: &[(&[u8], &[u8])] = &[
        (b":path", b"/hidden"),
        (b"transfer-encoding", b"chunked"),
        (b"x-a", b"b\r\nx-b: c"),
        (b"content-length", b"33"),
        (b"host", b"b"),
        (b"x-sum", b"1"),
    ];
    for trailer in trailers {
        let mut h2 = RawH2::open(gateway.addr(), &[]);
        let bytes = [
            frame(HEADERS, END_HEADERS, 1, &block(head)),
            frame(DATA, 0, 1, b"hello"),
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &block([*trailer])),
        ];
        drop(h2.write(&bytes.concat()));
        h2.fate(1);
    }
    assert_eq!(gateway.get("/last").bearer(&key).send().status, 200);
    for request in recorder.requests("/trailers") {
        assert_eq!(request.body, b"hello");
    }
    assert!(recorder.ambiguous().is_empty() && recorder.requests("/hidden").is_empty());
}

#[test]
fn a_head_in_pieces_is_a_head_and_nothing_comes_between() {
    let (recorder, key) = (Recorder::start(), Key::new());
    let gateway = Setup::before(&recorder.url(), "", &key.entry("a", "")).start();
    let row = Row("", &[], b"", Passes(""));
    let fields = fields(&row, "/pieces", &key.text);
    let head = block(fields.iter().map(|(n, v)| (n.as_slice(), v.as_slice())));
    let (first, rest) = head.split_at(20);
    let begin = frame(HEADERS, END_STREAM, 1, first);
    let end = frame(CONTINUATION, END_HEADERS, 1, rest);
    let mut good = RawH2::open(gateway.addr(), &[]);
    good.write(&[begin.clone(), end.clone()].concat()).unwrap();
    assert_eq!(good.fate(1), Fate::Status(200));
    let other = frame(HEADERS, END_STREAM | END_HEADERS, 3, &head);
    for between in [frame(DATA, 0, 1, b"x"), other, frame(CONTINUATION, END_HEADERS, 3, rest)] {
        let mut bad = RawH2::open(gateway.addr(), &[]);
        drop(bad.write(&[begin.clone(), between, end.clone()].concat()));
        assert!(matches!(bad.fate(1), Fate::GoAway(_) | Fate::Closed));
    }
    assert_eq!(recorder.requests("/pieces").len(), 1);
}
