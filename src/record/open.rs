//! A record while its exchange lasts. Dropping it closes it: there is no way to forget the line, or to write two.

use std::rc::Rc;
use std::sync::Arc;

use super::leak::{Leak, Leaked, Place};
use super::tunnel::TunnelRecord;
use crate::config::gateway::LeakAction;
use crate::credential::Traces;
use crate::keys::Key;
use crate::limits::Reading;
use crate::limits::account::Underway;
use crate::request::{Busy, ConnFacts, Facts};
use crate::route::Route;
use crate::snapshot::Settings;
use crate::upstream::Upstream;
use crate::upstream::body::{Progress, State};
use crate::upstream::forward::Attempts;
use crate::vocab::clock::Clock;
use crate::vocab::denial::{Denial, Fault};
use crate::vocab::digest::Fingerprint;

/// Everything that is told of one exchange.
pub struct Record {
    /// The request.
    pub facts: Facts,
    /// Its connection.
    pub conn: Rc<ConnFacts>,
    /// The configuration that decided.
    pub settings: Arc<Settings>,
    /// What the stages found out.
    pub trail: Trail,
    /// What was decided.
    pub verdict: Verdict,
    /// What became of it.
    pub transfer: Transfer,
    /// Wall time of the end, microseconds since the epoch.
    pub ended_us: i64,
    /// The whole exchange, microseconds.
    pub duration_us: u64,
}

/// What the stages found out before one of them refused, or none did.
#[derive(Default)]
pub struct Trail {
    /// The route.
    pub route: Option<Arc<Route>>,
    /// Names whatever key was presented.
    pub fingerprint: Option<Fingerprint>,
    /// Where it was, as written in `keys.sources`.
    pub source: Option<Arc<str>>,
    /// The entry, where it is known.
    pub key: Option<Arc<Key>>,
    /// `active`, `grace`, or why not.
    pub key_state: Option<&'static str>,
    /// The limit nearest exhaustion, or the one that refused.
    pub reading: Option<Reading>,
    /// What it would have been refused for, were it not for shadow mode.
    pub shadow: Option<Denial>,
    /// What knows the presented key again.
    pub traces: Option<Traces>,
    /// Units that it took from every limit and quota.
    pub charged: u32,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allow,
    /// It may not.
    Deny(Denial),
    /// It may not, and passes because of shadow mode.
    Shadow(Denial),
}

/// What became of it.
#[derive(Default)]
pub struct Transfer {
    /// Status that the client was sent.
    pub status: Option<u16>,
    /// Why it failed after it was allowed: the upstream before its response head, or the request's body.
    pub failure: Option<Denial>,
    /// Where it was sent.
    pub upstream: Option<Arc<Upstream>>,
    /// Which servers were tried.
    pub attempts: Attempts,
    /// Waiting for the upstream, microseconds; `None` while it has not answered.
    pub upstream_us: Option<u64>,
    /// How far the request body came.
    pub request_body: Option<Rc<Progress>>,
    /// Response body bytes handed to the client's connection.
    pub response_bytes: u64,
    /// What the response told that it should not have.
    pub leak: Option<Box<Leak>>,
    /// How it ended; until then, as if the client had left.
    pub outcome: Outcome,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// To the last byte.
    Complete,
    /// The client left.
    #[default]
    ClientGone,
    /// The upstream broke off.
    UpstreamGone,
    /// Somebody was silent for too long.
    Timeout(Fault),
}

impl Transfer {
    /// The request's body has not ended.
    pub fn is_uploading(&self) -> bool {
        self.request_body.as_deref().is_some_and(|body| body.state() != State::Sent)
    }

    /// `count` pieces of a key were found in the response, the first of them this.
    pub fn note_leak(&mut self, what: Leaked, place: Place, count: u64, action: LeakAction) {
        match &mut self.leak {
            Some(leak) => leak.count += count,
            None => self.leak = Some(Box::new(Leak { what, place, count, action })),
        }
    }

    /// The response ended early. If the request's body did, too, the upstream only followed the client.
    pub fn break_off(&mut self, otherwise: Outcome) {
        let body = self.request_body.as_deref().map(Progress::state);
        match body {
            Some(State::TooLarge) => self.failure = Some(Denial::BodyTooLarge),
            Some(State::Malformed) => self.failure = Some(Denial::MalformedRequest),
            Some(State::Underway | State::Sent | State::Stalled | State::Broken) | None => {}
        }
        self.outcome = match body {
            // Of the two sides it is the client's that ended the exchange, though it was us who cut it.
            Some(State::Broken | State::Malformed | State::TooLarge) => Outcome::ClientGone,
            Some(State::Stalled) => Outcome::Timeout(Fault::Client),
            Some(State::Underway | State::Sent) | None => otherwise,
        };
    }
}

