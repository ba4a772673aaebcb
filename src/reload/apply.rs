//! Puts what was read to use: builds the next snapshot, swaps it in, and says what changed. Until the swap nothing has.

use std::sync::Arc;

use rustls::ServerConfig;

use super::diff::key_changes;
use super::sources::{Refreshed, Sources};
use crate::config::diagnostics::Report;
use crate::config::gateway::Gateway;
use crate::edge::tls::Tls;
use crate::edge::worker::Shared;
use crate::observe::events::{Events, KeyChanges};
use crate::observe::operational::{LevelHandle, filter};
use crate::observe::sink::Sink;
use crate::snapshot::{Builder, Parts, Snapshot};

/// The part of the process that changes configurations.
pub struct Reloader {
    /// The last good version of everything.
    pub sources: Sources,
    /// Makes snapshots.
    pub builder: Builder,
    /// Makes TLS configurations.
    pub tls: Tls,
    /// Where the snapshot is swapped.
    pub shared: Arc<Shared>,
    /// Where it is told.
    pub events: Events,
    /// Follows `log.output`.
    pub sink: Sink,
    /// Follows `log.level`.
    pub level: LevelHandle,
}

/// Builds a snapshot of what the sources hold. `kept` are the TLS configurations of listeners whose certificates are the
/// same as before.
///
/// # Errors
/// rustls refuses a configuration: never, with aws-lc-rs.
pub fn build(
    builder: &mut Builder,
    sources: &Sources,
    tls: &Tls,
    kept: Option<&[Option<Arc<ServerConfig>>]>,
) -> Result<Snapshot, rustls::Error> {
    let configs = match kept {
        Some(kept) => kept.to_vec(),
        None => {
            let config = |keys: &Vec<_>| (!keys.is_empty()).then(|| tls.server_config(keys.clone())).transpose();
            sources.certificates.iter().map(config).collect::<Result<_, _>>()?
        }
    };
    let Sources { gateway, keys, pepper, .. } = sources;
    Ok(builder.build(Parts { gateway, keys, pepper: pepper.as_ref(), tls: configs }))
}

impl Reloader {
    /// Reads every file again and applies what is good. A request that starts after this returns is decided by it.
    pub fn reload(&mut self) {
        let before = self.sources.gateway.clone();
        let refreshed = self.sources.refresh();
        for report in &refreshed.rejected {
            self.events.reload_rejected(self.builder.generation(), &problems(report));
        }
        if !refreshed.is_change() {
            if refreshed.rejected.is_empty() {
                let unchanged = KeyChanges::default();
                self.events.reloaded(false, self.builder.generation(), &unchanged, &problems(&refreshed.warnings));
            }
            return;
        }
        self.apply(&before, &refreshed);
    }

    fn apply(&mut self, before: &Gateway, refreshed: &Refreshed) {
        let serving = self.shared.snapshot.load_full();
        let kept = (!refreshed.certificates).then_some(&*serving.tls);
        let snapshot = match build(&mut self.builder, &self.sources, &self.tls, kept) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.events.reload_rejected(self.builder.generation(), &[error.to_string()]);
                return;
            }
        };
        self.shared.snapshot.store(Arc::new(snapshot));
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
    }
}

/// What of a change only a restart can bring about.
fn needs_restart(before: &Gateway, now: &Gateway) -> Vec<String> {
    let addresses =
        |g: &Gateway| g.listeners.iter().map(|l| (l.address, l.insecure, l.tls.is_empty())).collect::<Vec<_>>();
    let mut told = Vec::new();
    if addresses(before) != addresses(now) {
        told.push("a change of the listeners takes effect after a restart".to_owned());
    }
    if before.server.workers != now.server.workers {
        told.push("a change of server.workers takes effect after a restart".to_owned());
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
