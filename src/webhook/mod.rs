//! Alerts are sent to others by a thread of its own: one request per alert and receiver, again and again until it is taken.
//!
//! ```text
//! worker, detectors ─ Notice ─▶ Outlet ─▶ thread ─ Outbox ─▶ a Queue per receiver ─▶ one request at a time
//! ```
//!
//! Nothing waits for a receiver: who raises an alert hands it over without waiting, and a receiver that hangs holds up
//! nobody but itself. With `server.state` what was not taken is there after a restart. It may come twice, then: the
//! receiver knows it by its id.

mod desk;
mod format;
mod queue;
mod send;

pub use desk::{Webhooks, start};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Alerts on their way to the thread.
const UNDERWAY_MAX: usize = 1_024;

/// An alert as it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Names it.
    pub id: String,
    /// When it was raised, microseconds since the epoch.
    pub at_us: i64,
    /// What it is about.
    pub rule: String,
    /// How grave it is.
    pub severity: String,
    /// Whom it is about.
    pub subject: String,
    /// How many there were of what is counted.
    pub count: u64,
    /// In how many seconds; 0 where one is enough.
    pub window_s: u64,
    /// What shows it: names with their values.
    pub evidence: Vec<(String, Vec<String>)>,
}

/// Where alerts are handed over. Clones lead to the same thread.
#[derive(Clone)]
pub struct Outlet {
    to_thread: mpsc::Sender<Arc<Notice>>,
    lost: Arc<AtomicU64>,
}

impl Outlet {
    fn new() -> (Self, mpsc::Receiver<Arc<Notice>>) {
        let (to_thread, inbox) = mpsc::channel(UNDERWAY_MAX);
        (Self { to_thread, lost: Arc::default() }, inbox)
    }

    /// Hands an alert over, or counts it as lost. Never waits.
    pub fn send(&self, notice: Notice) {
        if self.to_thread.try_send(Arc::new(notice)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many were lost since the last time.
    fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}
