//! Heads on the wire: ours to the server, written in one form only, and the server's, read in one way only (RFC 9112).

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::upstream::failure::Malformed;
use crate::upstream::message::Outgoing;
use crate::vocab::fields::Fields;
use crate::vocab::header::has_word;
use crate::vocab::lines::{FieldLine, Line, Says, field_line, status_line};
use crate::vocab::units::push_number;

/// Longest response head.
const HEAD_MAX: usize = 64 << 10;
/// Most lines of one.
const FIELDS_MAX: usize = 128;

/// Fields that there is room for at first: most heads have fewer, and we add some. So many are 1,008 bytes; beyond 1,024 the
/// allocator takes a longer way.
const ROOM: usize = 14;

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is none.
    None,
    /// After this many bytes.
    Length(u64),
    /// It says so itself.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A response head, understood.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: StatusCode,
    pub(super) fields: Fields,
    pub(super) framing: Framing,
    /// Another request may follow on the connection.
    pub(super) keeps_alive: bool,
}

/// Writes a request. The framing is ours to say, whatever the fields say of it.
pub(super) fn write_request(out: &mut Vec<u8>, head: &Outgoing, framing: Framing) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.target.as_str().as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_fields(out, head.fields.iter());
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            push_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes fields, except those that frame.
pub(super) fn write_fields<'f>(out: &mut Vec<u8>, fields: impl Iterator<Item = (&'f HeaderName, &'f HeaderValue)>) {
    for (name, value) in fields {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Takes a response head from `input`, if a whole one is there.
///
/// # Errors
/// [`Malformed`], as soon as that can be seen.
pub(super) fn read_response(input: &mut BytesMut, method: &Method) -> Result<Option<ResponseHead>, Malformed> {
    if input.first().is_some_and(|first| *first != b'H') {
        return Err(Malformed("no status line"));
    }
    let end = strict_end(input)?;
    if end.unwrap_or(input.len()) > HEAD_MAX {
        return Err(Malformed("the head is too long"));
    }
    let Some(end) = end else { return Ok(None) };
    let bytes = if end == input.len() { std::mem::take(input) } else { input.split_to(end) }.freeze();
    let Some(Line::Whole(at, line)) = status_line(&bytes) else { return Err(Malformed("no status line")) };
    let status = StatusCode::from_u16(line.code).map_err(|_| Malformed("no status code"))?;
    let Section { fields, length, is_chunked } = Section::read(&bytes, at)?;
    let framing = framing((method, status), line.is_http_10, length, is_chunked)?;
    let keeps_alive = framing != Framing::UntilClose && keeps_alive(line.is_http_10, &fields);
    Ok(Some(ResponseHead { status, fields, framing, keeps_alive }))
}

/// Where the empty line behind the first head or trailer section of `input` ends, if it is there.
///
/// # Errors
/// A line that ends with LF alone: where it ends would depend on who reads it (RFC 9112 §2.2).
pub(super) fn strict_end(input: &[u8]) -> Result<Option<usize>, Malformed> {
    for at in memchr::memchr_iter(b'\n', input) {
        if at == 0 || input[at - 1] != b'\r' {
            return Err(Malformed("a line does not end with CR LF"));
        }
        if input[at + 1..].starts_with(b"\r\n") {
            return Ok(Some(at + 3));
        }
    }
    Ok(None)
}

/// Reads a section of fields that ends with its empty line.
///
/// # Errors
/// [`Malformed`]
pub(super) fn read_fields(section: &Bytes) -> Result<Fields, Malformed> {
    Section::read(section, 0).map(|section| section.fields)
}

/// Fields, and what they say of framing.
struct Section {
    fields: Fields,
    length: Option<u64>,
    is_chunked: bool,
}

impl Section {
    /// Reads the lines of `bytes` from `at` to its end, which is that of the first empty line. The values stay where they are.
    fn read(bytes: &Bytes, mut at: usize) -> Result<Self, Malformed> {
        let mut section = Self { fields: Fields::with_capacity(ROOM), length: None, is_chunked: false };
        loop {
            let Some(Line::Whole(line_len, line)) = field_line(&bytes[at..]) else {
                return Err(Malformed("no field that can be read"));
            };
            let FieldLine::Field { name_len, value, says } = line else {
                let is_all = at + line_len == bytes.len();
                return if is_all { Ok(section) } else { Err(Malformed("an empty line among fields")) };
            };
            match says {
                Says::Nothing => {}
                Says::Length(length) if section.length.is_none() => {
                    section.length = Some(length.ok_or(Malformed("no length"))?);
                }
                Says::Length(_) => return Err(Malformed("more than one Content-Length")),
                Says::Coding(true) if !section.is_chunked => section.is_chunked = true,
                Says::Coding(_) => return Err(Malformed("a Transfer-Encoding that is not chunked, or not alone")),
            }
            if section.fields.len() == FIELDS_MAX {
                return Err(Malformed("too many fields"));
            }
            let name = HeaderName::from_bytes(&bytes[at..at + name_len]).map_err(|_| Malformed("no field name"))?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(at + value.start..at + value.end));
            section.fields.append(name, value.map_err(|_| Malformed("no field value"))?);
            at += line_len;
        }
    }
}

