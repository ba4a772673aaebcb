//! HTTP/2 frame by frame (RFC 9113 §4, RFC 7541), for what no well-behaved client would send.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that says exactly what it is told to.
pub(crate) struct RawH2 {
    stream: TcpStream,
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Status(u16),
    Reset(u32),
    GoAway(u32),
    Closed,
}

impl RawH2 {
    /// After the prefaces, with `settings` as pairs of identifier and value.
    pub(crate) fn open(addr: SocketAddr, settings: &[(u16, u32)]) -> RawH2 {
        let stream = TcpStream::connect(addr).expect("a connection");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut h2 = RawH2 { stream };
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        h2.write(&[PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat()).expect("room for a preface");
        h2
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame: type, flags, stream, payload.
    pub(crate) fn read(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let mut payload = vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.stream.read_exact(&mut payload)?;
        Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// Reads until a stream has an answer, or none will come.
    pub(crate) fn fate(&mut self, stream: u32) -> Fate {
        let number = |payload: &[u8], at: usize| {
            payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
        };
        loop {
            match self.read() {
                Ok((HEADERS, _, id, payload)) if id == stream => return Fate::Status(status(&payload)),
                Ok((RST_STREAM, _, id, payload)) if id == stream => return Fate::Reset(number(&payload, 0)),
                Ok((GOAWAY, _, _, payload)) => return Fate::GoAway(number(&payload, 4)),
                Ok(_) => {}
                Err(error) => {
                    assert!(!matches!(error.kind(), io::ErrorKind::WouldBlock), "no answer on stream {stream}");
                    return Fate::Closed;
                }
            }
        }
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head, payload.to_vec()].concat()
}

/// Fields as literals without indexing and without Huffman, whatever bytes they hold.
pub(crate) fn block<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                out.push(length as u8);
            } else {
                assert!(length - 127 < 128, "a short field");
                out.extend([127, (length - 127) as u8]);
            }
            out.extend_from_slice(text);
        }
    }
    out
}

/// The status of an answer: the first field of its block.
fn status(block: &[u8]) -> u16 {
    // A change of the dynamic table's size may stand before it.
    let block = match block {
        [size, rest @ ..] if size & 0xe0 == 0x20 => rest,
        block => block,
    };
    match block {
        [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
        [0x08 | 0x18 | 0x48, length, rest @ ..] if length & 0x80 == 0 => {
            let text = &rest[..usize::from(*length)];
            std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()).unwrap_or(0)
        }
        [0x08 | 0x18 | 0x48, length, rest @ ..] => huffman_digits(&rest[..usize::from(length & 0x7f)]),
        _ => 0,
    }
}

/// Three digits in Huffman code: 0 to 2 have five bits, 3 to 9 have six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut number) = (0, 0);
    let take =
        |at: usize, count: usize| bits.get(at..at + count).map(|b| b.iter().fold(0_u16, |n, b| n << 1 | u16::from(*b)));
    for _ in 0..3 {
        let digit = match (take(at, 5), take(at, 6)) {
            (Some(short @ 0..=2), _) => {
                at += 5;
                short
            }
            (_, Some(long)) => {
                at += 6;
                long.wrapping_sub(0x19) + 3
            }
            _ => return 0,
        };
        number = number * 10 + digit;
    }
    number
}
