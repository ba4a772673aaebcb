//! A response body that carries its open record: when it ends, or is dropped, the line is written.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::record::{Open, Outcome};
use crate::timer::{Timers, Watch};
use crate::upstream::answer::AnswerBody;
use crate::upstream::failure::Cause;
use crate::vocab::denial::Fault;

/// The body of every response of ours.
pub struct ResponseBody {
    // Declared first and dropped first: a connection goes back to its pool before the line is written.
    kind: Kind,
    /// A piece was handed over, and the connection has not come for the next.
    offered: bool,
    open: Open,
}

enum Kind {
    Whole(Option<Bytes>),
    Streamed {
        answer: AnswerBody,
        watch: Watch,
    },
    /// The upstream broke off: told once what came before is on its way to the client.
    Broken(Option<RelayError>),
}

/// Why a response body ended early.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The upstream broke off.
    #[error("the upstream broke off its response")]
    Upstream(#[source] Cause),
    /// The upstream fell silent.
    #[error("the upstream was silent for too long")]
    Idle,
}

impl ResponseBody {
    /// A body of ours; the record's outcome is already known.
    pub(super) const fn whole(bytes: Bytes, open: Open) -> Self {
        Self { kind: Kind::Whole(Some(bytes)), offered: false, open }
    }

    /// The upstream's body.
    pub(super) fn streamed(answer: AnswerBody, open: Open, timers: &Rc<Timers>) -> Self {
        let kind = Kind::Streamed { answer, watch: Watch::new(Rc::clone(timers)) };
        let mut body = Self { kind, offered: false, open };
        body.settle(false);
        body
    }

    fn was_offered(&mut self) {
        if let Kind::Streamed { watch, .. } = &self.kind {
            self.open.record().conn.activity.offer(watch.now_ms());
            self.offered = true;
        }
    }

    fn was_taken(&mut self) {
        if let Kind::Streamed { watch, .. } = &self.kind
            && std::mem::take(&mut self.offered)
        {
            self.open.record().conn.activity.take(watch.now_ms());
        }
    }

    /// At the end of the upstream's body (trailers are `is_last`: nobody asks for more): the connection is free, and the
    /// exchange complete.
    fn settle(&mut self, is_last: bool) {
        if let Kind::Streamed { answer, .. } = &mut self.kind
            && (is_last || answer.is_end_stream())
        {
            self.open.transfer().outcome = Outcome::Complete;
            answer.release();
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.was_taken();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        let this = &mut *self;
        this.was_taken();
        let transfer = this.open.transfer();
        let (answer, watch) = match &mut this.kind {
            Kind::Whole(bytes) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                transfer.response_bytes += bytes.as_ref().map_or(0, Bytes::len) as u64;
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Kind::Streamed { answer, watch } => (answer, watch),
            Kind::Broken(error) => return Poll::Ready(error.take().map(Err)),
        };
        let Poll::Ready(frame) = Pin::new(&mut *answer).poll_frame(context) else {
            let idle = this.open.record().settings.passing.body_idle;
            if watch.poll_within(idle, context).is_pending() {
                return Poll::Pending;
            }
            answer.abandon();
            this.open.transfer().break_off(Outcome::Timeout(Fault::Upstream));
            return Poll::Ready(Some(Err(RelayError::Idle)));
        };
        watch.disarm();
        match frame {
            Some(Ok(frame)) => {
                transfer.response_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
                // Trailers are the last; nobody comes to hear that there is no more.
                this.settle(frame.is_trailers());
                this.was_offered();
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                transfer.break_off(Outcome::UpstreamGone);
                this.kind = Kind::Broken(Some(RelayError::Upstream(error)));
                // Over HTTP/2, hyper hangs up without writing what it holds, unless it is let go for a moment.
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                this.settle(true);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Streamed { answer, .. } => answer.is_end_stream(),
            Kind::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Streamed { answer, .. } => answer.size_hint(),
            Kind::Broken(_) => SizeHint::default(),
        }
    }
}
