//! One request to an upstream: which server, which connection, how often, and the head of the response.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use http::header::{HOST, UPGRADE};
use http_body::Body as _;

use super::answer::AnswerBody;
use super::body::{Progress, RequestBody, State};
use super::failure::{Cause, Failure};
use super::message::{Answer, Outgoing};
use super::pool::{Link, NoLink, Pools, Wish};
use super::server::Server;
use super::{Upstream, http2};
use crate::admit::Admitted;
use crate::config::gateway::{HostHeader, Protocol};
use crate::timer::{Timers, Watch};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No connection.
    #[error("failed to connect to the upstream")]
    Unavailable(#[source] io::Error),
    /// Every connection is taken, and too many wait for one.
    #[error("too many requests wait for the upstream")]
    Busy,
    /// No response head in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// Reset, or nonsense, before the head was whole.
    #[error("failed to get a response from the upstream")]
    Failed(#[source] Cause),
    /// It switched protocols though nobody asked it to.
    #[error("the upstream switched protocols unasked")]
    Unasked,
    /// It told a key, and that is not passed on.
    #[error("the upstream's response was withheld")]
    Withheld,
    /// The client stopped sending its body, or sent too much of it, or nonsense.
    #[error("the client did not finish its request")]
    Client(State),
}

/// What attempts left behind, whether or not one succeeded.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Times that the request was sent, or was to be sent if only there had been a connection.
    pub count: u32,
    /// The last one's server.
    pub address: Option<Rc<str>>,
}

/// What a worker lends to a request on its way.
pub type Lent<'a> = (&'a Rc<Pools>, &'a Rc<Timers>);

/// A request underway, from server to server.
pub struct Journey<'a> {
    admitted: &'a Admitted,
    upstream: &'a Upstream,
    pools: &'a Rc<Pools>,
    timers: &'a Rc<Timers>,
    head: Outgoing,
    /// What is still to be sent behind the head. It stands here and in no future: each that it passes through would grow.
    body: RequestBody,
    attempts: &'a mut Attempts,
    /// The server that is being tried.
    server: Option<Arc<Server>>,
    /// The connection to it, if others use it, too.
    shared: Option<Rc<http2::Conn>>,
}

/// Why an attempt failed, and whether there may be another.
struct Missed {
    error: ForwardError,
    /// The body, if the request may be sent once more.
    again: Option<RequestBody>,
    /// It failed only because the server closed a connection that was idle.
    was_stale: bool,
}

impl<'a> Journey<'a> {
    /// A request that may go to its upstream. Taking [`Admitted`] makes it impossible to forward what was not decided.
    pub fn new(
        admitted: &'a Admitted,
        upstream: &'a Upstream,
        (pools, timers): Lent<'a>,
        (head, body): (Outgoing, RequestBody),
        attempts: &'a mut Attempts,
    ) -> Self {
        Self { admitted, upstream, pools, timers, head, body, attempts, server: None, shared: None }
    }

    /// Sends it and waits for the response head, for at most the route's `timeout`.
    ///
    /// # Errors
    /// [`ForwardError`]; the attempts are counted either way.
    pub async fn run(&mut self, progress: Option<&Progress>) -> Result<Answer<AnswerBody>, ForwardError> {
        let (timers, timeout) = (self.timers, self.admitted.route().timeout);
        let result = within(timers, timeout, progress, self.go()).await;
        match result {
            Some(Err(ForwardError::Failed(Cause::Client))) => {
                Err(ForwardError::Client(progress.map_or(State::Broken, Progress::state)))
            }
            Some(result) => result,
            None => {
                if let Some(server) = self.server.take() {
                    server.failed(timers.now_ms());
                }
                if let Some(shared) = self.shared.take() {
                    shared.retire();
                }
                Err(ForwardError::Timeout)
            }
        }
    }

