//! The process: what is started, in which order, and how it ends. The only place that spawns long-lived threads.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::admin;
use crate::config::diagnostics::Report;
use crate::config::gateway::{ListenAddress, Server};
use crate::edge::bindings::Bindings;
use crate::edge::inherited::Inherited;
use crate::edge::tls::Tls;
use crate::edge::unix::SocketFile;
use crate::edge::worker::{self, Bound, Phase, Shared};
use crate::limits::account::Accounts;
use crate::observe::events::{Events, Listening, Serving};
use crate::observe::lockouts::Lockouts;
use crate::observe::metrics::Metrics;
use crate::observe::operational::{self, LevelHandle};
use crate::observe::service;
use crate::observe::sink::{Sink, Writer};
use crate::reload::apply::{BoundAs, Reloader, entrances, problems};
use crate::reload::sources::Sources;
use crate::reload::status::Status;
use crate::reload::watch::{Bell, Wake, Watch};
use crate::snapshot::{self, Parts};
use crate::state::{Outlet, State, Units};
use crate::upstream::health::{Change, FAILURES};
use crate::upstream::monitor::{Current, monitor};
use crate::vocab::build::VERSION;
use crate::vocab::clock::Clock;
use crate::webhook::{self, Webhooks};

/// How often buckets that nobody needs are forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(10);
/// How long tunnels have to say goodbye once the grace is over.
const FAREWELL: Duration = Duration::from_millis(500);
/// How often refused connections are told of.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// A gateway that serves. Dropped without [`Gateway::stop`], it stops at once.
pub struct Gateway {
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<io::Result<()>>>,
    others: Vec<JoinHandle<()>>,
    watching: Option<(Sender<()>, JoinHandle<()>)>,
    bell: Bell,
    events: Events,
    listening: Vec<Listening>,
    files: Vec<SocketFile>,
    grace: Duration,
    beside: Beside,
    // The last to go: everything above may still write.
    writer: Writer,
}

/// The threads that take what workers hand over, and end after them.
struct Beside {
    state: Option<State>,
    webhooks: Webhooks,
}

impl Beside {
    fn start(sources: &Sources, clock: &Clock, sink: &Sink, accounts: &Accounts) -> Result<Self, StartError> {
        let config = &sources.gateway.server;
        let state = start_state(config, clock, sink, accounts)?;
        // Alerts that nobody took are in the state file, which is open by now.
        let path = config.state.as_ref().map(|path| path.value.as_path());
        let webhooks = webhook::start(sources.webhooks.clone(), path, clock.clone()).map_err(StartError::Thread)?;
        Ok(Self { state, webhooks })
    }

    /// Where workers hand over counts, and alerts.
    fn outlets(&self) -> (Option<Outlet>, webhook::Outlet) {
        (self.state.as_ref().map(State::outlet), self.webhooks.outlet())
    }

    fn stop(&mut self) {
        drop(self.state.take());
        self.webhooks.stop();
    }
}

