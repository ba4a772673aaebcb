//! What comes before hyper: the bytes of an HTTP/1 connection, of which only those pass that have one reading under
//! RFC 9112.
//!
//! hyper's parser forgives what other servers read differently, and two servers that read one stream differently are how
//! requests are smuggled. It takes a bare LF for a line's end and any number of empty lines before a request, drops a
//! `Content-Length` that stands beside `Transfer-Encoding`, takes the last of several codings for the only one, equal
//! lengths said twice for one, cuts a target at `#`, takes any number of zeros before a chunk's
//! size, spaces behind it, and control characters in its extension, and a bare LF within trailers. None of it gets past
//! this reader.
//!
//! It reads along and keeps nothing but a line that is not whole yet. Heads are not parsed twice for their meaning: what is
//! found here is where a head ends and how its body is framed; Host, the form of the target and everything else is for [`crate::request`].
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

mod lines;
#[cfg(test)]
mod tests;

use std::io;

use tokio::io::ReadBuf;

use crate::request::MalformedBody;
use lines::{Field, Line, RequestLine, chunk_size, field_line, is_host, request_line};

/// The HTTP/2 connection preface (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What hyper is given in place of a head that is refused. No parser takes a NUL, wherever it stands in a head, and the
/// empty line tells hyper to look now: it answers 400 and closes, once earlier requests have their answers.
const POISON: &[u8] = b"\0\r\n\r\n";

/// Longest line of a chunk's size and extensions.
const CHUNK_LINE_MAX: usize = 16 + 256;
/// All trailer lines together; hyper's own bound is twice as much.
const TRAILERS_MAX: usize = 8 * 1024;
/// A line that had to wait for its end; what it needs beyond this is given back.
const CARRY_KEPT: usize = 256;

/// Reads along with one connection.
#[derive(Debug)]
pub struct Strict {
    state: State,
    framing: Framing,
    /// A line whose end has not come.
    carry: Vec<u8>,
    line_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So much of the HTTP/2 preface has come.
    Preface(usize),
    /// Before a request, and whether an empty line has been there already.
    Start {
        was_empty: bool,
    },
    /// After a request line.
    Fields,
    /// In a body that has so much more to come.
    Length(u64),
    ChunkSize,
    /// In a chunk that has so much more to come.
    Chunk(u64),
    ChunkCr,
    ChunkLf,
    /// Among trailers, of which there may be so many more bytes.
    Trailers(usize),
    /// Not HTTP/1: everything passes.
    Aside,
    /// A head was refused; so much of [`POISON`] has been handed over.
    Poisoned(usize),
    /// A body was refused.
    Broken,
}

/// What the head under way has said so far.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    is_http_10: bool,
    length: Option<u64>,
    is_chunked: bool,
}

/// What has no single reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// So many of the bytes were good.
    pub good: usize,
    /// In a head; otherwise in a body, behind a head that was good.
    pub in_head: bool,
}

impl Strict {
    /// Of a connection that speaks HTTP/1; `header_bytes_max` bounds what is kept of it.
    pub const fn http1(header_bytes_max: usize) -> Self {
        Self::new(State::Start { was_empty: false }, header_bytes_max)
    }

    /// Of a connection that speaks HTTP/2 if it begins with its preface.
    pub const fn by_preface(header_bytes_max: usize) -> Self {
        Self::new(State::Preface(0), header_bytes_max)
    }

    /// Of a connection that does not speak HTTP/1.
    pub const fn aside() -> Self {
        Self::new(State::Aside, 0)
    }

    const fn new(state: State, line_max: usize) -> Self {
        let framing = Framing { is_http_10: false, length: None, is_chunked: false };
        Self { state, framing, carry: Vec::new(), line_max }
    }

