//! The bytes of a connection between its socket, its requests' bodies and its responses. Whoever has a part in the exchange
//! that is underway holds on to it: the connection itself, and the body while somebody reads that.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::reader::{Malformed, Piece, Reader};
use super::write::{CONTINUE, Framing, push_chunk_size, push_last_chunk};
use crate::edge::socket::Socket;
use crate::request::BrokenBody;

/// Room for one read of a body at first, and the most that a body whose reads come full gets.
const READ_MIN: usize = 8 << 10;
const READ_MAX: usize = 64 << 10;
/// A piece of a body that is at most this long is copied behind what is written before it: cheaper than a second piece.
const COPY_MAX: usize = 4 << 10;
/// As much is collected of a body that comes in small pieces before it is written.
const OUTPUT_MAX: usize = 16 << 10;
/// What is read of a body that nobody wants, so that the connection can go on behind it.
const UNWANTED_MAX: usize = 256 << 10;

/// One connection.
pub(super) struct Link {
    /// Gone when the connection has ended.
    socket: Option<Socket>,
    pub(super) input: BytesMut,
    pub(super) reader: Reader,
    /// Written first, from `written` on.
    pub(super) output: Vec<u8>,
    written: usize,
    /// Written second: a piece of a body that was too large to be copied.
    data: Bytes,
    /// Written third: the end of the line behind a chunk.
    tail: &'static [u8],
    is_flushed: bool,
    /// The client waits to be asked for the body.
    pub(super) owes_continue: bool,
    /// A response has begun: what is written is the connection's to write. Whoever reads a body has another task, and would
    /// be woken in its stead.
    pub(super) is_answered: bool,
    read_size: usize,
    /// Counts requests: a body is read only while its own is underway.
    exchange: u64,
    /// Whoever waits for the end of a body that somebody else reads.
    waiting: Option<Waker>,
    /// Whoever reads the body.
    reading: Option<Waker>,
}

impl Link {
    pub(super) const fn new(socket: Socket, input: BytesMut, reader: Reader) -> Self {
        Self {
            socket: Some(socket),
            input,
            reader,
            output: Vec::new(),
            written: 0,
            data: Bytes::new(),
            tail: b"",
            is_flushed: true,
            owes_continue: false,
            is_answered: false,
            read_size: READ_MIN,
            exchange: 0,
            waiting: None,
            reading: None,
        }
    }

