//! What the reader takes, and what it refuses.

use bytes::BytesMut;
use http::{HeaderName, StatusCode, Version};
use proptest::prelude::*;

use super::head::Head;
use super::reader::{Malformed, Piece, Reader};

const LINE_MAX: usize = 32 * 1024;

/// How a connection ended that brought these bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Whole requests and nothing else.
    Between,
    /// More would have to come.
    Open,
    Refused {
        in_head: bool,
    },
}

fn reader() -> Reader {
    Reader::new(LINE_MAX, 100)
}

/// Takes all heads and pieces that are there.
fn take_all(reader: &mut Reader, input: &mut BytesMut) -> Result<Vec<(Head, Vec<Piece>)>, End> {
    let mut taken: Vec<(Head, Vec<Piece>)> = Vec::new();
    loop {
        if reader.is_in_body() {
            match reader.piece(input) {
                Ok(Some(piece)) => taken.last_mut().into_iter().for_each(|(_, pieces)| pieces.push(piece.clone())),
                Ok(None) => return Ok(taken),
                Err(Malformed) => return Err(End::Refused { in_head: false }),
            }
        } else {
            match reader.head(input) {
                Ok(Some(head)) => taken.push((head, Vec::new())),
                Ok(None) => return Ok(taken),
                Err(_) => return Err(End::Refused { in_head: true }),
            }
        }
    }
}

fn read_in_pieces(bytes: &[u8], piece: usize) -> End {
    let (mut reader, mut input) = (reader(), BytesMut::new());
    for piece in bytes.chunks(piece.max(1)) {
        input.extend_from_slice(piece);
        if let Err(refused) = take_all(&mut reader, &mut input) {
            return refused;
        }
    }
    if reader.is_in_body() || !input.is_empty() { End::Open } else { End::Between }
}

fn read(bytes: &str) -> End {
    let end = read_in_pieces(bytes.as_bytes(), usize::MAX);
    for piece in 1..bytes.len().min(40) {
        assert_eq!(read_in_pieces(bytes.as_bytes(), piece), end, "{bytes:?} in pieces of {piece}");
    }
    end
}

