//! Everything that a request consults, in one value that is swapped whole.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderName, HeaderValue};
use tokio::sync::watch;

use crate::admit::WideLimits;
use crate::config::gateway::{
    self, Alerts, Gateway, Http, Insecure, Keys, LeakAction, OnFull, Source, TrustedProxies, UpstreamServer,
};
use crate::config::keyfile::KeyFile;
use crate::config::load::UpstreamTls;
use crate::credential::Reader;
use crate::keys::Ring;
use crate::limits::Ledger;
use crate::limits::account::Accounts;
use crate::limits::report::Families;
use crate::redact::Redactor;
use crate::route::{Route, RouteTable};
use crate::upstream::balance::Weighted;
use crate::upstream::server::Server;
use crate::upstream::{Passing, Upstream, monitor};
use crate::vocab::clock::Clock;
use crate::vocab::denial::{Challenge, Denial};
use crate::vocab::digest::{Fingerprinter, Pepper};

/// One generation of everything.
pub struct Snapshot {
    /// What a request needs after it was decided.
    pub settings: Arc<Settings>,
    /// All routes.
    pub routes: RouteTable,
    /// All upstreams; a route holds an index into them.
    pub upstreams: Box<[Arc<Upstream>]>,
    /// Where keys are looked for.
    pub reader: Reader,
    /// All keys.
    pub ring: Arc<Ring>,
    /// Limits wider than a key.
    pub wide: WideLimits,
    /// `[http]`
    pub http: Http,
    /// `server.trusted_proxies`
    pub trusted_proxies: TrustedProxies,
    /// One per bound listener, in the order in which they were bound.
    pub entrances: Box<[Entrance]>,
}

/// How a bound listener takes connections.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Present on a listener with certificates.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// `listener.insecure`
    pub insecure: Insecure,
    /// `listener.proxy_protocol`
    pub proxy_protocol: bool,
}

/// The small part of a snapshot that an exchange keeps to its end, so that a long download does not hold on to a million
/// keys of yesterday.
#[derive(Debug)]
pub struct Settings {
    /// Counts up with every change that is applied.
    pub generation: u64,
    /// Finds keys in what is logged.
    pub redactor: Redactor,
    /// Which limit headers are sent.
    pub families: Families,
    /// `keys.audit_headers`
    pub audit_headers: bool,
    /// `keys.forward`
    pub forward_credential: bool,
    /// `keys.compromise_on_plaintext`
    pub compromise_on_plaintext: bool,
    /// What may pass to upstreams.
    pub passing: Arc<Passing>,
    /// What is done about keys in responses.
    pub leaks: Leaks,
    /// `log.on_full`
    pub on_full: OnFull,
    status_missing: u16,
    status_invalid: u16,
    challenges: Challenges,
}

/// `[alerts.rule.leak_in_response]`
#[derive(Clone, Copy, Debug)]
pub struct Leaks {
    /// `None` = they are not looked for.
    pub action: Option<LeakAction>,
    /// `alerts.cooldown`
    pub cooldown: Duration,
}

/// The values of `WWW-Authenticate`.
#[derive(Debug)]
struct Challenges {
    plain: HeaderValue,
    invalid_token: HeaderValue,
    insufficient_scope: HeaderValue,
}

impl Settings {
    /// The status of a refusal as this configuration wants it.
    pub const fn status(&self, denial: Denial) -> u16 {
        match denial.challenge() {
            Challenge::Plain => self.status_missing,
            Challenge::InvalidToken => self.status_invalid,
            Challenge::InsufficientScope | Challenge::None => denial.status(),
        }
    }

    /// The `WWW-Authenticate` of a refusal (RFC 9110 §11.6.1, RFC 6750 §3), if it has one.
    pub const fn challenge(&self, denial: Denial) -> Option<&HeaderValue> {
        match denial.challenge() {
            Challenge::Plain => Some(&self.challenges.plain),
            Challenge::InvalidToken => Some(&self.challenges.invalid_token),
            Challenge::InsufficientScope => Some(&self.challenges.insufficient_scope),
            Challenge::None => None,
        }
    }
}

