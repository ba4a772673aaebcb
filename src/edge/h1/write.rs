//! A response on the wire (RFC 9112 §4, §6): written in one form only, and framed by us whatever its fields say.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::vocab::fields::Fields;
use crate::vocab::units::{push_hexadecimal, push_number};

/// What asks the client for its body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// How a response's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    Nothing,
    /// After so many bytes.
    Length(u64),
    /// It says so itself.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What a response depends on beside itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// By HTTP/1.0.
    pub(super) is_http_10: bool,
    /// By HEAD.
    pub(super) is_head: bool,
    /// Trailers are taken.
    pub(super) accepts_trailers: bool,
}

/// The framing of a response whose body has a known length, or has not.
pub(super) fn framing(asked: Asked, status: StatusCode, length: Option<u64>) -> Framing {
    if asked.is_head || has_no_body(status) {
        return Framing::Nothing;
    }
    match length {
        Some(length) => Framing::Length(length),
        None if asked.is_http_10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

/// RFC 9112 §6.3.
fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Writes a head. `keeps_alive` is said where the version would leave it open.
pub(super) fn push_head(
    out: &mut Vec<u8>,
    asked: Asked,
    (status, fields): (StatusCode, &Fields),
    framing: Framing,
    keeps_alive: bool,
    date: &[u8],
) {
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    // The length that a body would have: of an answer to HEAD, and of 304 (RFC 9110 §8.6).
    let keeps_length = framing == Framing::Nothing && (asked.is_head || status == StatusCode::NOT_MODIFIED);
    push_status(out, asked.is_http_10, status);
    let mut is_dated = false;
    for (name, value) in fields.iter() {
        let is_left_out = (*name == CONTENT_LENGTH && !keeps_length)
            || *name == TRANSFER_ENCODING
            || (*name == CONNECTION && !switches);
        if !is_left_out {
            is_dated |= *name == DATE;
            push_field(out, name, value);
        }
    }
    match framing {
        Framing::Nothing | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if !switches {
        match (keeps_alive, asked.is_http_10) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, false) => {}
        }
    }
    if !is_dated {
        push_date(out, date);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the whole answer to a head that cannot be read: there is nobody to explain it to.
pub(super) fn push_refusal(out: &mut Vec<u8>, status: StatusCode, date: &[u8]) {
    push_status(out, false, status);
    out.extend_from_slice(b"connection: close\r\ncontent-length: 0\r\n");
    push_date(out, date);
    out.extend_from_slice(b"\r\n");
}

fn push_status(out: &mut Vec<u8>, is_http_10: bool, status: StatusCode) {
    out.extend_from_slice(if is_http_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn push_date(out: &mut Vec<u8>, date: &[u8]) {
    out.extend_from_slice(b"date: ");
    out.extend_from_slice(date);
    out.extend_from_slice(b"\r\n");
}

fn push_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes the line before a chunk of `length` bytes, which is not zero.
pub(super) fn push_chunk_size(out: &mut Vec<u8>, length: usize) {
    push_hexadecimal(out, length as u64);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body. Trailers must not frame, route or change how the message is read (RFC 9110 §6.5.1).
pub(super) fn push_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten().filter(|(name, _)| may_trail(name)) {
        push_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

fn may_trail(name: &HeaderName) -> bool {
    use http::header as h;
    let kept_out = [
        h::AUTHORIZATION,
        h::CACHE_CONTROL,
        h::CONNECTION,
        h::CONTENT_ENCODING,
        h::CONTENT_LENGTH,
        h::CONTENT_RANGE,
        h::CONTENT_TYPE,
        h::HOST,
        h::SET_COOKIE,
        h::TE,
        h::TRAILER,
        h::TRANSFER_ENCODING,
        h::UPGRADE,
        h::WWW_AUTHENTICATE,
    ];
    !kept_out.contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Asked = Asked { is_http_10: false, is_head: false, accepts_trailers: true };

    fn written(
        asked: Asked,
        status: u16,
        lines: &[(&'static str, &'static str)],
        length: Option<u64>,
        keeps_alive: bool,
    ) -> String {
        let status = StatusCode::from_u16(status).expect("a status");
        let fields = lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let mut out = Vec::new();
        push_head(&mut out, asked, (status, &fields), framing(asked, status, length), keeps_alive, b"today");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_head_is_written_in_one_form_whatever_its_fields_say_of_framing() {
        let lines = [("content-length", "7"), ("transfer-encoding", "gzip"), ("connection", "x"), ("x", "y")];
        let (http_10, head) = (Asked { is_http_10: true, ..ASKED }, Asked { is_head: true, ..ASKED });
        for (asked, status, length, keeps_alive, expected) in [
            (ASKED, 200, Some(2), true, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\ndate: today\r\n\r\n"),
            (ASKED, 200, None, true, "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\ndate: today\r\n\r\n"),
            (
                ASKED,
                200,
                Some(0),
                false,
                "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\nconnection: close\r\ndate: today\r\n\r\n",
            ),
            (
                http_10,
                200,
                Some(2),
                true,
                "HTTP/1.0 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: keep-alive\r\ndate: today\r\n\r\n",
            ),
            (http_10, 200, None, false, "HTTP/1.0 200 OK\r\nx: y\r\nconnection: close\r\ndate: today\r\n\r\n"),
            (head, 200, Some(0), true, "HTTP/1.1 200 OK\r\ncontent-length: 7\r\nx: y\r\ndate: today\r\n\r\n"),
            (
                ASKED,
                304,
                Some(0),
                true,
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\nx: y\r\ndate: today\r\n\r\n",
            ),
            (ASKED, 204, Some(0), true, "HTTP/1.1 204 No Content\r\nx: y\r\ndate: today\r\n\r\n"),
            (
                ASKED,
                101,
                Some(0),
                true,
                "HTTP/1.1 101 Switching Protocols\r\nconnection: x\r\nx: y\r\ndate: today\r\n\r\n",
            ),
            (ASKED, 299, Some(2), true, "HTTP/1.1 299 \r\nx: y\r\ncontent-length: 2\r\ndate: today\r\n\r\n"),
        ] {
            assert_eq!(written(asked, status, &lines, length, keeps_alive), expected);
        }
        assert!(!written(ASKED, 200, &[("date", "theirs")], None, true).contains("today"));
    }

    #[test]
    fn trailers_neither_frame_nor_route() {
        let name = HeaderName::from_static;
        let lines = ["x-sum", "content-length", "set-cookie", "trailer"];
        let trailers = lines.into_iter().map(|line| (name(line), HeaderValue::from_static("1"))).collect();
        let mut out = Vec::new();
        push_chunk_size(&mut out, 0x1f2);
        push_last_chunk(&mut out, Some(&trailers));
        assert_eq!(String::from_utf8_lossy(&out), "1f2\r\n0\r\nx-sum: 1\r\n\r\n");
    }
}