/// A head with these lines between request line and end.
fn head(lines: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

#[test]
fn what_has_one_reading_passes() {
    for good in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.0\r\n\r\n".to_owned(),
        "\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\n\r\n".to_owned(),
        "CONNECT a:443 HTTP/1.1\r\n\r\n".to_owned(),
        "GET HTTPS://a/b?c HTTP/1.1\r\n\r\n".to_owned(),
        "M-SEARCH /caf\u{e9}|{\"}?a=b HTTP/1.1\r\n\r\n".to_owned(),
        head("X-Empty:\r\nX-Tab: a\tb\t\r\nX-Wide: caf\u{e9}\r\nX-Odd: \"a:b\"; c=d\r\n"),
        head("Content-Length: 0\r\n"),
        head("content-length:\t 5 \t\r\n") + "hello",
        head("Content-Length: 05\r\n") + "hello" + &head("Content-Length: 3\r\n") + "\n\r\0",
        head("Transfer-Encoding: Chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n" + &head(""),
        head("transfer-encoding:chunked\r\n") + "000000000000000A;a=b;c=\"d e\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
        head("Transfer-Encoding: chunked\r\n") + "1 ; a\r\n\n\r\n0;last\r\n\r\n",
    ] {
        assert_eq!(read(&good), End::Between, "{good:?}");
    }
}

#[test]
fn what_is_not_whole_is_waited_for() {
    let whole = "\r\n".to_owned() + &head("Transfer-Encoding: chunked\r\n") + "a;b\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
    for cut in 3..whole.len() {
        assert_eq!(read(&whole[..cut]), End::Open, "{:?}", &whole[..cut]);
    }
}

#[test]
fn heads_with_two_readings_are_refused() {
    for bad in [
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned(),
        "\nGET / HTTP/1.1\r\n\r\n".to_owned(),
        " GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\n\r\n".to_owned(),
        "GET /  HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 \r\n\r\n".to_owned(),
        "GET\t/ HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\r\n\r\n".to_owned(),
        "GET / HTTP/1.2\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\n\r\n".to_owned(),
        "GET / http/1.1\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET /a#b HTTP/1.1\r\n\r\n".to_owned(),
        "GET /\u{7f} HTTP/1.1\r\n\r\n".to_owned(),
        "G@T / HTTP/1.1\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n".to_owned(),
        head("X: a\r\n b\r\n"),
        head("X : a\r\n"),
        head(": a\r\n"),
        head("X\r\n"),
        head("X: a\rb\r\n"),
        head("X: a\0b\r\n"),
        head("X: a\u{7f}b\r\n"),
        head("X: a\nb: c\r\n"),
        head("Content-Length: 5\r\nContent-Length: 5\r\n"),
        head("Content-Length: 5, 5\r\n"),
        head("Content-Length: +5\r\n"),
        head("Content-Length: -0\r\n"),
        head("Content-Length: 0x5\r\n"),
        head("Content-Length: 5 5\r\n"),
        head("Content-Length:\r\n"),
        head("Content-Length: 9223372036854775808\r\n"),
        head("Content-Length: 99999999999999999999\r\n"),
        head("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        head("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
        head("Transfer-Encoding: identity\r\n"),
        head("Transfer-Encoding: chunked, identity\r\n"),
        head("Transfer-Encoding: gzip, chunked\r\n"),
        head("Transfer-Encoding: \"chunked\"\r\n"),
        head("Transfer-Encoding: chunked;a=b\r\n"),
        head("Transfer-Encoding:\r\n"),
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ] {
        assert_eq!(read(&bad), End::Refused { in_head: true }, "{bad:?}");
    }
}

#[test]
fn chunks_with_two_readings_are_refused() {
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(300));
    let trailers = format!("0\r\n{}\r\n", "X-A: 0123456789\r\n".repeat(600));
    for bad in [
        "\r\n",
        ";a\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\rX0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "00000000000000005\r\nhello\r\n0\r\n\r\n",
        "8000000000000000\r\nhello",
        "ffffffffffffffff\r\nhello",
        "0\r\nX: a\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "0\r\n X: a\r\n\r\n",
        "0\r\nContent-Length: 5\r\n\r\n",
        "0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "0\r\nhost: b\r\n\r\n",
        "0\r\n\n",
        &long,
        &trailers,
    ] {
        let bytes = head("Transfer-Encoding: chunked\r\n") + bad;
        assert_eq!(read(&bytes), End::Refused { in_head: false }, "{bad:?}");
    }
}

#[test]
fn a_head_that_goes_on_for_ever_is_refused_with_its_own_status() {
    for (begin, status) in [("GET /", 414), ("GET / HTTP/1.1\r\nX: ", 431), ("GET / HTTP/1.1\r\nX: y\r\n", 431)] {
        for line in ["aaaaaaaaa", "X: aaaa\r\n"] {
            let (mut reader, mut input) = (Reader::new(8192, 10_000), BytesMut::from(begin));
            let refused = loop {
                match reader.head(&mut input) {
                    Err(refused) => break refused,
                    Ok(head) => assert!(head.is_none() && input.len() <= 8192, "{}", input.len()),
                }
                input.extend_from_slice(line.as_bytes());
            };
            // What is no line is refused as such.
            assert!(refused.as_u16() == status || refused == StatusCode::BAD_REQUEST, "{begin:?} {line:?}: {refused}");
            assert!(reader.head(&mut input).is_err());
        }
    }
    let many = head(&"X: y\r\n".repeat(100));
    assert_eq!(reader().head(&mut BytesMut::from(&*many)).expect_err("too many"), 431);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    assert_eq!(Reader::new(100_000, 100).head(&mut BytesMut::from(&*long)).expect_err("too long"), 414);
}

#[test]
fn a_head_says_what_is_to_become_of_its_connection() {
    let said = |version: &str, lines: &str| {
        let mut input =
            BytesMut::from(&*format!("POST /a?b HTTP/{version}\r\nHost: a\r\nContent-Length: 3\r\n{lines}\r\n"));
        let head = reader().head(&mut input).expect("a good head").expect("all of it");
        (head.keeps_alive, head.expects_continue, head.accepts_trailers)
    };
    for (version, lines, expected) in [
        ("1.1", "", (true, false, false)),
        ("1.1", "Connection: x, Close\r\n", (false, false, false)),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", (false, false, false)),
        ("1.0", "", (false, false, false)),
        ("1.0", "Connection: Keep-Alive\r\n", (true, false, false)),
        ("1.0", "Connection: close\r\nConnection: keep-alive\r\n", (false, false, false)),
        ("1.0", "Expect: 100-continue\r\n", (false, false, false)),
        ("1.1", "Expect: 100-Continue\r\nTE: gzip, trailers\r\n", (true, true, true)),
    ] {
        assert_eq!(said(version, lines), expected, "{version} {lines:?}");
    }
}

#[test]
fn a_body_comes_in_pieces_and_what_follows_is_the_next_request() {
    let chunked = head("Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n";
    let bytes = chunked + &head("Content-Length: 4\r\n") + "body" + &head("");
    for piece in 1..bytes.len() {
        let (mut reader, mut input, mut taken) = (reader(), BytesMut::new(), Vec::new());
        for piece in bytes.as_bytes().chunks(piece) {
            input.extend_from_slice(piece);
            let mut next = take_all(&mut reader, &mut input).expect("good so far");
            taken.append(&mut next);
        }
        assert_eq!(taken.len(), 3);
        assert!(!reader.is_in_body() && input.is_empty());
    }
    let (mut reader, mut input) = (reader(), BytesMut::from(&*bytes));
    let taken = take_all(&mut reader, &mut input).expect("all of it");
    let data = |text: &'static str| Piece::Data(text.into());
    let [(_, first), (_, second), (_, third)] = &taken[..] else { unreachable!("three requests") };
    assert_eq!(first[..2], [data("abc"), data("de")]);
    let Piece::Trailers(trailers) = &first[2] else { panic!("trailers") };
    assert_eq!(trailers.get_all("x-sum").iter().count(), 2);
    assert_eq!((&second[..], third.len()), (&[data("body")][..], 0));
}

/// Pieces that requests are made of, good and bad, to be put together in any order.
const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "X: y\r\n",
    "\r\n",
    "\r\n",
    "hello",
    "5\r\n",
    "0\r\n",
    "\n",
    "\r",
    ";a=b",
    " ",
    "\t",
    "\0",
    ":",
    "H",
];

fn soup() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(PIECES), 0..14).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_nothing(bytes in soup(), piece in 1..20_usize) {
        let (whole, cut) = (read_in_pieces(&bytes, usize::MAX), read_in_pieces(&bytes, piece));
        // A line in pieces is judged at its end, and that end may not have come.
        prop_assert!(whole == cut || (matches!(whole, End::Refused { .. }) && cut == End::Open), "{whole:?} {cut:?}");
    }

    #[test]
    fn another_parser_reads_the_same_head(bytes in soup()) {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&bytes);
        let mut input = BytesMut::from(&bytes[..]);
        let Ok(Some(head)) = reader().head(&mut input) else { return Ok(()) };
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(bytes.len() - input.len())));
        prop_assert_eq!(Some(head.method.as_str()), request.method);
        prop_assert_eq!(Some(head.uri.to_string()), request.path.map(ToOwned::to_owned));
        prop_assert_eq!(head.version == Version::HTTP_11, request.version == Some(1));
        let theirs = request.headers.iter().map(|it| (HeaderName::from_bytes(it.name.as_bytes()).expect("a name"), it.value));
        prop_assert!(head.fields.iter().map(|(name, value)| (name.clone(), value.as_bytes())).eq(theirs));
    }
}
