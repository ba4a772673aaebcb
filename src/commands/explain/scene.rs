//! The scene: the files as the gateway would have them, and the request that is asked about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HOST, HeaderValue};
use http::{Uri, Version};

use super::Limit;
use crate::cli::{ExplainArgs, Files};
use crate::commands::console::{Console, Failure};
use crate::commands::key::from_stdin;
use crate::config::gateway::{Gateway, Insecure};
use crate::config::keyfile::{KeyFile, StoredHash};
use crate::config::load::{Loaded, find_config, keys_file, load_gateway, load_keys, resolve_secret};
use crate::config::source::SourceFile;
use crate::credential::Presented;
use crate::gate::decide::{Decision, decide_with};
use crate::keys::{Key, identify};
use crate::limits::account::Accounts;
use crate::record::{Record, Trail, Transfer, Verdict};
use crate::request::{ConnFacts, Facts, Forwarded, RequestId, Transport};
use crate::route::{Fit, Preflighted, Route};
use crate::snapshot::{Builder, Parts, Snapshot};
use crate::state::History;
use crate::vocab::clock::Clock;
use crate::vocab::denial::Denial;
use crate::vocab::digest::Pepper;
use crate::vocab::fields::Fields;
use crate::vocab::secret::Secret;

/// Everything that a decision asks for.
pub(super) struct Scene {
    clock: Clock,
    snapshot: Snapshot,
    request: Request,
    presented: Option<Presented>,
}

struct Request {
    facts: Facts,
    readable: Result<(), Denial>,
    conn: Rc<ConnFacts>,
    fields: Fields,
}

impl Scene {
    /// Reads the files, and the key if one comes on stdin.
    pub(super) fn set(
        args: &ExplainArgs,
        files: &Files,
        console: &mut Console<'_>,
        clock: Clock,
    ) -> Result<Self, Failure> {
        let Loaded { value: gateway, source, .. } = load_gateway(&find_config(files.config.clone())?)?;
        let (file, named_in) = keys_file(&gateway, &source, files.keys.as_deref());
        let keys = load_keys(&file, &named_in)?.value;
        let secret = if args.key_stdin { Some(from_stdin(console)?) } else { None };
        let pepper = pepper(&gateway, &source, secret.is_some())?;
        let mut builder = Builder::new(clock.clone(), &[0; 64]);
        let snapshot = builder.build(Parts {
            gateway: &gateway,
            keys: &keys,
            pepper: pepper.as_ref(),
            upstream_tls: &BTreeMap::new(),
            entrances: Vec::new(),
        });
        let presented = match (&args.key_id, &secret) {
            (Some(id), _) => Some(Presented::assumed(hash_of(&keys, id, &file.value)?)),
            (None, Some(secret)) => Some(snapshot.reader.present(secret.expose(), 0)),
            (None, None) => None,
        };
        // Before its account is opened by being asked for.
        let known = presented.as_ref().and_then(|it| identify(&snapshot.ring, it, clock.now()).ok());
        if let Some(identified) = known {
            restore(&gateway, identified.key().id(), builder.accounts(), clock.now().wall_us)?;
        }
        let request = Request::new(args, &gateway, &snapshot, &clock)?;
        Ok(Self { clock, snapshot, request, presented })
    }

    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The gateway's own verdict.
    pub(super) fn decide(&self) -> Decision {
        let Request { facts, readable, conn, fields } = &self.request;
        decide_with(&self.snapshot, facts, *readable, conn, (fields, self.presented.as_ref()))
    }

    /// The record as it would be.
    pub(super) fn record(&self, trail: Trail, verdict: Verdict) -> Record {
        let Request { facts, conn, .. } = &self.request;
        Record {
            facts: facts.clone(),
            conn: Rc::clone(conn),
            settings: Arc::clone(&self.snapshot.settings),
            trail,
            verdict,
            transfer: Transfer::default(),
            ended_us: 0,
            duration_us: 0,
        }
    }

    /// Every route, in the order in which they are tried, up to the one that takes the request.
    pub(super) fn tried(&self) -> impl Iterator<Item = (&Arc<Route>, Fit)> {
        let Request { facts, fields, .. } = &self.request;
        let method = Preflighted::read(&facts.method, fields).map_or_else(|| facts.method.clone(), |it| it.method);
        let path = crate::request::target::matching(facts.path_and_query.path()).into_owned();
        let mut found = false;
        let tried: Vec<_> = self.snapshot.routes.tried(facts.host_name(), &path, &method).collect();
        tried.into_iter().take_while(move |(_, fit)| !std::mem::replace(&mut found, *fit == Fit::Takes))
    }

