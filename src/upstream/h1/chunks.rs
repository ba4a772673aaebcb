//! Chunked bodies (RFC 9112 §7.1), read in one way only: what another reader could take for something else is malformed.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::head::{read_fields, strict_end};
use crate::upstream::failure::Malformed;

/// Longest line with a chunk's size; its extensions, which nobody reads, are in it.
const SIZE_LINE_MAX: usize = 256;
/// Longest trailer section.
const TRAILERS_MAX: usize = 16 << 10;
/// Hexadecimal digits of a size: all that fit into 60 bits.
const DIGITS_MAX: usize = 15;

/// How far a chunked body has been read.
#[derive(Debug)]
pub(super) enum Chunks {
    /// Before the line with a size.
    Size,
    /// This many bytes are left of a chunk.
    Data(u64),
    /// Before the line end that closes a chunk.
    AfterData,
    /// Behind the last chunk.
    Trailers,
    /// All of it was read.
    End,
}

/// What a body is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// Fields behind it.
    Trailers(HeaderMap),
    /// Nothing more.
    End,
}

impl Chunks {
    /// The next piece that is whole in `input`; `None` if more has to come.
    ///
    /// # Errors
    /// [`Malformed`] for anything but the one way to write it.
    pub(super) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            match self {
                Self::Size => match size_line(input)? {
                    None => return Ok(None),
                    Some(0) => *self = Self::Trailers,
                    Some(size) => *self = Self::Data(size),
                },
                Self::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= take as u64;
                    if *left == 0 {
                        *self = Self::AfterData;
                    }
                    return Ok(Some(Piece::Data(input.split_to(take).freeze())));
                }
                Self::AfterData => match input.get(..2) {
                    Some(b"\r\n") => {
                        drop(input.split_to(2));
                        *self = Self::Size;
                    }
                    None if input.is_empty() || *input == b"\r"[..] => return Ok(None),
                    Some(_) | None => return Err(Malformed("a chunk is longer than it says")),
                },
                Self::Trailers => {
                    let Some(trailers) = trailers(input)? else { return Ok(None) };
                    *self = Self::End;
                    return Ok(Some(if trailers.is_empty() { Piece::End } else { Piece::Trailers(trailers) }));
                }
                Self::End => return Ok(Some(Piece::End)),
            }
        }
    }
}

/// The size on the first line of `input`, which is then removed.
fn size_line(input: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return if input.len() > SIZE_LINE_MAX { Err(Malformed("a chunk's size has no end")) } else { Ok(None) };
    };
    let line = input.split_to(end + 1);
    let line = line.strip_suffix(b"\r\n").ok_or(Malformed("a chunk's size does not end with CR LF"))?;
    let digits = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    let (size, extensions) = line.split_at(digits);
    let is_extension = |b: &u8| matches!(b, b'\t' | b' '..=b'~');
    let has_extensions = extensions.first().is_none_or(|b| *b == b';') && extensions.iter().all(is_extension);
    if !(1..=DIGITS_MAX).contains(&digits) || !has_extensions || line.len() > SIZE_LINE_MAX {
        return Err(Malformed("a chunk's size is no hexadecimal number"));
    }
    let digit = |b: &u8| u64::from(char::from(*b).to_digit(16).unwrap_or_default());
    Ok(Some(size.iter().fold(0, |size, b| size << 4 | digit(b))))
}

fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if input.starts_with(b"\r\n") {
        drop(input.split_to(2));
        return Ok(Some(HeaderMap::new()));
    }
    let Some(end) = strict_end(input)? else {
        return if input.len() > TRAILERS_MAX { Err(Malformed("the trailers have no end")) } else { Ok(None) };
    };
    let section = input.split_to(end).freeze();
    read_fields(&section).map(HeaderMap::from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `wire` fed `step` bytes at a time: the body, the names of its trailers, and what is left behind it.
    fn read(wire: &[u8], step: usize) -> Result<(Vec<u8>, Vec<String>, usize), &'static str> {
        let (mut chunks, mut input, mut body, mut names) = (Chunks::Size, BytesMut::new(), Vec::new(), Vec::new());
        let mut rest = wire;
        loop {
            match chunks.next(&mut input).map_err(|Malformed(why)| why)? {
                Some(Piece::Data(data)) => body.extend_from_slice(&data),
                Some(Piece::Trailers(trailers)) => names.extend(trailers.keys().map(ToString::to_string)),
                Some(Piece::End) => return Ok((body, names, input.len() + rest.len())),
                None if rest.is_empty() => return Err("unfinished"),
                None => {
                    let (next, after) = rest.split_at(step.min(rest.len()));
                    input.extend_from_slice(next);
                    rest = after;
                }
            }
        }
    }

    #[test]
    fn one_way_to_write_chunks_is_read_and_no_other() {
        let good = |wire: &str, body: &str, names: &[&str], left: usize| {
            for step in 1..=wire.len() {
                let expected = (body.as_bytes().to_vec(), names.iter().map(ToString::to_string).collect(), left);
                assert_eq!(read(wire.as_bytes(), step), Ok(expected), "{wire:?} by {step}");
            }
        };
        good("5\r\nhello\r\n0\r\n\r\n", "hello", &[], 0);
        good("0\r\n\r\n", "", &[], 0);
        good("a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\nHTTP", "01234567890123456789", &[], 4);
        good("5;name=value;x=\"y\"\r\nhello\r\n0;last\r\n\r\n", "hello", &[], 0);
        good("1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\nrest", "x", &["a", "c"], 4);
        let long = "1".repeat(DIGITS_MAX + 1);
        let endless = format!("5;{}", "x".repeat(SIZE_LINE_MAX));
        let bad: &[&str] = &[
            "\r\n",
            "x\r\n",
            "0x5\r\n",
            "+5\r\n",
            "-5\r\n",
            "5 \r\nhello",
            " 5\r\nhello",
            "5\nhello\r\n",
            "5\r\nhello\n0",
            "5_\r\n",
            "5\r\nhello!\r\n",
            "5\r\nhellO0\r\n\r\n",
            "5\r\nhello\r\r",
            "5;\0\r\nhello",
            "5;a\rb\r\nhello",
            "5;é\r\n",
            &long,
            &endless,
            "0\r\nA: b\n\r\n",
            "0\r\nA b\r\n\r\n",
            "0\r\n A: b\r\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA: b\r\n c\r\n\r\n",
            "0\r\n\n",
        ];
        for wire in bad {
            for step in 1..=wire.len() {
                let got = read(format!("{wire}\r\n\r\n\r\n").as_bytes(), step);
                assert!(matches!(got, Err(why) if why != "unfinished"), "{wire:?} by {step}: {got:?}");
            }
        }
    }
}
