//! The bytes of an HTTP/1 connection, read in the one way that RFC 9112 leaves.
//!
//! Two servers that read one stream differently are how requests are smuggled. Parsers that forgive take a bare LF for a
//! line's end and any number of empty lines before a request, drop a `Content-Length` that stands beside
//! `Transfer-Encoding`, take the last of several codings for the only one, equal lengths said twice for one, cut a target at
//! `#`, take any number of zeros before a chunk's size, spaces behind it, and control characters in its extension. None
//! of it gets past this reader.
//!
//! | | |
//! |---|---|
//! | before a request | one empty line at most (RFC 9112 §2.2) |
//! | request line | `METHOD SP target SP HTTP/1.0` or `1.1`; a target without `#`, spaces or control characters |
//! | field lines | `name: value` with a token for a name; a value may hold HTAB and bytes over 0x7f, no other control character; no folding |
//! | `Content-Length` | once, digits alone, at most 2⁶³ - 1; never `Content_Length`, and no `Transfer_Encoding` |
//! | `Transfer-Encoding` | once, exactly `chunked`, in HTTP/1.1, without `Content-Length` |
//! | chunks | 1 to 16 digits, extensions (which nobody behind us gets to see) of at most 256 bytes, CRLF everywhere |
//! | trailers | field lines that neither frame nor route the message, at most 8 KiB |

use std::sync::LazyLock;

use bytes::{Buf, Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use memchr::memmem;

use super::head::{Framing, Head, Refused};
use crate::vocab::lines::{FieldLine, Line, Says, chunk_size, field_line, request_line};

/// Longest line of a chunk's size and extensions.
const CHUNK_LINE_MAX: usize = 16 + 256;
/// All trailer lines together.
const TRAILERS_MAX: usize = 8 * 1024;
/// What ends a head.
const END: &[u8] = b"\r\n\r\n";
static END_FINDER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(END));

/// Reads one connection: heads and bodies in turn, as they come.
#[derive(Debug)]
pub struct Reader {
    state: State,
    header_bytes_max: usize,
    headers_max: usize,
}

#[derive(Debug)]
enum State {
    /// Before or in a head, of which so many bytes, whole lines, are known to be good. An empty line has been there, or not.
    Head {
        good: usize,
        was_empty: bool,
    },
    /// In a body that has so much more to come.
    Length(u64),
    ChunkSize,
    /// In a chunk that has so much more to come.
    Chunk(u64),
    ChunkEnd,
    /// Among trailers, of which there may be so many more bytes.
    Trailers(usize, HeaderMap),
    /// What came has no single reading.
    Broken,
}

/// What a body is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the content.
    Data(Bytes),
    /// Fields behind it; with them it ends.
    Trailers(HeaderMap),
    /// Nothing more.
    End,
}

