//! HTTP on one connection: which version, hyper's part in it, and what a connection becomes after 101.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::socket::{Progress, Socket};
use super::worker::Worker;
use crate::config::gateway::Http;
use crate::gate::response_body::ResponseBody;
use crate::gate::tunnel::Tunnel;
use crate::gate::{self, Abandoned, Reply};
use crate::request::ConnFacts;
use crate::task::LocalExecutor;

/// What is known of the protocol before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
    /// In the clear nobody has said.
    ByPreface,
}

/// Answers the requests of one connection.
pub(super) struct Requests {
    pub(super) worker: Rc<Worker>,
    pub(super) conn: Rc<ConnFacts>,
    pub(super) progress: Rc<Progress>,
    /// Where an HTTP/1.1 connection's tunnel waits until hyper has let go of it.
    pub(super) tunnel: Rc<RefCell<Option<Box<Tunnel>>>>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Abandoned;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let is_http2 = request.version() == Version::HTTP_2;
        self.progress.head_is_whole(is_http2);
        let stream = (is_http2 && *request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
        let (worker, conn) = (&self.worker, &self.conn);
        let reply = gate::handle(worker.tools(), &worker.snapshot(), conn, worker.next_request_id(), request);
        Answering { reply, worker: Rc::clone(worker), is_http2, stream, tunnel: Rc::clone(&self.tunnel) }
    }
}

/// An answer on its way.
pub(super) struct Answering {
    reply: Pin<Box<dyn Future<Output = Result<Reply, Abandoned>>>>,
    worker: Rc<Worker>,
    is_http2: bool,
    /// Of a CONNECT: the HTTP/2 stream, once it is told that it is a tunnel.
    stream: Option<OnUpgrade>,
    tunnel: Rc<RefCell<Option<Box<Tunnel>>>>,
}

impl Answering {
    /// Connects the client to a tunnel: a stream of HTTP/2 at once, a connection when hyper is done with it.
    fn dig(&mut self, tunnel: Box<Tunnel>) {
        match self.stream.take() {
            None => *self.tunnel.borrow_mut() = Some(tunnel),
            Some(stream) => drop(tokio::task::spawn_local(async move {
                if let Ok(stream) = stream.await {
                    tunnel.run(TokioIo::new(stream), Bytes::new()).await;
                }
            })),
        }
    }
}

impl Future for Answering {
    type Output = Result<Response<ResponseBody>, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(reply) = self.reply.as_mut().poll(context) else { return Poll::Pending };
        let Reply { mut response, tunnel } = reply?;
        if let Some(tunnel) = tunnel {
            self.dig(tunnel);
        }
        let is_last = self.worker.is_draining() && !self.is_http2;
        if is_last && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // The client knows before it sends another (RFC 9112 §9.6), and hyper closes after it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

/// A connection that speaks HTTP.
pub(super) enum Connection {
    Http1(Box<http1::Connection<TokioIo<Socket>, Requests>>),
    Http2(Pin<Box<http2::Connection<TokioIo<Socket>, Requests, LocalExecutor>>>),
}

/// What is left of a connection that speaks HTTP/1 without hyper's part in it.
pub(super) struct Rest {
    pub(super) socket: Socket,
    /// What was read beyond the last request.
    pub(super) early: Bytes,
    pub(super) requests: Requests,
}

impl Connection {
    pub(super) fn new(is_http2: bool, http: &Http, socket: Socket, requests: Requests) -> Self {
        let socket = TokioIo::new(socket);
        if is_http2 {
            return Self::Http2(Box::pin(http2_builder(http).serve_connection(socket, requests)));
        }
        Self::Http1(Box::new(http1_builder(http).serve_connection(socket, requests)))
    }

    /// Serves; ready when HTTP has ended. Unless it became a tunnel or failed, it is shut down then: hyper writes what it
    /// still holds only on that way.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        match self {
            Self::Http1(connection) => Pin::new(connection).poll(context),
            Self::Http2(connection) => connection.as_mut().poll(context),
        }
    }

    /// Takes no new requests.
    pub(super) fn wind_down(&mut self) {
        match self {
            Self::Http1(connection) => Pin::new(&mut **connection).graceful_shutdown(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
        }
    }

    /// What is left when HTTP has ended, or waits for its next request. HTTP/2 leaves nothing.
    pub(super) fn into_rest(self) -> Option<Rest> {
        let Self::Http1(connection) = self else { return None };
        let parts = connection.into_parts();
        Some(Rest { socket: parts.io.into_inner(), early: parts.read_buf, requests: parts.service })
    }
}

/// What hyper has answered by itself to a head that it could not read.
pub(super) fn automatic_status(error: &hyper::Error) -> u16 {
    match error.is_parse_too_large() {
        true if error.to_string().contains("URI") => 414,
        true => 431,
        false => 400,
    }
}

fn http1_builder(http: &Http) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Small heads and bodies are cheaper copied into one buffer than gathered.
    builder.writev(false).max_buf_size(http.header_bytes_max as usize);
    // Slow clients are found by the worker's timers.
    builder.header_read_timeout(None);
    // hyper's own default, which costs it less than the same number said aloud.
    if http.headers_max != 100 {
        builder.max_headers(http.headers_max);
    }
    builder
}

fn http2_builder(http: &Http) -> http2::Builder<LocalExecutor> {
    let mut builder = http2::Builder::new(LocalExecutor);
    builder.max_concurrent_streams(http.h2_streams_max).max_header_list_size(http.header_bytes_max);
    // Streams that were reset before anyone looked at them, and those that we had to reset: a client that makes more of
    // either is sent GOAWAY (CVE-2023-44487 and its kin).
    builder.max_pending_accept_reset_streams(20).max_local_error_reset_streams(64);
    // No pings: a connection without requests has `idle_timeout`, one whose client takes nothing `body_idle_timeout`, and
    // windows of 1 MiB bound what a connection may send that nobody takes yet.
    // WebSockets over HTTP/2 (RFC 8441).
    builder.enable_connect_protocol();
    builder
}
