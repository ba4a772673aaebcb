//! A worker: one thread, one runtime, its own sockets, pools, timers and log buffer. What workers share is a snapshot to
//! read, atomics in the limits, and the log's writer.

use std::cell::Cell;
use std::error::Error;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use super::accept::{Entry, accept};
use super::beats::Beats;
use super::buffers::Buffers;
use super::listener::{Listener, ListeningSocket};
use super::slots::Slots;
use crate::gate::Tools;
use crate::observe::exposed::Exposed;
use crate::observe::leaks::Leaks;
use crate::observe::log::Log;
use crate::observe::metrics::{Metrics, Refused, Tally};
use crate::observe::sink::Sink;
use crate::observe::usage::Usage;
use crate::record::{Closer, Reader, readers};
use crate::request::{Peer, RequestId};
use crate::snapshot::Snapshot;
use crate::state::Outlet;
use crate::timer::{TICK, Timers};
use crate::upstream::pool::Pools;
use crate::vocab::clock::{Clock, HttpDate};
use crate::webhook;

/// How often connections are told of that had no PROXY header.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What all workers share.
pub struct Shared {
    /// What requests consult.
    pub snapshot: ArcSwap<Snapshot>,
    /// How many connections are open.
    pub slots: Arc<Slots>,
    /// The time.
    pub clock: Clock,
    /// Whether all of them are alive.
    pub beats: Beats,
    /// Good keys that came in the clear.
    pub exposed: Arc<Exposed>,
    /// Where they hand over what they count of keys, if anybody keeps it.
    pub counts: Option<Outlet>,
    /// Where they bring what they count of everything, if anybody asks.
    pub metrics: Option<Arc<Metrics>>,
    /// Tells of keys in responses.
    pub leaks: Arc<Leaks>,
}

impl Shared {
    /// For so many workers, whose counts and whose alerts go there.
    pub fn new(
        snapshot: Snapshot,
        workers: usize,
        clock: Clock,
        (counts, alerts): (Option<Outlet>, webhook::Outlet),
    ) -> Self {
        let (snapshot, beats) = (ArcSwap::from_pointee(snapshot), Beats::new(workers));
        let (exposed, leaks) = (Arc::default(), Arc::new(Leaks::new(alerts)));
        Self { snapshot, slots: Arc::default(), clock, beats, exposed, counts, metrics: None, leaks }
    }

    /// The same with metrics, if there are to be any.
    pub fn with_metrics(self, metrics: Option<Arc<Metrics>>) -> Self {
        Self { metrics, ..self }
    }
}

/// How far the process is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Accepting nothing more, finishing what runs.
    Draining,
    /// The grace is over: tunnels say so and end.
    Ending,
    /// Over, finished or not.
    Stopped,
}

/// A listener as one worker has it.
pub struct Bound {
    /// The worker's own socket.
    pub socket: ListeningSocket,
    /// Its place among those that are bound: the same in every snapshot.
    pub index: usize,
    /// Bound as a listener with TLS: whatever the files say later, it never takes a connection in the clear.
    pub tls: bool,
    /// Others hold the same socket: it goes on without us.
    pub inherited: bool,
}

/// One worker.
pub struct Worker {
    number: usize,
    shared: Arc<Shared>,
    tools: Rc<Tools>,
    log: Rc<Log>,
    counting: Counting,
    draining: Cell<bool>,
    connections: Cell<usize>,
    random: Cell<u128>,
    buffers: Buffers,
    date: Cell<HttpDate>,
    unproxied: Cell<(u64, Option<Instant>)>,
}

/// What it counts beside its lines, of the same records.
struct Counting {
    usage: Option<Rc<Usage>>,
    tally: Option<Rc<Tally>>,
}

impl Counting {
    fn new(shared: &Shared, worker: usize, log: &Rc<Log>) -> Self {
        Self {
            usage: shared.counts.clone().map(|outlet| Rc::new(Usage::new(Rc::clone(log), outlet))),
            tally: shared.metrics.clone().map(|metrics| Rc::new(Tally::new(metrics, worker))),
        }
    }

    /// Whoever reads the worker's records.
    fn reader(&self, log: &Rc<Log>) -> Rc<dyn Reader> {
        let log: Rc<dyn Reader> = Rc::<Log>::clone(log);
        let usage = self.usage.clone().map(|usage| -> Rc<dyn Reader> { usage });
        let tally = self.tally.clone().map(|tally| -> Rc<dyn Reader> { tally });
        readers::all([log].into_iter().chain(usage).chain(tally).collect())
    }
}

impl Worker {
    /// What it lends to every exchange.
    pub const fn tools(&self) -> &Rc<Tools> {
        &self.tools
    }

    /// Its end of the log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What it counts, if anybody asks.
    pub fn tally(&self) -> Option<&Tally> {
        self.counting.tally.as_deref()
    }

