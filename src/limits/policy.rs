//! One policy: its arithmetic, and governor's GCRA over cells that we can also read and give back to.

use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::report::{Counts, Label, Reading};
use crate::vocab::units::Rate;

/// A policy, shared by every bucket that has it: one limiter, however many keys.
#[derive(Debug)]
pub struct Policy {
    /// What it is called in headers and lines.
    pub label: Arc<Label>,
    interval: u64,
    depth: u64,
    limiter: RateLimiter<Cell, Cells, Ticks, NoOpMiddleware<Tick>>,
}

/// A refill longer than this (about 146 years) cannot be told from never, and keeps the arithmetic inside 64 bits.
const FULL_REFILL_MAX: u64 = u64::MAX / 4;

/// Proof that units were taken from a cell; [`Policy::give_back`] undoes it.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    arrival: u64,
    cost: NonZeroU32,
}

impl Policy {
    /// The arithmetic of `rate`. The refill interval is rounded up: never one request more than was written.
    pub fn new(rate: &Rate) -> Self {
        let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        let interval = window.div_ceil(u64::from(rate.units.get())).clamp(1, FULL_REFILL_MAX);
        let depth = u64::from(rate.burst.get()).min(FULL_REFILL_MAX / interval).max(1);
        let burst = u32::try_from(depth).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let quota = Quota::with_period(Duration::from_nanos(interval))
            .unwrap_or_else(|| Quota::per_second(burst))
            .allow_burst(burst);
        Self {
            label: Arc::new(Label {
                text: Arc::clone(&rate.text),
                units: rate.units.get().into(),
                window_s: Some(rate.window.as_secs().max(1)),
                counts: Counts::Requests,
            }),
            interval,
            depth,
            limiter: RateLimiter::new(quota, Cells, Ticks),
        }
    }

    /// As written.
    pub fn text(&self) -> &Arc<str> {
        &self.label.text
    }

    /// Units that it holds when it is full.
    pub const fn depth(&self) -> u64 {
        self.depth
    }

    /// How full a cell is at `now`, nanoseconds of the process's clock, for a request that takes `cost` units; takes nothing.
    pub(super) fn read(&self, cell: &Cell, cost: NonZeroU32, now: u64) -> Reading {
        let owed = cell.arrival().saturating_sub(now);
        let free = (self.depth * self.interval).saturating_sub(owed);
        let remaining = free / self.interval;
        let cost = u64::from(cost.get());
        // More than it ever holds: it does not help to wait longer than until it is full.
        let wait = owed.saturating_sub(self.depth.saturating_sub(cost) * self.interval);
        Reading { label: Arc::clone(&self.label), remaining, enough: remaining >= cost, wait, refill: owed }
    }

    /// Takes `cost` units at `now`, if there are as many.
    pub(super) fn take(&self, cell: &Cell, cost: NonZeroU32, now: u64) -> Option<Taken> {
        NOW.set(now);
        // The outer error: more than it ever holds.
        self.limiter.check_key_n(cell, cost).ok()?.ok()?;
        Some(Taken { arrival: cell.arrival(), cost })
    }

    /// Gives back the units that were just taken for a request that a wider limit then refused. If the cell was set anew since
    /// (it had run empty of debts), it is no whole number of units later than what was taken, and nothing is given back:
    /// rather one too few than one too many.
    pub(super) fn give_back(&self, cell: &Cell, taken: Taken) {
        let _ = cell.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
            let later = current.checked_sub(taken.arrival)?;
            let given = self.interval.saturating_mul(taken.cost.get().into());
            later.is_multiple_of(self.interval).then(|| current.saturating_sub(given))
        });
    }
}

/// GCRA's theoretical arrival time, in nanoseconds of the process's clock; 0 = never used. It lies in the owner's own entry.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    pub(super) fn arrival(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    #[cfg(test)]
    pub(super) const fn at(arrival: u64) -> Self {
        Self(AtomicU64::new(arrival))
    }
}

/// governor's keyed limiter looks keys up in a store. Here the key is the state, and the store has nothing to do: the
/// bounds of a key are met and never used.
#[derive(Debug)]
struct Cells;

impl StateStore for Cells {
    type Key = Cell;

    /// A compare-and-swap loop: `decide` runs again whenever another thread was first.
    fn measure_and_replace<T, F, E>(&self, cell: &Cell, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut current = cell.arrival();
        loop {
            let (value, next) = decide((current != 0).then(|| Nanos::new(current)))?;
            match cell.0.compare_exchange_weak(current, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(value),
                Err(seen) => current = seen,
            }
        }
    }
}

impl Clone for Cell {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.arrival()))
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Cell {}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self, state);
    }
}

thread_local! {
    /// The moment that the thread's limiters are asked about.
    static NOW: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// The time as governor wants it: a clock that it reads. Here time is a parameter, and the clock tells it. governor
/// measures from the moment a limiter was made; here all limiters measure from the process's clock's own origin, so that
/// a cell can be read without asking its limiter.
#[derive(Clone, Debug)]
struct Ticks;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Tick(u64);

impl GovernorClock for Ticks {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(NOW.get())
    }
}

impl Reference for Tick {
    fn duration_since(&self, _start: Self) -> Nanos {
        Nanos::new(self.0)
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.saturating_sub(duration.as_u64()))
    }
}

impl std::ops::Add<Nanos> for Tick {
    type Output = Self;

    fn add(self, later: Nanos) -> Self {
        Self(self.0.saturating_add(later.as_u64()))
    }
}
