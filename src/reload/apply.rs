//! Puts what was read to use: builds the next snapshot, swaps it in, and says what changed. Until the swap nothing has.

use std::sync::Arc;
use std::time::Duration;

use super::compromise::compromise;
use super::diff::key_changes;
use super::sources::{ListenerTls, Refreshed, Sources};
use super::status::Status;
use jiff::{Timestamp, Unit};
use tokio::sync::watch;

use crate::config::diagnostics::Report;
use crate::config::gateway::{ClientAuth, Gateway, ListenAddress, Listener};
use crate::config::load::Hook;
use crate::edge::tls::{Clients, Tls};
use crate::edge::worker::Shared;
use crate::observe::events::{Events, KeyChanges};
use crate::observe::operational::{LevelHandle, filter};
use crate::observe::sink::Sink;
use crate::snapshot::{Builder, Entrance, Parts};

/// The part of the process that changes configurations.
pub struct Reloader {
    /// The last good version of everything.
    pub sources: Sources,
    /// Makes snapshots.
    pub builder: Builder,
    /// Makes TLS configurations.
    pub tls: Tls,
    /// The listeners there are.
    pub bound: Vec<BoundAs>,
    /// Where the snapshot is swapped.
    pub shared: Arc<Shared>,
    /// Where it is told.
    pub events: Events,
    /// Where it is kept for whoever asks.
    pub status: Arc<Status>,
    /// Follows `log.output`.
    pub sink: Sink,
    /// Who is told of alerts.
    pub hooks: watch::Sender<Vec<Arc<Hook>>>,
    /// Follows `log.level`.
    pub level: LevelHandle,
}

/// The configuration of every listener in the file.
///
/// # Errors
/// rustls refuses a configuration: never, with aws-lc-rs.
pub fn entrances(sources: &Sources, tls: &Tls) -> Result<Vec<Entrance>, rustls::Error> {
    let listeners = sources.gateway.listeners.iter().zip(&sources.certificates);
    let entrance = |(listener, files): (&Listener, &ListenerTls)| {
        let clients = match (listener.client_auth, &files.client_ca) {
            (ClientAuth::Off, _) => Some(Clients::Anybody),
            (ClientAuth::Optional, Some(roots)) => Some(Clients::MayShow(Arc::clone(roots))),
            (ClientAuth::Required, Some(roots)) => Some(Clients::MustShow(Arc::clone(roots))),
            // Nobody is let in whom nobody can check.
            (ClientAuth::Optional | ClientAuth::Required, None) => None,
        };
        let clients = clients.filter(|_| !files.certificates.is_empty());
        let tls = clients.map(|clients| tls.server_config(files.certificates.clone(), &clients)).transpose()?;
        Ok(Entrance { tls, insecure: listener.insecure, proxy_protocol: listener.proxy_protocol })
    };
    listeners.map(entrance).collect()
}

impl Reloader {
    /// Reads every file again and applies what is good. A request that starts after this returns is decided by it. That
    /// nothing has changed is worth a line only if somebody asked. `unfinished` if somebody still writes the key file.
    pub fn reload(&mut self, asked: bool, unfinished: bool) {
        let before = self.sources.gateway.clone();
        let refreshed = self.sources.refresh(unfinished);
        let rejected: Vec<_> = refreshed.rejected.iter().map(problems).collect();
        for problems in &rejected {
            self.events.reload_rejected(self.builder.generation(), problems);
            self.count("rejected");
        }
        let unread = unfinished.then(|| self.sources.keys_path());
        self.status.note(self.shared.clock.now().wall_us, rejected.concat(), unread.as_deref());
        if !refreshed.is_change() {
            if asked && !unfinished && refreshed.rejected.is_empty() {
                let unchanged = KeyChanges::default();
                self.events.reloaded(false, self.builder.generation(), &unchanged, &problems(&refreshed.warnings));
                self.count("unchanged");
            }
            return;
        }
        self.apply(&before, &refreshed);
    }

    /// Puts an end to keys that came in the clear, in the key file: the reload that follows says so.
    pub fn compromise_exposed(&self) {
        let now = Timestamp::from_microsecond(self.shared.clock.now().wall_us).unwrap_or_default();
        let now = now.round(Unit::Second).unwrap_or(now);
        for id in self.shared.exposed.take() {
            match compromise(&self.sources.keys_path(), &id, "it was sent over an insecure connection", now) {
                Ok(true) => tracing::warn!(event = "key_compromised", key.id = &*id, reason = "insecure_transport"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(event = "key_not_compromised", key.id = &*id, error = %error);
                }
            }
        }
    }

    /// One more, as the `reload` line says it.
    fn count(&self, result: &'static str) {
        if let Some(metrics) = &self.shared.metrics {
            metrics.count_reload(result);
        }
    }

    /// For every bound listener what the file says of it now, or said last.
    fn entrances(&self, refreshed: &Refreshed) -> Result<Vec<Entrance>, rustls::Error> {
        let serving = self.shared.snapshot.load();
        let fresh = entrances(&self.sources, &self.tls)?;
        let present = self.bound.iter().zip(&*serving.entrances).map(|(bound, serves)| {
            let Some(at) = bound.place_in(&self.sources.gateway) else { return serves.clone() };
            // An unchanged certificate keeps its configuration.
            let tls = if refreshed.certificates || refreshed.gateway { &fresh[at].tls } else { &serves.tls };
            // Certificates that cannot be read leave the last good ones.
            let tls = tls.as_ref().or(serves.tls.as_ref());
            Entrance { tls: tls.cloned(), ..fresh[at].clone() }
        });
        Ok(present.collect())
    }

