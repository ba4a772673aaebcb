//! The request body on its way to the upstream: counted, and watched for a client that falls silent.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Passing;
use super::headers::strip_trailers;
use super::http2::Place;
use crate::request::{BrokenBody, ClientBody};
use crate::route::Route;
use crate::timer::{Timers, Watch};

/// How far a request body has come; shared between the body and its exchange.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: Cell<u64>,
    last_ms: Cell<u64>,
    waiting: Cell<bool>,
    state: Cell<State>,
}

/// Where a request body stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Something is still to come.
    #[default]
    Underway,
    /// All of it is with the upstream's connection.
    Sent,
    /// The client has been silent for `http.body_idle_timeout`.
    Stalled,
    /// The client broke off.
    Broken,
    /// The client sent what is no body.
    Malformed,
    /// It has grown beyond the route's `body_bytes_max`.
    TooLarge,
}

impl State {
    /// It came to an end that is not its own.
    pub const fn has_failed(self) -> bool {
        match self {
            Self::Stalled | Self::Broken | Self::Malformed | Self::TooLarge => true,
            Self::Underway | Self::Sent => false,
        }
    }
}

impl Progress {
    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When something last came, milliseconds of the worker's timers.
    pub fn last_ms(&self) -> u64 {
        self.last_ms.get()
    }

    /// The upstream wants more of it, and the client has not sent it yet.
    pub fn is_with_the_client(&self) -> bool {
        self.state() == State::Underway && self.waiting.get()
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state.get()
    }
}

/// A request body. Without one it is nothing but the end.
#[derive(Default)]
pub struct RequestBody {
    /// Was read before, for an attempt that failed.
    again: Option<Bytes>,
    /// Boxed: most requests have none.
    streamed: Option<Box<Streamed>>,
    /// Of the HTTP/2 connection that it is sent on.
    _place: Option<Rc<Place>>,
}

struct Streamed {
    incoming: ClientBody,
    progress: Rc<Progress>,
    watch: Watch,
    passing: Arc<Passing>,
    route: Arc<Route>,
}

impl RequestBody {
    /// Takes over the client's body, as far as the route takes it; the second value tells how far it has come, where
    /// there is one.
    pub fn new(
        incoming: ClientBody,
        timers: &Rc<Timers>,
        passing: &Arc<Passing>,
        route: &Arc<Route>,
    ) -> (Self, Option<Rc<Progress>>) {
        if incoming.is_end_stream() {
            return (Self::default(), None);
        }
        let progress = Rc::new(Progress::default());
        progress.last_ms.set(timers.now_ms());
        let watch = Watch::new(Rc::clone(timers));
        let (passing, route) = (Arc::clone(passing), Arc::clone(route));
        let streamed = Streamed { incoming, progress: Rc::clone(&progress), watch, passing, route };
        (Self { again: None, streamed: Some(Box::new(streamed)), _place: None }, Some(progress))
    }

    /// How far the client's body has come, if there is one.
    pub(super) fn progress(&self) -> Option<Rc<Progress>> {
        self.streamed.as_ref().map(|body| Rc::clone(&body.progress))
    }

    /// The same body, sent on a stream of HTTP/2 that lasts as long as it does.
    pub(super) fn on(self, place: Option<Rc<Place>>) -> Self {
        Self { _place: place, ..self }
    }

    /// The same body once more, `data` being all that was read of it.
    pub(super) fn again(self, data: Bytes) -> Self {
        Self { again: Some(data), ..self }
    }
}

/// Why a request body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The client's side failed.
    #[error("failed to read the request body")]
    Client(#[source] BrokenBody),
    /// The client's side fell silent.
    #[error("the client sent nothing for too long")]
    Idle,
    /// The client sent more than the route takes.
    #[error("the request body is too large")]
    TooLarge,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(data) = self.again.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(body) = &mut self.streamed else {
            return Poll::Ready(None);
        };
        let progress = &body.progress;
        let Poll::Ready(frame) = Pin::new(&mut body.incoming).poll_frame(context) else {
            progress.waiting.set(true);
            ready!(body.watch.poll_within(body.passing.body_idle, context));
            progress.state.set(State::Stalled);
            return Poll::Ready(Some(Err(BodyError::Idle)));
        };
        progress.waiting.set(false);
        progress.last_ms.set(body.watch.now_ms());
        body.watch.disarm();
        match frame {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers, &body.passing, &body.route);
                    progress.state.set(State::Sent);
                }
                let length = frame.data_ref().map_or(0, Bytes::len);
                progress.bytes.set(progress.bytes.get() + length as u64);
                if progress.bytes.get() > body.route.body_bytes_max {
                    progress.state.set(State::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                if body.incoming.is_end_stream() {
                    progress.state.set(State::Sent);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                progress.state.set(match error {
                    BrokenBody::Malformed => State::Malformed,
                    BrokenBody::Gone => State::Broken,
                });
                Poll::Ready(Some(Err(BodyError::Client(error))))
            }
            None => {
                progress.state.set(State::Sent);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_none() && self.streamed.as_ref().is_none_or(|body| body.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let again = self.again.as_ref().map_or(0, Bytes::len) as u64;
        let Some(body) = &self.streamed else { return SizeHint::with_exact(again) };
        match (again, body.incoming.size_hint()) {
            (0, hint) => hint,
            (again, hint) => hint.exact().map_or_else(SizeHint::default, |rest| SizeHint::with_exact(again + rest)),
        }
    }
}