/// Why a gateway could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be opened.
    #[error("failed to open the log")]
    Log(#[source] io::Error),
    /// A listener cannot be bound.
    #[error("failed to listen on {0}")]
    Listen(ListenAddress, #[source] io::Error),
    /// The system has no randomness to give.
    #[error("failed to get randomness from the system")]
    Randomness(#[source] getrandom::Error),
    /// TLS cannot be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// A thread cannot be had.
    #[error("failed to start a thread")]
    Thread(#[source] io::Error),
}

impl Gateway {
    /// Binds, builds, and serves. `warnings` of the files go to the log.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(
        sources: Sources,
        warnings: &Report,
        clock: Clock,
        mut inherited: Inherited,
    ) -> Result<Self, StartError> {
        let writer = Writer::start(sources.gateway.log.output.clone()).map_err(StartError::Log)?;
        let events = Events::new(writer.sink(), clock.clone());
        let level = begin_log(&events, &sources, warnings);

        let workers = worker_count(sources.gateway.server.workers);
        let grace = sources.gateway.server.shutdown_grace;
        let tls = Tls::new().map_err(StartError::Tls)?;
        let mut secret = [0; 64];
        getrandom::fill(&mut secret).map_err(StartError::Randomness)?;
        let mut builder = snapshot::Builder::new(clock.clone(), &secret);
        let entrances = entrances(&sources, &tls).map_err(StartError::Tls)?;
        let Sources { gateway, keys, pepper, upstream_tls, .. } = &sources;
        let snapshot = builder.build(Parts { gateway, keys, pepper: pepper.as_ref(), upstream_tls, entrances });
        let bound = BoundAs::all(gateway);
        // Before anybody calls: reading what was counted of many keys takes its time.
        let beside = Beside::start(&sources, &clock, &writer.sink(), builder.accounts())?;
        let Bindings { listening, per_worker, files: sockets } =
            Bindings::all(&gateway.listeners, workers, &mut inherited)
                .map_err(|(at, why)| StartError::Listen(at, why))?;
        let entrance = gateway.admin.address.as_ref().map(|at| bind_admin(at, &mut inherited)).transpose()?;
        for address in inherited.left() {
            tracing::warn!(event = "inherited_socket_unused", address = %address);
        }

        let (keys, generation) = (snapshot.ring.keys().len(), builder.generation());
        let status = Arc::new(Status::new(clock.now().wall_us, problems(warnings)));
        let metrics = entrance.as_ref().map(|_| Arc::new(Metrics::new(workers, gateway.metrics)));
        let shared = Arc::new(Shared::new(snapshot, workers, clock, beside.outlets()).with_metrics(metrics));
        let (phase, _) = watch::channel(Phase::Running);
        let monitoring =
            spawn_monitor(builder.current_upstreams(), events.clone(), &shared).map_err(StartError::Thread)?;
        let workers = spawn_workers(&shared, per_worker, &writer.sink(), &phase)?;
        // Before anybody is told: who writes from then on is seen to open the file, and so to be at it still.
        let (files, bell) = Watch::start(sources.files(), &sources.keys_path());
        let admin = entrance.as_ref().map(admin::Entrance::address);
        events.ready(&Serving { listening: &listening, admin, workers: workers.len(), keys, generation });
        service::ready(&serving(generation));
        let (workers_of, files_of, sink) = (Arc::clone(&shared), Arc::clone(&status), writer.sink());
        let view = admin::View { shared: workers_of, phase: phase.subscribe(), files: files_of, sink: sink.clone() };
        let admin = entrance.map(|entrance| entrance.serve(view)).transpose().map_err(StartError::Thread)?;
        let watching = spawn_watchdog(&shared).map_err(StartError::Thread)?;
        let (told, hooks) = (events.clone(), beside.webhooks.hooks().clone());
        let reloader = Reloader { sources, builder, tls, bound, shared, events: told, status, sink, hooks, level };
        let reloading = spawn("reload", move || keep_reloading(reloader, files)).map_err(StartError::Thread)?;
        let others = [reloading, monitoring].into_iter().chain(admin).collect();
        Ok(Self { phase, workers, others, watching, bell, events, listening, files: sockets, grace, beside, writer })
    }

    /// Where it listens, in the order of the configuration.
    pub fn listening(&self) -> &[Listening] {
        &self.listening
    }

    /// Rings for a reload.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// The log's writer.
    pub fn sink(&self) -> Sink {
        self.writer.sink()
    }

    /// Stops accepting and lets what runs finish, for at most `server.shutdown_grace`, or until `hurry` says so.
    pub fn stop(mut self, mut hurry: impl FnMut() -> bool) {
        self.events.drain(u64::try_from(self.grace.as_millis()).unwrap_or(u64::MAX));
        service::stopping("draining");
        // Nobody is to come by a path whose socket will be gone.
        self.files.clear();
        self.phase.send_replace(Phase::Draining);
        self.wait_for_workers(self.grace, &mut hurry);
        self.phase.send_replace(Phase::Ending);
        self.wait_for_workers(FAREWELL, &mut hurry);
        let cut_off = self.workers.iter().any(|worker| !worker.is_finished());
        if cut_off {
            self.writer.sink().close();
        }
        self.end();
        self.events.stop(cut_off);
    }

    fn wait_for_workers(&self, limit: Duration, hurry: &mut impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline && !hurry() && self.workers.iter().any(|w| !w.is_finished()) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self) {
        self.phase.send_replace(Phase::Stopped);
        self.bell.stop();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so.
            let _ = worker.join();
        }
        // They have handed over the last of what they have counted.
        self.beside.stop();
        if let Some((watching, thread)) = self.watching.take() {
            drop(watching);
            let _ = thread.join();
        }
        // With the reloader goes what the monitor follows, and so the monitor ends.
        for thread in self.others.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.writer.sink().close();
        self.end();
    }
}

fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    }
}

