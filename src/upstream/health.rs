//! How a server is doing: what requests say of it, and what checks say. It gets requests while neither speaks against it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

use super::server::Server;
use crate::config::gateway::Eject;
use crate::vocab::clock::Clock;

/// Why one is ejected.
pub const FAILURES: &str = "consecutive_failures";

/// What a server is called in an `upstream_health` line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It gets requests.
    Healthy,
    /// Checks fail.
    Unhealthy,
    /// Requests failed, and a while has to pass.
    Ejected,
}

impl State {
    /// As the log has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Ejected => "ejected",
        }
    }
}

/// One `upstream_health` line.
#[derive(Debug)]
pub struct Change<'a> {
    /// Whose it is.
    pub server: &'a Server,
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
    /// One of a few words.
    pub reason: &'static str,
    /// More of it, for people.
    pub detail: Option<&'a str>,
}

/// Writes such lines.
pub type Tell = std::rc::Rc<dyn Fn(&Change<'_>)>;

/// The health of one server. Workers read it, and count failures.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: AtomicU32,
    unhealthy: AtomicBool,
    ejected_until_ms: AtomicU64,
    ejected: Notify,
}

impl Health {
    pub(super) fn is_available(&self, now_ms: u64) -> bool {
        !self.unhealthy.load(Relaxed) && !self.is_ejected(now_ms)
    }

    fn is_ejected(&self, now_ms: u64) -> bool {
        self.ejected_until_ms.load(Relaxed) > now_ms
    }

    /// Checks outrank requests: they go on while nothing is sent.
    pub(super) fn state(&self, now_ms: u64) -> State {
        match (self.unhealthy.load(Relaxed), self.is_ejected(now_ms)) {
            (true, _) => State::Unhealthy,
            (false, true) => State::Ejected,
            (false, false) => State::Healthy,
        }
    }

    pub(super) fn set_unhealthy(&self, unhealthy: bool) {
        self.unhealthy.store(unhealthy, Relaxed);
    }

    pub(super) fn succeeded(&self) {
        // A load that all cores share; the write happens once after a failure.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
    }

    /// `eject.failures` in a row eject it, whatever kind they are (as Envoy's consecutive gateway failures do).
    pub(super) fn failed(&self, eject: Eject, now_ms: u64) {
        // It may still get requests: those underway, and all when every server is out.
        if self.is_ejected(now_ms) || self.failures.fetch_add(1, Relaxed) + 1 < eject.failures {
            return;
        }
        self.failures.store(0, Relaxed);
        let until = now_ms.saturating_add(u64::try_from(eject.duration.as_millis()).unwrap_or(u64::MAX));
        // Of several that come here at once, one does it.
        let free = |before| (before <= now_ms).then_some(until);
        if self.ejected_until_ms.fetch_update(Relaxed, Relaxed, free).is_ok() {
            self.ejected.notify_one();
        }
    }
}

/// Tells of every ejection and of its end, for ever.
pub(super) async fn tell_of_ejections(server: Arc<Server>, clock: Clock, tell: Tell) {
    let health = &server.health;
    let told = |from, to, reason| {
        // While checks fail it is out anyway.
        if !health.unhealthy.load(Relaxed) {
            tell(&Change { server: &server, from, to, reason, detail: None });
        }
    };
    loop {
        health.ejected.notified().await;
        told(State::Healthy, State::Ejected, FAILURES);
        while let left @ 1.. = health.ejected_until_ms.load(Relaxed).saturating_sub(now_ms(&clock)) {
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
        told(State::Ejected, State::Healthy, "ejection_over");
    }
}

/// What the workers' timers show, at most a tick later.
pub(super) fn now_ms(clock: &Clock) -> u64 {
    clock.mono() / 1_000_000
}
