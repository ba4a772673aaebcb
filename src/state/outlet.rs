//! A worker's way to the thread that keeps the state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use super::count::Counted;

/// Messages waiting for the thread: with two workers, some ten seconds of them.
const MESSAGES_MAX: usize = 256;

/// Where workers hand over what they have counted. Clones lead to the same thread.
#[derive(Clone)]
pub struct Outlet {
    to_thread: SyncSender<Message>,
    common: Arc<Common>,
}

#[derive(Default)]
struct Common {
    lost: AtomicU64,
    writes: AtomicU64,
    failures: AtomicU64,
    is_failing: AtomicBool,
    is_ending: AtomicBool,
}

/// How the file is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Times that counts were written to it.
    pub writes: u64,
    /// Times that it could not be had, or not be written.
    pub failures: u64,
    /// So it was the last time.
    pub is_failing: bool,
    /// Requests that will never be counted.
    pub lost: u64,
}

/// What the thread is told.
pub(super) enum Message {
    /// To be added.
    Counts(Vec<Counted>),
    /// Nothing more will come.
    Stop,
}

impl Outlet {
    /// An outlet and its other end.
    pub(super) fn new() -> (Self, Receiver<Message>) {
        let (to_thread, inbox) = sync_channel(MESSAGES_MAX);
        (Self { to_thread, common: Arc::default() }, inbox)
    }

    /// Hands over, or gives back what the thread has no time for: it can be kept, and more be added to it. Never waits.
    pub fn hand_over(&self, counts: Vec<Counted>) -> Vec<Counted> {
        match self.send(Message::Counts(counts)) {
            Some(Message::Counts(counts)) => counts,
            Some(Message::Stop) | None => Vec::new(),
        }
    }

    /// Gives back what could not be sent yet. Once the thread has ended, nothing comes back.
    pub(super) fn send(&self, message: Message) -> Option<Message> {
        match self.to_thread.try_send(message) {
            Ok(()) => None,
            Err(TrySendError::Full(message)) => Some(message),
            Err(TrySendError::Disconnected(_)) => None,
        }
    }

    /// So many requests will never be counted.
    pub fn lose(&self, requests: u64) {
        self.common.lost.fetch_add(requests, Ordering::Relaxed);
    }

    /// How many there are so far.
    pub fn lost(&self) -> u64 {
        self.common.lost.load(Ordering::Relaxed)
    }

    /// How the file is doing.
    pub fn keeping(&self) -> Keeping {
        let Common { lost, writes, failures, is_failing, .. } = &*self.common;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let is_failing = is_failing.load(Ordering::Relaxed);
        Keeping { writes: read(writes), failures: read(failures), is_failing, lost: read(lost) }
    }

    /// Counts were written.
    pub(super) fn note_write(&self) {
        self.common.writes.fetch_add(1, Ordering::Relaxed);
    }

    /// It failed, or not.
    pub(super) fn note_outcome(&self, failed: bool) {
        self.common.is_failing.store(failed, Ordering::Relaxed);
        self.common.failures.fetch_add(u64::from(failed), Ordering::Relaxed);
    }

    /// The process ends: from now on nobody waits for long.
    pub(super) fn hurry(&self) {
        self.common.is_ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.common.is_ending.load(Ordering::Relaxed)
    }
}