    /// Reads once, into `scratch` and from there: an idle connection has no room of its own. Zero is the end.
    pub(super) fn poll_read_scratch(
        &mut self,
        scratch: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(0)) };
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(socket).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        if self.input.is_empty() {
            self.input = BytesMut::from(read);
        } else {
            self.input.extend_from_slice(read);
        }
        Poll::Ready(Ok(read.len()))
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else { return Poll::Ready(Ok(0)) };
        if self.input.capacity() - self.input.len() < READ_MIN / 2 {
            self.input.reserve(self.read_size);
        }
        let room = self.input.capacity() - self.input.len();
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(socket), context, &mut self.input))?;
        if read == room {
            self.read_size = (self.read_size * 2).min(READ_MAX);
        }
        Poll::Ready(Ok(read))
    }

    /// Writes and flushes all that there is.
    pub(super) fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() || !self.data.is_empty() || !self.tail.is_empty() {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            let (head, socket) = (&self.output[self.written..], Pin::new(socket));
            self.is_flushed = false;
            let count = if self.data.is_empty() && self.tail.is_empty() {
                ready!(socket.poll_write(context, head))?
            } else if head.is_empty() && self.tail.is_empty() {
                ready!(socket.poll_write(context, &self.data))?
            } else {
                let pieces = [IoSlice::new(head), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(socket.poll_write_vectored(context, &pieces))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            let of_data = (count - of_head).min(self.data.len());
            self.written += of_head;
            self.data.advance(of_data);
            self.tail = &self.tail[count - of_head - of_data..];
        }
        self.output.clear();
        self.written = 0;
        if !self.is_flushed {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
            ready!(Pin::new(socket).poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether more may be put into the output.
    pub(super) const fn has_room(&self) -> bool {
        self.data.is_empty() && self.tail.is_empty() && self.output.len() < OUTPUT_MAX
    }

    /// Puts a piece of a body into the output, which has room.
    pub(super) fn push_data(&mut self, framing: Framing, data: Bytes) {
        if data.is_empty() || framing == Framing::Nothing {
            // An empty chunk would be the last.
            return;
        }
        let line_end: &'static [u8] = if framing == Framing::Chunked { b"\r\n" } else { b"" };
        if framing == Framing::Chunked {
            push_chunk_size(&mut self.output, data.len());
        }
        if data.len() > COPY_MAX {
            (self.data, self.tail) = (data, line_end);
            return;
        }
        self.output.extend_from_slice(&data);
        self.output.extend_from_slice(line_end);
    }

    /// Puts the end of a body into the output.
    pub(super) fn push_end(&mut self, framing: Framing, trailers: Option<&HeaderMap>) {
        if framing != Framing::Chunked {
            return;
        }
        if self.data.is_empty() && self.tail.is_empty() {
            push_last_chunk(&mut self.output, trailers);
        } else if trailers.is_none() {
            // Behind the piece that is still to be written.
            self.tail = b"\r\n0\r\n\r\n";
        }
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Piece, BrokenBody>> {
        loop {
            match self.reader.piece(&mut self.input) {
                Ok(Some(piece)) => return Poll::Ready(Ok(piece)),
                Ok(None) => {}
                Err(Malformed) => return Poll::Ready(Err(BrokenBody::Malformed)),
            }
            if !self.is_answered {
                if std::mem::take(&mut self.owes_continue) {
                    self.output.extend_from_slice(CONTINUE);
                }
                // What cannot be written now is written before the response.
                if let Poll::Ready(Err(_)) = self.poll_write_out(context) {
                    return Poll::Ready(Err(BrokenBody::Gone));
                }
            }
            match ready!(self.poll_read(context)) {
                Ok(0) | Err(_) => return Poll::Ready(Err(BrokenBody::Gone)),
                Ok(_) => {}
            }
        }
    }

    /// Behind a response: reads on to the end of a body that nobody has read, if it is nearly there. True if the next
    /// request may follow.
    pub(super) fn skip_body(&mut self, context: &mut Context<'_>) -> bool {
        self.end_exchange();
        let mut skipped = 0;
        while self.reader.is_in_body() {
            if self.owes_continue || skipped > UNWANTED_MAX {
                return false;
            }
            match self.poll_piece(context) {
                Poll::Ready(Ok(Piece::Data(data))) => skipped += data.len(),
                Poll::Ready(Ok(Piece::Trailers(_) | Piece::End)) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return false,
            }
        }
        self.owes_continue = false;
        true
    }

    /// Whoever still reads a body finds that it has broken off.
    fn end_exchange(&mut self) {
        self.exchange += 1;
        self.is_answered = false;
        if let Some(reading) = self.reading.take() {
            reading.wake();
        }
    }

    /// Wakes `context` when the body that somebody else reads has ended.
    pub(super) fn wait_for_body(&mut self, context: &Context<'_>) {
        match &self.waiting {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => self.waiting = Some(context.waker().clone()),
        }
    }

    /// The connection is over, or becomes something else.
    pub(super) fn close(&mut self) -> Option<(Socket, Bytes)> {
        self.end_exchange();
        let early = std::mem::take(&mut self.input).freeze();
        self.socket.take().map(|socket| (socket, early))
    }
}

/// The body of one request. It may be read by another task than the connection's: an HTTP/2 upstream's.
pub(super) struct Upload {
    link: Rc<RefCell<Link>>,
    exchange: u64,
}

impl Upload {
    pub(super) fn of(link: &Rc<RefCell<Link>>) -> Self {
        Self { link: Rc::clone(link), exchange: link.borrow().exchange }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let mut link = self.link.borrow_mut();
        if link.exchange != self.exchange {
            return Poll::Ready(Some(Err(BrokenBody::Gone)));
        }
        if !link.reader.is_in_body() {
            return Poll::Ready(None);
        }
        let Poll::Ready(piece) = link.poll_piece(context) else {
            // Most bodies are read by the connection's own task, which needs no waking.
            if !link.waiting.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                link.reading = Some(context.waker().clone());
            }
            return Poll::Pending;
        };
        if !link.reader.is_in_body()
            && let Some(waiting) = link.waiting.take().filter(|waker| !waker.will_wake(context.waker()))
        {
            waiting.wake();
        }
        Poll::Ready(match piece {
            Ok(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Ok(Piece::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Ok(Piece::End) => None,
            Err(broken) => Some(Err(broken)),
        })
    }

    fn is_end_stream(&self) -> bool {
        let link = self.link.borrow();
        link.exchange == self.exchange && !link.reader.is_in_body() && !link.reader.is_broken()
    }

    fn size_hint(&self) -> SizeHint {
        let link = self.link.borrow();
        if link.exchange != self.exchange {
            return SizeHint::default();
        }
        match link.reader.length_left() {
            Some(left) => SizeHint::with_exact(left),
            None if link.reader.is_in_body() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::edge::socket::Progress;
    use crate::edge::stream::{Stream, Wire};

    /// A link in the body of a request whose client waits to be asked for it, and the client's end.
    fn asked() -> (Link, UnixStream) {
        let (ours, client) = UnixStream::pair().expect("a pair of sockets");
        let progress = Rc::new(Progress::new(Rc::default(), Rc::default(), false));
        let mut reader = Reader::new(8192, 100);
        let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        assert!(matches!(reader.head(&mut BytesMut::from(head)), Ok(Some(head)) if head.expects_continue));
        let mut link = Link::new(Socket::new(Stream::Plain(Wire::Unix(ours)), progress), BytesMut::new(), reader);
        link.owes_continue = true;
        (link, client)
    }

    #[test]
    fn whoever_reads_a_body_asks_for_it_before_the_response_and_writes_nothing_behind_its_beginning() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for is_answered in [false, true] {
                let (mut link, mut client) = asked();
                link.is_answered = is_answered;
                if is_answered {
                    link.output.extend_from_slice(b"of the response");
                }
                poll_fn(|context| {
                    assert!(link.poll_piece(context).is_pending());
                    Poll::Ready(())
                })
                .await;
                assert_eq!((link.owes_continue, link.output.is_empty()), (is_answered, !is_answered));
                drop(link);
                let mut seen = Vec::new();
                client.read_to_end(&mut seen).await.expect("the end");
                assert_eq!(seen, if is_answered { &b""[..] } else { CONTINUE });
            }
        });
    }
}
