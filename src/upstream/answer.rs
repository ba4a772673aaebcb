//! The body of an answer, whichever protocol it comes over. At its end the connection is free for another exchange.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::failure::Cause;
use super::pool::Lease;
use super::server::InFlight;
use super::stream::Stream;
use super::{h1, http2};

/// A body, and the connection that it comes from.
pub struct AnswerBody {
    kind: Kind,
    in_flight: InFlight,
}

/// The far end of a tunnel: what was the connection of an exchange that ended with 101.
pub struct Far {
    /// The connection.
    pub stream: Stream,
    /// What the server has sent already.
    pub early: Bytes,
    _counted: (Lease, InFlight),
}

enum Kind {
    Http1(h1::Body, Lease),
    Http2(http2::Body),
    Over,
}

impl AnswerBody {
    pub(super) const fn http1(body: h1::Body, lease: Lease, in_flight: InFlight) -> Self {
        Self { kind: Kind::Http1(body, lease), in_flight }
    }

    pub(super) const fn http2(body: http2::Body, in_flight: InFlight) -> Self {
        Self { kind: Kind::Http2(body), in_flight }
    }

    /// The exchange is over: its connection goes back to the pool, if another exchange may follow on it.
    pub fn release(&mut self) {
        if let Kind::Http1(body, lease) = std::mem::replace(&mut self.kind, Kind::Over)
            && let Some(conn) = body.into_idle()
        {
            lease.give_back(conn);
        }
    }

    /// The connection itself, after 101. HTTP/2 has none to give away.
    pub fn into_tunnel(self) -> Option<Far> {
        let Kind::Http1(body, lease) = self.kind else { return None };
        let (stream, early) = body.into_tunnel();
        Some(Far { stream, early, _counted: (lease, self.in_flight) })
    }

    /// Closes the connection, or resets the stream.
    pub fn abandon(&mut self) {
        self.kind = Kind::Over;
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        match &mut self.kind {
            Kind::Http1(body, _) => Pin::new(body).poll_frame(context),
            Kind::Http2(body) => Pin::new(body).poll_frame(context),
            Kind::Over => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Http1(body, _) => body.is_end_stream(),
            Kind::Http2(body) => body.is_end_stream(),
            Kind::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Http1(body, _) => body.size_hint(),
            Kind::Http2(body) => body.size_hint(),
            Kind::Over => SizeHint::with_exact(0),
        }
    }
}
