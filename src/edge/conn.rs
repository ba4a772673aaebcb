//! One connection: TLS if any, HTTP/1.1 or HTTP/2 by ALPN or preface, and its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustls::ServerConnection;
use tokio::io::AsyncWrite as _;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::protocol::{Connection, Protocol, Requests, automatic_status};
use super::proxy_protocol::{self, Refused};
use super::slots::Slot;
use super::socket::{Progress, Socket};
use super::stream::{Stream, Wire};
use super::strict::Strict;
use super::tls::{client_subject, version_text};
use super::worker::Worker;
use crate::config::gateway::{Http, Insecure};
use crate::request::{ConnFacts, Peer, Transport};
use crate::snapshot::Entrance;
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

/// Speaks HTTP to the end of it, and then whatever the connection has become.
async fn exchange(
    worker: Rc<Worker>,
    conn: Rc<ConnFacts>,
    mut socket: Socket,
    progress: Rc<Progress>,
    http: &Http,
    protocol: Protocol,
) {
    let mut watch = Watch::new(Rc::clone(&worker.tools().timers));
    let is_http2 = match protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::ByPreface => {
            let sniffed = poll_fn(|context| match socket.poll_preface(context) {
                Poll::Ready(found) => Poll::Ready(Some(found)),
                Poll::Pending => Waiting { worker: &worker, progress: &progress, may_drain: true }
                    .poll(&mut watch, context)
                    .map(|()| None),
            });
            match sniffed.await {
                Some(Ok(is_http2)) => is_http2,
                Some(Err(_)) if progress.has_partial_head() => {
                    return note_unreadable(&worker, &conn, None, "client_gone");
                }
                None if progress.has_partial_head() => return note_unreadable(&worker, &conn, None, "timeout"),
                Some(Err(_)) | None => return,
            }
        }
    };
    let tunnel = Rc::default();
    let requests = Requests {
        worker: Rc::clone(&worker),
        conn: Rc::clone(&conn),
        progress: Rc::clone(&progress),
        tunnel: Rc::clone(&tunnel),
    };
    let mut connection = Connection::new(is_http2, http, socket, requests);
    let ended = speak(&worker, &progress, &mut connection, &mut watch).await;
    let partial = progress.has_partial_head();
    match &ended {
        Some(Ok(())) => {}
        Some(Err(error)) => note_failure(&worker, &conn, error, partial),
        None if partial => note_unreadable(&worker, &conn, None, "timeout"),
        None => {}
    }
    let (Some(_), Some((mut socket, early))) = (ended, connection.into_rest()) else { return };
    let tunnel = tunnel.take();
    if let Some(tunnel) = tunnel {
        return tunnel.run(socket, early).await;
    }
    poll_fn(|context| {
        if Pin::new(&mut socket).poll_shutdown(context).is_ready() {
            return Poll::Ready(());
        }
        Waiting { worker: &worker, progress: &progress, may_drain: false }.poll(&mut watch, context)
    })
    .await;
}

/// Serves HTTP until it ends, or the client has kept us waiting for too long (`None`).
async fn speak(
    worker: &Worker,
    progress: &Progress,
    connection: &mut Connection,
    watch: &mut Watch,
) -> Option<hyper::Result<()>> {
    let mut is_closing = false;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = connection.poll(context) {
                return Poll::Ready(Some(result));
            }
            if worker.is_draining() && !is_closing && progress.is_drained() {
                is_closing = true;
                connection.wind_down();
                continue;
            }
            return Waiting { worker, progress, may_drain: !is_closing }.poll(watch, context).map(|()| None);
        }
    })
    .await
}

/// Whoever waits for a client, and for how long.
struct Waiting<'a> {
    worker: &'a Worker,
    progress: &'a Progress,
    /// A drain may end it, too.
    may_drain: bool,
}

impl Waiting<'_> {
    /// Ready when the client's time is over.
    fn poll(&self, watch: &mut Watch, context: &Context<'_>) -> Poll<()> {
        let mut deadline = self.progress.deadline_ms(&self.worker.snapshot().http);
        if self.may_drain && self.worker.is_draining() {
            deadline = deadline.into_iter().chain(self.progress.drained_at_ms()).min();
        }
        // Without a deadline it is still armed: a drain wakes every watch.
        watch.arm_at(deadline.unwrap_or(u64::MAX));
        watch.poll_expired(context)
    }
}

/// A connection that failed outside any exchange: if that cost a request, its line is ours to write.
fn note_failure(worker: &Worker, conn: &ConnFacts, error: &hyper::Error, partial: bool) {
    if error.is_parse() {
        note_unreadable(worker, conn, Some(automatic_status(error)), "complete");
    } else if partial {
        // However it ended: in the middle of a head, the client has left.
        note_unreadable(worker, conn, None, "client_gone");
    }
}

fn note_unreadable(worker: &Worker, conn: &ConnFacts, status: Option<u16>, outcome: &str) {
    let generation = worker.snapshot().settings.generation;
    let now = worker.tools().closer.clock.now();
    worker.log().unreadable(conn, (now.wall_us, &worker.next_request_id()), (status, outcome), generation);
}
