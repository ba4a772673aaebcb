//! What is to be told of lock-outs: that they begin, and that they end.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use super::table::Tag;
use crate::limits::address::Client;
use crate::limits::report::Label;

/// Lock-outs that are told of at once, those that last and those that nobody has asked about yet. Further ones are counted.
const TOLD_MAX: usize = 8_192;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A lock-out began, and is to last for so long.
    Begun(Told),
    /// It ended, after so long: told exactly once where its begin was.
    Ended(Told),
    /// So many more began; neither their begin nor their end is told one by one.
    Untold(u64),
}

/// A lock-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who is locked out.
    pub client: Client,
    /// When it began or ended, nanoseconds of the process's clock.
    pub at: u64,
    /// Nanoseconds.
    pub length: u64,
    /// Which one in a row it is: the first, the second, …
    pub times: u32,
    /// `limits.failures_per_ip`
    pub policy: Arc<Label>,
}

/// A lock-out with its end, nanoseconds of the process's clock.
pub(super) struct Lasting {
    pub(super) until: u64,
    pub(super) length: u64,
    pub(super) times: u32,
    pub(super) policy: Arc<Label>,
}

/// What was not told yet.
#[derive(Default)]
pub(super) struct News(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    changes: Vec<Change>,
    /// Lock-outs whose begin is told or waits in `changes`, and whose end does not yet.
    lasting: BTreeMap<(u64, Tag), Lasting>,
    untold: u64,
}

impl News {
    /// Twice: a vector grows by doubling, and a tree's nodes are at least half full.
    pub(super) const BYTES_MAX: usize = 2 * TOLD_MAX * size_of::<Change>();

    pub(super) fn begun(&self, tag: Tag, lasting: Lasting, now: u64) {
        self.with(|inner| {
            inner.end(now, false);
            if inner.changes.len() + inner.lasting.len() >= TOLD_MAX {
                inner.untold = inner.untold.saturating_add(1);
                return;
            }
            inner.changes.push(Change::Begun(lasting.told(tag, now, lasting.length)));
            inner.lasting.insert((lasting.until, tag), lasting);
        });
    }

    /// The lock-out of `tag` that was to last until then ends at `now`.
    pub(super) fn cut_short(&self, tag: Tag, until: u64, now: u64) {
        self.with(|inner| {
            if let Some(lasting) = inner.lasting.remove(&(until, tag)) {
                inner.changes.push(lasting.ended(tag, now));
            }
        });
    }

    /// What there is to tell at `now`; with `all`, whatever still lasts ends.
    pub(super) fn take(&self, now: u64, all: bool) -> Vec<Change> {
        self.with(|inner| {
            inner.end(now, all);
            let mut changes = mem::take(&mut inner.changes);
            match mem::take(&mut inner.untold) {
                0 => {}
                more => changes.push(Change::Untold(more)),
            }
            changes
        })
    }

    fn with<T>(&self, run: impl FnOnce(&mut Inner) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn end(&mut self, now: u64, all: bool) {
        while let Some(first) = self.lasting.first_entry().filter(|first| all || first.key().0 <= now) {
            let ((_, tag), lasting) = first.remove_entry();
            self.changes.push(lasting.ended(tag, now));
        }
    }
}

impl Lasting {
    fn told(&self, tag: Tag, at: u64, length: u64) -> Told {
        Told { client: tag.client(), at, length, times: self.times, policy: Arc::clone(&self.policy) }
    }

    /// Asked at `now`, when it is over, or is to be.
    fn ended(&self, tag: Tag, now: u64) -> Change {
        let at = self.until.min(now);
        Change::Ended(self.told(tag, at, self.length.saturating_sub(self.until - at)))
    }
}
