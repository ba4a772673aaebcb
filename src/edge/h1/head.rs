//! A request head: its bytes, whole and known to end with an empty line, become what they say.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, TE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, Version};

use crate::vocab::fields::Fields;
use crate::vocab::header::list_has;
use crate::vocab::lines::{FieldLine, Line, RequestLine, Says, field_line, request_line};

/// Longest target; what `http::Uri` can hold.
const TARGET_MAX: usize = u16::MAX as usize - 1;
/// Fields that there is room for at first: most heads have fewer, and we add some. So many are 1,008 bytes; beyond 1,024 the
/// allocator takes a longer way.
const ROOM: usize = 14;

/// A head, and what it says of its message and of the connection.
#[derive(Debug)]
pub struct Head {
    /// As sent.
    pub method: Method,
    /// As sent.
    pub uri: Uri,
    /// 1.0 or 1.1
    pub version: Version,
    /// As sent.
    pub fields: Fields,
    /// Where the body ends.
    pub framing: Framing,
    /// Another request may follow (RFC 9112 §9.3).
    pub keeps_alive: bool,
    /// The client waits to be asked for the body (RFC 9110 §10.1.1).
    pub expects_continue: bool,
    /// The client takes trailers (RFC 9110 §10.1.4).
    pub accepts_trailers: bool,
}

/// Where a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Nothing,
    /// After so many bytes.
    Length(u64),
    /// It says so itself.
    Chunked,
}

/// Why a head is refused: the status that says it.
pub(super) type Refused = StatusCode;

const BAD: Refused = StatusCode::BAD_REQUEST;
const TOO_MANY: Refused = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;

impl Head {
    /// Reads `bytes`, which end with the first empty line that is in them. At most `headers_max` fields.
    ///
    /// # Errors
    /// The head has no single reading, or is more than is taken.
    pub(super) fn read(bytes: &Bytes, headers_max: usize) -> Result<Self, Refused> {
        let Some(Line::Whole(mut at, line)) = request_line(bytes) else { return Err(BAD) };
        let RequestLine { method_len, target_len, is_http_10 } = line;
        let mut head = Self {
            method: Method::from_bytes(&bytes[..method_len]).map_err(|_| BAD)?,
            uri: target(bytes.slice(method_len + 1..method_len + 1 + target_len))?,
            version: if is_http_10 { Version::HTTP_10 } else { Version::HTTP_11 },
            fields: Fields::with_capacity(ROOM),
            framing: Framing::Nothing,
            keeps_alive: !is_http_10,
            expects_continue: false,
            accepts_trailers: false,
        };
        let (mut length, mut is_chunked) = (None, false);
        loop {
            let Some(Line::Whole(line_len, line)) = field_line(&bytes[at..]) else { return Err(BAD) };
            let FieldLine::Field { name_len, value, says } = line else {
                at += line_len;
                break;
            };
            match says {
                Says::Nothing => {}
                Says::Length(said) if length.is_none() => length = Some(said.ok_or(BAD)?),
                Says::Coding(true) if !is_chunked => is_chunked = true,
                Says::Length(_) | Says::Coding(_) => return Err(BAD),
            }
            if head.fields.len() == headers_max {
                return Err(TOO_MANY);
            }
            let name = HeaderName::from_bytes(&bytes[at..at + name_len]).map_err(|_| BAD)?;
            let value = HeaderValue::from_maybe_shared(bytes.slice(at + value.start..at + value.end));
            head.note(name, value.map_err(|_| BAD)?);
            at += line_len;
        }
        head.framing = match (is_chunked, length) {
            (true, None) if !is_http_10 => Framing::Chunked,
            (true, _) => return Err(BAD),
            (false, None | Some(0)) => Framing::Nothing,
            (false, Some(length)) => Framing::Length(length),
        };
        if at == bytes.len() { Ok(head) } else { Err(BAD) }
    }

    fn note(&mut self, name: HeaderName, value: HeaderValue) {
        if name == CONNECTION {
            // Whatever else a connection is to be, "close" is the last word on it.
            if list_has(&value, "close") {
                self.keeps_alive = false;
            } else if self.version == Version::HTTP_10 && list_has(&value, "keep-alive") {
                self.keeps_alive = !self.fields.get_all(CONNECTION).any(|line| list_has(line, "close"));
            }
        } else if name == EXPECT {
            self.expects_continue =
                self.version == Version::HTTP_11 && value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        } else if name == TE {
            self.accepts_trailers |= list_has(&value, "trailers");
        }
        self.fields.append(name, value);
    }
}

/// Nearly every target is a path with or without a query.
fn target(bytes: Bytes) -> Result<Uri, Refused> {
    if bytes.len() > TARGET_MAX {
        return Err(StatusCode::URI_TOO_LONG);
    }
    if bytes.starts_with(b"/") {
        return PathAndQuery::from_maybe_shared(bytes).map(Uri::from).map_err(|_| BAD);
    }
    Uri::from_maybe_shared(bytes).map_err(|_| BAD)
}