    async fn go(&mut self) -> Result<Answer<AnswerBody>, ForwardError> {
        let affinity = self.upstream.affinity(self.admitted);
        let mut tried = Vec::new();
        loop {
            let picked = self.upstream.pick(affinity, &tried, self.timers.now_ms());
            let server = Arc::clone(picked.ok_or_else(|| ForwardError::Unavailable(io::ErrorKind::NotFound.into()))?);
            // What a server has done to one idle connection it has done to all.
            let fresh = tried.contains(&server.pool);
            self.attempts.count += 1;
            self.server = Some(Arc::clone(&server));
            let missed = match self.attempt(&server, fresh).await {
                Ok(answer) => return Ok(answer),
                Err(missed) => missed,
            };
            // A server may hang up on an idle connection at the very moment at which it is used again: nobody's failure.
            let retries = self.upstream.retries.max(u32::from(missed.was_stale));
            match missed.again.filter(|_| self.attempts.count <= retries) {
                Some(again) => self.body = again,
                None => return Err(missed.error),
            }
            tried.push(server.pool);
        }
    }

    async fn attempt(&mut self, server: &Arc<Server>, fresh: bool) -> Result<Answer<AnswerBody>, Missed> {
        let in_flight = server.begin();
        let upstream = self.upstream;
        let is_upgrade = self.head.fields.contains(UPGRADE);
        // Where it has no choice, a connection of its own would be no other.
        let wish = Wish { fresh, http1: is_upgrade && server.protocol == Protocol::Auto };
        let link = match self.pools.idle_link(server, wish) {
            Some(link) => Ok(link),
            // Boxed, as what follows with HTTP/2: most requests do not come here, and all would carry its state.
            None => Box::pin(self.pools.link(server, (upstream.connect_timeout, upstream.queue_max), wish)).await,
        };
        if upstream.host == HostHeader::Upstream {
            self.head.fields.set(HOST, server.authority.clone());
        }
        let is_repeatable = self.head.method.is_idempotent() && self.body.is_end_stream();
        let body = std::mem::take(&mut self.body);
        let (result, was_reused) = match link {
            Ok(Link::Http1 { conn, lease, is_reused }) => {
                self.attempts.address = Some(Rc::clone(&conn.address));
                let result = conn.send(&self.head, body).await;
                (result.map(|answer| answer.map(|body| AnswerBody::http1(body, lease, in_flight))), is_reused)
            }
            Ok(Link::Http2 { conn, is_reused }) => {
                self.attempts.address = Some(Rc::clone(&conn.address));
                self.shared = Some(Rc::clone(&conn));
                let result = Box::pin(conn.send(&self.head, body)).await;
                self.shared = None;
                // It had said goodbye before the request was there: what others have underway goes on.
                let has_left = is_reused && result.as_ref().is_err_and(|failure| failure.unseen);
                (result.map(|answer| answer.map(|body| AnswerBody::http2(body, in_flight))), has_left)
            }
            Err(NoLink::QueueFull) => {
                return Err(Missed { error: ForwardError::Busy, again: None, was_stale: false });
            }
            Err(NoLink::Failed(error)) => {
                server.failed(self.timers.now_ms());
                return Err(Missed { error: ForwardError::Unavailable(error), again: Some(body), was_stale: false });
            }
        };
        match result {
            Ok(answer) if answer.status == StatusCode::SWITCHING_PROTOCOLS && !is_upgrade => {
                Err(Missed { error: ForwardError::Unasked, again: None, was_stale: false })
            }
            Ok(answer) => {
                self.judge(server, answer.status);
                Ok(answer)
            }
            Err(failure) => Err(self.missed(server, failure, is_repeatable, was_reused)),
        }
    }

    fn missed(&self, server: &Server, failure: Failure, is_repeatable: bool, was_reused: bool) -> Missed {
        let Failure { cause, unseen, body } = failure;
        if matches!(cause, Cause::Client) {
            return Missed { error: ForwardError::Failed(cause), again: None, was_stale: false };
        }
        let is_broken = matches!(cause, Cause::Broken(_) | Cause::Http2(_));
        let repeat = (is_repeatable && (is_broken || unseen)).then(RequestBody::default);
        let again = body.filter(|_| unseen).or(repeat);
        let was_stale = was_reused && is_broken && again.is_some();
        if !was_stale {
            server.failed(self.timers.now_ms());
        }
        Missed { error: ForwardError::Failed(cause), again, was_stale }
    }

    /// An answer that only a gateway gives says that there is nobody behind it.
    fn judge(&self, server: &Server, status: StatusCode) {
        match status {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
                server.failed(self.timers.now_ms());
            }
            _ => server.succeeded(),
        }
    }
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
