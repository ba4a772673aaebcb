//! Heads on the wire: ours to the server, written in one form only, and the server's, read in one way only (RFC 9112).

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::upstream::failure::Malformed;
use crate::upstream::message::Outgoing;
use crate::vocab::fields::Fields;
use crate::vocab::header::has_word;
use crate::vocab::units::push_number;

/// Longest response head.
const HEAD_MAX: usize = 64 << 10;
/// Most lines of one.
const FIELDS_MAX: usize = 128;

/// Fields that are added to a response on its way to the client.
const ADDED: usize = 6;

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
    let bytes = input.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed =
        httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut response, &bytes, &mut fields);
    let (Ok(httparse::Status::Complete(_)), Some(version), Some(code)) = (parsed, response.version, response.code)
    else {
        return Err(Malformed("no head that can be read"));
    };
    let status = StatusCode::from_u16(code).map_err(|_| Malformed("no status code"))?;
    let fields = collect(&bytes, response.headers)?;
    let framing = framing(method, status, version, &fields)?;
    let keeps_alive = framing != Framing::UntilClose && keeps_alive(version, &fields);
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
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((_, fields))) => collect(section, fields),
        Ok(httparse::Status::Partial) | Err(_) => Err(Malformed("no fields that can be read")),
    }
}

/// The values stay where they were read.
fn collect(bytes: &Bytes, fields: &[httparse::Header<'_>]) -> Result<Fields, Malformed> {
    let mut headers = Fields::with_capacity(fields.len() + ADDED);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed("no field name"))?;
        let value = HeaderValue::from_maybe_shared(bytes.slice_ref(field.value));
        headers.append(name, value.map_err(|_| Malformed("no field value"))?);
    }
    Ok(headers)
}

/// RFC 9112 §6.3, without its mercy: what is framed twice, or in a way that is not ours to read, is framed wrongly.
fn framing(method: &Method, status: StatusCode, version: u8, headers: &Fields) -> Result<Framing, Malformed> {
    let length = single(headers, &CONTENT_LENGTH).map_err(|()| Malformed("more than one Content-Length"))?;
    let coding = single(headers, &TRANSFER_ENCODING).map_err(|()| Malformed("more than one Transfer-Encoding"))?;
    let length = length.map(|value| read_length(value.as_bytes()).ok_or(Malformed("no length"))).transpose()?;
    if let Some(coding) = coding
        && (length.is_some() || version == 0 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
    {
        return Err(Malformed("a Transfer-Encoding that is not chunked, or is not alone"));
    }
    let is_bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    Ok(match (coding, length) {
        _ if is_bodiless => Framing::None,
        (Some(_), _) => Framing::Chunked,
        (None, Some(0)) => Framing::None,
        (None, Some(length)) => Framing::Length(length),
        (None, None) => Framing::UntilClose,
    })
}

fn single<'a>(headers: &'a Fields, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut all = headers.get_all(name);
    let first = all.next();
    if all.next().is_some() { Err(()) } else { Ok(first) }
}

fn read_length(text: &[u8]) -> Option<u64> {
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_number)?.parse().ok()
}

/// RFC 9112 §9.3.
fn keeps_alive(version: u8, headers: &Fields) -> bool {
    let says = |option| has_word(headers, &CONNECTION, option);
    if !headers.contains(CONNECTION) {
        return version == 1;
    }
    !says("close") && (version == 1 || says("keep-alive"))
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
