//! HTTP/1.1 to a server (RFC 9112): strict, streaming both ways, polled by whoever waits for the answer.
//!
//! It is our own because it has to be strict where `hyper`'s client is lenient (bare LF, a length beside chunks), to know
//! what was sent when a request fails, and to hand over the connection when the protocol is switched; and because a
//! connection that needs no task of its own costs less.

mod body;
mod chunks;
mod head;
#[cfg(test)]
mod tests;
mod upload;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

pub use self::body::Body;
use self::head::{ResponseHead, read_response};
use self::upload::{Upload, UploadError};
use super::body::RequestBody;
use super::failure::{Cause, Failure, Malformed};
use super::message::{Answer, Outgoing};
use super::stream::Stream;

/// Room for one read at first, and the most that a connection on which reads come full grows to: 64 KiB and a head, as
/// servers send them at once.
const READ_MIN: usize = 8 << 10;
const READ_MAX: usize = 66 << 10;
/// Most interim responses (RFC 9110 §15.2) to one request.
const INTERIM_MAX: usize = 32;

/// A connection to a server. It is not shared: whoever holds it has it alone.
pub struct Conn {
    stream: Stream,
    input: BytesMut,
    read_size: usize,
    upload: Upload,
    /// The server's address, as the log has it.
    pub address: Rc<str>,
}

impl Conn {
    /// A connection that was just made.
    pub fn new(stream: Stream, address: Rc<str>) -> Self {
        Self { stream, input: BytesMut::new(), read_size: READ_MIN, upload: Upload::default(), address }
    }

    /// Nothing has come that nobody asked for, and the server has not hung up.
    pub fn is_silent(&mut self) -> bool {
        self.input.is_empty() && self.stream.is_silent()
    }

    /// Sends a request and waits for the head of the final response. After 101 its body is to be made a tunnel.
    ///
    /// # Errors
    /// [`Failure`]; the connection is closed.
    pub fn send(
        mut self: Box<Self>,
        head: &Outgoing,
        body: RequestBody,
    ) -> impl Future<Output = Result<Answer<Body>, Failure>> {
        // Here, and not in the future, which would carry the body for nothing.
        self.upload.begin(head, body);
        self.receive(&head.method)
    }

    async fn receive(mut self: Box<Self>, method: &Method) -> Result<Answer<Body>, Failure> {
        let (mut interim, mut polls) = (0, 0_usize);
        let received = poll_fn(|context| {
            polls += 1;
            self.poll_head(method, &mut interim, context)
        })
        .await;
        match received {
            Ok(ResponseHead { status, fields, framing, keeps_alive }) => {
                self.upload.forget();
                Ok(Answer { status, fields, body: Body::new(self, framing, keeps_alive) })
            }
            Err(cause) => {
                // Its end was there before our first byte could have been read: it did not wait for that.
                let had_hung_up = polls == 1 && self.input.is_empty() && matches!(cause, Cause::Broken(_));
                let unseen = !self.upload.has_sent() || had_hung_up;
                Err(Failure { cause, unseen, body: self.upload.take_back() })
            }
        }
    }

    fn poll_head(
        &mut self,
        method: &Method,
        interim: &mut usize,
        context: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Cause>> {
        let mut broken = None;
        if !self.upload.is_done() {
            match self.upload.poll(&mut self.stream, context) {
                Poll::Ready(Err(UploadError::Client)) => return Poll::Ready(Err(Cause::Client)),
                // A server may answer and hang up without reading all of a request.
                Poll::Ready(Err(UploadError::Server(error))) => broken = Some(error),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        loop {
            match read_response(&mut self.input, method).map_err(Cause::Malformed)? {
                Some(head) if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS => {
                    *interim += 1;
                    if *interim > INTERIM_MAX {
                        return Poll::Ready(Err(Cause::Malformed(Malformed("too many interim responses"))));
                    }
                }
                Some(head) => return Poll::Ready(Ok(head)),
                None => match ready!(self.poll_read(context)) {
                    // Answers have become smaller: so does the room for the next.
                    Ok(read) if read > 0 && read < self.read_size / 4 => {
                        self.read_size = (self.read_size / 2).max(READ_MIN);
                    }
                    Ok(0) => {
                        let error = broken.unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
                        return Poll::Ready(Err(Cause::Broken(error)));
                    }
                    Ok(_) => {}
                    Err(error) => return Poll::Ready(Err(Cause::Broken(broken.unwrap_or(error)))),
                },
            }
        }
    }

    /// Reads once. Zero is the end.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let room = self.input.capacity() - self.input.len();
        let wanted = if self.input.is_empty() { self.read_size } else { READ_MIN / 2 };
        if room < wanted {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), context, &mut self.input))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// The bare connection, and what was already read of it.
    fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.input.freeze())
    }
}