/// RFC 9112 §6.3, without its mercy: what is framed twice, or in a way that is not ours to read, is framed wrongly.
fn framing(
    (method, status): (&Method, StatusCode),
    is_http_10: bool,
    length: Option<u64>,
    is_chunked: bool,
) -> Result<Framing, Malformed> {
    if is_chunked && (length.is_some() || is_http_10) {
        return Err(Malformed("a Transfer-Encoding beside a Content-Length, or in HTTP/1.0"));
    }
    let is_bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (is_chunked, length) {
        _ if is_bodiless => Framing::None,
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}

/// RFC 9112 §9.3.
fn keeps_alive(is_http_10: bool, headers: &Fields) -> bool {
    let says = |option| has_word(headers, &CONNECTION, option);
    if !headers.contains(CONNECTION) {
        return !is_http_10;
    }
    !says("close") && (!is_http_10 || says("keep-alive"))
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;

    use super::*;

    fn read(head: &str, method: &Method) -> Result<Option<(u16, Framing, bool)>, &'static str> {
        let read = read_response(&mut BytesMut::from(head), method);
        read.map(|head| head.map(|h| (h.status.as_u16(), h.framing, h.keeps_alive))).map_err(|Malformed(why)| why)
    }

    #[test]
    fn a_head_is_read_in_one_way() {
        let cases: &[(&str, u16, Framing, bool)] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 200, Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, Framing::None, true),
            ("HTTP/1.1 200\r\ncontent-length:5\r\n\r\n", 200, Framing::Length(5), true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", 200, Framing::Chunked, true),
            ("HTTP/1.1 200 OK\r\n\r\n", 200, Framing::UntilClose, false),
            ("HTTP/1.1 204 No\r\n\r\n", 204, Framing::None, true),
            ("HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", 304, Framing::None, true),
            ("HTTP/1.1 103 Early\r\nLink: a\r\n\r\n", 103, Framing::None, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n\r\n", 200, Framing::Length(5), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 200, Framing::Length(5), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", 200, Framing::Length(5), true),
        ];
        for (head, status, framing, keeps_alive) in cases {
            assert_eq!(read(head, &Method::GET), Ok(Some((*status, *framing, *keeps_alive))), "{head:?}");
            for cut in 0..head.len() {
                assert_eq!(read(&head[..cut], &Method::GET), Ok(None), "{:?}", &head[..cut]);
            }
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(read(head, &Method::HEAD), Ok(Some((200, Framing::None, true))));
    }

    #[test]
    fn what_could_be_read_otherwise_is_malformed() {
        let fields = [
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Content-Length: ",
            "Content-Length: 99999999999999999999",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding:\u{b}chunked",
            "X: a\r\n b",
            "X: a\nY: b",
            "X: a\rY: b",
            "X: a\0b",
            " X: a",
            "X Y: a",
            ": a",
            "nothing",
        ];
        for field in fields {
            let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
            assert!(read(&head, &Method::GET).is_err(), "{head:?}");
        }
        for line in [
            "HTTP/2 200 OK",
            "HTTP/1.2 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1  200 OK",
            "ICY 200 OK",
            "",
        ] {
            assert!(read(&format!("{line}\r\nContent-Length: 5\r\n\r\n"), &Method::GET).is_err(), "{line:?}");
        }
        assert!(read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &Method::GET).is_err());
        assert!(read("HTTP/1.1 200 OK\nContent-Length: 5\n\n", &Method::GET).is_err());
        assert!(read(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_MAX)), &Method::GET).is_err());
        let many = "X: a\r\n".repeat(FIELDS_MAX + 1);
        assert!(read(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), &Method::GET).is_err());
    }

    #[test]
    fn a_request_has_one_framing() {
        let lines = [("content-length", "7"), ("x", "y")];
        let fields = lines.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let fields = fields.into_iter().collect();
        let request = Outgoing { method: Method::POST, target: PathAndQuery::from_static("/a?b"), fields };
        for (framing, end) in [
            (Framing::None, "\r\n"),
            (Framing::Length(7), "content-length: 7\r\n\r\n"),
            (Framing::Chunked, "transfer-encoding: chunked\r\n\r\n"),
        ] {
            let mut out = Vec::new();
            write_request(&mut out, &request, framing);
            assert_eq!(String::from_utf8_lossy(&out), format!("POST /a?b HTTP/1.1\r\nx: y\r\n{end}"));
        }
    }
}