/// Makes snapshots, and keeps what must outlive them: buckets, pool numbers, the secret of the fingerprints.
pub struct Builder {
    ledger: Ledger,
    /// The last one, for the next one to take over from.
    ring: Option<Arc<Ring>>,
    /// By the number of their pools. A number is given again when nothing of its server is left, no connection either.
    servers: Vec<Weak<Server>>,
    current: watch::Sender<Vec<Arc<Upstream>>>,
    fingerprinter: Fingerprinter,
    generation: u64,
}

/// What a snapshot is made from: each part the last good version of its file.
pub struct Parts<'a> {
    /// `keyward.toml`
    pub gateway: &'a Gateway,
    /// `keys.toml`
    pub keys: &'a KeyFile,
    /// The value of `keys.pepper`.
    pub pepper: Option<&'a Pepper>,
    /// What upstreams with servers over TLS need, by their names.
    pub upstream_tls: &'a BTreeMap<String, UpstreamTls>,
    /// One per bound listener.
    pub entrances: Vec<Entrance>,
}

impl Builder {
    /// `fingerprint_secret` is random and never leaves the process.
    pub fn new(clock: Clock, fingerprint_secret: &[u8; 64]) -> Self {
        Self {
            ledger: Ledger::new(clock),
            ring: None,
            servers: Vec::new(),
            current: watch::Sender::default(),
            fingerprinter: Fingerprinter::new(fingerprint_secret),
            generation: 0,
        }
    }

    /// Builds the next generation. Cannot fail: whatever could was refused by validation.
    pub fn build(&mut self, parts: Parts<'_>) -> Snapshot {
        let Parts { gateway, keys, pepper, upstream_tls, entrances } = parts;
        self.generation += 1;
        let upstreams = self.upstreams(gateway, upstream_tls);
        let ring = Ring::new(keys, gateway, pepper.is_some(), &mut self.ledger, self.ring.as_ref());
        self.ring = Some(Arc::clone(&ring));
        let index = |name: &str| upstreams.iter().position(|u| &*u.name == name).unwrap_or_default();
        let mut route = |route: &gateway::Route| {
            let limits = self.ledger.route_limits(&route.name, &route.limits);
            Route::new(route, index(&route.upstream), limits)
        };
        let routes = RouteTable::new(gateway.routes.iter().map(&mut route).collect::<Vec<_>>());
        let snapshot = Snapshot {
            settings: Arc::new(settings(gateway, self.generation)),
            routes,
            reader: Reader {
                sources: gateway.keys.sources.iter().map(|s| (s.clone(), s.to_string().into())).collect(),
                prefix: gateway.keys.prefix.as_str().into(),
                pepper: pepper.cloned(),
                fingerprinter: self.fingerprinter.clone(),
            },
            ring,
            wide: WideLimits {
                total: gateway.limits.total.as_ref().map(|rate| self.ledger.total(rate)),
                per_ip: self.ledger.per_ip(gateway.limits.per_ip.as_ref()),
                open: self.ledger.open(gateway.limits.open.as_ref()),
                lockout: self.ledger.lockout(gateway.limits.failures_per_ip.as_ref(), gateway.limits.lockout),
            },
            upstreams,
            http: gateway.http.clone(),
            trusted_proxies: gateway.server.trusted_proxies.clone(),
            entrances: entrances.into(),
        };
        self.ledger.sweep();
        self.current.send_replace(snapshot.upstreams.to_vec());
        snapshot
    }

    /// Housekeeping between reloads: forgets what is full again.
    pub fn sweep(&mut self) {
        self.ledger.sweep();
    }

    /// What keys have used, to be put back before there is a snapshot.
    pub const fn accounts(&self) -> &Arc<Accounts> {
        self.ledger.accounts()
    }

    /// How many snapshots were built.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The upstreams of the last snapshot.
    pub fn current_upstreams(&self) -> monitor::Current {
        self.current.subscribe()
    }

