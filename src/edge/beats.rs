//! Whether every worker is alive: its timers tick, or it has ended as it should.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// One beat per worker.
pub struct Beats(Box<[Beat]>);

#[derive(Default)]
struct Beat {
    ticked_ms: AtomicU64,
    ended: AtomicBool,
}

impl Beats {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Beat::default()).collect())
    }

    /// A worker's timers have ticked, at this reading of theirs.
    pub fn tick(&self, worker: usize, now_ms: u64) {
        self.0[worker].ticked_ms.store(now_ms, Ordering::Relaxed);
    }

    /// A worker has drained.
    pub fn end(&self, worker: usize) {
        self.0[worker].ended.store(true, Ordering::Relaxed);
    }

    /// Whether every worker that has not drained has ticked within the last `limit`.
    pub fn are_alive(&self, now_ms: u64, limit: Duration) -> bool {
        self.0.iter().all(|beat| beat.is_alive(now_ms, limit))
    }
}

impl Beat {
    fn is_alive(&self, now_ms: u64, limit: Duration) -> bool {
        let silence = now_ms.saturating_sub(self.ticked_ms.load(Ordering::Relaxed));
        Duration::from_millis(silence) <= limit || self.ended.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_stands_still_is_enough() {
        let beats = Beats::new(2);
        let are_alive = |now_ms| beats.are_alive(now_ms, Duration::from_millis(500));
        beats.tick(0, 1_000);
        assert!(!are_alive(1_000), "the other has never ticked");
        beats.tick(1, 1_400);
        assert!(are_alive(1_500) && are_alive(1_500), "asking changes nothing");
        assert!(!are_alive(1_501), "the first has not ticked since");
        beats.tick(0, 1_500);
        assert!(are_alive(1_900));
        assert!(!are_alive(1_901));
        beats.end(1);
        assert!(are_alive(2_000));
    }
}
