//! One connection: TLS if any, HTTP/1.1 or HTTP/2 by ALPN or preface, and its end.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use rustls::ServerConnection;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::proxy_protocol::{self, Refused};
use super::slots::Slot;
use super::socket::{Progress, Socket};
use super::stream::{Stream, Wire};
use super::strict::Strict;
use super::tls::{client_subject, version_text};
use super::worker::Worker;
use crate::config::gateway::{Http, Insecure};
use crate::gate;
use crate::request::{ConnFacts, Peer, Transport};
use crate::snapshot::Entrance;
use crate::task::LocalExecutor;
use crate::timer::Watch;

/// A connection that was just accepted.
pub struct Accepted {
    /// The socket.
    pub wire: Wire,
    /// Its other end.
    pub peer: Peer,
    /// What its listener says.
    pub entrance: Entrance,
}

/// Serves a connection to its end. Nothing that happens on it concerns any other.
pub async fn serve(worker: Rc<Worker>, accepted: Accepted, mut slot: Slot) {
    let http = worker.snapshot().http.clone();
    let Accepted { mut wire, peer, entrance } = accepted;
    let mut source = peer;
    if entrance.proxy_protocol {
        let taken = timeout(http.header_timeout, proxy_protocol::take(wire)).await;
        match taken.unwrap_or(Err(Refused::Slow)) {
            Ok((behind, named)) => (wire, source) = (behind, named.map_or(peer, Peer::from)),
            Err(Refused::Silent) => return,
            Err(refused) => return worker.note_unproxied(peer, &refused),
        }
        if source.ip().is_some_and(|address| !slot.count_for(address, &http)) {
            return;
        }
    }
    let (stream, protocol, conn) = match entrance.tls {
        None => {
            let conn = ConnFacts::new(peer, Transport::Plain, entrance.insecure);
            (Stream::Plain(wire), Protocol::ByPreface, conn)
        }
        Some(config) => match timeout(http.header_timeout, TlsAcceptor::from(config).accept(wire)).await {
            Ok(Ok(stream)) => {
                let (protocol, conn) = shaken(&worker, peer, entrance.insecure, stream.get_ref().1);
                (Stream::Tls(Box::new(stream)), protocol, conn)
            }
            Ok(Err(error)) => return tracing::debug!(event = "handshake_failed", peer = %peer, error = %error),
            Err(_) => return,
        },
    };
    let conn = Rc::new(if source == peer { conn } else { conn.with_source(source) });
    let timers = Rc::clone(&worker.tools().timers);
    let progress = Rc::new(Progress::new(timers, Rc::clone(&conn.activity), protocol == Protocol::Http2));
    let strict = match protocol {
        Protocol::Http1 => Strict::http1(http.header_bytes_max as usize),
        Protocol::ByPreface => Strict::by_preface(http.header_bytes_max as usize),
        Protocol::Http2 => Strict::aside(),
    };
    let socket = Socket::new(stream, strict, Rc::clone(&progress));
    exchange(worker, conn, socket, progress, &http, protocol).await;
    drop(slot);
}

/// What a handshake has told.
fn shaken(worker: &Worker, peer: Peer, insecure: Insecure, session: &ServerConnection) -> (Protocol, ConnFacts) {
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(_) => Protocol::Http1,
        None => Protocol::ByPreface,
    };
    let transport = Transport::Tls(version_text(session.protocol_version()));
    // Whoever signs certificates may write anything into them.
    let redacted = |subject: String| {
        let text = String::from_utf8_lossy(&worker.snapshot().settings.redactor.text(subject.as_bytes())).into_owned();
        text.into_boxed_str()
    };
    let subject = client_subject(session.peer_certificates()).map(redacted);
    (protocol, ConnFacts::new(peer, transport, insecure).with_client_subject(subject))
}

/// What is known of the protocol before the first byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
    ByPreface,
}

