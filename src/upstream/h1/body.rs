//! The body of a response, read from its connection as it is asked for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Conn;
use super::chunks::{Chunks, Piece};
use super::head::Framing;
use super::upload::UploadError;
use crate::upstream::failure::Cause;
use crate::upstream::stream::Stream;

/// A body, and the connection that it comes from. Dropped before its end, the connection is closed.
pub struct Body {
    conn: Box<Conn>,
    rest: Rest,
    keeps_alive: bool,
}

enum Rest {
    Length(u64),
    Chunked(Chunks),
    UntilClose,
    Nothing,
}

impl Body {
    pub(super) const fn new(conn: Box<Conn>, framing: Framing, keeps_alive: bool) -> Self {
        let rest = match framing {
            Framing::None => Rest::Nothing,
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Chunks::Size),
            Framing::UntilClose => Rest::UntilClose,
        };
        Self { conn, rest, keeps_alive }
    }

    /// The connection for another request, if this exchange has ended so that one may follow: both messages are whole, the
    /// server keeps it open, and nothing stands behind the response.
    pub fn into_idle(self) -> Option<Box<Conn>> {
        let is_over = matches!(self.rest, Rest::Nothing) && self.conn.upload.is_done();
        (is_over && self.keeps_alive && self.conn.input.is_empty()).then_some(self.conn)
    }

    /// The connection for another protocol, after 101, and what has come in that already.
    pub fn into_tunnel(self) -> (Stream, Bytes) {
        self.conn.into_parts()
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Cause>> {
        let input = &mut self.conn.input;
        match &mut self.rest {
            Rest::Nothing => return Poll::Ready(Ok(None)),
            Rest::Chunked(chunks) => match chunks.next(input).map_err(Cause::Malformed)? {
                Some(Piece::Data(data)) => return Poll::Ready(Ok(Some(Frame::data(data)))),
                Some(Piece::Trailers(trailers)) => {
                    self.rest = Rest::Nothing;
                    return Poll::Ready(Ok(Some(Frame::trailers(trailers))));
                }
                Some(Piece::End) => {
                    self.rest = Rest::Nothing;
                    return Poll::Ready(Ok(None));
                }
                None => {}
            },
            Rest::Length(left) if !input.is_empty() => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= take as u64;
                // A buffer that has nothing else in it is given away whole, and the next read has one of its own.
                let data = if take == input.len() { std::mem::take(input) } else { input.split_to(take) }.freeze();
                if *left == 0 {
                    self.rest = Rest::Nothing;
                }
                return Poll::Ready(Ok(Some(Frame::data(data))));
            }
            Rest::UntilClose if !input.is_empty() => {
                return Poll::Ready(Ok(Some(Frame::data(std::mem::take(input).freeze()))));
            }
            Rest::Length(_) | Rest::UntilClose => {}
        }
        match ready!(self.conn.poll_read(context)).map_err(Cause::Broken)? {
            0 if matches!(self.rest, Rest::UntilClose) => {
                self.rest = Rest::Nothing;
                Poll::Ready(Ok(None))
            }
            0 => Poll::Ready(Err(Cause::Broken(io::ErrorKind::UnexpectedEof.into()))),
            _ => self.poll_piece(context),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let this = &mut *self;
        if !this.conn.upload.is_done() {
            match this.conn.upload.poll(&mut this.conn.stream, context) {
                Poll::Ready(Err(UploadError::Client)) => return Poll::Ready(Some(Err(Cause::Client))),
                // It has answered, and does not read the rest.
                Poll::Ready(Err(UploadError::Server(_))) => this.keeps_alive = false,
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
        }
        this.poll_piece(context).map(Result::transpose)
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }

    fn size_hint(&self) -> SizeHint {
        match self.rest {
            Rest::Nothing => SizeHint::with_exact(0),
            Rest::Length(left) => SizeHint::with_exact(left),
            Rest::Chunked(_) | Rest::UntilClose => SizeHint::default(),
        }
    }
}
