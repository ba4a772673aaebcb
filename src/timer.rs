//! Coarse timers: one per worker, ticking every [`TICK`]. A request arms them by writing a number; nothing is inserted
//! into a wheel and nothing is cancelled. Slow clients, silent upstreams and idle connections are all found here.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

/// How often deadlines are looked at: no timeout fires early, or later than this after its time.
pub const TICK: Duration = Duration::from_millis(100);

/// The timers of one worker.
#[derive(Default)]
pub struct Timers {
    now_ms: Cell<u64>,
    entries: RefCell<Slab<Entry>>,
}

struct Entry {
    deadline_ms: u64,
    waker: Option<Waker>,
}

const NEVER: u64 = u64::MAX;

impl Timers {
    /// Milliseconds of the last tick.
    pub fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Moves the time to `now_ms` and wakes whoever's deadline has passed.
    pub fn tick(&self, now_ms: u64) {
        self.now_ms.set(now_ms);
        self.wake(|entry| entry.deadline_ms <= now_ms);
    }

    /// Wakes every watcher, whatever its deadline: something changed that all should look at.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, due: impl Fn(&Entry) -> bool) {
        // Collected first: a waker may run code that comes back here.
        let wakers: Vec<Waker> = self
            .entries
            .borrow_mut()
            .iter_mut()
            .filter(|(_, entry)| due(entry))
            .filter_map(|(_, entry)| entry.waker.take())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// One deadline. Costs nothing until it is first armed.
pub struct Watch {
    timers: Rc<Timers>,
    slot: Option<usize>,
}

impl Watch {
    /// A watch that is not armed.
    pub const fn new(timers: Rc<Timers>) -> Self {
        Self { timers, slot: None }
    }

    /// Milliseconds of the worker's last tick.
    pub fn now_ms(&self) -> u64 {
        self.timers.now_ms()
    }

    /// Sets the deadline to `after` from now.
    pub fn arm(&mut self, after: Duration) {
        // One tick more: the time of the last tick may lie almost a tick back, and no timeout may fire early.
        let after = u64::try_from((after + TICK).as_millis()).unwrap_or(NEVER);
        self.arm_at(self.timers.now_ms().saturating_add(after));
    }

    /// Sets the deadline to a reading of [`Watch::now_ms`].
    pub fn arm_at(&mut self, deadline_ms: u64) {
        let mut entries = self.timers.entries.borrow_mut();
        match self.slot {
            Some(slot) => entries[slot].deadline_ms = deadline_ms,
            None => self.slot = Some(entries.insert(Entry { deadline_ms, waker: None })),
        }
    }

    /// Takes the deadline away.
    pub fn disarm(&mut self) {
        if self.slot.is_some() {
            self.arm_at(NEVER);
        }
    }

    /// Arms unless it is armed already, then polls: for a wait that is polled many times and must end `after` its first.
    pub fn poll_within(&mut self, after: Duration, context: &Context<'_>) -> Poll<()> {
        let armed = self.slot.is_some_and(|slot| self.timers.entries.borrow()[slot].deadline_ms != NEVER);
        if !armed {
            self.arm(after);
        }
        self.poll_expired(context)
    }

    /// Ready when the deadline has passed; otherwise the task is woken when it has. Never ready while not armed.
    pub fn poll_expired(&self, context: &Context<'_>) -> Poll<()> {
        let Some(slot) = self.slot else {
            return Poll::Pending;
        };
        let mut entries = self.timers.entries.borrow_mut();
        let entry = &mut entries[slot];
        if entry.deadline_ms <= self.timers.now_ms() {
            return Poll::Ready(());
        }
        match &entry.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => entry.waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.timers.entries.borrow_mut().remove(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_deadline_fires_once_and_never_early() {
        let timers = Rc::new(Timers::default());
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        let context = Context::from_waker(&waker);
        let mut watch = Watch::new(Rc::clone(&timers));
        assert!(watch.poll_expired(&context).is_pending(), "not armed");
        watch.arm(Duration::from_millis(250));
        for now in [100, 200, 300, 349] {
            timers.tick(now);
            assert!(watch.poll_expired(&context).is_pending(), "{now}");
        }
        timers.tick(350);
        assert!(watch.poll_expired(&context).is_ready());
        timers.tick(450);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        watch.disarm();
        assert!(watch.poll_expired(&context).is_pending());
        drop(watch);
        assert!(timers.entries.borrow().is_empty());
    }
}