    /// What requests consult now. Not to be held across an await.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.shared.snapshot.load()
    }

    /// The places for connections.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.shared.slots
    }

    /// True once no new request should come on a connection.
    pub const fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// A connection was closed at once.
    pub(super) fn refused(&self, why: Refused) {
        if let Some(tally) = self.tally() {
            tally.refused(why);
        }
    }

    /// A TLS handshake has failed.
    pub(super) fn not_shaken(&self, reason: &'static str) {
        if let Some(tally) = self.tally() {
            tally.not_shaken(reason);
        }
    }

    /// A connection without its PROXY header was closed. The first is told of at once, others with their number when
    /// [`TELL_EVERY`] is over: whoever reaches the port can make as many as there is room for.
    pub(super) fn note_unproxied(&self, peer: Peer, reason: &dyn Error) {
        self.refused(Refused::Unproxied);
        let (count, told) = self.unproxied.get();
        if told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            self.unproxied.set((count + 1, told));
            return;
        }
        self.unproxied.set((0, Some(Instant::now())));
        let peer = peer.to_string();
        tracing::warn!(event = "proxy_protocol_refused", peer = peer.as_str(), reason = %reason, count = count + 1);
    }

    /// What it lends to every connection.
    pub(super) const fn buffers(&self) -> &Buffers {
        &self.buffers
    }

    /// The time as `Date` says it (RFC 9110 §5.6.7).
    pub(super) fn date(&self) -> [u8; HttpDate::LEN] {
        self.date.get().text
    }

    /// Unique among all workers and restarts for any practical purpose (PCG-like, seeded by the system; no secret).
    pub fn next_request_id(&self) -> RequestId {
        let state = self
            .random
            .get()
            .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
            .wrapping_add(0x5851_f42d_4c95_7f2d_1405_7b7e_f767_814f);
        self.random.set(state);
        let mixed = (state ^ state >> 67).wrapping_mul(0xda94_2042_e4dd_58b5_8b3b_1c7f_2d3a_9c4d);
        RequestId::new(mixed ^ mixed >> 61)
    }
}

/// Runs a worker on this thread until it is stopped, or has drained; says over `serving` when its sockets are served.
///
/// # Errors
/// The runtime cannot be made, or a socket not be registered with it.
pub fn run(
    number: usize,
    shared: Arc<Shared>,
    bound: Vec<Bound>,
    sink: Sink,
    seed: u128,
    mut phase: watch::Receiver<Phase>,
    serving: &Sender<io::Result<()>>,
) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let on_full = shared.snapshot.load().settings.on_full;
    let timers = Rc::new(Timers::default());
    let log = Rc::new(Log::new(sink, on_full).beside(&shared.leaks));
    let counting = Counting::new(&shared, number, &log);
    let closer = Rc::new(Closer { clock: shared.clock.clone(), reader: counting.reader(&log) });
    let pools = Rc::new(Pools::new(Rc::clone(&timers)));
    let tools = Rc::new(Tools { closer, pools, timers, ending: Rc::default(), exposed: Arc::clone(&shared.exposed) });
    let worker = Rc::new(Worker {
        number,
        shared,
        tools,
        log,
        counting,
        draining: Cell::new(false),
        connections: Cell::new(0),
        random: Cell::new(seed | 1),
        buffers: Buffers::default(),
        date: Cell::default(),
        unproxied: Cell::default(),
    });
    let ended = runtime.block_on(async {
        tick(&worker);
        let mut ticking = tokio::task::spawn_local(keep_ticking(Rc::clone(&worker)));
        for listener in bound {
            let Bound { socket, index, tls, inherited } = listener;
            let entry = Entry { listener: Listener::new(socket)?, index, tls, inherited };
            tokio::task::spawn_local(accept(Rc::clone(&worker), entry, phase.clone()));
        }
        let _ = serving.send(Ok(()));
        // An error means that the process's own end is gone: the same as being stopped.
        tokio::select! {
            _ = phase.wait_for(|p| *p >= Phase::Draining) => {}
            // Without ticks no timeout fires and no line is written: better no worker than such a one.
            _ = &mut ticking => return Err(io::Error::other("a worker's timers have failed")),
        }
        worker.draining.set(true);
        worker.tools.timers.wake_all();
        tokio::select! {
            () = end(&worker, phase) => {}
            () = drained(&worker) => {}
        }
        worker.shared.beats.end(number);
        Ok(())
    });
    // This drops the tasks and so ends what is left of the connections: their records close and the log is handed over.
    // In the background, because a name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Until the process stops, whatever still runs.
async fn end(worker: &Worker, mut phase: watch::Receiver<Phase>) {
    // An error is the same as being stopped, here as well.
    if phase.wait_for(|p| *p >= Phase::Ending).await.is_ok() {
        worker.tools.ending.set(true);
        worker.tools.timers.wake_all();
    }
    let _ = phase.wait_for(|p| *p >= Phase::Stopped).await;
}

async fn drained(worker: &Worker) {
    while worker.connections.get() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Counts a connection of the worker while it lasts, however it ends.
pub(super) struct OpenConnection(Rc<Worker>);

impl OpenConnection {
    pub(super) fn new(worker: Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(worker)
    }

    pub(super) const fn worker(&self) -> &Rc<Worker> {
        &self.0
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

async fn keep_ticking(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tick(&worker);
    }
}

fn tick(worker: &Worker) {
    let now_ms = worker.shared.clock.mono() / 1_000_000;
    worker.shared.beats.tick(worker.number, now_ms);
    let tools = &worker.tools;
    tools.timers.tick(now_ms);
    tools.pools.sweep();
    worker.log.set_on_full(worker.snapshot().settings.on_full);
    match &worker.counting.usage {
        Some(usage) => usage.flush(),
        None => worker.log.flush(),
    }
    if let Some(tally) = worker.tally() {
        // Every record that is open holds what will close it, and so do the tools.
        tally.fold(Rc::strong_count(&tools.closer) - 1);
    }
    worker.date.set(worker.date.get().at(worker.shared.clock.now().wall_us));
}