    /// Whether a part of a head has come, and its end has not.
    pub const fn is_in_head(&self) -> bool {
        match self.state {
            State::Preface(matched) => matched > 0,
            State::Start { .. } => !self.carry.is_empty(),
            State::Fields | State::Poisoned(_) => true,
            State::Length(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::Trailers(_)
            | State::Aside
            | State::Broken => false,
        }
    }

    /// Whether everything that has come belongs to whole requests, so that the next byte begins one.
    pub const fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Start { .. }) && self.carry.is_empty()
    }

    /// Reads the next bytes, however they are cut. After a violation nothing more is to be read.
    ///
    /// # Errors
    /// [`Violation`], and how much may pass before it.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        let mut at = 0;
        while at < bytes.len() {
            let in_head = matches!(self.state, State::Preface(_) | State::Start { .. } | State::Fields);
            match self.step(&bytes[at..]) {
                Some(taken) => at += taken,
                None => return Err(Violation { good: at, in_head }),
            }
        }
        Ok(())
    }

    /// Takes what belongs together from the front of `bytes`, which are not empty, and says how many it took.
    fn step(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.state {
            State::Fields | State::Start { .. } | State::ChunkSize | State::Trailers(_) => self.take_line(bytes),
            State::Length(left) => {
                let taken = upto(left, bytes);
                self.state = match left - taken as u64 {
                    0 => State::Start { was_empty: false },
                    left => State::Length(left),
                };
                Some(taken)
            }
            State::Chunk(left) => {
                let taken = upto(left, bytes);
                self.state = match left - taken as u64 {
                    0 => State::ChunkCr,
                    left => State::Chunk(left),
                };
                Some(taken)
            }
            State::ChunkCr if bytes[0] == b'\r' => {
                self.state = State::ChunkLf;
                Some(1)
            }
            State::ChunkLf if bytes[0] == b'\n' => {
                self.state = State::ChunkSize;
                Some(1)
            }
            State::Preface(matched) => self.take_preface(matched, bytes),
            State::Aside => Some(bytes.len()),
            State::ChunkCr | State::ChunkLf | State::Poisoned(_) | State::Broken => None,
        }
    }

    fn take_preface(&mut self, matched: usize, bytes: &[u8]) -> Option<usize> {
        let same = PREFACE[matched..].iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let matched = matched + same;
        if matched == PREFACE.len() {
            self.state = State::Aside;
        } else if same == bytes.len() {
            self.state = State::Preface(matched);
        } else {
            // It was the beginning of a request line.
            self.state = State::Start { was_empty: false };
            self.line(&PREFACE[..matched]).filter(|line| *line == Line::Partial || matched == 0)?;
            self.carry.extend_from_slice(&PREFACE[..matched]);
        }
        Some(same)
    }

    /// A line, or what has come of it. Lines are nearly always whole, and then nothing is copied.
    fn take_line(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.carry.is_empty() {
            let taken = if self.state == State::Fields { self.fields(bytes)? } else { 0 };
            if taken > 0 {
                return Some(taken);
            }
            return match self.line(bytes)? {
                Line::Whole(length) => Some(length),
                Line::Partial => self.keep(bytes).then_some(bytes.len()),
            };
        }
        let end = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1);
        if !self.keep(&bytes[..end]) {
            return None;
        }
        if self.carry.last() == Some(&b'\n') {
            let mut carry = std::mem::take(&mut self.carry);
            let line = self.line(&carry)?;
            if line != Line::Whole(carry.len()) {
                return None;
            }
            carry.clear();
            carry.shrink_to(CARRY_KEPT);
            self.carry = carry;
        }
        Some(end)
    }

    /// As many whole field lines as there are.
    fn fields(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() && self.state == State::Fields {
            match self.field(&bytes[at..])? {
                Line::Whole(length) => at += length,
                Line::Partial => break,
            }
        }
        Some(at)
    }

    /// Keeps the beginning of a line until the rest has come; false if it is too long.
    fn keep(&mut self, bytes: &[u8]) -> bool {
        let max = if self.state == State::ChunkSize { CHUNK_LINE_MAX + 2 } else { self.line_max };
        self.carry.extend_from_slice(bytes);
        self.carry.len() <= max
    }

    /// Reads one line from the front of `bytes`.
    fn line(&mut self, bytes: &[u8]) -> Option<Line> {
        match self.state {
            State::Fields => self.field(bytes),
            State::Start { was_empty } => self.start(bytes, was_empty),
            State::ChunkSize => {
                let (line, size) = chunk_size(bytes, CHUNK_LINE_MAX)?;
                if line != Line::Partial {
                    self.state = if size == 0 { State::Trailers(TRAILERS_MAX) } else { State::Chunk(size) };
                }
                Some(line)
            }
            State::Trailers(left) => {
                let (line, field) = field_line(bytes)?;
                if let Line::Whole(length) = line {
                    self.state = match field {
                        Field::End => State::Start { was_empty: false },
                        Field::Other if !is_host(bytes) => State::Trailers(left.checked_sub(length)?),
                        Field::Other | Field::Length(_) | Field::Coding(_) => return None,
                    };
                }
                Some(line)
            }
            State::Preface(_)
            | State::Length(_)
            | State::Chunk(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::Aside
            | State::Poisoned(_)
            | State::Broken => None,
        }
    }

    fn start(&mut self, bytes: &[u8], was_empty: bool) -> Option<Line> {
        let (line, request) = request_line(bytes)?;
        if line != Line::Partial {
            self.state = match request {
                RequestLine::Empty if was_empty => return None,
                RequestLine::Empty => State::Start { was_empty: true },
                RequestLine::Http10 | RequestLine::Http11 => State::Fields,
            };
            let is_http_10 = matches!(request, RequestLine::Http10);
            self.framing = Framing { is_http_10, length: None, is_chunked: false };
        }
        Some(line)
    }

    #[inline(always)]
    fn field(&mut self, bytes: &[u8]) -> Option<Line> {
        let (line, field) = field_line(bytes)?;
        if line == Line::Partial {
            return Some(line);
        }
        match field {
            Field::Other => {}
            Field::Length(length) if self.framing.length.is_none() => self.framing.length = Some(length?),
            Field::Coding(is_chunked) if is_chunked && !self.framing.is_chunked => self.framing.is_chunked = true,
            Field::Length(_) | Field::Coding(_) => return None,
            Field::End => {
                let Framing { is_http_10, length, is_chunked } = self.framing;
                self.state = match (is_chunked, length) {
                    (true, None) if !is_http_10 => State::ChunkSize,
                    (true, _) => return None,
                    (false, None | Some(0)) => State::Start { was_empty: false },
                    (false, Some(length)) => State::Length(length),
                };
            }
        }
        Some(line)
    }
}