impl Outcome {
    /// The log's `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamGone => "upstream_gone",
            Self::Timeout(_) => "timeout",
        }
    }
}

impl Record {
    /// The log's `decision`.
    pub const fn decision(&self) -> &'static str {
        match (self.verdict, self.is_refused()) {
            (_, true) => "deny",
            (Verdict::Shadow(_), false) => "shadow_deny",
            (Verdict::Allow | Verdict::Deny(_), false) => "allow",
        }
    }

    /// The log's `reason`.
    pub const fn reason(&self) -> &'static str {
        match self.denial() {
            Some(denial) => denial.reason(),
            None => "allowed",
        }
    }

    /// What it was, or would have been, refused for, or what it failed for.
    pub const fn denial(&self) -> Option<Denial> {
        match (self.verdict, self.transfer.failure) {
            // What the client did wrong later is why it was refused; what the upstream did is in `fault` and `outcome`.
            (Verdict::Shadow(_), Some(denial)) if matches!(denial.fault(), Fault::Client) => Some(denial),
            (Verdict::Deny(denial) | Verdict::Shadow(denial), _) | (Verdict::Allow, Some(denial)) => Some(denial),
            (Verdict::Allow, None) => None,
        }
    }

    /// Whether the client was refused, at once or by what it sent later.
    pub const fn is_refused(&self) -> bool {
        match (self.verdict, self.transfer.failure) {
            (Verdict::Deny(_), _) => true,
            (Verdict::Allow | Verdict::Shadow(_), Some(denial)) => matches!(denial.fault(), Fault::Client),
            (Verdict::Allow | Verdict::Shadow(_), None) => false,
        }
    }

    /// Whose fault it is that the client did not get its response, if it did not.
    pub const fn fault(&self) -> Option<Fault> {
        match (self.verdict, self.transfer.failure, self.transfer.outcome) {
            (Verdict::Deny(denial), ..) | (_, Some(denial), _) => Some(denial.fault()),
            (_, None, Outcome::Complete) => None,
            (_, None, Outcome::ClientGone) => Some(Fault::Client),
            (_, None, Outcome::UpstreamGone) => Some(Fault::Upstream),
            (_, None, Outcome::Timeout(fault)) => Some(fault),
        }
    }
}

/// A record whose exchange is still going on.
pub struct Open {
    record: Box<Record>,
    closer: Rc<Closer>,
    underway: Option<Underway>,
    _busy: Busy,
}

/// Reads a record once it is closed. Readers tell; they never decide.
pub trait Reader {
    /// The exchange is over.
    fn read(&self, record: &Record);

    /// The tunnel is over.
    fn read_tunnel(&self, record: &TunnelRecord);
}

/// What closes records.
pub struct Closer {
    /// Reads the end time.
    pub clock: Clock,
    /// Gets to see the record.
    pub reader: Rc<dyn Reader>,
}

impl Open {
    /// Opens the record of a request that was just read.
    pub fn new(record: Box<Record>, closer: Rc<Closer>) -> Self {
        let busy = record.conn.activity.begin();
        Self { record, closer, underway: None, _busy: busy }
    }

    /// Keeps the exchange's place among the key's requests that are underway, until it is over.
    pub fn hold(&mut self, underway: Option<Underway>) {
        self.underway = underway;
    }

    /// Hands that place on, to whoever lasts longer.
    pub(super) const fn hand_on(&mut self) -> Option<Underway> {
        self.underway.take()
    }

    /// The exchange's transfer, to be brought up to date.
    pub fn transfer(&mut self) -> &mut Transfer {
        &mut self.record.transfer
    }

    /// The upstream's head has come, or none will.
    pub fn upstream_has_answered(&mut self) {
        let so_far = self.elapsed_us();
        self.transfer().upstream_us = Some(so_far);
    }

    fn elapsed_us(&self) -> u64 {
        self.closer.clock.mono().saturating_sub(self.record.facts.now.mono) / 1_000
    }

    /// What closes it.
    pub const fn closer(&self) -> &Rc<Closer> {
        &self.closer
    }

    /// The record as it stands.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.record.duration_us = self.elapsed_us();
        // The wall clock may be set while an exchange lasts; its line shall not end before it began.
        self.record.ended_us = self.record.facts.now.wall_us.saturating_add_unsigned(self.record.duration_us);
        self.closer.reader.read(&self.record);
    }
}
