//! What one worker counts: its own, until its tick brings it to the totals.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use smallvec::{Array, SmallVec};

use super::Metrics;
use super::family::labels;
use super::histogram::Histogram;
use super::totals::{Totals, is_about_a_key};
use crate::keys::Key;
use crate::limits::report::Label;
use crate::record::{Reader, Record, TunnelRecord, Verdict};
use crate::route::Route;
use crate::upstream::Upstream;
use crate::upstream::body::Progress;
use crate::vocab::denial::Denial;

/// What `route` says of requests that came to none.
const NO_ROUTE: &str = "_none";

/// The counts of one worker since its last tick.
pub struct Tally {
    metrics: Arc<Metrics>,
    worker: usize,
    per_key: Cell<bool>,
    counts: RefCell<Counts>,
}

/// Why a connection was closed at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `http.connections_max`
    Full,
    /// `http.connections_per_ip_max`
    FullForAddress,
    /// It had no PROXY header.
    Unproxied,
}

/// A decision, and what it was for.
type Judgement = (&'static str, Option<Denial>);

/// What is counted holds what it is counted of, so that nothing else comes to stand where that is.
#[derive(Default)]
struct Counts {
    routes: HashMap<*const Route, OnRoute>,
    upstreams: HashMap<*const Upstream, ToUpstream>,
    throttled: HashMap<(*const Label, &'static str), (Arc<Label>, u64)>,
    keys: HashMap<*const Key, ByKey>,
    accepted: u64,
    refused: SmallVec<[(Refused, u64); 2]>,
    handshakes: SmallVec<[((&'static str, bool), u64); 2]>,
    failures: SmallVec<[(&'static str, u64); 2]>,
}

struct OnRoute {
    route: Option<Arc<Route>>,
    requests: SmallVec<[(Judgement, u64); 2]>,
    /// By the first digit of their status.
    responses: [u64; 6],
    durations: Histogram,
    request_bytes: u64,
    response_bytes: u64,
}

struct ToUpstream {
    upstream: Arc<Upstream>,
    attempts: u64,
    retries: u64,
    durations: Histogram,
}

struct ByKey {
    key: Arc<Key>,
    requests: u64,
    last_us: i64,
}

impl Refused {
    const fn word(self) -> &'static str {
        match self {
            Self::Full => "connections_max",
            Self::FullForAddress => "connections_per_ip_max",
            Self::Unproxied => "proxy_protocol",
        }
    }
}

/// One more of something, of which there are few kinds.
fn count<T: PartialEq, A: Array<Item = (T, u64)>>(counts: &mut SmallVec<A>, what: T) {
    match counts.iter_mut().find(|(it, _)| *it == what) {
        Some((_, count)) => *count += 1,
        None => counts.push((what, 1)),
    }
}

impl Tally {
    /// Nothing counted yet, by the worker with this number.
    pub fn new(metrics: Arc<Metrics>, worker: usize) -> Self {
        let per_key = Cell::new(metrics.is_per_key());
        Self { metrics, worker, per_key, counts: RefCell::default() }
    }

    /// A connection got a place.
    pub fn accepted(&self) {
        self.counts.borrow_mut().accepted += 1;
    }

    /// A connection was closed at once.
    pub fn refused(&self, why: Refused) {
        count(&mut self.counts.borrow_mut().refused, why);
    }

    /// A TLS handshake has succeeded.
    pub fn shaken(&self, version: &'static str, resumed: bool) {
        count(&mut self.counts.borrow_mut().handshakes, (version, resumed));
    }

    /// A TLS handshake has failed: `closed`, `protocol` or `timeout`.
    pub fn not_shaken(&self, reason: &'static str) {
        count(&mut self.counts.borrow_mut().failures, reason);
    }

    /// A request that could not be read at all, and the status that was answered, if one was.
    pub fn unreadable(&self, status: Option<u16>) {
        let mut counts = self.counts.borrow_mut();
        let on = counts.on(None);
        count(&mut on.requests, ("deny", Some(Denial::MalformedRequest)));
        on.note_status(status);
    }

    /// Brings everything to the totals, unless somebody else is at them: then it waits for the next tick.
    /// `underway` are the worker's requests and tunnels.
    pub fn fold(&self, underway: usize) {
        self.metrics.underway[self.worker].store(underway, Ordering::Relaxed);
        self.per_key.set(self.metrics.is_per_key());
        let mut counts = self.counts.borrow_mut();
        if !counts.is_empty()
            && let Some(mut totals) = self.metrics.try_totals()
        {
            counts.fold_into(&mut totals, self.per_key.get());
        }
    }
}

impl Reader for Tally {
    fn read(&self, record: &Record) {
        let (counts, transfer, decision) = (&mut *self.counts.borrow_mut(), &record.transfer, record.decision());
        let on = counts.on(record.trail.route.as_ref());
        count(&mut on.requests, (decision, record.denial()));
        on.note_status(transfer.status);
        on.durations.observe(record.duration_us);
        on.request_bytes += transfer.request_body.as_deref().map_or(0, Progress::bytes);
        on.response_bytes += transfer.response_bytes;
        if let Some(upstream) = &transfer.upstream {
            let to = counts.upstreams.entry(Arc::as_ptr(upstream)).or_insert_with(|| ToUpstream::new(upstream));
            let attempts = u64::from(transfer.attempts.count);
            to.attempts += attempts;
            to.retries += attempts.saturating_sub(1);
            to.durations.observe(transfer.upstream_us.unwrap_or(record.duration_us));
        }
        if let (Verdict::Deny(denial) | Verdict::Shadow(denial), Some(reading)) =
            (record.verdict, &record.trail.reading)
            && denial.is_throttle()
        {
            let place = (Arc::as_ptr(&reading.label), decision);
            counts.throttled.entry(place).or_insert_with(|| (Arc::clone(&reading.label), 0)).1 += 1;
        }
        if let Some(key) = record.trail.key.as_ref().filter(|_| self.per_key.get()) {
            let new = || ByKey { key: Arc::clone(key), requests: 0, last_us: 0 };
            let by = counts.keys.entry(Arc::as_ptr(key)).or_insert_with(new);
            by.requests += 1;
            by.last_us = by.last_us.max(record.facts.now.wall_us);
        }
    }

    fn read_tunnel(&self, record: &TunnelRecord) {
        let mut counts = self.counts.borrow_mut();
        let on = counts.on(record.route.as_ref());
        on.request_bytes += record.request_bytes;
        on.response_bytes += record.response_bytes;
    }
}

impl Drop for Tally {
    /// Brings the last of it, and waits for its turn if it has to.
    fn drop(&mut self) {
        self.metrics.underway[self.worker].store(0, Ordering::Relaxed);
        self.counts.get_mut().fold_into(&mut self.metrics.totals(), self.per_key.get());
    }
}

impl Counts {
    fn on(&mut self, route: Option<&Arc<Route>>) -> &mut OnRoute {
        let place = route.map_or(ptr::null(), Arc::as_ptr);
        self.routes.entry(place).or_insert_with(|| OnRoute::new(route.cloned()))
    }

    fn is_empty(&self) -> bool {
        let Self { routes, upstreams: _, throttled: _, keys: _, accepted, refused, handshakes, failures } = self;
        // Whatever else is counted is counted of a request.
        routes.is_empty() && *accepted == 0 && refused.is_empty() && handshakes.is_empty() && failures.is_empty()
    }

    fn fold_into(&mut self, totals: &mut Totals, per_key: bool) {
        let max = totals.series_max;
        self.routes.drain().for_each(|(_, on)| on.fold_into(totals));
        self.upstreams.drain().for_each(|(_, to)| to.fold_into(totals));
        for ((_, decision), (label, count)) in self.throttled.drain() {
            let policy = labels![String::from(&*label.text), decision];
            *totals.exchanges.throttled.at(policy, max) += count;
        }
        for (_, ByKey { key, requests, last_us }) in self.keys.drain().filter(|_| per_key) {
            *totals.keys.requests.at(labels![key.id().to_owned()], max) += requests;
            let last = totals.keys.last_used.at(labels![key.id().to_owned()], max);
            last.0 = last.0.max(last_us as f64 / 1e6);
        }
        let connections = &mut totals.connections;
        connections.accepted.add(labels![], std::mem::take(&mut self.accepted));
        for (why, count) in self.refused.drain(..) {
            connections.refused.add(labels![why.word()], count);
        }
        for ((version, resumed), count) in self.handshakes.drain(..) {
            connections.handshakes.add(labels![version, if resumed { "true" } else { "false" }], count);
        }
        for (reason, count) in self.failures.drain(..) {
            connections.failures.add(labels![reason], count);
        }
    }
}

impl OnRoute {
    fn new(route: Option<Arc<Route>>) -> Self {
        let (requests, responses, durations) = (SmallVec::new(), [0; 6], Histogram::default());
        Self { route, requests, responses, durations, request_bytes: 0, response_bytes: 0 }
    }

    fn note_status(&mut self, status: Option<u16>) {
        if let Some(status) = status {
            self.responses[usize::from(status / 100).min(5)] += 1;
        }
    }

    fn fold_into(self, totals: &mut Totals) {
        const CLASSES: [&str; 6] = ["_other", "1xx", "2xx", "3xx", "4xx", "5xx"];
        let (max, exchanges) = (totals.series_max, &mut totals.exchanges);
        let name = || String::from(self.route.as_ref().map_or(NO_ROUTE, |route| &*route.name));
        for ((decision, denial), count) in &self.requests {
            let reason = denial.map_or("allowed", Denial::reason);
            let series = labels![name(), *decision, reason];
            *exchanges.requests.at(series, max) += count;
            if *decision == "deny" && denial.is_some_and(is_about_a_key) {
                exchanges.auth_failures.add(labels![reason], *count);
            }
        }
        for (class, count) in CLASSES.iter().zip(self.responses).filter(|(_, count)| *count > 0) {
            let series = labels![name(), *class];
            *exchanges.responses.at(series, max) += count;
        }
        if !self.durations.is_empty() {
            exchanges.durations.at(labels![name()], max).add(&self.durations);
        }
        *exchanges.request_bytes.at(labels![name()], max) += self.request_bytes;
        *exchanges.response_bytes.at(labels![name()], max) += self.response_bytes;
    }
}

impl ToUpstream {
    fn new(upstream: &Arc<Upstream>) -> Self {
        Self { upstream: Arc::clone(upstream), attempts: 0, retries: 0, durations: Histogram::default() }
    }

    fn fold_into(self, totals: &mut Totals) {
        let (max, upstreams, name) = (totals.series_max, &mut totals.upstreams, &self.upstream.name);
        let series = || labels![String::from(&**name)];
        upstreams.durations.at(series(), max).add(&self.durations);
        *upstreams.attempts.at(series(), max) += self.attempts;
        *upstreams.retries.at(series(), max) += self.retries;
    }
}
