//! One connection: TLS if any, HTTP/1.1 or HTTP/2 by ALPN or preface, and its end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use rustls::{HandshakeKind, ServerConnection};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::h1::{self, End};
use super::protocol::{Connection, Protocol};
use super::proxy_protocol::{self, Refused};
use super::slots::Slot;
use super::socket::{Progress, Socket};
use super::stream::{Stream, Wire};
use super::tls::{client_subject, version_text};
use super::worker::Worker;
use crate::config::gateway::Insecure;
use crate::observe::metrics;
use crate::request::{ConnFacts, Peer, Transport};
use crate::snapshot::Entrance;
use crate::timer::Watch;

/// The HTTP/2 connection preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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
    let header_timeout = worker.snapshot().http.header_timeout;
    let Accepted { mut wire, peer, entrance } = accepted;
    let mut source = peer;
    // Whatever is large and soon over is boxed: the room for it would be every connection's to its end.
    if entrance.proxy_protocol {
        let taken = Box::pin(timeout(header_timeout, proxy_protocol::take(wire))).await;
        match taken.unwrap_or(Err(Refused::Slow)) {
            Ok((behind, named)) => (wire, source) = (behind, named.map_or(peer, Peer::from)),
            Err(Refused::Silent) => return,
            Err(refused) => return worker.note_unproxied(peer, &refused),
        }
        if source.ip().is_some_and(|address| !slot.count_for(address, &worker.snapshot().http)) {
            return worker.refused(metrics::Refused::FullForAddress);
        }
    }
    let (stream, protocol, conn) = match entrance.tls {
        None => {
            let conn = ConnFacts::new(peer, Transport::Plain, entrance.insecure);
            (Stream::Plain(wire), Protocol::ByPreface, conn)
        }
        Some(config) => match Box::pin(timeout(header_timeout, TlsAcceptor::from(config).accept(wire))).await {
            Ok(Ok(stream)) => {
                let (protocol, conn) = shaken(&worker, peer, entrance.insecure, stream.get_ref().1);
                (Stream::Tls(Box::new(stream)), protocol, conn)
            }
            Ok(Err(error)) => return note_unshaken(&worker, peer, &error),
            Err(_) => return worker.not_shaken("timeout"),
        },
    };
    let conn = Rc::new(if source == peer { conn } else { conn.with_source(source) });
    let timers = Rc::clone(&worker.tools().timers);
    let progress = Rc::new(Progress::new(timers, Rc::clone(&conn.activity), protocol == Protocol::Http2));
    let socket = Socket::new(stream, Rc::clone(&progress));
    exchange(worker, conn, socket, progress, protocol).await;
    drop(slot);
}

fn note_unshaken(worker: &Worker, peer: Peer, error: &io::Error) {
    // What rustls says of a client is wrapped into this.
    worker.not_shaken(if error.kind() == io::ErrorKind::InvalidData { "protocol" } else { "closed" });
    tracing::debug!(event = "handshake_failed", peer = %peer, error = %error);
}

/// What a handshake has told.
fn shaken(worker: &Worker, peer: Peer, insecure: Insecure, session: &ServerConnection) -> (Protocol, ConnFacts) {
    let protocol = match session.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(_) => Protocol::Http1,
        None => Protocol::ByPreface,
    };
    let version = version_text(session.protocol_version());
    if let Some(tally) = worker.tally() {
        tally.shaken(version, session.handshake_kind() == Some(HandshakeKind::Resumed));
    }
    let transport = Transport::Tls(version);
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
    protocol: Protocol,
) {
    let mut watch = Watch::new(Rc::clone(&worker.tools().timers));
    let mut input = BytesMut::new();
    let is_http2 = match protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::ByPreface => match sniff(&worker, &conn, &progress, (&mut socket, &mut input), &mut watch).await {
            Some(is_http2) => is_http2,
            None => return,
        },
    };
    let about = (Rc::clone(&worker), Rc::clone(&conn), Rc::clone(&progress));
    let mut connection = if is_http2 {
        progress.has_read(false);
        socket.unread(input.freeze());
        Connection::http2(about, &worker.snapshot().http, socket)
    } else {
        Connection::Http1(h1::Connection::new(about, &worker.snapshot().http, socket, input))
    };
    let ended = speak(&worker, &progress, &mut connection, &mut watch).await;
    let rest = connection.into_rest();
    let partial = progress.has_partial_head();
    // If a connection's end cost a request outside any exchange, its line is ours to write.
    match ended {
        Some(End::Over) => {}
        Some(End::Refused(status)) => note_unreadable(&worker, &conn, Some(status.as_u16()), "complete"),
        Some(End::Gone) if partial => note_unreadable(&worker, &conn, None, "client_gone"),
        None if partial => note_unreadable(&worker, &conn, None, "timeout"),
        Some(End::Gone) | None => {}
    }
    let (Some(_), Some((mut socket, early, tunnel))) = (ended, rest) else { return };
    if let Some(tunnel) = tunnel {
        // Boxed: all connections would carry its state, and few come here.
        return Box::pin(tunnel.run(socket, early)).await;
    }
    poll_fn(|context| {
        if Pin::new(&mut socket).poll_shutdown(context).is_ready() {
            return Poll::Ready(());
        }
        Waiting { worker: &worker, progress: &progress, may_drain: false }.poll(&mut watch, context)
    })
    .await;
}

/// Waits for a client's first bytes; `None` if it does not begin, and whatever that cost is told.
async fn sniff(
    worker: &Worker,
    conn: &ConnFacts,
    progress: &Progress,
    (socket, input): (&mut Socket, &mut BytesMut),
    watch: &mut Watch,
) -> Option<bool> {
    let sniffed = poll_fn(|context| match poll_preface(worker, progress, socket, input, context) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => Waiting { worker, progress, may_drain: true }.poll(watch, context).map(|()| None),
    });
    let outcome = match sniffed.await {
        Some(Ok(is_http2)) => return Some(is_http2),
        Some(Err(_)) => "client_gone",
        None => "timeout",
    };
    if progress.has_partial_head() {
        note_unreadable(worker, conn, None, outcome);
    }
    None
}

/// Whether the client's first bytes, which are put into `input`, are those of HTTP/2.
fn poll_preface(
    worker: &Worker,
    progress: &Progress,
    socket: &mut Socket,
    input: &mut BytesMut,
    context: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    loop {
        let seen = input.len().min(PREFACE.len());
        if input[..seen] != PREFACE[..seen] || seen == PREFACE.len() {
            return Poll::Ready(Ok(input.starts_with(PREFACE)));
        }
        let mut scratch = worker.buffers().scratch().borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *socket).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        input.extend_from_slice(buffer.filled());
        progress.has_read(true);
    }
}

/// Serves HTTP until it ends, or the client has kept us waiting for too long (`None`).
async fn speak(worker: &Worker, progress: &Progress, connection: &mut Connection, watch: &mut Watch) -> Option<End> {
    let mut is_closing = false;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(end) = connection.poll(context) {
                return Poll::Ready(Some(end));
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

fn note_unreadable(worker: &Worker, conn: &ConnFacts, status: Option<u16>, outcome: &str) {
    let generation = worker.snapshot().settings.generation;
    let now = worker.tools().closer.clock.now();
    if let Some(tally) = worker.tally() {
        tally.unreadable(status);
    }
    worker.log().unreadable(conn, (now.wall_us, &worker.next_request_id()), (status, outcome), generation);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn what_every_connection_costs_to_its_end_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 1280, "{size} bytes: what is large and soon over is to be boxed");
    }
}
