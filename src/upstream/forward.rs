//! One request to the upstream and the head of its response.

use std::error::Error as _;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::HOST;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;

use super::Upstream;
use super::body::{Progress, RequestBody, State};
use super::pool::{Lease, Pools};
use crate::admit::Admitted;
use crate::config::gateway::HostHeader;
use crate::timer::{Timers, Watch};

/// A response head, and the connection that its body comes from.
pub struct Answer {
    /// Head and body as they came.
    pub response: Response<Incoming>,
    /// To be given back when the body has been read to its end.
    pub lease: Lease,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error("failed to connect to the upstream")]
    Unavailable(#[source] std::io::Error),
    /// No response head in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// Reset, or nonsense, before the head was whole.
    #[error("failed to get a response from the upstream")]
    Failed(#[source] hyper::Error),
    /// It switched protocols though nobody asked it to.
    #[error("the upstream switched protocols unasked")]
    Unasked,
    /// The request body ended early: the client stopped sending it, or sent too much.
    #[error("the request body did not end as it should")]
    Client(State),
}

/// What an attempt left behind, whether or not it succeeded.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Connections that the request was sent, or tried to be sent, on.
    pub count: u32,
    /// The last one's server.
    pub address: Option<Rc<str>>,
}

/// Sends `request` and waits for the response head. Taking [`Admitted`] makes it impossible to forward what was not
/// decided. An idle connection that turns out to be closed costs nothing: what was not sent, or may be sent twice, is sent on
/// a new one.
///
/// # Errors
/// [`ForwardError`]; `attempts` is filled in either way.
pub async fn forward(
    admitted: &Admitted,
    upstream: &Upstream,
    (pools, timers): (&Rc<Pools>, &Rc<Timers>),
    mut request: Request<RequestBody>,
    progress: Option<&Progress>,
    attempts: &mut Attempts,
) -> Result<Answer, ForwardError> {
    let timeout = admitted.route().timeout;
    let Some(server) = upstream.pick(None, &[], timers.now_ms()) else {
        return Err(ForwardError::Unavailable(ErrorKind::NotConnected.into()));
    };
    if upstream.host == HostHeader::Upstream {
        request.headers_mut().insert(HOST, server.authority.clone());
    }
    let mut reused = pools.checkout(server);
    loop {
        attempts.count += 1;
        let is_reused = reused.is_some();
        let mut lease = match reused.take() {
            Some(lease) => lease,
            // Boxed: most requests never come here, and all would carry its state.
            None => {
                Box::pin(pools.connect(server, upstream.connect_timeout)).await.map_err(ForwardError::Unavailable)?
            }
        };
        attempts.address = Some(Rc::clone(&lease.address));
        // A server may hang up on an idle connection at the very moment at which it is used again.
        let copy = (is_reused && is_repeatable(&request)).then(|| Box::new(copy_head(&request)));
        let sending = lease.sender.try_send_request(request);
        match within(timers, timeout, progress, sending).await {
            None => return Err(ForwardError::Timeout),
            // Nothing was asked to be upgraded.
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(ForwardError::Unasked);
            }
            Some(Ok(response)) => return Ok(Answer { response, lease }),
            Some(Err(mut failed)) => match (failed.take_message(), copy, progress.map(Progress::state)) {
                (Some(unsent), _, _) if is_reused => request = unsent,
                (_, Some(copy), _) if is_hang_up(failed.error()) => request = *copy,
                (_, _, Some(state @ (State::Stalled | State::Broken | State::TooLarge))) => {
                    return Err(ForwardError::Client(state));
                }
                _ => return Err(ForwardError::Failed(failed.into_error())),
            },
        }
    }
}

/// Idempotent (RFC 9110 §9.2.2) and without a body: sending it twice is as good as once.
fn is_repeatable(request: &Request<RequestBody>) -> bool {
    request.method().is_idempotent() && request.body().is_end_stream()
}

fn copy_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::<RequestBody>::default();
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// The server closed the connection before its answer, as one does that was about to anyway.
fn is_hang_up(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_reset = cause.is_some_and(|e| matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
    is_reset || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
}

/// Waits for `future` at most `timeout` from the end of the request body; while one is underway, a silent client is found
/// by the body itself.
async fn within<F: Future>(
    timers: &Rc<Timers>,
    timeout: Duration,
    progress: Option<&Progress>,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut watch = Watch::new(Rc::clone(timers));
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        while watch.poll_within(timeout, context).is_ready() {
            // The time runs from the last that the client sent, not from the start of a long upload.
            if progress.is_some_and(Progress::is_with_the_client) {
                watch.arm(timeout);
                continue;
            }
            let silence = progress.map_or(u64::MAX, |p| watch.now_ms().saturating_sub(p.last_ms()));
            if Duration::from_millis(silence) >= timeout {
                return Poll::Ready(None);
            }
            watch.arm(timeout - Duration::from_millis(silence));
        }
        Poll::Pending
    })
    .await
}
