//! HTTP/2 to a server (RFC 9113): hyper's client, one connection for many exchanges of a worker.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::uri::{Parts, Scheme};
use http::{HeaderValue, Request, Uri};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use super::body::RequestBody;
use super::failure::{Cause, Failure};
use super::message::{Answer, Outgoing};
use super::server::{Opened, Server};
use super::stream::Stream;
use crate::task::{LocalExecutor, Task};

/// Most exchanges on one connection, whatever the server allows.
const STREAMS_MAX: usize = 100;
/// What a server may send ahead of a slow client, for one exchange.
const STREAM_WINDOW: u32 = 256 << 10;
/// And for all of them: enough that slow clients never hold up the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_MAX as u32;
/// Fields of a response, as RFC 9113 §6.5.2 counts them.
const FIELDS_MAX: u32 = 64 << 10;

/// A connection, shared by exchanges.
pub struct Conn {
    sender: SendRequest<RequestBody>,
    places: Rc<Places>,
    /// Gone when it has ended.
    driver: Weak<RefCell<Pin<Box<Driver>>>>,
    retired: Cell<bool>,
    /// When it was last used, milliseconds of the worker's timers.
    pub used_ms: Cell<u64>,
    /// The server's address, as the log has it.
    pub address: Rc<str>,
    /// TLS or not.
    scheme: Scheme,
    _task: Task,
    /// Its place among the server's connections.
    opened: Opened,
}

type Driver = http2::Connection<TokioIo<Stream>, RequestBody, LocalExecutor>;

/// The streams of a connection.
struct Places {
    taken: Cell<usize>,
    /// Tells those that wait for a connection of the pool.
    freed: Rc<Notify>,
    server: Arc<Server>,
}

/// One stream: until both its request and its response are over.
pub(super) struct Place(Rc<Places>);

impl Place {
    fn take(places: &Rc<Places>) -> Rc<Self> {
        places.taken.set(places.taken.get() + 1);
        Rc::new(Self(Rc::clone(places)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Places { taken, freed, server } = &*self.0;
        taken.set(taken.get() - 1);
        if server.waiting() > 0 {
            freed.notify_one();
        }
    }
}

/// The body of a response.
pub struct Body {
    incoming: Incoming,
    _place: Rc<Place>,
    _conn: Rc<Conn>,
}

impl Conn {
    /// Begins to speak HTTP/2. `freed` is told of streams that end while requests wait.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn new(stream: Stream, address: Rc<str>, opened: Opened, freed: Rc<Notify>) -> io::Result<Self> {
        let scheme = if matches!(stream, Stream::Tls(_)) { Scheme::HTTPS } else { Scheme::HTTP };
        let (sender, connection) = http2::Builder::new(LocalExecutor)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(FIELDS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let connection = Rc::new(RefCell::new(Box::pin(connection)));
        let driver = Rc::downgrade(&connection);
        // How it ended is told to the exchanges on it.
        let task = Task::spawn(poll_fn(move |context| connection.borrow_mut().as_mut().poll(context).map(|_| ())));
        let places = Rc::new(Places { taken: Cell::new(0), freed, server: Arc::clone(opened.server()) });
        let (retired, used_ms) = (Cell::new(false), Cell::new(0));
        Ok(Self { sender, places, driver, retired, used_ms, address, scheme, _task: task, opened })
    }

    /// Another exchange may begin.
    pub fn has_room(&self) -> bool {
        !self.is_over() && self.places.taken.get() < self.allowed()
    }

    /// As many streams as the server takes now, and not more than [`STREAMS_MAX`].
    fn allowed(&self) -> usize {
        let driver = self.driver.upgrade();
        let told = driver.and_then(|it| it.try_borrow().ok().map(|driver| driver.current_max_send_streams()));
        told.map_or(0, |told| told.min(STREAMS_MAX))
    }

    /// No exchange will begin any more.
    pub fn is_over(&self) -> bool {
        self.retired.get() || self.sender.is_closed()
    }

    /// Nothing is underway.
    pub fn is_idle(&self) -> bool {
        self.places.taken.get() == 0
    }

    /// No more exchanges: one has had no answer, and it may be the connection's fault.
    pub fn retire(&self) {
        self.retired.set(true);
    }

    /// Whose it is.
    pub const fn server(&self) -> &Arc<Server> {
        self.opened.server()
    }

    /// Sends a request and waits for the head of the response.
    ///
    /// # Errors
    /// [`Failure`]; the connection may go on.
    pub async fn send(self: Rc<Self>, head: &Outgoing, body: RequestBody) -> Result<Answer<Body>, Failure> {
        let place = Place::take(&self.places);
        // It may go on behind the response.
        let body = if body.is_end_stream() { body } else { body.on(Some(Rc::clone(&place))) };
        let progress = body.progress();
        let request = translate(head, &self.scheme, body);
        match self.sender.clone().try_send_request(request).await {
            Ok(response) => {
                let (head, incoming) = response.into_parts();
                let body = Body { incoming, _place: place, _conn: self };
                Ok(Answer { status: head.status, fields: head.headers.into(), body })
            }
            Err(mut failed) => {
                let body = failed.take_message().map(|request| request.into_body().on(None));
                let error = failed.into_error();
                let unseen = body.is_some() || is_refused(&error);
                // hyper resets the stream where the client's body fails, and that is all that it tells.
                let by_client = progress.is_some_and(|progress| progress.state().has_failed());
                let cause = if by_client { Cause::Client } else { Cause::Http2(error) };
                Err(Failure { cause, unseen, body })
            }
        }
    }
}

/// The server says that it has not looked at the request (RFC 9113 §8.7).
fn is_refused(error: &hyper::Error) -> bool {
    let reason = error.source().and_then(|cause| cause.downcast_ref::<h2::Error>()).and_then(h2::Error::reason);
    reason == Some(h2::Reason::REFUSED_STREAM)
}

/// A request head that was made for HTTP/1.1: `Host` becomes `:authority`, and what concerns the connection goes
/// (RFC 9113 §8.2.2, §8.3.1).
fn translate(head: &Outgoing, scheme: &Scheme, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.fields.clone().into();
    request.headers_mut().remove(CONNECTION);
    let host = request.headers_mut().remove(HOST);
    let mut parts = Parts::default();
    parts.authority = host.as_ref().and_then(|host| host.as_bytes().try_into().ok());
    parts.scheme = Some(scheme.clone());
    parts.path_and_query = Some(head.target.clone());
    match Uri::from_parts(parts) {
        Ok(uri) => *request.uri_mut() = uri,
        // No host that a URI can hold: it goes as HTTP/1.1 has it.
        Err(_) => {
            request.headers_mut().insert(HOST, host.unwrap_or_else(|| HeaderValue::from_static("")));
            *request.uri_mut() = head.target.clone().into();
        }
    }
    request
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        Pin::new(&mut self.incoming).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Cause::Http2)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
