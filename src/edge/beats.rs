//! Whether every worker is alive: its timers tick, or it has ended as it should.

use std::sync::atomic::{AtomicBool, Ordering};

/// One beat per worker.
pub struct Beats(Box<[Beat]>);

#[derive(Default)]
struct Beat {
    ticked: AtomicBool,
    ended: AtomicBool,
}

impl Beats {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Beat::default()).collect())
    }

    /// A worker's timers have ticked.
    pub fn tick(&self, worker: usize) {
        self.0[worker].ticked.store(true, Ordering::Relaxed);
    }

    /// A worker has drained.
    pub fn end(&self, worker: usize) {
        self.0[worker].ended.store(true, Ordering::Relaxed);
    }

    /// Whether every worker that has not drained has ticked since this was last asked.
    pub fn take(&self) -> bool {
        // Each is asked, also behind one that has not.
        let alive = |beat: &&Beat| beat.ticked.swap(false, Ordering::Relaxed) || beat.ended.load(Ordering::Relaxed);
        self.0.iter().filter(alive).count() == self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_that_stands_still_is_enough() {
        let beats = Beats::new(2);
        assert!(!beats.take());
        beats.tick(0);
        assert!(!beats.take());
        beats.tick(1);
        assert!(!beats.take(), "the first has not ticked since");
        beats.tick(0);
        beats.tick(1);
        assert!(beats.take() && !beats.take());
        beats.tick(0);
        beats.end(1);
        assert!(beats.take());
    }
}
