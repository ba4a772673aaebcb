//! The verdict. Plain synchronous code over a snapshot and the facts: the gateway, tests and benches call this same function.
//!
//! The order is that of INTERFACE.md §4, and the first refusal wins.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::Arc;

use http::uri::PathAndQuery;

use super::respond::Refusal;
use crate::access::{Asked, Authorized, authorize};
use crate::admit::{Admitted, Limited, Passage, admit, let_pass};
use crate::config::gateway::{Auth, Insecure, Mode, Source};
use crate::credential::{Found, Presented};
use crate::keys::{Identified, Rejected, identify};
use crate::limits::address::Client;
use crate::record::Trail;
use crate::request::facts::declared_length;
use crate::request::target::{canonical, matching};
use crate::request::{ConnFacts, Facts, Transport};
use crate::route::{self, GuardedRoute, Routed, ShadowRoute};
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
    pub credential: Strip,
    /// The target as the upstream gets it: what was matched, as the route rewrites it.
    pub target: PathAndQuery,
}

/// What was taken as the key, and so is not forwarded.
pub enum Strip {
    /// Nothing.
    Nothing,
    /// What one source took.
    One(Source),
    /// What any source took.
    All(Box<[Source]>),
}

impl Strip {
    /// The sources to take it out of.
    pub fn sources(&self) -> &[Source] {
        match self {
            Self::Nothing => &[],
            Self::One(source) => std::slice::from_ref(source),
            Self::All(sources) => sources,
        }
    }
}

/// Decides one request. Limits are charged only if the answer is a permit.
pub fn decide(
    snapshot: &Snapshot,
    facts: &Facts,
    readable: Result<(), Denial>,
    conn: &ConnFacts,
    headers: &Fields,
) -> Decision {
    decide_with(snapshot, facts, readable, conn, (headers, None))
}

/// [`decide`] for a request that has no key, as if it had presented the one that is `assumed`: for `explain`, which has no
/// secrets.
pub fn decide_with(
    snapshot: &Snapshot,
    facts: &Facts,
    readable: Result<(), Denial>,
    conn: &ConnFacts,
    (headers, assumed): (&Fields, Option<&Presented>),
) -> Decision {
    let mut trail = Trail::default();
    let stages =
        Stages { snapshot, facts, conn, headers, assumed, trail: &mut trail, identified: None, strip: Strip::Nothing };
    let verdict = readable.map_err(Refusal::new).and_then(|()| stages.run());
    Decision { verdict, trail }
}

struct Stages<'a> {
    snapshot: &'a Snapshot,
    facts: &'a Facts,
    conn: &'a ConnFacts,
    headers: &'a Fields,
    assumed: Option<&'a Presented>,
    trail: &'a mut Trail,
    /// A good key, whatever it may do.
    identified: Option<Identified>,
    strip: Strip,
}

