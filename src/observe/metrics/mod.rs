//! Metrics, from the same records as the lines: what they count is what the lines say.
//!
//! ```text
//! record ─ Tally: a worker's own counts, no lock, nothing shared ─ every 100 ms ─▶ Totals ◀─ /metrics
//! ```
//!
//! A worker adds what it has counted to the totals on its tick, if nobody else is at them at that moment; otherwise at one of
//! the next. No worker ever waits for a scrape. Without `admin.address` there are no totals, and nobody counts.
//!
//! Labels come from the configuration (routes, policies, upstreams, ids of keys where they are asked for) or are words of
//! ours, never from requests. What a metric has beyond `metrics.series_max` series is counted in one, whose labels are all
//! `_other`.

mod family;
mod histogram;
mod tally;
#[cfg(test)]
mod tests;
mod totals;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use prometheus_client::encoding::DescriptorEncoder;

pub(crate) use family::labels;
pub use family::{Family, Gauge, Info, Labels, Value};
pub use histogram::Histogram;
pub use tally::{Refused, Tally};
pub use totals::Totals;

use crate::config::gateway;

/// What all names begin with.
pub const PREFIX: &str = "keyward";

/// Where workers bring what they have counted, and where scrapes find it.
pub struct Metrics {
    totals: Mutex<Totals>,
    per_key: AtomicBool,
    /// Requests and tunnels underway, by worker.
    underway: Box<[AtomicUsize]>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Nothing counted yet, by so many workers.
    pub fn new(workers: usize, settings: gateway::Metrics) -> Self {
        let underway = (0..workers).map(|_| AtomicUsize::new(0)).collect();
        let (totals, per_key) = (Mutex::new(Totals::new(settings.series_max)), AtomicBool::new(settings.per_key));
        Self { totals, per_key, underway }
    }

    /// Takes over `[metrics]` of a new configuration.
    pub fn configure(&self, settings: gateway::Metrics) {
        let mut totals = self.totals();
        totals.series_max = settings.series_max;
        self.per_key.store(settings.per_key, Ordering::Relaxed);
        if !settings.per_key {
            totals.forget_keys(|_| false);
        }
    }

    /// `metrics.per_key`
    pub fn is_per_key(&self) -> bool {
        self.per_key.load(Ordering::Relaxed)
    }

    /// Everything counted so far. Whoever holds it keeps workers from adding to it, and from nothing else.
    pub fn totals(&self) -> MutexGuard<'_, Totals> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_totals(&self) -> Option<MutexGuard<'_, Totals>> {
        match self.totals.try_lock() {
            Ok(totals) => Some(totals),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Requests and tunnels underway, as of the workers' last ticks.
    pub fn underway(&self) -> usize {
        self.underway.iter().map(|worker| worker.load(Ordering::Relaxed)).sum()
    }

    /// Files were read again, with this result.
    pub fn count_reload(&self, result: &'static str) {
        self.totals().reloads.add(labels![result], 1);
    }

    /// So many lock-outs began.
    pub fn count_lockouts(&self, begun: u64) {
        self.totals().lockouts.add(labels![], begun);
    }

    /// A server gets requests no more because of those that failed.
    pub fn count_ejection(&self, upstream: &str) {
        self.totals().upstreams.ejections.add(labels![upstream.to_owned()], 1);
    }

    /// A rule of the detectors has raised an alert.
    pub fn count_alert(&self, rule: &'static str, severity: &'static str) {
        self.totals().alerts.add(labels![rule, severity], 1);
    }

    /// Everything counted so far, in the format of the `encoder`.
    ///
    /// # Errors
    /// The encoder's own.
    pub fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.totals().encode(encoder)
    }
}