/// Its first lines.
fn begin_log(events: &Events, sources: &Sources, warnings: &Report) -> LevelHandle {
    let level = operational::install(events.clone(), sources.gateway.log.level);
    events.start(VERSION, &sources.describe());
    for problem in problems(warnings) {
        tracing::warn!(event = "config_warning", problem = problem.as_str());
    }
    level
}

fn bind_admin(address: &ListenAddress, inherited: &mut Inherited) -> Result<admin::Entrance, StartError> {
    admin::Entrance::bind(address, inherited).map_err(|why| StartError::Listen(address.clone(), why))
}

/// What the service manager shows of us.
fn serving(generation: u64) -> String {
    format!("serving, configuration {generation}")
}

/// Tells the service manager that all is well for as long as every worker's timers tick, if it wants to know.
fn spawn_watchdog(shared: &Arc<Shared>) -> io::Result<Option<(Sender<()>, JoinHandle<()>)>> {
    let Some(limit) = service::watchdog() else { return Ok(None) };
    let (ended, end) = channel();
    let shared = Arc::clone(shared);
    // Twice in time, as sd_watchdog_enabled(3) advises.
    let watch = move || {
        while end.recv_timeout(limit / 2) == Err(RecvTimeoutError::Timeout) {
            if shared.beats.are_alive(shared.clock.mono() / 1_000_000, limit / 2) {
                service::is_alive();
            }
        }
    };
    Ok(Some((ended, spawn("watchdog", watch)?)))
}

/// Opens the state file, if there is to be one, and keeps it from there on.
fn start_state(config: &Server, clock: &Clock, sink: &Sink, accounts: &Accounts) -> Result<Option<State>, StartError> {
    let Some(path) = &config.state else { return Ok(None) };
    let sink = sink.clone();
    let await_log = Box::new(move |patient: &dyn Fn() -> bool| sink.flush_while(patient));
    let now_us = clock.now().wall_us;
    let restore = |id: &str, units: Units| accounts.restore(id, [units.day, units.week, units.month], now_us);
    State::start(&path.value, clock.clone(), await_log, restore).map(Some).map_err(StartError::Thread)
}

/// Returns when every worker serves.
fn spawn_workers(
    shared: &Arc<Shared>,
    sockets: Vec<Vec<Bound>>,
    sink: &Sink,
    phase: &watch::Sender<Phase>,
) -> Result<Vec<JoinHandle<io::Result<()>>>, StartError> {
    let mut workers = Vec::with_capacity(sockets.len());
    let (serving, served) = channel();
    for (number, bound) in sockets.into_iter().enumerate() {
        let mut seed = [0; 16];
        getrandom::fill(&mut seed).map_err(StartError::Randomness)?;
        let (shared, sink, phase, serving) = (Arc::clone(shared), sink.clone(), phase.subscribe(), serving.clone());
        let run = move || {
            let ended = worker::run(number, shared, bound, sink, u128::from_ne_bytes(seed), phase, &serving);
            if let Err(error) = &ended {
                tracing::error!(event = "worker_failed", error = %error);
                // Nobody listens once all have begun to serve.
                let _ = serving.send(Err(io::Error::new(error.kind(), error.to_string())));
            }
            ended
        };
        workers.push(spawn(&format!("worker-{number}"), run).map_err(StartError::Thread)?);
    }
    for _ in &workers {
        let first = served.recv().unwrap_or_else(|_| Err(io::Error::other("a worker ended at once")));
        first.map_err(StartError::Thread)?;
    }
    Ok(workers)
}

