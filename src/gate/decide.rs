//! The verdict. Plain synchronous code over a snapshot and the facts: the gateway, tests and benches call this same function.
//!
//! The order is that of INTERFACE.md §4, and the first refusal wins.

use std::borrow::Cow;
use std::sync::Arc;

use http::uri::PathAndQuery;

use super::respond::Refusal;
use crate::admit::{Admitted, Limited, Passage, admit};
use crate::config::gateway::{Insecure, Source};
use crate::credential::{Found, Presented};
use crate::keys::{Identified, Rejected, identify};
use crate::limits::address::Client;
use crate::record::Trail;
use crate::request::facts::declared_length;
use crate::request::target::{canonical, matching};
use crate::request::{ConnFacts, Facts, Transport};
use crate::route::{self, GuardedRoute, Route, Routed};
use crate::snapshot::Snapshot;
use crate::upstream::Upstream;
use crate::vocab::denial::Denial;
use crate::vocab::fields::Fields;

/// The verdict and what was found out on the way to it.
pub struct Decision {
    /// A permit, or the first refusal.
    pub verdict: Result<Permit, Refusal>,
    /// For the record.
    pub trail: Trail,
}

/// What an allowed request needs to be forwarded.
pub struct Permit {
    /// The proof that every check has passed.
    pub admitted: Admitted,
    /// Where it goes.
    pub upstream: Arc<Upstream>,
    /// What to strip.
    pub credential: Option<Source>,
    /// The target as the upstream gets it: what was matched, as the route rewrites it.
    pub target: PathAndQuery,
}

/// Decides one request. Limits are charged only if the answer is a permit.
pub fn decide(
    snapshot: &Snapshot,
    facts: &Facts,
    readable: Result<(), Denial>,
    conn: &ConnFacts,
    headers: &Fields,
) -> Decision {
    let mut trail = Trail::default();
    let verdict = readable
        .map_err(Refusal::new)
        .and_then(|()| Stages { snapshot, facts, conn, headers, trail: &mut trail }.run());
    Decision { verdict, trail }
}

struct Stages<'a> {
    snapshot: &'a Snapshot,
    facts: &'a Facts,
    conn: &'a ConnFacts,
    headers: &'a Fields,
    trail: &'a mut Trail,
}

