//! `/metrics`: what was counted, and how everything is at this moment, in the format that is asked for.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::HeaderValue;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use super::View;
use crate::keys::{Census, Ring};
use crate::observe::metrics::{Family, Gauge, Info, Metrics, PREFIX, labels};
use crate::reload::status::Outcome;
use crate::upstream::Upstream;
use crate::upstream::health::State;
use crate::upstream::server::Server;
use crate::vocab::build::{COMMIT, RUSTC, VERSION};

/// OpenMetrics 1.0 §2.1.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All that is told, in either format.
pub(super) struct Exposition(Registry);

impl Exposition {
    /// Of what `view` shows.
    pub(super) fn new(view: Arc<View>, metrics: Arc<Metrics>) -> Self {
        let started_us = view.shared.clock.now().wall_us;
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Scrape { view, metrics, started_us, keys: Mutex::default() }));
        Self(registry)
    }

    /// The content type, and the text. `accept` is what the client says of what it understands.
    pub(super) fn page(&self, accept: Option<&HeaderValue>) -> Result<(&'static str, String), fmt::Error> {
        let mut page = String::new();
        let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if wants_openmetrics(accept) {
            text::encode(&mut page, &self.0)?;
            return Ok((OPENMETRICS, page));
        }
        prometheus_text::encode(&mut page, &self.0)?;
        Ok((prometheus_text::CONTENT_TYPE, page))
    }
}

/// Whether OpenMetrics is named, and nothing else is liked better (RFC 9110 §12.5.1).
fn wants_openmetrics(accept: &str) -> bool {
    let (mut openmetrics, mut other) = (0.0, 0.0);
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        match kind {
            "application/openmetrics-text" => openmetrics = f32::max(openmetrics, weight),
            "text/plain" => other = f32::max(other, weight),
            _ => {}
        }
    }
    openmetrics > 0.0 && openmetrics >= other
}

struct Scrape {
    view: Arc<View>,
    metrics: Arc<Metrics>,
    started_us: i64,
    keys: Mutex<Keys>,
}

/// What is known of the keys, until they change or one of them expires: there may be a million.
struct Keys {
    ring: Weak<Ring>,
    census: Option<Census>,
    /// Empty unless `metrics.per_key`.
    expiries: Family<Gauge>,
    has_expiries: bool,
}

impl Default for Keys {
    fn default() -> Self {
        let help = "When the key expires; of _other, when the first of them does.";
        let expiries = Family::new("key_expiry_timestamp_seconds", help, &["key_id"]);
        Self { ring: Weak::new(), census: None, expiries, has_expiries: false }
    }
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let mut build = Family::<Info>::new("build", "What serves.", &["version", "commit", "rustc"]);
        build.at(labels![VERSION, COMMIT, RUSTC], 1);
        build.encode(encoder)?;
        gauge(encoder, "start_time_seconds", "When it began to.", seconds(self.started_us))?;
        self.keys(encoder)?;
        self.metrics.encode(encoder)?;
        self.exchanges(encoder)?;
        self.files(encoder)?;
        self.upstreams(encoder)?;
        self.log(encoder)?;
        self.state(encoder)
    }
}