/// Looks after the servers of the upstreams, on a thread of its own.
fn spawn_monitor(current: Current, events: Events, shared: &Shared) -> io::Result<JoinHandle<()>> {
    let (clock, metrics) = (shared.clock.clone(), shared.metrics.clone());
    let runtime = || Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let run = move || match runtime() {
        Ok(runtime) => {
            let tell = Rc::new(move |change: &Change<'_>| {
                events.upstream_health(change);
                if let Some(metrics) = metrics.as_ref().filter(|_| change.reason == FAILURES) {
                    metrics.count_ejection(change.server.upstream());
                }
            });
            runtime.block_on(monitor(current, clock, tell));
        }
        Err(error) => tracing::error!(event = "monitor_failed", error = %error),
    };
    spawn("upstreams", run)
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Lets workers go first where there is no core to spare: reading 100,000 keys takes 80 ms of one, and a request should not
/// wait for its turn meanwhile. Between two busy threads this one still gets a quarter of the time, so that no revocation waits
/// for a quiet moment. On Linux this is said of one thread (setpriority(2)), elsewhere it would be of all.
fn let_workers_go_first() {
    const NICER_BY: i32 = 5;
    if cfg!(target_os = "linux") {
        // Allowed to everybody; were it not, the thread would go on as it is.
        let _ = rustix::process::nice(NICER_BY);
    }
}

/// Reloads when files change, and keeps house in between.
fn keep_reloading(mut reloader: Reloader, mut files: Watch) {
    let_workers_go_first();
    let (mut swept, mut told) = (Instant::now(), Instant::now());
    let lockouts = Lockouts::new(reloader.events.clone(), reloader.shared.clock.clone());
    let mut lockouts = lockouts.with_metrics(reloader.shared.metrics.clone());
    // What changed between the first reading and the first watch has sent no event.
    let (mut wake, mut asked) = (files.settle(), false);
    loop {
        let stops = matches!(wake, Wake::Stop);
        match wake {
            Wake::Reload { unfinished, rung } => {
                asked |= rung;
                if asked {
                    service::reloading();
                }
                reloader.reload(asked, unfinished);
                if asked {
                    service::ready(&serving(reloader.builder.generation()));
                }
                if files.follow(reloader.sources.files(), &reloader.sources.keys_path()) {
                    // Nor has what changed in a file before it was watched.
                    (wake, asked) = (files.settle(), false);
                    continue;
                }
            }
            Wake::Idle => give_back(),
            Wake::Stop => {}
        }
        reloader.compromise_exposed();
        lockouts.tell(reloader.shared.snapshot.load().wide.lockout.as_ref());
        if stops {
            return;
        }
        if swept.elapsed() >= SWEEP_EVERY {
            swept = Instant::now();
            reloader.builder.sweep();
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            match reloader.shared.slots.take_refused() {
                0 => {}
                refused => tracing::warn!(event = "connections_refused", count = refused as u64),
            }
        }
        (wake, asked) = (files.wait(), true);
    }
}

/// mimalloc gives the system what was free for a second, but looks for it only while it frees a page of its own, which in a
/// quiet process is never. A piece so large that nothing else fits its page is such an occasion, and costs two calls. This
/// thread takes it for all of them: what many connections or a reload have left, better it goes through than a worker.
fn give_back() {
    const ALONE_IN_ITS_PAGE: usize = 1 << 20;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(ALONE_IN_ITS_PAGE)));
}