async fn exchange(
    worker: Rc<Worker>,
    conn: Rc<ConnFacts>,
    socket: Socket,
    progress: Rc<Progress>,
    http: &Http,
    protocol: Protocol,
) {
    let service = service_fn({
        let (worker, conn, progress) = (Rc::clone(&worker), Rc::clone(&conn), Rc::clone(&progress));
        move |request: Request<Incoming>| {
            let is_http2 = request.version() == Version::HTTP_2;
            progress.head_is_whole(is_http2);
            let answer = gate::handle(worker.tools(), &worker.snapshot(), &conn, worker.next_request_id(), request);
            Last { answer, worker: Rc::clone(&worker), is_http2 }
        }
    });
    let builder = builder(http, protocol);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), service));
    let mut watch = Watch::new(Rc::clone(&worker.tools().timers));
    let mut is_closing = false;
    let ended = poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = connection.as_mut().poll(context) {
                return Poll::Ready(Some(result));
            }
            let mut deadline = progress.deadline_ms(&worker.snapshot().http);
            if worker.is_draining() && !is_closing {
                if progress.is_drained() {
                    is_closing = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                deadline = deadline.into_iter().chain(progress.drained_at_ms()).min();
            }
            // Without a deadline it is still armed: a drain wakes every watch.
            watch.arm_at(deadline.unwrap_or(u64::MAX));
            return watch.poll_expired(context).map(|()| None);
        }
    })
    .await;
    let partial = progress.has_partial_head();
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => note_failure(&worker, &conn, &*error, partial),
        None if partial => note_unreadable(&worker, &conn, None, "timeout"),
        None => {}
    }
}

/// An answer, which is the last on its HTTP/1 connection if the worker drains by then.
struct Last<F> {
    answer: F,
    worker: Rc<Worker>,
    is_http2: bool,
}

impl<F: Future<Output = Result<Response<B>, E>> + Unpin, B, E> Future for Last<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut answer = Pin::new(&mut self.answer).poll(context);
        if let Poll::Ready(Ok(response)) = &mut answer
            && self.worker.is_draining()
            && !self.is_http2
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            // The client knows before it sends another (RFC 9112 §9.6), and hyper closes after it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}

/// A connection that failed outside any exchange: if that cost a request, its line is ours to write.
fn note_failure(worker: &Worker, conn: &ConnFacts, error: &(dyn Error + 'static), partial: bool) {
    match error.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_parse() => note_unreadable(worker, conn, Some(automatic_status(error)), "complete"),
        // However it ended: in the middle of a head, the client has left.
        _ if partial => note_unreadable(worker, conn, None, "client_gone"),
        _ => {}
    }
}

/// What hyper has answered by itself to a head that it could not read.
fn automatic_status(error: &hyper::Error) -> u16 {
    match error.is_parse_too_large() {
        true if error.to_string().contains("URI") => 414,
        true => 431,
        false => 400,
    }
}

fn note_unreadable(worker: &Worker, conn: &ConnFacts, status: Option<u16>, outcome: &str) {
    let generation = worker.snapshot().settings.generation;
    let now = worker.tools().closer.clock.now();
    worker.log().unreadable(conn, (now.wall_us, &worker.next_request_id()), (status, outcome), generation);
}

fn builder(http: &Http, protocol: Protocol) -> auto::Builder<LocalExecutor> {
    let mut builder = auto::Builder::new(LocalExecutor);
    builder
        .http1()
        // Small heads and bodies are cheaper copied into one buffer than gathered.
        .writev(false)
        .max_buf_size(http.header_bytes_max as usize)
        // Slow clients are found by the worker's timers.
        .header_read_timeout(None);
    // hyper's own default, which costs it less than the same number said aloud.
    if http.headers_max != 100 {
        builder.http1().max_headers(http.headers_max);
    }
    builder.http2().max_concurrent_streams(http.h2_streams_max).max_header_list_size(http.header_bytes_max);
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_only(),
        Protocol::ByPreface => builder,
    }
}
