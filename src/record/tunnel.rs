//! The record of a tunnel: what follows an exchange that ended with 101. Dropping it closes it.

use std::rc::Rc;
use std::sync::Arc;

use super::open::{Closer, Open, Outcome};
use crate::keys::Key;
use crate::limits::account::Underway;
use crate::request::{ConnFacts, Forwarded, RequestId};
use crate::route::Route;
use crate::upstream::Upstream;
use crate::vocab::denial::Fault;

/// Everything that is told of one tunnel.
pub struct TunnelRecord {
    /// Of the exchange that it began with.
    pub request_id: RequestId,
    /// The key that opened it.
    pub key: Option<Arc<Key>>,
    /// What a trusted peer said of the client.
    pub forwarded: Option<Box<Forwarded>>,
    /// The client's connection.
    pub conn: Rc<ConnFacts>,
    /// The route.
    pub route: Option<Arc<Route>>,
    /// Where it leads.
    pub upstream: Option<Arc<Upstream>>,
    /// The server there.
    pub address: Option<Rc<str>>,
    /// Of the configuration that decided.
    pub generation: u64,
    /// Bytes from the client.
    pub request_bytes: u64,
    /// Bytes to the client.
    pub response_bytes: u64,
    /// How it ended; until then, as if the client had left.
    pub outcome: Outcome,
    /// Wall time of the end, microseconds since the epoch.
    pub ended_us: i64,
    /// From the 101 on, microseconds.
    pub duration_us: u64,
}

/// A record whose tunnel is still open.
pub struct OpenTunnel {
    /// To be brought up to date.
    pub record: Box<TunnelRecord>,
    closer: Rc<Closer>,
    began: (u64, i64),
    _underway: Option<Underway>,
}

impl TunnelRecord {
    /// Whose fault it is that it ended, if it is anybody's.
    pub const fn fault(&self) -> Option<Fault> {
        match self.outcome {
            Outcome::Complete => None,
            Outcome::ClientGone => Some(Fault::Client),
            Outcome::UpstreamGone => Some(Fault::Upstream),
            Outcome::Timeout(fault) => Some(fault),
        }
    }
}

impl OpenTunnel {
    /// What an exchange turns into.
    pub fn behind(open: &mut Open) -> Self {
        let underway = open.hand_on();
        let (exchange, closer) = (open.record(), open.closer());
        let record = TunnelRecord {
            request_id: exchange.facts.request_id.clone(),
            key: exchange.trail.key.clone(),
            forwarded: exchange.facts.forwarded.clone(),
            conn: Rc::clone(&exchange.conn),
            route: exchange.trail.route.clone(),
            upstream: exchange.transfer.upstream.clone(),
            address: exchange.transfer.attempts.address.clone(),
            generation: exchange.settings.generation,
            request_bytes: 0,
            response_bytes: 0,
            outcome: Outcome::default(),
            ended_us: 0,
            duration_us: 0,
        };
        let now = closer.clock.now();
        Self {
            record: Box::new(record),
            closer: Rc::clone(closer),
            began: (now.mono, now.wall_us),
            _underway: underway,
        }
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        let (mono, wall_us) = self.began;
        self.record.duration_us = self.closer.clock.mono().saturating_sub(mono) / 1_000;
        self.record.ended_us = wall_us.saturating_add_unsigned(self.record.duration_us);
        self.closer.reader.read_tunnel(&self.record);
    }
}