    fn upstreams(&mut self, gateway: &Gateway, tls: &BTreeMap<String, UpstreamTls>) -> Box<[Arc<Upstream>]> {
        let mut build = |(name, upstream): (&String, &gateway::Upstream)| {
            let tls = tls.get(name);
            let weighted =
                |it: &UpstreamServer| Weighted { server: self.server(name, upstream, it, tls), weight: it.weight };
            let servers = upstream.servers.iter().map(weighted).collect();
            Arc::new(Upstream::new(name, upstream, servers))
        };
        gateway.upstreams.iter().map(&mut build).collect()
    }

    /// The server that is there already, or a new one.
    fn server(
        &mut self,
        name: &str,
        upstream: &gateway::Upstream,
        server: &UpstreamServer,
        tls: Option<&UpstreamTls>,
    ) -> Arc<Server> {
        let there = self.servers.iter().filter_map(Weak::upgrade).find(|it| it.is(name, server, tls));
        if let Some(there) = there {
            there.follow(upstream);
            return there;
        }
        let free = self.servers.iter().position(|it| it.strong_count() == 0);
        let pool = free.unwrap_or(self.servers.len());
        let new = Arc::new(Server::new(name, upstream, server, tls, pool));
        match free {
            Some(free) => self.servers[free] = Arc::downgrade(&new),
            None => self.servers.push(Arc::downgrade(&new)),
        }
        new
    }
}

fn settings(gateway: &Gateway, generation: u64) -> Settings {
    let keys = &gateway.keys;
    let queries = keys.sources.iter().filter_map(|source| match source {
        Source::Query(name) => Some(name.as_str()),
        Source::Bearer | Source::Basic | Source::Header(_) | Source::Cookie(_) | Source::WebSocketProtocol => None,
    });
    Settings {
        generation,
        redactor: Redactor::new(&keys.prefix, queries),
        families: Families {
            ratelimit: gateway.limits.ratelimit_headers,
            x_ratelimit: gateway.limits.x_ratelimit_headers,
        },
        audit_headers: keys.audit_headers,
        forward_credential: keys.forward,
        compromise_on_plaintext: keys.compromise_on_plaintext,
        passing: Arc::new(Passing {
            identity: keys.identity.names().cloned().collect(),
            credential_headers: keys.sources.iter().filter_map(header_of).collect(),
            body_idle: gateway.http.body_idle_timeout,
        }),
        leaks: leaks(&gateway.alerts),
        on_full: gateway.log.on_full,
        status_missing: keys.status_missing,
        status_invalid: keys.status_invalid,
        challenges: challenges(keys),
    }
}

fn leaks(alerts: &Alerts) -> Leaks {
    let rule = alerts.leak_in_response;
    Leaks { action: rule.enabled.then_some(rule.action), cooldown: alerts.cooldown }
}

fn header_of(source: &Source) -> Option<HeaderName> {
    match source {
        Source::Bearer | Source::Basic => Some(AUTHORIZATION),
        Source::Header(name) => Some(name.clone()),
        Source::Cookie(_) => Some(COOKIE),
        Source::WebSocketProtocol => Some(SEC_WEBSOCKET_PROTOCOL),
        Source::Query(_) => None,
    }
}

/// `Bearer` where it is a source; otherwise `ApiKey`, which is registered nowhere but says what is meant.
fn challenges(keys: &Keys) -> Challenges {
    let is_bearer = keys.sources.contains(&Source::Bearer);
    let scheme = if is_bearer { "Bearer" } else { "ApiKey" };
    let value = |error: &str| {
        let error = if is_bearer { error } else { "" };
        let text = format!("{scheme} realm=\"{}\"{error}", keys.realm);
        // A realm that cannot stand in a header was refused by validation.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    };
    Challenges {
        plain: value(""),
        invalid_token: value(", error=\"invalid_token\""),
        insufficient_scope: value(", error=\"insufficient_scope\""),
    }
}
