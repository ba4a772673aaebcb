//! A request on its way out: its head, and its body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{HeaderMap, Method};
use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::head::{Framing, write_fields, write_request};
use crate::upstream::body::RequestBody;
use crate::upstream::message::Outgoing;
use crate::upstream::stream::Stream;

/// A piece of a body that is at most this long is copied behind what is written before it: cheaper than a second write.
const COPY_MAX: usize = 32 << 10;

/// What is left to be sent of a request.
#[derive(Default)]
pub(super) struct Upload {
    body: Option<RequestBody>,
    is_chunked: bool,
    /// Written first, from `written` on.
    bytes: Vec<u8>,
    written: usize,
    /// Written second.
    data: Bytes,
    /// `data` is a chunk, and the end of its line is not in `bytes` yet.
    owes_line_end: bool,
    has_sent: bool,
    /// TLS may hold back some of what it was given.
    is_held_back: bool,
    taken: Taken,
}

/// What was taken of a body.
#[derive(Default)]
enum Taken {
    #[default]
    Nothing,
    One(Bytes),
    More,
}

/// Why a request was not sent to its end.
#[derive(Debug)]
pub(super) enum UploadError {
    /// The server does not take it.
    Server(io::Error),
    /// The client does not give it; the body itself knows why.
    Client,
}

impl Upload {
    /// Begins with a request. The one before was sent whole.
    pub(super) fn begin(&mut self, head: &Outgoing, body: RequestBody) {
        let framing = framing(&head.method, &body);
        self.bytes.clear();
        (self.written, self.has_sent, self.is_held_back, self.taken) = (0, false, false, Taken::Nothing);
        write_request(&mut self.bytes, head, framing);
        self.is_chunked = framing == Framing::Chunked;
        self.body = (!body.is_end_stream()).then_some(body);
    }

    /// All of it is with the operating system.
    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_written() && !self.is_held_back
    }

    /// At least one byte is with the operating system.
    pub(super) const fn has_sent(&self) -> bool {
        self.has_sent
    }

    /// The whole body once more, if it can be had: nothing was taken of it, or so little that it is still here.
    pub(super) fn take_back(&mut self) -> Option<RequestBody> {
        let rest = self.body.take().unwrap_or_default();
        match std::mem::take(&mut self.taken) {
            Taken::Nothing => Some(rest),
            Taken::One(data) => Some(rest.again(data)),
            Taken::More => None,
        }
    }

    /// The server has seen it: nobody will want it back.
    pub(super) fn forget(&mut self) {
        self.taken = Taken::More;
    }

    fn is_written(&self) -> bool {
        self.bytes.is_empty() && self.data.is_empty()
    }

    /// Sends what there is; ready when all is sent.
    pub(super) fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            let is_waiting = self.fill(context)?;
            ready!(self.poll_write(stream, context)).map_err(UploadError::Server)?;
            if self.is_written() && (is_waiting || self.body.is_none()) {
                ready!(Pin::new(&mut *stream).poll_flush(context)).map_err(UploadError::Server)?;
                self.is_held_back = false;
                return if is_waiting { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
        }
    }

    /// Takes what there is of the body, up to about [`COPY_MAX`]. True if the client has not sent the rest yet.
    fn fill(&mut self, context: &mut Context<'_>) -> Result<bool, UploadError> {
        while let Some(body) = self.body.as_mut().filter(|_| self.data.is_empty() && self.bytes.len() < COPY_MAX) {
            let Poll::Ready(frame) = Pin::new(body).poll_frame(context) else { return Ok(true) };
            match frame.transpose().map_err(|_| UploadError::Client)?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.taken = match &self.taken {
                        Taken::Nothing => Taken::One(data.clone()),
                        Taken::One(_) | Taken::More => Taken::More,
                    };
                    self.push(data);
                }
                Some(Err(frame)) => self.finish(frame.into_trailers().ok().as_ref()),
                None => self.finish(None),
            }
            // What ends a chunked body goes behind its last chunk, which may not be in `bytes`.
            let may_finish = self.data.is_empty() || !self.is_chunked;
            if may_finish && self.body.as_ref().is_some_and(Body::is_end_stream) {
                self.finish(None);
            }
        }
        Ok(false)
    }

    fn push(&mut self, data: Bytes) {
        if data.is_empty() {
            // An empty chunk would be the last.
            return;
        }
        if self.is_chunked {
            self.bytes.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        if data.len() > COPY_MAX {
            self.data = data;
            self.owes_line_end = self.is_chunked;
            return;
        }
        self.bytes.extend_from_slice(&data);
        if self.is_chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        self.body = None;
        if trailers.is_some() {
            self.taken = Taken::More;
        }
        if self.is_chunked {
            self.end_line();
            self.bytes.extend_from_slice(b"0\r\n");
            trailers.into_iter().for_each(|trailers| write_fields(&mut self.bytes, trailers.iter()));
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.owes_line_end) {
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    fn poll_write(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let next = if self.bytes.is_empty() { &self.data[..] } else { &self.bytes[self.written..] };
            let written = ready!(Pin::new(&mut *stream).poll_write(context, next))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            (self.has_sent, self.is_held_back) = (true, true);
            if self.bytes.is_empty() {
                self.data.advance(written);
                if self.data.is_empty() {
                    self.end_line();
                    // It goes out with what comes next, if that is there already.
                    break;
                }
            } else {
                self.written += written;
                if self.written == self.bytes.len() {
                    self.bytes.clear();
                    self.written = 0;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// How a request's body is framed: a length where it is known, and where servers expect one (RFC 9110 §8.6).
fn framing(method: &Method, body: &RequestBody) -> Framing {
    let expects_length = || [Method::POST, Method::PUT, Method::PATCH].contains(method);
    match body.size_hint().exact() {
        Some(0) if !expects_length() => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}
