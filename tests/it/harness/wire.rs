//! HTTP/1.1 as bytes, for the client and the recording upstream alike: no library between the test and the wire.

use std::io::{self, BufRead};

pub(crate) type Headers = Vec<(String, String)>;

/// A start line and headers, with the bytes they came in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) first: String,
    pub(crate) headers: Headers,
    pub(crate) raw: Vec<u8>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(crate) fn is_chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|v| v.to_ascii_lowercase().contains("chunked"))
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }
}

pub(crate) fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// Reads a message head; `None` where the peer closed before the first byte.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line)? == 0 {
            return if head.raw.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        head.raw.extend_from_slice(&line);
        let text = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Ok(Some(head));
        }
        if head.first.is_empty() {
            head.first = text;
        } else if let Some((name, value)) = text.split_once(':') {
            head.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
}

/// Reads a body of `length` bytes into `sink`.
pub(crate) fn read_sized(from: &mut impl BufRead, length: u64, sink: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    let mut left = length;
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = from.read(&mut buffer[..want])?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        sink(&buffer[..got]);
        left -= got as u64;
    }
    Ok(())
}

/// Reads a chunked body into `sink`, and gives its trailers.
pub(crate) fn read_chunked(from: &mut impl BufRead, sink: &mut dyn FnMut(&[u8])) -> io::Result<Headers> {
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let size = u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            break;
        }
        read_sized(from, size, sink)?;
        let mut end = [0; 2];
        from.read_exact(&mut end)?;
    }
    let mut trailers = Headers::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
            None => return Ok(trailers),
        }
    }
}