/// The body has no single reading. Nothing more is read of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl Reader {
    /// Of a connection whose heads have at most so many bytes and so many fields.
    pub const fn new(header_bytes_max: usize, headers_max: usize) -> Self {
        Self { state: State::Head { good: 0, was_empty: false }, header_bytes_max, headers_max }
    }

    /// Whether the next bytes are a body's.
    pub const fn is_in_body(&self) -> bool {
        match self.state {
            State::Head { .. } | State::Broken => false,
            State::Length(_) | State::ChunkSize | State::Chunk(_) | State::ChunkEnd | State::Trailers(..) => true,
        }
    }

    /// Whether something came that has no single reading.
    pub const fn is_broken(&self) -> bool {
        matches!(self.state, State::Broken)
    }

    /// How much is left of a body that has said its length.
    pub const fn length_left(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Head { .. }
            | State::Broken
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkEnd
            | State::Trailers(..) => None,
        }
    }

    /// Takes a head from `input`, if all of one is there.
    ///
    /// # Errors
    /// The status with which it is refused, as soon as that can be seen. Nothing more is read of the connection.
    pub fn head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, StatusCode> {
        let taken = self.take_head(input);
        match &taken {
            Err(_) => self.state = State::Broken,
            Ok(Some(head)) => {
                self.state = match head.framing {
                    Framing::Nothing => State::Head { good: 0, was_empty: false },
                    Framing::Length(length) => State::Length(length),
                    Framing::Chunked => State::ChunkSize,
                }
            }
            Ok(None) => {}
        }
        taken
    }

    fn take_head(&mut self, input: &mut BytesMut) -> Result<Option<Head>, Refused> {
        let State::Head { good, was_empty } = &mut self.state else { return Err(StatusCode::BAD_REQUEST) };
        if !*was_empty && input.starts_with(b"\r\n") {
            *was_empty = true;
            input.advance(2);
        }
        // The end may lie over what was read and what has come since.
        let from = good.saturating_sub(2);
        match END_FINDER.find(&input[from..]) {
            Some(at) => {
                let end = from + at + END.len();
                if end > self.header_bytes_max {
                    return Err(too_long(input, self.header_bytes_max));
                }
                // Nearly always there is nothing else: what was read becomes the head without being shared first.
                let bytes = if end == input.len() { std::mem::take(input) } else { input.split_to(end) };
                Head::read(&bytes.freeze(), self.headers_max).map(Some)
            }
            None if input.len() > self.header_bytes_max => Err(too_long(input, self.header_bytes_max)),
            None => {
                *good = good_lines(input, *good).ok_or(StatusCode::BAD_REQUEST)?;
                Ok(None)
            }
        }
    }

    /// Takes the next piece of the body from `input`, if there is one.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn piece(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        let piece = self.take_piece(input).ok_or(Malformed);
        if piece.is_err() {
            self.state = State::Broken;
        }
        piece
    }

    /// `None` for what has no single reading.
    fn take_piece(&mut self, input: &mut BytesMut) -> Option<Option<Piece>> {
        loop {
            match &mut self.state {
                State::Head { .. } => return Some(Some(Piece::End)),
                State::Broken => return None,
                State::Length(left) => {
                    let data = take(left, input);
                    if *left == 0 {
                        self.state = State::Head { good: 0, was_empty: false };
                    }
                    return Some(data.map(Piece::Data));
                }
                State::Chunk(left) => {
                    let data = take(left, input);
                    if *left == 0 {
                        self.state = State::ChunkEnd;
                    }
                    return Some(data.map(Piece::Data));
                }
                State::ChunkSize => match chunk_size(input, CHUNK_LINE_MAX)? {
                    Line::Partial => return Some(None),
                    Line::Whole(length, size) => {
                        input.advance(length);
                        self.state = match size {
                            0 => State::Trailers(TRAILERS_MAX, HeaderMap::new()),
                            size => State::Chunk(size),
                        };
                    }
                },
                State::ChunkEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::ChunkSize;
                    }
                    [] | [b'\r'] => return Some(None),
                    _ => return None,
                },
                State::Trailers(left, trailers) => {
                    let Some(is_last) = trailer(input, left, trailers)? else { return Some(None) };
                    if is_last {
                        let trailers = std::mem::take(trailers);
                        self.state = State::Head { good: 0, was_empty: false };
                        let is_none = trailers.is_empty();
                        return Some(Some(if is_none { Piece::End } else { Piece::Trailers(trailers) }));
                    }
                }
            }
        }
    }
}

/// As much of `left` bytes as is there.
fn take(left: &mut u64, input: &mut BytesMut) -> Option<Bytes> {
    if input.is_empty() {
        return None;
    }
    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
    *left -= taken as u64;
    // Nearly always it is all: what was read is passed on without being shared first.
    let data = if taken == input.len() { std::mem::take(input) } else { input.split_to(taken) };
    Some(data.freeze())
}

/// A head that goes on for too long: in its first line, or behind that.
fn too_long(input: &[u8], max: usize) -> Refused {
    let is_in_first_line = memchr::memchr(b'\n', &input[..max.min(input.len())]).is_none();
    if is_in_first_line { StatusCode::URI_TOO_LONG } else { StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE }
}

/// How far there are good lines of a head that is not whole, `good` bytes being known to be such. `None` if there is a bad
/// one, or the beginning of one.
fn good_lines(input: &[u8], mut good: usize) -> Option<usize> {
    if matches!(input, [] | [b'\r']) {
        return Some(0);
    }
    if good == 0 {
        match request_line(input)? {
            Line::Whole(length, _) => good = length,
            Line::Partial => return Some(0),
        }
    }
    while let Line::Whole(length, _) = field_line(&input[good..])? {
        good += length;
    }
    Some(good)
}

/// Takes one trailer line: whether it was the last, if it is there.
fn trailer(input: &mut BytesMut, left: &mut usize, trailers: &mut HeaderMap) -> Option<Option<bool>> {
    let Line::Whole(length, line) = field_line(input)? else {
        return (input.len() <= *left).then_some(None);
    };
    let FieldLine::Field { name_len, value, says } = line else {
        input.advance(length);
        return Some(Some(true));
    };
    *left = left.checked_sub(length)?;
    let line = input.split_to(length).freeze();
    let name = HeaderName::from_bytes(&line[..name_len]).ok()?;
    if says != Says::Nothing || name == HOST {
        return None;
    }
    trailers.try_append(name, HeaderValue::from_maybe_shared(line.slice(value)).ok()?).ok()?;
    Some(Some(false))
}
