//! One connection: TLS if any, HTTP/1.1 or HTTP/2 by ALPN or preface, and its end.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::AsyncWrite as _;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::protocol::{Connection, Protocol, Requests, Rest, automatic_status};
use super::proxy_protocol::{self, Refused};
use super::slots::Slot;
use super::socket::{Progress, Socket};
use super::stream::{Stream, Wire};
use super::strict::Strict;
use super::tls::{client_subject, version_text};
use super::worker::Worker;
use crate::config::gateway::Insecure;
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
    let (header_timeout, header_bytes_max) = {
        let http = &worker.snapshot().http;
        (http.header_timeout, http.header_bytes_max as usize)
    };
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
            return;
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
            Ok(Err(error)) => return tracing::debug!(event = "handshake_failed", peer = %peer, error = %error),
            Err(_) => return,
        },
    };
    let conn = Rc::new(if source == peer { conn } else { conn.with_source(source) });
    let timers = Rc::clone(&worker.tools().timers);
    let progress = Rc::new(Progress::new(timers, Rc::clone(&conn.activity), protocol == Protocol::Http2));
    let strict = match protocol {
        Protocol::Http1 => Strict::http1(header_bytes_max),
        Protocol::ByPreface => Strict::by_preface(header_bytes_max),
        Protocol::Http2 => Strict::aside(),
    };
    let socket = Socket::new(stream, strict, Rc::clone(&progress));
    exchange(worker, conn, socket, progress, protocol).await;
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
    protocol: Protocol,
) {
    let mut watch = Watch::new(Rc::clone(&worker.tools().timers));
    let is_http2 = match protocol {
        Protocol::Http1 => false,
        Protocol::Http2 => true,
        Protocol::ByPreface => match sniff(&worker, &conn, &progress, &mut socket, &mut watch).await {
            Some(is_http2) => is_http2,
            None => return,
        },
    };
    let tunnel = Rc::default();
    let mut requests = Requests {
        worker: Rc::clone(&worker),
        conn: Rc::clone(&conn),
        progress: Rc::clone(&progress),
        tunnel: Rc::clone(&tunnel),
    };
    let mut is_silent = protocol == Protocol::Http1;
    let (spoken, rest) = loop {
        if is_silent && !wait(&worker, &progress, &mut socket, &mut watch).await {
            return;
        }
        let mut connection = Connection::new(is_http2, &worker.snapshot().http, socket, requests);
        let spoken = speak(&worker, &progress, &mut connection, &mut watch).await;
        match (spoken, connection.into_rest()) {
            (Spoken::Idle, Some(rest)) => {
                (socket, requests, is_silent) = (rest.socket.with_ahead(&rest.early), rest.requests, true);
            }
            (spoken, rest) => break (spoken, rest),
        }
    };
    let partial = progress.has_partial_head();
    match &spoken {
        Spoken::Ended(Ok(())) | Spoken::Idle => {}
        Spoken::Ended(Err(error)) => note_failure(&worker, &conn, error, partial),
        Spoken::Late if partial => note_unreadable(&worker, &conn, None, "timeout"),
        Spoken::Late => {}
    }
    let (Spoken::Ended(_), Some(Rest { mut socket, early, .. })) = (spoken, rest) else { return };
    let tunnel = tunnel.take();
    if let Some(tunnel) = tunnel {
        return Box::pin(tunnel.run(socket, early)).await;
    }
    poll_fn(|context| {
        if Pin::new(&mut socket).poll_shutdown(context).is_ready() {
            return Poll::Ready(());
        }
        let waiting = Waiting { worker: &worker, progress: &progress, may_drain: false, may_rest: false };
        waiting.poll(&mut watch, context)
    })
    .await;
}

/// Finds out whether the client speaks HTTP/2; `None` if it left, or said too little for too long.
async fn sniff(
    worker: &Worker,
    conn: &ConnFacts,
    progress: &Progress,
    socket: &mut Socket,
    watch: &mut Watch,
) -> Option<bool> {
    let waiting = Waiting { worker, progress, may_drain: true, may_rest: false };
    let sniffed = poll_fn(|context| match socket.poll_preface(context) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => waiting.poll(watch, context).map(|()| None),
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

/// Waits for the first byte of a request with nothing but the socket in hand: hyper, and what it reads into, come when it
/// does. False if the client's time was over first.
async fn wait(worker: &Worker, progress: &Progress, socket: &mut Socket, watch: &mut Watch) -> bool {
    let waiting = Waiting { worker, progress, may_drain: true, may_rest: false };
    poll_fn(|context| {
        // What has become of a connection that ended or failed, or that a drain ends, is for hyper to find out.
        if socket.poll_ahead(context).is_ready() || worker.is_draining() && progress.is_drained() {
            return Poll::Ready(true);
        }
        waiting.poll(watch, context).map(|()| false)
    })
    .await
}

/// How speaking HTTP has ended.
enum Spoken {
    /// With the connection.
    Ended(hyper::Result<()>),
    /// The client has kept us waiting for too long.
    Late,
    /// It has not: the next request is not soon to come.
    Idle,
}

/// Serves HTTP for as long as there is something to do.
async fn speak(worker: &Worker, progress: &Progress, connection: &mut Connection, watch: &mut Watch) -> Spoken {
    let mut is_closing = false;
    poll_fn(|context| {
        loop {
            if let Poll::Ready(result) = connection.poll(context) {
                return Poll::Ready(Spoken::Ended(result));
            }
            if worker.is_draining() && !is_closing && progress.is_drained() {
                is_closing = true;
                connection.wind_down();
                continue;
            }
            let waiting = Waiting { worker, progress, may_drain: !is_closing, may_rest: !is_closing };
            ready!(waiting.poll(watch, context));
            return Poll::Ready(if waiting.is_over() { Spoken::Late } else { Spoken::Idle });
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
    /// So may silence between requests.
    may_rest: bool,
}

impl Waiting<'_> {
    /// Ready when the client's time is over, or it is time to rest.
    fn poll(&self, watch: &mut Watch, context: &Context<'_>) -> Poll<()> {
        let mut deadline = self.deadline_ms();
        if self.may_rest
            && let Some(rests_at) = self.progress.rests_at_ms()
        {
            deadline = deadline.min(rests_at);
        }
        // Without a deadline it is still armed: a drain wakes every watch.
        watch.arm_at(deadline);
        watch.poll_expired(context)
    }

    fn is_over(&self) -> bool {
        self.deadline_ms() <= self.progress.now_ms()
    }

    fn deadline_ms(&self) -> u64 {
        let mut deadline = self.progress.deadline_ms(&self.worker.snapshot().http);
        if self.may_drain && self.worker.is_draining() {
            deadline = deadline.into_iter().chain(self.progress.drained_at_ms()).min();
        }
        deadline.unwrap_or(u64::MAX)
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