    fn apply(&mut self, before: &Gateway, refreshed: &Refreshed) {
        let entrances = match self.entrances(refreshed) {
            Ok(entrances) => entrances,
            Err(error) => {
                let problems = vec![error.to_string()];
                self.events.reload_rejected(self.builder.generation(), &problems);
                self.count("rejected");
                return self.status.note(self.shared.clock.now().wall_us, problems, None);
            }
        };
        let Sources { gateway, keys, pepper, upstream_tls, .. } = &self.sources;
        let snapshot = self.builder.build(Parts { gateway, keys, pepper: pepper.as_ref(), upstream_tls, entrances });
        let former = self.shared.snapshot.swap(Arc::new(snapshot));
        if refreshed.webhooks {
            self.hooks.send_replace(self.sources.webhooks.clone());
        }
        let gateway = &self.sources.gateway;
        // It fails only if the subscriber is gone, and then nobody reads levels.
        let _ = self.level.modify(|level| *level = filter(gateway.log.level));
        if gateway.log.output != before.log.output {
            self.sink.reopen(Some(gateway.log.output.clone()));
        }
        let keys = refreshed.keys_before.as_ref().map(|keys| key_changes(keys, &self.sources.keys));
        let mut told = problems(&refreshed.warnings);
        told.extend(needs_restart(before, gateway));
        self.events.reloaded(true, self.builder.generation(), &keys.unwrap_or_default(), &told);
        if let Some(metrics) = &self.shared.metrics {
            metrics.configure(gateway.metrics);
        }
        self.count("applied");
        self.status.note_applied(self.shared.clock.now().wall_us, told);
        retire(former);
    }
}

/// Drops what serves no more once nobody decides by it: a worker that was the last to hold a snapshot would stop to free
/// every key.
fn retire<T>(mut former: Arc<T>) {
    // A decision takes microseconds; its thread may have to wait for its turn.
    const LOOKS_MAX: usize = 1_000;
    for _ in 0..LOOKS_MAX {
        match Arc::try_unwrap(former) {
            Ok(_) => return,
            Err(held) => former = held,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A listener as it was bound. What the file says of another address, or of TLS where there was none, waits for a
/// restart; what it says of this one applies.
#[derive(Clone, Debug)]
pub struct BoundAs {
    /// As configured.
    pub address: ListenAddress,
    /// Which of the listeners with this address (port 0 may stand more than once).
    pub occurrence: usize,
    /// It has certificates.
    pub tls: bool,
}

impl BoundAs {
    /// How the listeners of a file are bound.
    pub fn all(gateway: &Gateway) -> Vec<Self> {
        let listeners = &gateway.listeners;
        let number = |at: usize| listeners[..at].iter().filter(|l| l.address == listeners[at].address).count();
        let bound = |(at, l): (usize, &Listener)| {
            let address = l.address.clone();
            Self { address, occurrence: number(at), tls: !l.tls.is_empty() }
        };
        listeners.iter().enumerate().map(bound).collect()
    }

    /// Whether both are the same listener.
    pub fn is_at(&self, other: &Self) -> bool {
        (&self.address, self.occurrence) == (&other.address, other.occurrence)
    }

    fn place_in(&self, gateway: &Gateway) -> Option<usize> {
        let mut same = gateway.listeners.iter().enumerate().filter(|(_, l)| l.address == self.address);
        same.nth(self.occurrence).filter(|(_, l)| l.tls.is_empty() != self.tls).map(|(at, _)| at)
    }
}

/// What of a change only a restart can bring about.
fn needs_restart(before: &Gateway, now: &Gateway) -> Vec<String> {
    let bound = |l: &Listener| (l.address.clone(), l.mode, l.tls.is_empty());
    let mut told = Vec::new();
    if !before.listeners.iter().map(bound).eq(now.listeners.iter().map(bound)) {
        told.push("a change of the listeners takes effect after a restart".to_owned());
    }
    if before.server.workers != now.server.workers {
        told.push("a change of server.workers takes effect after a restart".to_owned());
    }
    if before.admin.address != now.admin.address {
        told.push("a change of admin.address takes effect after a restart".to_owned());
    }
    let state = |gateway: &Gateway| gateway.server.state.as_ref().map(|path| path.value.clone());
    if state(before) != state(now) {
        told.push("a change of server.state takes effect after a restart".to_owned());
    }
    told
}

/// Each problem as `path:line:col: message`.
pub fn problems(report: &Report) -> Vec<String> {
    const SHOWN_MAX: usize = 50;
    let mut all: Vec<String> = report.locations().collect();
    if all.len() > SHOWN_MAX {
        let rest = all.len() - SHOWN_MAX;
        all.truncate(SHOWN_MAX);
        all.push(format!("and {rest} more"));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::thread::{self, ThreadId};

    use super::*;

    struct Dropped(Sender<ThreadId>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn what_serves_no_more_is_dropped_by_the_thread_that_replaced_it() {
        let (dropped, by) = channel();
        let former = Arc::new(Dropped(dropped));
        let (held, (let_go, wait)) = (Arc::clone(&former), channel::<()>());
        let worker = thread::spawn(move || {
            let _ = wait.recv_timeout(Duration::from_millis(20));
            drop(held);
        });
        retire(former);
        assert_eq!(by.recv().ok(), Some(thread::current().id()));
        drop(let_go);
        worker.join().expect("it only waited");
    }
}
