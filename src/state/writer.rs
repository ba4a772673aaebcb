//! The thread that keeps the state.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::aside::{open, replace};
use super::count::{Counted, hour_of};
use super::outlet::{Message, Outlet};
use super::pending::{Pending, ROWS_MAX};
use super::store::{Store, StoreError, Units};
use crate::vocab::clock::Clock;

/// Between two commits. With the 100 ms of a worker, what is lost by a kill is half a second old.
const COMMIT_EVERY: Duration = Duration::from_millis(400);
/// Between two tries of a file that cannot be written.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How often a failure is told of that goes on.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// A log that takes nothing for so long holds up the counts no more.
const LOG_MAX: Duration = Duration::from_secs(10);
/// The same while the process ends.
const LAST_LOG_MAX: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last commit.
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// Between two looks at the end of the thread.
const PAUSE: Duration = Duration::from_millis(1);

/// Returns when every line that was handed over so far is written, or when the question whether to go on waiting is
/// answered with no.
pub type AwaitLog = Box<dyn FnMut(&dyn Fn() -> bool) + Send>;

/// Keeps the thread alive; dropping it commits what is left and ends it.
pub struct State {
    outlet: Outlet,
    thread: Option<JoinHandle<()>>,
}

impl State {
    /// Opens the file at `path`, tells `each` what every key was charged, and starts the thread. Without a file there is a
    /// thread as well: it tries again.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn start(path: &Path, clock: Clock, await_log: AwaitLog, each: impl FnMut(&str, Units)) -> io::Result<Self> {
        let (outlet, inbox) = Outlet::new();
        let opened = open(path, clock.now().wall_us, each);
        let mut keeper = Keeper {
            path: path.to_owned(),
            clock,
            inbox,
            outlet: outlet.clone(),
            await_log,
            store: None,
            pending: Pending::new(ROWS_MAX),
            failing: None,
            told: None,
            lost: 0,
            expired: None,
        };
        match opened {
            Ok(store) => keeper.store = Some(store),
            Err(error) => keeper.failed(&error),
        }
        let thread = std::thread::Builder::new().name("state".into()).spawn(move || keeper.run())?;
        Ok(Self { outlet, thread: Some(thread) })
    }

    /// For one more worker.
    pub fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }
}

impl Drop for State {
    /// Commits what is left, for at most [`CLOSE_MAX`].
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_MAX;
        self.outlet.hurry();
        while self.outlet.send(Message::Stop).is_some() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        if thread.is_finished() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

struct Keeper {
    path: PathBuf,
    clock: Clock,
    inbox: Receiver<Message>,
    outlet: Outlet,
    await_log: AwaitLog,
    store: Option<Store>,
    pending: Pending,
    failing: Option<Failing>,
    /// When a failure was told of.
    told: Option<Instant>,
    /// How many requests were told of that will never be counted.
    lost: u64,
    /// The last hour in which everything too old was forgotten.
    expired: Option<u32>,
}

/// The file cannot be had, or not be written.
struct Failing {
    tried: Instant,
    is_told: bool,
}

impl Keeper {
    fn run(mut self) {
        let mut due = Instant::now() + COMMIT_EVERY;
        loop {
            match self.inbox.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Message::Counts(counts)) => self.merge(&counts),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return self.end(),
            }
            if Instant::now() >= due {
                if self.is_time_to_try() {
                    self.commit();
                }
                due = Instant::now() + COMMIT_EVERY;
            }
        }
    }

    /// Everything that will come has come.
    fn end(mut self) {
        self.commit();
        match self.pending.requests() + self.outlet.lost() - self.lost {
            0 => {}
            requests => tracing::error!(event = "state_counts_lost", requests),
        }
    }

    fn is_time_to_try(&self) -> bool {
        self.failing.as_ref().is_none_or(|failing| failing.tried.elapsed() >= RETRY_EVERY)
    }

    fn merge(&mut self, counts: &[Counted]) {
        for Counted { key, hour, delta } in counts {
            if let Err(lost) = self.pending.add(key.id(), *hour, delta) {
                self.outlet.lose(lost);
            }
        }
    }

    fn commit(&mut self) {
        // What comes in the meantime waits for the next time: its lines may not be written.
        if self.pending.rows() > 0 {
            let (began, outlet) = (Instant::now(), &self.outlet);
            (self.await_log)(&|| began.elapsed() < if outlet.is_ending() { LAST_LOG_MAX } else { LOG_MAX });
        }
        match self.write() {
            Ok(()) => self.succeeded(),
            Err(error) => self.failed(&error),
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let now_us = self.clock.now().wall_us;
        if self.store.as_ref().is_some_and(|store| !store.is_in_place()) {
            let path = self.path.display().to_string();
            tracing::error!(event = "state_taken_away", path = path.as_str());
            self.store = None;
        }
        let done = self.bring_up_to_date(now_us);
        if done.is_err() {
            // Whatever it is, the next time it is looked at anew.
            self.store = None;
        }
        let Err(StoreError::Unusable(why)) = done else { return done };
        replace(&self.path, now_us, &why)?;
        self.bring_up_to_date(now_us)
    }

    fn bring_up_to_date(&mut self, now_us: i64) -> Result<(), StoreError> {
        let store = match &mut self.store {
            Some(store) => store,
            None => self.store.insert(open(&self.path, now_us, |_, _| {})?),
        };
        if self.pending.rows() > 0 {
            store.write(&self.pending)?;
            self.outlet.note_write();
            self.pending.clear();
        }
        let hour = hour_of(now_us);
        if self.expired != Some(hour) && !store.expire(now_us)? {
            self.expired = Some(hour);
        }
        Ok(())
    }

    fn succeeded(&mut self) {
        self.outlet.note_outcome(false);
        if self.failing.take().is_some_and(|failing| failing.is_told) {
            let path = self.path.display().to_string();
            tracing::warn!(event = "state_available", path = path.as_str());
        }
        let lost = self.outlet.lost();
        if lost > self.lost {
            tracing::error!(event = "state_counts_lost", requests = lost - self.lost);
            self.lost = lost;
        }
    }

    /// The first failure is told of at once. What comes and goes, as room on a full disk may, is told of no more often.
    fn failed(&mut self, error: &StoreError) {
        self.outlet.note_outcome(true);
        let now = Instant::now();
        let is_news = self.told.is_none_or(|told| now.duration_since(told) >= REPORT_EVERY);
        let was_told = self.failing.as_ref().is_some_and(|failing| failing.is_told);
        self.failing = Some(Failing { tried: now, is_told: was_told || is_news });
        if is_news {
            self.told = Some(now);
            let path = self.path.display().to_string();
            let waiting = self.pending.requests();
            tracing::error!(event = "state_unavailable", path = path.as_str(), error = %error, waiting);
        }
    }
}
