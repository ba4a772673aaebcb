//! A request as it comes from a connection, whichever protocol that speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Uri, Version};
use http_body::{Body, Frame, SizeHint};

use crate::vocab::fields::Fields;

/// A head, and what follows it.
pub struct Received {
    /// As sent.
    pub method: Method,
    /// As sent.
    pub uri: Uri,
    /// As sent.
    pub version: Version,
    /// As sent.
    pub fields: Fields,
    /// Extended CONNECT (RFC 8441 §4): the protocol that its HTTP/2 stream is to carry is `websocket`.
    pub is_websocket_stream: bool,
    /// What follows.
    pub body: ClientBody,
}

/// The body of a request, as the client sends it.
#[derive(Default)]
pub enum ClientBody {
    /// There is none.
    #[default]
    Nothing,
    /// Read from a connection of HTTP/1.
    Http1(Pin<Box<dyn Body<Data = Bytes, Error = BrokenBody>>>),
    /// Of a stream of HTTP/2.
    Http2(hyper::body::Incoming),
}

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenBody {
    /// The connection did, or its stream.
    #[error("the client broke off")]
    Gone,
    /// Its framing has no single reading.
    #[error("the body is malformed")]
    Malformed,
}

impl ClientBody {
    /// Of a stream of HTTP/2.
    pub fn http2(incoming: hyper::body::Incoming) -> Self {
        if incoming.is_end_stream() { Self::Nothing } else { Self::Http2(incoming) }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        match self.get_mut() {
            Self::Nothing => Poll::Ready(None),
            Self::Http1(body) => body.as_mut().poll_frame(context),
            Self::Http2(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|it| it.map_err(|_| BrokenBody::Gone)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Nothing => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