impl Stages<'_> {
    fn run(mut self) -> Result<Permit, Refusal> {
        let client = Client::from(self.facts.client(self.conn));
        self.refuse_too_many_headers()?;
        let target = self.target()?;
        self.refuse_insecure()?;
        let matched = if self.guards_paths() { matching(target.path()) } else { Cow::Borrowed(target.path()) };
        // Known before anything is refused: a route in shadow mode refuses nothing but what cannot be passed on.
        let routed = self.route(&matched);
        let shadow = routed.as_ref().ok().and_then(Routed::shadow);
        let admitted = match (self.judge(routed, &matched, client), shadow) {
            (Err(refusal), Some(route)) if refusal.denial.yields_to_shadow() => {
                self.trail.shadow = Some(refusal.denial);
                self.recognize(&route);
                let_pass(&route, client, self.identified.take())
            }
            (verdict, _) => verdict?,
        };
        if let Some(limited) = admitted.shadow() {
            self.trail.shadow = Some(limited.denial);
            self.trail.reading.clone_from(&limited.reading);
        } else if let Some(reading) = admitted.reading() {
            self.trail.reading = Some(reading.clone());
        }
        self.trail.charged = admitted.charged();
        let rewritten = admitted.route().rewrite.as_ref().and_then(|rewrite| rewrite.target(&target));
        let target = rewritten.unwrap_or(target);
        let upstream = Arc::clone(&self.snapshot.upstreams[admitted.route().upstream]);
        Ok(Permit { admitted, upstream, credential: self.strip, target })
    }

    /// Whether the request may go where it wants to: from the limits that ask for no key, to the key, to its own limits.
    fn judge(&mut self, routed: Result<Routed, Refusal>, path: &str, client: Client) -> Result<Admitted, Refusal> {
        let now = self.facts.now;
        let cost = routed.as_ref().map_or(NonZeroU32::MIN, |routed| routed.route().cost);
        self.snapshot.wide.check(client, cost, now).map_err(|limited| self.limited(limited))?;
        self.refuse_locked_out(client)?;
        let passage = match routed? {
            Routed::Open(open) => Passage::Open(open),
            Routed::Guarded(guarded) => self.key(guarded, path, client)?,
        };
        let body_bytes = || declared_length(self.headers);
        let admitted = admit(&self.snapshot.wide, passage, client, body_bytes, now);
        admitted.map_err(|limited| self.limited(limited))
    }

    /// Those of HTTP/1 were counted where they were read.
    fn refuse_too_many_headers(&self) -> Result<(), Refusal> {
        let too_many = self.headers.len() > self.snapshot.http.headers_max;
        if too_many { Err(Refusal::new(Denial::MalformedRequest)) } else { Ok(()) }
    }

    fn guards_paths(&self) -> bool {
        self.snapshot.routes.guards_paths() || self.snapshot.ring.guards_paths()
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
                // The answer is the same; but a good key is exposed now, and that is to be told of.
                if let Ok(identified) = identify(&self.snapshot.ring, &presented, self.facts.now) {
                    self.trail.key_state = Some(identified.state());
                    self.trail.key = Some(Arc::clone(identified.key()));
                }
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
        self.trail.route = Some(Arc::clone(routed.route()));
        Ok(routed)
    }

    fn key(&mut self, guarded: GuardedRoute, path: &str, client: Client) -> Result<Passage, Refusal> {
        let presented = match self.find() {
            Found::None => return guarded.without_key().map(Passage::Open).map_err(Refusal::new),
            Found::Several => {
                let sources = self.snapshot.reader.sources.iter().map(|(source, _)| source.clone());
                self.strip = Strip::All(sources.collect());
                return Err(Refusal::new(Denial::DuplicateCredential));
            }
            Found::One(presented) => presented,
        };
        self.trail.traces = Some(presented.traces());
        let (source, name) = self.snapshot.reader.source(&presented);
        self.trail.source = Some(Arc::clone(name));
        self.strip = Strip::One(source.clone());
        let identified = identify(&self.snapshot.ring, &presented, self.facts.now).map_err(|rejected| {
            // Made anew for each, so that all of them take as long.
            self.trail.fingerprint = Some(self.snapshot.reader.fingerprint(&presented));
            let refusal = self.rejected(rejected);
            self.count_failure(&guarded, client).unwrap_or(refusal)
        })?;
        self.trail.fingerprint = Some(match identified.in_grace() {
            true => self.snapshot.reader.fingerprint(&presented),
            false => *identified.key().fingerprint().get_or_init(|| self.snapshot.reader.fingerprint(&presented)),
        });
        self.trail.key = Some(Arc::clone(identified.key()));
        self.trail.key_state = Some(Identified::state(&identified));
        if guarded.route().mode == Mode::Shadow {
            self.identified = Some(identified.clone());
        }
        if let Some(left) = identified.key().account().held(self.facts.now.mono) {
            self.trail.key_state = Some(Denial::Suspended.reason());
            return Err(Refusal::new(Denial::Suspended).with_retry_after(left.get().div_ceil(1_000_000_000)));
        }
        self.authorize(identified, &guarded, path).map(Passage::Keyed)
    }

    /// A request that passes in shadow mode before its key was looked at is stripped of it all the same, and says whose it is.
    fn recognize(&mut self, route: &ShadowRoute) {
        if route.route().auth == Auth::Open || !matches!(self.strip, Strip::Nothing) {
            return;
        }
        match self.find() {
            Found::None => {}
            Found::Several => {
                let sources = self.snapshot.reader.sources.iter().map(|(source, _)| source.clone());
                self.strip = Strip::All(sources.collect());
            }
            Found::One(presented) => {
                self.note(&presented);
                self.strip = Strip::One(self.snapshot.reader.source(&presented).0.clone());
                if let Ok(identified) = identify(&self.snapshot.ring, &presented, self.facts.now) {
                    self.trail.key_state = Some(identified.state());
                    self.trail.key = Some(Arc::clone(identified.key()));
                    self.identified = Some(identified);
                }
            }
        }
    }

    /// Whoever guesses keys is refused before any is looked at, the right one as well; but not where that one is known to come
    /// from: a key that names this very network is no guess.
    fn refuse_locked_out(&mut self, client: Client) -> Result<(), Refusal> {
        let lockout = self.snapshot.wide.lockout.as_ref();
        let Some(reading) = lockout.and_then(|lockout| lockout.locked(client, self.facts.now.mono)) else {
            return Ok(());
        };
        if self.is_trusted_proxy() || self.comes_from_its_network() {
            return Ok(());
        }
        Err(self.limited(Limited::by(Denial::LockedOut, reading)))
    }

    /// One more refused credential from there. Gives another refusal where there were too many already. In shadow mode
    /// nothing is held against anybody.
    fn count_failure(&mut self, guarded: &GuardedRoute, client: Client) -> Option<Refusal> {
        let lockout = self.snapshot.wide.lockout.as_ref().filter(|_| guarded.route().mode == Mode::Enforce)?;
        if self.is_trusted_proxy() {
            return None;
        }
        let reading = lockout.failed(client, self.facts.now.mono)?;
        Some(self.limited(Limited::by(Denial::LockedOut, reading)))
    }

    fn is_trusted_proxy(&self) -> bool {
        let client = self.facts.client(self.conn);
        client.is_some_and(|client| self.snapshot.trusted_proxies.trusts(client.to_canonical()))
    }

    fn comes_from_its_network(&self) -> bool {
        if !self.snapshot.ring.names_networks() {
            return false;
        }
        let Found::One(presented) = self.find() else { return false };
        let identified = identify(&self.snapshot.ring, &presented, self.facts.now);
        let client = self.facts.client(self.conn);
        identified.is_ok_and(|it| it.key().rules().is_some_and(|rules| rules.names(client)))
    }

    fn authorize(&mut self, identified: Identified, guarded: &GuardedRoute, path: &str) -> Result<Authorized, Refusal> {
        let route = Arc::clone(guarded.route());
        let asked = Asked { method: &self.facts.method, path, client: self.facts.client(self.conn) };
        authorize(identified, route, &asked).map_err(Refusal::new)
    }

    fn find(&self) -> Found {
        if let Some(assumed) = self.assumed {
            return Found::One(assumed.clone());
        }
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
        Refusal::limited(limited)
    }
}