    /// Every limit that the request falls under. What is in a running gateway's memory is not known here.
    pub(super) fn limits(&self, key: Option<&Key>, route: Option<&Route>) -> Vec<Limit> {
        let mut limits = Vec::new();
        if let Some(key) = key {
            limits.extend(key.buckets.iter().map(|bucket| Limit::new("key", &bucket.policy().label, None)));
            let on_route = route.and_then(|route| route.limits.as_ref());
            let policies = on_route.iter().flat_map(|limits| &*limits.policies);
            limits.extend(policies.map(|policy| Limit::new("key on route", &policy.label, None)));
            if let Some(quota) = key.quota() {
                let reading = key.account().spent.read(quota, 1, self.clock.now());
                limits.push(Limit::new("key", &reading.label, Some(reading.remaining)));
            }
            limits.extend(key.concurrency().map(|most| Limit::new("key", most, None)));
        }
        let wide = &self.snapshot.wide;
        let open = wide.open.as_ref().filter(|_| key.is_none());
        limits.extend(open.map(|open| Limit::new("address without key", &open.policy().label, None)));
        limits.extend(wide.per_ip.as_ref().map(|it| Limit::new("address", &it.policy().label, None)));
        limits.extend(wide.total.as_ref().map(|it| Limit::new("gateway", &it.policy().label, None)));
        limits
    }
}

impl Request {
    fn new(args: &ExplainArgs, gateway: &Gateway, snapshot: &Snapshot, clock: &Clock) -> Result<Self, Failure> {
        let uri: Uri = args.url.parse().map_err(|_| usage("a URL is as https://api.example.com/v1/orders"))?;
        let listener = gateway.listeners.first();
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            None => listener.is_none_or(|listener| !listener.tls.is_empty()),
            Some(_) => return Err(usage("a URL begins with https:// or http://")),
        };
        let plain = gateway.listeners.iter().find(|listener| listener.tls.is_empty());
        let insecure = plain.map_or(Insecure::Refuse, |listener| listener.insecure);
        let host = uri.authority().map_or("localhost", |authority| authority.as_str());
        let host = HeaderValue::try_from(host).map_err(|_| usage("the URL's host cannot stand in a header"))?;
        let mut fields = Fields::with_capacity(4);
        fields.set(HOST, host);
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let target: Uri = target.parse().map_err(|_| usage("the URL has no path"))?;
        let (id, method) = (RequestId::new(0), args.method.clone());
        let (mut facts, readable) = Facts::read(clock.now(), id, method, target, Version::HTTP_11, &fields);
        let transport = if is_tls { Transport::Tls("1.3") } else { Transport::Plain };
        let conn = ConnFacts::new(SocketAddr::new(args.from, 0).into(), transport, insecure);
        facts.forwarded = Forwarded::read(&snapshot.trusted_proxies, &conn, &fields);
        Ok(Self { facts, readable, conn: Rc::new(conn), fields })
    }
}

/// What the key has used of its quota, as far as the state file has it. It may be read while a gateway runs.
fn restore(gateway: &Gateway, id: &str, accounts: &Accounts, now_us: i64) -> Result<(), Failure> {
    let Some(path) = &gateway.server.state else { return Ok(()) };
    let doing = || Failure::because(format!("failed to read the state file {}", path.value.display()));
    if let Some(history) = History::open(&path.value).map_err(doing())? {
        let units = history.units(id, now_us).map_err(doing())?;
        accounts.restore(id, [units.day, units.week, units.month], now_us);
    }
    Ok(())
}

fn usage(text: &str) -> Failure {
    Failure::Usage(text.to_owned())
}

/// The hash of a key's present secret, quarantined or not.
fn hash_of(keys: &KeyFile, id: &str, file: &Path) -> Result<StoredHash, Failure> {
    let good = keys.keys.iter().find(|key| *key.id == *id).map(|key| key.hash);
    let quarantined = || keys.quarantined.iter().find(|bad| bad.id.as_deref() == Some(id));
    let hash = good.or_else(|| quarantined().and_then(|bad| bad.hashes.first().copied()));
    hash.ok_or_else(|| Failure::No(format!("{} has no key {id:?}", file.display())))
}

/// Without a key to digest it does not matter which pepper it is, only that there is one.
fn pepper(gateway: &Gateway, source: &Arc<SourceFile>, is_needed: bool) -> Result<Option<Pepper>, Failure> {
    let Some(reference) = &gateway.keys.pepper else { return Ok(None) };
    let secret = if is_needed { resolve_secret(reference, source)? } else { Secret::from("") };
    Ok(Some(Pepper::new(&secret)))
}