impl Scrape {
    fn exchanges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let View { shared, .. } = &*self.view;
        let underway = self.metrics.underway();
        gauge(encoder, "requests_in_flight", "Requests and tunnels that are not over.", underway as f64)?;
        gauge(encoder, "connections_open", "Connections of clients.", shared.slots.open() as f64)?;
        let lockout = shared.snapshot.load().wide.lockout.clone();
        let locked = lockout.map_or(0, |lockout| lockout.active(shared.clock.mono()));
        gauge(encoder, "lockouts_active", "Addresses that are locked out.", locked as f64)
    }

    fn files(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let standing = self.view.files.standing();
        let generation = self.view.shared.snapshot.load().settings.generation;
        let good = if standing.outcome == Outcome::Applied { 1.0 } else { 0.0 };
        gauge(encoder, "config_generation", "Counts up with every change of the files.", generation as f64)?;
        gauge(encoder, "config_last_reload_successful", "Whether every file is in use as it is.", good)?;
        let (name, help) =
            ("config_last_reload_success_timestamp_seconds", "When files were read that are all in use.");
        gauge(encoder, name, help, seconds(standing.success_us))
    }

    fn upstreams(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        const NAMES: &[&str] = &["upstream", "server"];
        let (snapshot, now_ms) = (self.view.shared.snapshot.load_full(), self.view.now_ms());
        let mut healthy = Family::new("upstream_healthy", "Whether the server gets requests.", NAMES);
        let mut open = Family::new("upstream_connections_open", "Connections to the server.", NAMES);
        let mut waiting = Family::new("upstream_requests_waiting", "Requests that wait for one.", NAMES);
        let mut set = |upstream: &Upstream, server: &Server| {
            let series = || labels![String::from(&*upstream.name), server.endpoint.to_string()];
            healthy.set(series(), if server.state(now_ms) == State::Healthy { 1.0 } else { 0.0 });
            open.set(series(), server.opened() as f64);
            waiting.set(series(), server.waiting() as f64);
        };
        for upstream in &snapshot.upstreams {
            upstream.servers.iter().for_each(|it| set(upstream, &it.server));
        }
        healthy.encode(encoder)?;
        open.encode(encoder)?;
        waiting.encode(encoder)
    }

    fn keys(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (snapshot, now_us) = (self.view.shared.snapshot.load_full(), self.view.shared.clock.now().wall_us);
        let ring = &snapshot.ring;
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !Weak::ptr_eq(&keys.ring, &Arc::downgrade(ring));
        if is_new {
            keys.ring = Arc::downgrade(ring);
            keys.census = None;
        }
        let per_key = self.metrics.is_per_key();
        if is_new || per_key != keys.has_expiries {
            keys.has_expiries = per_key;
            keys.expiries.clear();
            if per_key {
                keys.take_expiries(ring, self.metrics.totals().series_max());
                let ids: HashSet<&str> = ring.keys().iter().map(|key| key.id()).collect();
                self.metrics.totals().forget_keys(|id| ids.contains(id));
            }
        }
        let census = keys.census.filter(|census| census.is_good(now_us));
        let census = *keys.census.insert(census.unwrap_or_else(|| Census::of(ring, now_us)));
        let mut states = Family::new("keys", "Keys, by state.", &["state"]);
        census.states().for_each(|(state, count)| states.set(labels![state], count as f64));
        states.encode(encoder)?;
        keys.expiries.encode(encoder)
    }

    fn log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let fate = self.view.sink.fate();
        let mut lines = Family::new("log_lines", "Lines written.", &[]);
        lines.add(labels![], fate.written);
        lines.encode(encoder)?;
        let mut dropped = Family::new("log_dropped", "Lines lost: no room (full), or not taken (failed).", &["reason"]);
        dropped.add(labels!["full"], fate.dropped);
        dropped.add(labels!["failed"], fate.failed);
        dropped.encode(encoder)?;
        let stuck = self.view.sink.is_stuck_for().as_secs_f64();
        gauge(encoder, "log_stuck_seconds", "How long the output has been at one piece.", stuck)
    }

    fn state(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Some(keeping) = self.view.shared.counts.as_ref().map(|outlet| outlet.keeping()) else { return Ok(()) };
        let counts = [
            ("state_writes", "Times that counts were written to the state file.", keeping.writes),
            ("state_write_failures", "Times that the state file could not be had or written.", keeping.failures),
            ("state_lost_requests", "Requests that the state file will never count.", keeping.lost),
        ];
        for (name, help, count) in counts {
            let mut counter = Family::new(name, help, &[]);
            counter.add(labels![], count);
            counter.encode(encoder)?;
        }
        Ok(())
    }
}

impl Keys {
    fn take_expiries(&mut self, ring: &Ring, max: usize) {
        for key in ring.keys().iter().filter(|key| key.expires_us != i64::MAX) {
            let Gauge(first) = self.expiries.at(labels![key.id().to_owned()], max);
            let expires = seconds(key.expires_us);
            // A series that is new has 0.
            *first = if *first == 0.0 { expires } else { first.min(expires) };
        }
    }
}

/// One without labels.
fn gauge(encoder: &mut DescriptorEncoder<'_>, name: &'static str, help: &'static str, value: f64) -> fmt::Result {
    let mut gauge = Family::new(name, help, &[]);
    gauge.set(labels![], value);
    gauge.encode(encoder)
}

fn seconds(us: i64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_names_it_and_likes_nothing_better() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for accept in [prometheus, "application/openmetrics-text", "text/plain;q=0.5, application/openmetrics-text"] {
            assert!(wants_openmetrics(accept), "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "text/plain, application/openmetrics-text;q=0.9",
        ] {
            assert!(!wants_openmetrics(accept), "{accept}");
        }
    }
}