impl Stages<'_> {
    fn run(mut self) -> Result<Permit, Refusal> {
        let client = Client::from(self.facts.client(self.conn));
        self.refuse_too_many_headers()?;
        let target = self.target()?;
        self.refuse_insecure()?;
        self.snapshot.wide.check(client, self.facts.now).map_err(|l| self.limited(l))?;
        let matched = if self.guards_paths() { matching(target.path()) } else { Cow::Borrowed(target.path()) };
        let (passage, credential) = match self.route(&matched)? {
            Routed::Open(open) => (Passage::Open(open), None),
            Routed::Guarded(guarded) => self.key(guarded)?,
        };
        let body_bytes = || declared_length(self.headers);
        let admitted =
            admit(&self.snapshot.wide, passage, client, body_bytes, self.facts.now).map_err(|l| self.limited(l))?;
        self.trail.reading = admitted.reading().cloned();
        let rewritten = admitted.route().rewrite.as_ref().and_then(|rewrite| rewrite.target(&target));
        let target = rewritten.unwrap_or(target);
        let upstream = Arc::clone(&self.snapshot.upstreams[admitted.route().upstream]);
        Ok(Permit { admitted, upstream, credential, target })
    }

    /// Those of HTTP/1 were counted where they were read.
    fn refuse_too_many_headers(&self) -> Result<(), Refusal> {
        let too_many = self.headers.len() > self.snapshot.http.headers_max;
        if too_many { Err(Refusal::new(Denial::MalformedRequest)) } else { Ok(()) }
    }

    fn guards_paths(&self) -> bool {
        self.snapshot.routes.guards_paths()
    }

    /// Under routes that look at paths the upstream gets the canonical path; otherwise the path passes as it was sent.
    fn target(&self) -> Result<PathAndQuery, Refusal> {
        let sent = &self.facts.path_and_query;
        if !self.guards_paths() {
            return Ok(sent.clone());
        }
        let malformed = || Refusal::new(Denial::MalformedRequest);
        match canonical(sent.path()).map_err(|_| malformed())? {
            Cow::Borrowed(_) => Ok(sent.clone()),
            Cow::Owned(path) => {
                let text = sent.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
                PathAndQuery::try_from(text).map_err(|_| malformed())
            }
        }
    }

    /// Any credential, good or bad, is refused alike on a listener that has no TLS and was not told to allow it,
    /// unless a trusted proxy says that it has come by TLS as far as there.
    fn refuse_insecure(&mut self) -> Result<(), Refusal> {
        let is_plain = self.conn.transport == Transport::Plain && self.facts.scheme(self.conn) == "http";
        if !is_plain || self.conn.insecure == Insecure::Allow {
            return Ok(());
        }
        match self.find() {
            Found::None => Ok(()),
            Found::One(presented) => {
                self.note(&presented);
                Err(Refusal::new(Denial::InsecureTransport))
            }
            Found::Several => Err(Refusal::new(Denial::InsecureTransport)),
        }
    }

    fn route(&mut self, path: &str) -> Result<Routed, Refusal> {
        let table = &self.snapshot.routes;
        let routed = route::find(table, self.facts, path, self.headers).map_err(|denial| {
            let refusal = Refusal::new(denial);
            let is_405 = denial == Denial::MethodNotAllowed;
            if is_405 { refusal.with_allow(table.allow(self.facts.host_name(), path)) } else { refusal }
        })?;
        let route: &Arc<Route> = match &routed {
            Routed::Open(open) => open.route(),
            Routed::Guarded(guarded) => guarded.route(),
        };
        self.trail.route = Some(Arc::clone(route));
        Ok(routed)
    }

    fn key(&mut self, guarded: GuardedRoute) -> Result<(Passage, Option<Source>), Refusal> {
        let presented = match self.find() {
            Found::None => {
                return Ok((Passage::Open(guarded.without_key().map_err(Refusal::new)?), None));
            }
            Found::Several => return Err(Refusal::new(Denial::DuplicateCredential)),
            Found::One(presented) => presented,
        };
        self.trail.source = Some(Arc::clone(&self.snapshot.reader.source(&presented).1));
        let identified = identify(&self.snapshot.ring, &presented, self.facts.now).map_err(|rejected| {
            // Made anew for each, so that all of them take as long.
            self.trail.fingerprint = Some(self.snapshot.reader.fingerprint(&presented));
            self.rejected(rejected)
        })?;
        self.trail.fingerprint = Some(match identified.in_grace() {
            true => self.snapshot.reader.fingerprint(&presented),
            false => *identified.key().fingerprint().get_or_init(|| self.snapshot.reader.fingerprint(&presented)),
        });
        self.trail.key = Some(Arc::clone(identified.key()));
        self.trail.key_state = Some(Identified::state(&identified));
        let (source, _) = self.snapshot.reader.source(&presented);
        Ok((Passage::Keyed(identified, Arc::clone(guarded.route())), Some(source.clone())))
    }

    fn find(&self) -> Found {
        self.snapshot.reader.find(self.headers, self.facts.path_and_query.query())
    }

    fn note(&mut self, presented: &Presented) {
        self.trail.fingerprint = Some(self.snapshot.reader.fingerprint(presented));
        self.trail.source = Some(Arc::clone(&self.snapshot.reader.source(presented).1));
    }

    fn rejected(&mut self, rejected: Rejected) -> Refusal {
        // A key that no entry has is not in any state.
        let known = rejected.key.is_some() || rejected.denial == Denial::Quarantined;
        self.trail.key_state = known.then(|| rejected.denial.reason());
        self.trail.key = rejected.key;
        Refusal::new(rejected.denial)
    }

    fn limited(&mut self, limited: Limited) -> Refusal {
        self.trail.reading.clone_from(&limited.reading);
        Refusal::new(limited.denial).with_reading(limited.reading)
    }
}