/// Between the socket and hyper.
impl Strict {
    /// Before a read: what hyper gets without one. Nothing is read any more after a violation.
    pub fn before_read(&mut self, buffer: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        match self.state {
            State::Poisoned(given) => {
                self.give_poison(given, buffer);
                Some(Ok(()))
            }
            State::Broken => Some(Err(malformed_body())),
            State::Preface(_)
            | State::Start { .. }
            | State::Fields
            | State::Length(_)
            | State::ChunkSize
            | State::Chunk(_)
            | State::ChunkCr
            | State::ChunkLf
            | State::Trailers(_)
            | State::Aside => None,
        }
    }

    /// After a read into `buffer` behind its first `before` bytes: leaves there what hyper may see.
    ///
    /// # Errors
    /// The body under way has no single reading.
    pub fn after_read(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Err(violation) = self.read(&buffer.filled()[before..]) else { return Ok(()) };
        buffer.set_filled(before + violation.good);
        self.carry = Vec::new();
        if violation.in_head {
            self.state = State::Poisoned(0);
            self.give_poison(0, buffer);
            return Ok(());
        }
        self.state = State::Broken;
        if violation.good > 0 { Ok(()) } else { Err(malformed_body()) }
    }

    fn give_poison(&mut self, given: usize, buffer: &mut ReadBuf<'_>) {
        let rest = &POISON[given..];
        let now = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..now]);
        self.state = State::Poisoned(given + now);
    }
}

fn malformed_body() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, MalformedBody)
}

fn upto(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}
