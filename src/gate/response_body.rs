//! A response body that carries its open record: when it ends, or is dropped, the line is written.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::leak::{Blocked, Scanner, inspect_trailers};
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
        /// Looks for keys in it.
        scanner: Option<Box<Scanner>>,
    },
    /// The upstream broke off, and what was before that is with the client's connection.
    Breaking(Option<RelayError>),
    /// Told once that is on its way to the client.
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
    /// The upstream told a key.
    #[error("the rest of the response was withheld")]
    Withheld,
}

impl ResponseBody {
    /// A body of ours; the record's outcome is already known.
    pub(super) const fn whole(bytes: Bytes, open: Open) -> Self {
        Self { kind: Kind::Whole(Some(bytes)), offered: false, open }
    }

    /// The upstream's body.
    pub(super) fn streamed(answer: AnswerBody, open: Open, timers: &Rc<Timers>, scanner: Option<Box<Scanner>>) -> Self {
        let kind = Kind::Streamed { answer, watch: Watch::new(Rc::clone(timers)), scanner };
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

    /// The next frame, once it may pass.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        loop {
            let Kind::Streamed { answer, watch, scanner } = &mut self.kind else { return Poll::Ready(None) };
            if let Some(trailers) = scanner.as_mut().and_then(|scanner| scanner.take_trailers()) {
                return Poll::Ready(Some(Ok(trailers)));
            }
            let Poll::Ready(frame) = Pin::new(&mut *answer).poll_frame(context) else {
                let idle = self.open.record().settings.passing.body_idle;
                if watch.poll_within(idle, context).is_pending() {
                    return Poll::Pending;
                }
                answer.abandon();
                self.open.transfer().break_off(Outcome::Timeout(Fault::Upstream));
                return Poll::Ready(Some(Err(RelayError::Idle)));
            };
            watch.disarm();
            let mut rest = || scanner.as_mut().and_then(|scanner| scanner.rest());
            match frame {
                Some(Ok(frame)) => match self.passed(frame) {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) => {}
                    Err(Blocked) => return self.break_off(RelayError::Withheld, None, context),
                },
                Some(Err(error)) => {
                    let rest = rest();
                    return self.break_off(RelayError::Upstream(error), rest, context);
                }
                None => {
                    let rest = rest();
                    self.settle(true);
                    return Poll::Ready(rest.map(|rest| Ok(Frame::data(rest))));
                }
            }
        }
    }

    /// What of a frame of the upstream's may go out; `None` if that is still open.
    fn passed(&mut self, mut frame: Frame<Bytes>) -> Result<Option<Frame<Bytes>>, Blocked> {
        if let Some(trailers) = frame.trailers_mut() {
            inspect_trailers(trailers, &mut self.open)?;
        }
        // Trailers are the last; nobody comes to hear that there is no more.
        self.settle(frame.is_trailers());
        let Kind::Streamed { answer, scanner: Some(scanner), .. } = &mut self.kind else {
            return Ok(Some(frame));
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Ok(Some(scanner.before(trailers))),
        };
        let mut data = scanner.piece(data, &mut self.open)?;
        if answer.is_end_stream()
            && let Some(rest) = scanner.rest()
        {
            data = [data, rest].concat().into();
        }
        Ok((!data.is_empty()).then(|| Frame::data(data)))
    }

    /// The body ends before its end, behind `rest`.
    fn break_off(
        &mut self,
        error: RelayError,
        rest: Option<Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        self.open.transfer().break_off(Outcome::UpstreamGone);
        if let Some(rest) = rest {
            self.kind = Kind::Breaking(Some(error));
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        self.kind = Kind::Broken(Some(error));
        // Over HTTP/2, hyper hangs up without writing what it holds, unless it is let go for a moment.
        context.waker().wake_by_ref();
        Poll::Pending
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
        let polled = match &mut this.kind {
            Kind::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|it| Ok(Frame::data(it))))
            }
            Kind::Streamed { .. } => this.poll_answer(context),
            Kind::Breaking(error) => match error.take() {
                Some(error) => return this.break_off(error, None, context),
                None => Poll::Ready(None),
            },
            Kind::Broken(error) => return Poll::Ready(error.take().map(Err)),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            this.open.transfer().response_bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            this.was_offered();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Streamed { answer, scanner, .. } => {
                answer.is_end_stream() && scanner.as_ref().is_none_or(|scanner| scanner.is_empty())
            }
            Kind::Breaking(error) | Kind::Broken(error) => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Streamed { answer, scanner, .. } => match answer.size_hint().exact() {
                Some(exact) => SizeHint::with_exact(exact + kept(scanner.as_deref())),
                None => SizeHint::default(),
            },
            Kind::Breaking(_) | Kind::Broken(_) => SizeHint::default(),
        }
    }
}

/// Bytes that came from the upstream and are still to go out.
fn kept(scanner: Option<&Scanner>) -> u64 {
    scanner.map_or(0, Scanner::kept) as u64
}
