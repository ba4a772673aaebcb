//! Lines that are not about a request: the life of the process and of its configuration.

use std::mem;

use super::line::{Line, TimeText};
use super::sink::Sink;
use crate::config::gateway::{ListenAddress, OnFull};
use crate::limits::lockout::{self, Told};
use crate::upstream::health::{Change, State};
use crate::vocab::clock::{Clock, Now};

/// Ids listed in one line; a key file of a million new keys is told of by its number.
const IDS_MAX: usize = 1_000;

/// Bytes of lines that are written at once, where there are many.
const CHUNK: usize = 64 << 10;

/// Writes such lines. Clones share the writer.
#[derive(Clone)]
pub struct Events {
    sink: Sink,
    clock: Clock,
}

/// What a reload did to the keys, as ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// New ids.
    pub added: Vec<String>,
    /// Ids whose entry differs.
    pub changed: Vec<String>,
    /// Ids that were not revoked before.
    pub revoked: Vec<String>,
    /// Ids that are gone.
    pub removed: Vec<String>,
}

/// What a process that is ready does.
pub struct Serving<'a> {
    /// Where requests come in.
    pub listening: &'a [Listening],
    /// Where probes do.
    pub admin: Option<&'a ListenAddress>,
    /// How many workers there are.
    pub workers: usize,
    /// How many good keys.
    pub keys: usize,
    /// Of the configuration.
    pub generation: u64,
}

/// A listener as it is told of.
#[derive(Clone, Debug)]
pub struct Listening {
    /// Where it listens.
    pub address: ListenAddress,
    /// Over TLS.
    pub tls: bool,
}

impl std::fmt::Display for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.address)
    }
}

impl Events {
    /// Lines with `clock`'s time, through `sink`.
    pub fn new(sink: Sink, clock: Clock) -> Self {
        Self { sink, clock }
    }

    /// The process has read its configuration.
    pub fn start(&self, version: &str, config: &str) {
        self.line("info", "start", |line| {
            line.word("version", version).text("config", config.as_bytes()).number("pid", std::process::id().into());
        });
    }

    /// Every listener is bound and every worker runs.
    pub fn ready(&self, serving: &Serving<'_>) {
        let urls: Vec<String> = serving.listening.iter().map(Listening::to_string).collect();
        self.line("info", "ready", |line| {
            line.list("listeners", urls.iter().map(String::as_str));
            if let Some(admin) = serving.admin {
                line.text("admin", admin.to_string().as_bytes());
            }
            line.number("workers", serving.workers as u64)
                .number("keys", serving.keys as u64)
                .number("generation", serving.generation);
        });
    }

    /// Nothing new is accepted; what runs may finish.
    pub fn drain(&self, grace_ms: u64) {
        self.line("info", "drain", |line| {
            line.number("grace_ms", grace_ms);
        });
    }

    /// The last line. `cut_off` if the grace was over before the last request was.
    pub fn stop(&self, cut_off: bool) {
        self.line("info", "stop", |line| {
            line.word("result", if cut_off { "cut_off" } else { "clean" });
        });
    }

    /// A change that was applied, or files that were read again and had none.
    pub fn reloaded(&self, changed: bool, generation: u64, keys: &KeyChanges, problems: &[String]) {
        let level = if problems.is_empty() { "info" } else { "warn" };
        self.line(level, "reload", |line| {
            line.word("result", if changed { "applied" } else { "unchanged" }).number("generation", generation);
            for (name, ids) in [
                ("keys.added", &keys.added),
                ("keys.changed", &keys.changed),
                ("keys.revoked", &keys.revoked),
                ("keys.removed", &keys.removed),
            ] {
                if !ids.is_empty() {
                    line.list(name, ids.iter().take(IDS_MAX).map(String::as_str));
                }
                if ids.len() > IDS_MAX {
                    line.number(format!("{name}.count").as_str(), ids.len() as u64);
                }
            }
            problem_list(line, problems);
        });
    }

    /// A file that cannot be used: its last good version goes on serving.
    pub fn reload_rejected(&self, generation: u64, problems: &[String]) {
        self.line("error", "reload", |line| {
            line.word("result", "rejected").number("generation", generation);
            problem_list(line, problems);
        });
    }

    /// A server that gets requests no more, or again.
    pub fn upstream_health(&self, change: &Change<'_>) {
        let level = if change.to == State::Healthy { "info" } else { "warn" };
        self.line(level, "upstream_health", |line| {
            let address = change.server.endpoint.to_string();
            line.text("upstream.name", change.server.upstream().as_bytes())
                .text("upstream.address", address.as_bytes())
                .word("state.from", change.from.word())
                .word("state.to", change.to.word())
                .word("reason", change.reason);
            if let Some(detail) = change.detail {
                line.text("detail", detail.as_bytes());
            }
        });
    }

    /// Addresses that are locked out from now on, or no more. Each line has the time at which it happened.
    pub fn lockouts(&self, changes: &[lockout::Change]) {
        let (now, mut times) = (self.clock.now(), TimeText::default());
        let (mut lines, mut count) = (Vec::new(), 0);
        for change in changes {
            lockout_line(&mut lines, &mut times, now, change);
            count += 1;
            if lines.len() >= CHUNK {
                self.sink.write(mem::take(&mut lines), mem::take(&mut count), OnFull::Drop);
            }
        }
        if count > 0 {
            self.sink.write(lines, count, OnFull::Drop);
        }
    }

    /// Anything else.
    pub(super) fn line(&self, level: &str, event: &str, write: impl FnOnce(&mut Line<'_>)) {
        let mut bytes = Vec::with_capacity(256);
        let mut line = Line::open(&mut bytes, &mut TimeText::default(), self.clock.now().wall_us, level, event);
        write(&mut line);
        line.close();
        // Never waits: a log that nobody reads must hold up neither a revocation nor the end of the process.
        self.sink.write(bytes, 1, OnFull::Drop);
    }
}

fn lockout_line(out: &mut Vec<u8>, times: &mut TimeText, now: Now, change: &lockout::Change) {
    let mut tell = |level, state, told: &Told| {
        let ago_us = i64::try_from(now.mono.saturating_sub(told.at) / 1_000).unwrap_or(i64::MAX);
        let mut line = Line::open(out, times, now.wall_us.saturating_sub(ago_us), level, "lockout");
        line.word("state", state)
            .word("client.address", &told.client.to_string())
            .number("duration_s", told.length.div_ceil(1_000_000_000))
            .number("times", told.times.into())
            .text("limit.policy", told.policy.text.as_bytes())
            .close();
    };
    match change {
        lockout::Change::Begun(told) => tell("warn", "begin", told),
        lockout::Change::Ended(told) => tell("info", "end", told),
        lockout::Change::Untold(more) => {
            let mut line = Line::open(out, times, now.wall_us, "warn", "lockout");
            line.word("state", "begin").number("count", *more).close();
        }
    }
}

fn problem_list(line: &mut Line<'_>, problems: &[String]) {
    if !problems.is_empty() {
        line.list("problems", problems.iter().map(String::as_str));
    }
}
