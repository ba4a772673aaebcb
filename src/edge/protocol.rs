//! HTTP on one connection: which version, and hyper's part in HTTP/2.

use std::future::ready;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::ext;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::h1::{self, End};
use super::socket::{Progress, Socket};
use super::worker::Worker;
use crate::config::gateway::Http;
use crate::gate::response_body::ResponseBody;
use crate::gate::tunnel::Tunnel;
use crate::gate::{self, Abandoned, Handling, Reply};
use crate::request::{ClientBody, ConnFacts, Received};
use crate::task::LocalExecutor;
use crate::upstream::message::Answer;

/// What is known of the protocol before the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
    /// In the clear nobody has said.
    ByPreface,
}

/// Answers the requests of one connection of HTTP/2.
pub(super) struct Requests {
    worker: Rc<Worker>,
    conn: Rc<ConnFacts>,
    progress: Rc<Progress>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Abandoned;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        self.progress.head_is_whole(true);
        let is_connect = *request.method() == Method::CONNECT;
        let stream = is_connect.then(|| hyper::upgrade::on(&mut request));
        let (parts, body) = request.into_parts();
        let protocol = parts.extensions.get::<ext::Protocol>();
        let request = Received {
            is_websocket_stream: is_connect
                && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket")),
            method: parts.method,
            uri: parts.uri,
            version: Version::HTTP_2,
            fields: parts.headers.into(),
            body: ClientBody::http2(body),
        };
        let worker = &self.worker;
        let handling = gate::handle(worker.tools(), &worker.snapshot(), &self.conn, worker.next_request_id(), request);
        let reply = match handling {
            Handling::Answered(reply) => Box::pin(ready(Ok(reply))),
            Handling::Underway(reply) => reply,
        };
        Answering { reply, stream }
    }
}

/// An answer on its way.
pub(super) struct Answering {
    reply: Pin<Box<dyn Future<Output = Result<Reply, Abandoned>>>>,
    /// Of a CONNECT: the stream, once it is told that it is a tunnel.
    stream: Option<OnUpgrade>,
}

impl Future for Answering {
    type Output = Result<Response<ResponseBody>, Abandoned>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Reply { response: Answer { status, fields, body }, tunnel } =
            task::ready!(self.reply.as_mut().poll(context))?;
        if let Some((tunnel, stream)) = tunnel.zip(self.stream.take()) {
            drop(tokio::task::spawn_local(dig(tunnel, stream)));
        }
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, fields.into());
        Poll::Ready(Ok(response))
    }
}

/// Connects a client's stream to its tunnel.
async fn dig(tunnel: Box<Tunnel>, stream: OnUpgrade) {
    if let Ok(stream) = stream.await {
        tunnel.run(TokioIo::new(stream), Bytes::new()).await;
    }
}

/// A connection that speaks HTTP.
pub(super) enum Connection {
    Http1(h1::Connection),
    Http2(Pin<Box<http2::Connection<TokioIo<Socket>, Requests, LocalExecutor>>>),
}

impl Connection {
    /// A connection that speaks HTTP/2.
    pub(super) fn http2(
        (worker, conn, progress): (Rc<Worker>, Rc<ConnFacts>, Rc<Progress>),
        http: &Http,
        socket: Socket,
    ) -> Self {
        let requests = Requests { worker, conn, progress };
        Self::Http2(Box::pin(http2_builder(http).serve_connection(TokioIo::new(socket), requests)))
    }

    /// Serves; ready when HTTP has ended. Unless it became a tunnel it is shut down then.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        match self {
            Self::Http1(connection) => connection.poll(context),
            // However it ended: whatever that has cost is told by the records of its requests.
            Self::Http2(connection) => connection.as_mut().poll(context).map(|_| End::Over),
        }
    }

    /// Takes no new requests.
    pub(super) fn wind_down(&mut self) {
        match self {
            Self::Http1(connection) => connection.wind_down(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
        }
    }

    /// What is left when HTTP has ended: the connection, what was read of it beyond, and what it becomes. HTTP/2 leaves
    /// nothing.
    pub(super) fn into_rest(self) -> Option<(Socket, Bytes, Option<Box<Tunnel>>)> {
        match self {
            Self::Http1(connection) => connection.into_rest(),
            Self::Http2(_) => None,
        }
    }
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
