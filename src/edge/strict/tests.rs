use proptest::prelude::*;

use super::*;

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

fn read_in_pieces(bytes: &[u8], piece: usize) -> End {
    let mut strict = Strict::http1(LINE_MAX);
    for piece in bytes.chunks(piece.max(1)) {
        if let Err(Violation { in_head, good }) = strict.read(piece) {
            assert!(good <= piece.len());
            return End::Refused { in_head };
        }
    }
    if strict.is_between_requests() { End::Between } else { End::Open }
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
        "M-SEARCH /caf\u{e9}?a=\"b\"|{} HTTP/1.1\r\n\r\n".to_owned(),
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
fn lines_that_never_end_are_not_kept_for_ever() {
    let mut strict = Strict::http1(8192);
    let mut fed = 0;
    while strict.read(b"GET /aaaa").is_ok() {
        fed += 9;
        assert!(fed < 10_000, "kept {} bytes", strict.carry.len());
    }
    let mut strict = Strict::http1(8192);
    strict.read(b"GET / HTTP/1.1\r\nX: ").expect("good so far");
    let whole = [b"a".repeat(4000).as_slice(), b"\r\n\r\n"].concat();
    strict.read(&whole).expect("a good end");
    assert!(strict.is_between_requests() && strict.carry.capacity() <= 2 * CARRY_KEPT);
}

#[test]
fn http_2_is_none_of_its_business() {
    for piece in [1, 5, 24, 100] {
        let mut strict = Strict::by_preface(LINE_MAX);
        let bytes = [PREFACE, b"\0\0\0\x04\0\0\0\0\0".as_slice()].concat();
        for piece in bytes.chunks(piece) {
            strict.read(piece).expect("all of it passes");
        }
        assert_eq!(strict.state, State::Aside);
    }
    for (bytes, good) in [
        ("P", true),
        ("PRI / HTTP/1.1\r\n\r\n", true),
        ("PRI * HTTP/2.0\r\n\r\nSX", false),
        ("PRI *", true),
        ("PRI * H", true),
    ] {
        for piece in [1, 3, 100] {
            let mut strict = Strict::by_preface(LINE_MAX);
            let read = bytes.as_bytes().chunks(piece).try_for_each(|piece| strict.read(piece));
            assert_eq!(read.is_ok(), good, "{bytes:?}");
        }
    }
}

/// Reads through `after_read` as hyper does, into buffers of so many bytes.
fn hand_over(bytes: &[u8], room: usize) -> (Vec<u8>, bool) {
    let mut strict = Strict::http1(LINE_MAX);
    let mut given = Vec::new();
    for piece in bytes.chunks(room) {
        let mut memory = vec![0; room];
        let mut buffer = ReadBuf::new(&mut memory);
        match strict.before_read(&mut buffer) {
            Some(Err(_)) => return (given, true),
            Some(Ok(())) => {}
            None => {
                buffer.put_slice(piece);
                if strict.after_read(&mut buffer, 0).is_err() {
                    return (given, true);
                }
            }
        }
        given.extend_from_slice(buffer.filled());
    }
    (given, false)
}

#[test]
fn hyper_gets_what_is_good_and_then_what_no_parser_takes() {
    let good = head("Content-Length: 2\r\n") + "ok";
    for room in 1..200 {
        let (given, failed) = hand_over((good.clone() + "GET / HTTP/1.1\r\nX : y\r\n\r\n..........").as_bytes(), room);
        let (first, refused) = given.split_at(good.len());
        assert_eq!(first, good.as_bytes());
        let mut fields = [httparse::EMPTY_HEADER; 8];
        assert!(!failed && httparse::Request::new(&mut fields).parse(refused).is_err(), "{refused:?}");
        let (given, failed) =
            hand_over((head("Transfer-Encoding: chunked\r\n") + "1\r\nxX\r\n0\r\n\r\n.....").as_bytes(), room);
        assert!(failed || !given.ends_with(b"0\r\n\r\n"), "{given:?}");
    }
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
    fn hypers_parser_reads_the_same_head(bytes in soup()) {
        let mut strict = Strict::http1(LINE_MAX);
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&bytes);
        if let Ok(httparse::Status::Complete(length)) = parsed {
            // Up to the last byte of the head nothing is decided; with it, a body or the next request begins.
            if strict.read(&bytes[..length - 1]).is_ok() && strict.read(&bytes[length - 1..length]).is_ok() {
                prop_assert!(!strict.is_in_head(), "hyper sees the end of a head at {length} where we do not");
            }
        } else if strict.read(&bytes).is_ok() {
            prop_assert!(strict.is_in_head() || strict.is_between_requests(), "we see a body where hyper sees no head");
        }
    }
}
