//! Lock-out: refused credentials are counted per client address, and whoever has too many is answered nothing else for a
//! while, twice as long every time.
//!
//! Guessing from one address ends here; guessing from many ends in this table, which has room for so many addresses and no
//! more. It never grows ([`Lockout::BYTES_MAX`]), and nobody chooses where in it an address is kept, so that one address is
//! neither locked out for another one nor made to be forgotten by choice.

mod news;
mod table;

#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::news::{Change, Told};
use self::news::{Lasting, News};
use self::table::{Entry, Table, Tag};
use super::address::Client;
use super::policy::Policy;
use super::report::Reading;

/// The longest that doubling leads to.
const LONGEST: Duration = Duration::from_hours(24);
/// A lock-out that begins so soon after the end of the last one is a repeat.
const REPEAT_WITHIN: Duration = Duration::from_hours(24);

/// Counts refused credentials per client address, and locks out whoever has too many.
///
/// A client is an IPv4 address, or the /64 of an IPv6 one; who comes over a Unix socket and is said to be nobody else is
/// never counted. Each has a bucket of `limits.failures_per_ip`. The failure that empties it begins a lock-out, at whose
/// end it is full again.
pub struct Lockout {
    failures: Arc<Policy>,
    /// Nanoseconds.
    first: AtomicU64,
    /// No lock-out ends later. While there is none, which is mostly, a request looks at nothing else.
    horizon: AtomicU64,
    table: Table,
    news: News,
}

impl Lockout {
    /// What all of it takes at most, however many addresses there are: 5 MiB, of which 4 are counts. Those are made as they
    /// are needed, 4 KiB at a time; where nothing has been counted it is 16 KiB.
    pub const BYTES_MAX: usize = Table::BYTES_MAX + News::BYTES_MAX;

    /// `failures`: `limits.failures_per_ip`; `first`: `limits.lockout`.
    pub fn new(failures: Arc<Policy>, first: Duration) -> Self {
        let (first, horizon) = (AtomicU64::new(nanos(first)), AtomicU64::new(0));
        Self { failures, first, horizon, table: Table::new(), news: News::default() }
    }

    /// `limits.failures_per_ip`
    pub const fn failures(&self) -> &Arc<Policy> {
        &self.failures
    }

    /// From now on a first lock-out takes so long; those that last run to the end that they were given.
    pub(super) fn set_first(&self, first: Duration) {
        self.first.store(nanos(first), Ordering::Relaxed);
    }

    /// How long the client is still locked out at `now` (nanoseconds of the process's clock), if it is. Takes no lock.
    pub fn locked(&self, client: Client, now: u64) -> Option<Reading> {
        if now >= self.horizon.load(Ordering::Acquire) {
            return None;
        }
        let left = self.table.until(Tag::of(client)?).saturating_sub(now);
        (left > 0).then(|| self.reading(left))
    }

    /// How many clients are locked out at `now`.
    pub fn active(&self, now: u64) -> usize {
        if now >= self.horizon.load(Ordering::Acquire) { 0 } else { self.table.locked(now) }
    }

    /// A credential of the client was refused at `now`. Gives the reading of a lock-out if the budget was used up before
    /// (the answer is then `locked_out`, whatever is wrong with the credential), otherwise `None`; the failure that uses it
    /// up begins the lock-out.
    pub fn failed(&self, client: Client, now: u64) -> Option<Reading> {
        const ONE: NonZeroU32 = NonZeroU32::MIN;
        let tag = Tag::of(client)?;
        let mut entry = self.table.entry(tag, now, |evicted, until| self.news.cut_short(evicted, until, now));
        let left = entry.until().saturating_sub(now);
        if left > 0 {
            // It was not yet when this request was let in.
            return Some(self.reading(left));
        }
        // There is one: whoever takes the last begins a lock-out.
        let _ = self.failures.take(entry.failures(), ONE, now);
        if self.failures.read(entry.failures(), ONE, now).remaining == 0 {
            self.begin(tag, &mut entry, now);
        }
        None
    }

    /// Lock-outs that began or ended since the last call, in the order in which they did.
    pub fn news(&self, now: u64) -> Vec<Change> {
        self.news.take(now, false)
    }

    /// Likewise, where nobody will ask [`Lockout::locked`] any more: all that still last end at `now`.
    pub fn last_news(&self, now: u64) -> Vec<Change> {
        self.news.take(now, true)
    }

    fn begin(&self, tag: Tag, entry: &mut Entry<'_>, now: u64) {
        let last = entry.until();
        let is_repeat = last != 0 && now.saturating_sub(last) < nanos(REPEAT_WITHIN);
        let times = if is_repeat { entry.times().saturating_add(1) } else { 1 };
        let length = self.length(times);
        let until = now.saturating_add(length);
        // First: whoever finds the lock-out must not have turned away here.
        self.horizon.fetch_max(until, Ordering::AcqRel);
        entry.lock_out(until, times);
        self.news.begun(tag, Lasting { until, length, times, policy: Arc::clone(&self.failures.label) }, now);
    }

    /// Nanoseconds that the so-manieth lock-out in a row takes.
    fn length(&self, times: u32) -> u64 {
        let first = self.first.load(Ordering::Relaxed);
        let doubled = first.saturating_mul(1u64.checked_shl(times - 1).unwrap_or(u64::MAX));
        doubled.min(nanos(LONGEST).max(first))
    }

    fn reading(&self, left: u64) -> Reading {
        Reading { label: Arc::clone(&self.failures.label), remaining: 0, enough: false, wait: left, refill: left }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
