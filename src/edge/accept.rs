//! Takes connections from a listening socket, and leaves it without losing one.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::conn::{Accepted, serve};
use super::listener::Listener;
use super::stream::Wire;
use super::worker::{OpenConnection, Phase, Worker};
use crate::request::Peer;

/// How often a failing listener is told of.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How long a handshake may take that has begun when the drain does. A client that is turned away tries again after one
/// second (RFC 6298 §2.1), when this is long over.
const HANDSHAKES_FOR: Duration = Duration::from_millis(250);
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A listener as one worker has it.
pub(super) struct Entry {
    /// The worker's own socket.
    pub(super) listener: Listener,
    /// Its place among those that are bound: the same in every snapshot.
    pub(super) index: usize,
    /// Bound as a listener with TLS: whatever the files say later, it never takes a connection in the clear.
    pub(super) tls: bool,
    /// Others hold the same socket.
    pub(super) inherited: bool,
}

/// Accepts until the drain, and then what has come until then.
pub(super) async fn accept(worker: Rc<Worker>, entry: Entry, mut phase: watch::Receiver<Phase>) {
    // Held to the end: the worker waits for it as for a connection.
    let _open = OpenConnection::new(Rc::clone(&worker));
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            accepted = entry.listener.accept() => accepted,
            _ = phase.wait_for(|p| *p >= Phase::Draining) => break,
        };
        match accepted {
            Ok((wire, peer)) => {
                trouble = Trouble::default();
                begin(&worker, entry.index, entry.tls, wire, peer);
            }
            Err(error) => trouble.wait(&error).await,
        }
    }
    leave(&worker, entry).await;
}

/// Closing a listening socket resets what waits in its queue, and handshakes that have not ended. So no new ones are let
/// begin first: the client's system tries again, and finds the process that has bound beside this one.
async fn leave(worker: &Rc<Worker>, entry: Entry) {
    let Entry { listener, index, tls, inherited } = entry;
    if inherited {
        // Whoever passed it on keeps it open, and what waits there is for our successor.
        return;
    }
    // It fails if the runtime is gone, and then there is nobody to serve.
    let Ok(socket) = listener.into_socket() else { return };
    if socket.refuse_handshakes() {
        tokio::time::sleep(HANDSHAKES_FOR).await;
    }
    let mut trouble = Trouble::default();
    loop {
        match socket.accept() {
            Ok((wire, peer)) => begin(worker, index, tls, wire, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => trouble.wait(&error).await,
        }
    }
}

fn begin(worker: &Rc<Worker>, index: usize, tls: bool, wire: Wire, peer: Peer) {
    let snapshot = worker.snapshot();
    let Some(entrance) = snapshot.entrances.get(index).cloned() else { return };
    if entrance.tls.is_some() != tls {
        return;
    }
    // Behind a proxy the address that counts is the one that its header will name.
    let address = peer.ip().filter(|_| !entrance.proxy_protocol);
    let slot = match worker.slots().take(address, &snapshot.http) {
        Ok(slot) => slot,
        Err(why) => return worker.refused(why),
    };
    if let Some(tally) = worker.tally() {
        tally.accepted();
    }
    let open = OpenConnection::new(Rc::clone(worker));
    let accepted = Accepted { wire, peer, entrance };
    tokio::task::spawn_local(async move {
        serve(Rc::clone(open.worker()), accepted, slot).await;
        drop(open);
    });
}

/// What goes wrong while accepting. It never ends a listener: most of it (EMFILE, ENFILE, ENOBUFS) passes.
struct Trouble {
    pause: Duration,
    told: Option<Instant>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self { pause: PAUSE_MIN, told: None }
    }
}

impl Trouble {
    async fn wait(&mut self, error: &io::Error) {
        // The client gave up while it waited: nothing is wrong here.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
            return;
        }
        if self.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            self.told = Some(Instant::now());
            tracing::warn!(event = "accept_failed", error = %error);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
