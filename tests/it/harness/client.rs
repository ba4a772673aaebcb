//! A client that sends exactly the bytes it is given and hides nothing of the answer.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::wire::{self, Head, Headers};
use super::{Key, PATIENCE};

/// A request in the making.
#[derive(Clone)]
pub(crate) struct Req {
    addr: SocketAddr,
    method: String,
    target: String,
    headers: Headers,
    body: Option<Vec<u8>>,
}

impl Req {
    pub(crate) fn new(addr: SocketAddr, method: &str, target: &str) -> Req {
        let headers = vec![("Host".to_owned(), "api.example.com".to_owned())];
        Req { addr, method: method.to_owned(), target: target.to_owned(), headers, body: None }
    }

    /// Adds a header line; `Host` replaces the one that is there by default.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Req {
        if name.eq_ignore_ascii_case("host") {
            self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case("host"));
        }
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn bearer(self, key: &Key) -> Req {
        let value = format!("Bearer {}", key.text);
        self.header("Authorization", &value)
    }

    pub(crate) fn api_key(self, key: &str) -> Req {
        self.header("X-API-Key", key)
    }

    pub(crate) fn body(mut self, body: &[u8]) -> Req {
        self.body = Some(body.to_vec());
        self
    }

    /// On a connection of its own.
    pub(crate) fn send(&self) -> Reply {
        Conn::open(self.addr).send(self)
    }

    /// The request's bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        if let Some(body) = &self.body {
            out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.body.as_deref().unwrap_or_default());
        out
    }
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.head.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    pub(crate) fn request_id(&self) -> &str {
        self.header("x-request-id").unwrap_or_else(|| panic!("no X-Request-ID in {:?}", self.head.headers))
    }

    /// The answer without what must differ between two requests: ids, the key's fingerprint, the second it was made in.
    pub(crate) fn anonymous(&self) -> String {
        let fingerprint = self.header("x-api-key-fingerprint").unwrap_or("no fingerprint");
        let date = self.header("date").unwrap_or("no date");
        self.everything().replace(self.request_id(), "ID").replace(fingerprint, "FINGERPRINT").replace(date, "DATE")
    }

    /// The head and the body as the client saw them.
    pub(crate) fn everything(&self) -> String {
        format!("{}\n{}\n{:?}", String::from_utf8_lossy(&self.head.raw), self.text(), self.trailers)
    }
}

/// A kept-alive connection.
pub(crate) struct Conn {
    reader: BufReader<TcpStream>,
}

impl Conn {
    pub(crate) fn open(addr: SocketAddr) -> Conn {
        Conn::try_open(addr).unwrap_or_else(|e| panic!("failed to connect to {addr}: {e}"))
    }

    pub(crate) fn try_open(addr: SocketAddr) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Conn { reader: BufReader::new(stream) })
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.stream().local_addr().unwrap().port()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub(crate) fn send(&mut self, request: &Req) -> Reply {
        self.try_send(request).unwrap_or_else(|e| panic!("{} {}: {e}", request.method, request.target))
    }

    pub(crate) fn try_send(&mut self, request: &Req) -> io::Result<Reply> {
        // A server may answer and close before it has read a whole body: the answer is what counts.
        let written = self.write(&request.bytes());
        match self.read_reply(&request.method) {
            Err(e) => Err(written.err().unwrap_or(e)),
            answered => answered,
        }
    }

    /// The next head, whatever its status.
    pub(crate) fn read_head(&mut self) -> io::Result<Head> {
        wire::read_head(&mut self.reader)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// The next final answer to a request with `method`.
    pub(crate) fn read_reply(&mut self, method: &str) -> io::Result<Reply> {
        let mut body = Vec::new();
        let (head, trailers) = self.read_into(method, &mut |part| body.extend_from_slice(part))?;
        Ok(Reply { status: status_of(&head)?, head, body, trailers })
    }

    /// Like `read_reply`, with the body going to `sink`.
    pub(crate) fn read_into(&mut self, method: &str, sink: &mut dyn FnMut(&[u8])) -> io::Result<(Head, Headers)> {
        let mut head = self.read_head()?;
        while (100..200).contains(&status_of(&head)?) && status_of(&head)? != 101 {
            head = self.read_head()?;
        }
        let status = status_of(&head)?;
        let mut trailers = Headers::new();
        if method == "HEAD" || status == 204 || status == 304 || status == 101 {
            return Ok((head, trailers));
        }
        if head.is_chunked() {
            trailers = wire::read_chunked(&mut self.reader, sink)?;
        } else if let Some(length) = head.content_length() {
            wire::read_sized(&mut self.reader, length, sink)?;
        } else {
            let mut rest = Vec::new();
            self.reader.read_to_end(&mut rest)?;
            sink(&rest);
        }
        Ok((head, trailers))
    }

    /// Whether the peer has closed: reads to the end, up to the patience of this suite.
    pub(crate) fn is_closed_by_peer(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(e) => !matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        }
    }
}

/// Sends raw bytes on a fresh connection and reads one answer.
pub(crate) fn raw(addr: SocketAddr, bytes: &[u8]) -> io::Result<(Conn, Reply)> {
    let mut conn = Conn::try_open(addr)?;
    conn.write(bytes)?;
    let reply = conn.read_reply("GET")?;
    Ok((conn, reply))
}

fn status_of(head: &Head) -> io::Result<u16> {
    let code = head.first.split(' ').nth(1).and_then(|s| s.parse().ok());
    code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no status in {:?}", head.first)))
}
