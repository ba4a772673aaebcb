//! `keyward run`: serve until told to stop.

use std::io::{self, Write as _};
use std::panic::resume_unwind;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::console::{NO, OK, USAGE};
use crate::app::Gateway;
use crate::cli::{Files, RunArgs};
use crate::config::diagnostics::Report;
use crate::config::gateway::Gateway as Config;
use crate::config::load::{Loaded, find_config, sidecar};
use crate::edge::inherited::Inherited;
use crate::reload::sources::{Origin, Sources};
use crate::vocab::clock::Clock;

/// `run` refused its configuration (sysexits.h: EX_CONFIG).
const CONFIG_REFUSED: u8 = 78;

/// Serves, and returns the exit code.
pub fn run(args: &RunArgs, files: &Files) -> u8 {
    let (origin, sidecar) = match origin(args, files) {
        Ok(origin) => origin,
        Err(Refused::Usage(message)) => return complain(USAGE, &format!("error: {message}\n")),
        Err(Refused::Config(report)) => return complain(CONFIG_REFUSED, &report.render(false)),
    };
    // On a thread that ends: what it took beyond what it leaves goes back to the system with it.
    let loaded = thread::scope(|scope| scope.spawn(|| Sources::load(origin, sidecar)).join());
    match loaded.unwrap_or_else(|panic| resume_unwind(panic)) {
        Ok((sources, warnings)) => serve_until_told(sources, &warnings, |_| {}),
        Err(report) => complain(CONFIG_REFUSED, &report.render(false)),
    }
}

/// Starts, calls `started`, and serves until a signal says stop. Returns the exit code.
pub(super) fn serve_until_told(sources: Sources, warnings: &Report, started: impl FnOnce(&Gateway)) -> u8 {
    raise_open_files();
    quiet_panics();
    // It changes the environment, which threads may read: first of all.
    let inherited = match Inherited::from_environment() {
        Ok(inherited) => inherited,
        Err(error) => return complain(NO, &format!("error: {error}\n")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(NO, &format!("error: failed to start: {error}\n")),
    };
    let _entered = runtime.enter();
    // Before the first thread: a signal that comes early must not kill what has just begun to serve.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return complain(NO, &format!("error: failed to handle signals: {error}\n")),
    };
    match Gateway::start(sources, warnings, Clock::system(), inherited) {
        Ok(gateway) => {
            started(&gateway);
            runtime.block_on(signals.serve(&gateway));
            gateway.stop(|| runtime.block_on(signals.stop_was_repeated()));
            OK
        }
        Err(error) => complain(NO, &format!("error: {}\n", chain(&error))),
    }
}

enum Refused {
    Usage(String),
    Config(Report),
}

/// Without a file and with `--upstream` it is a sidecar; with a file, only `--keys` goes over what the file says.
fn origin(args: &RunArgs, files: &Files) -> Result<(Origin, Option<Loaded<Config>>), Refused> {
    let keys_override = files.keys.clone();
    if let Some(upstream) = &args.upstream {
        if files.config.is_some() {
            return Err(Refused::Usage("--upstream starts a sidecar without a file; leave out --config".to_owned()));
        }
        let keys = keys_override.unwrap_or_else(|| "keys.toml".into());
        let listen = args.listen.as_deref().unwrap_or("127.0.0.1:8080");
        let loaded = sidecar(upstream, &keys, listen).map_err(Refused::Usage)?;
        return Ok((Origin { file: None, keys_override: None }, Some(loaded)));
    }
    if args.listen.is_some() {
        return Err(Refused::Usage("--listen goes with --upstream; with a file, set [[listener]] address".to_owned()));
    }
    let file = find_config(files.config.clone()).map_err(Refused::Config)?;
    Ok((Origin { file: Some(file), keys_override }, None))
}

pub(super) fn complain(code: u8, message: &str) -> u8 {
    // With standard error gone, the exit code has to say it.
    let _ = io::stderr().write_all(message.as_bytes());
    code
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A panic's message may hold anything; where it happened is enough to find it.
fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        tracing::error!(event = "panic", place = place.as_str(), thread = thread.name().unwrap_or("unnamed"));
        let _ = writeln!(io::stderr(), "keyward: panic at {place}; the connection it happened on is closed");
    }));
}

/// Two descriptors per exchange: the soft limit of most systems (1,024) is far below `http.connections_max`.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is not allowed, accepting backs off at the limit there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// Returns when the process is told to stop.
    async fn serve(&mut self, gateway: &Gateway) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => gateway.bell().ring(),
                _ = self.user1.recv() => gateway.sink().reopen(None),
            }
        }
    }

    async fn stop_was_repeated(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => true,
            _ = self.interrupt.recv() => true,
            () = std::future::ready(()) => false,
        }
    }
}
