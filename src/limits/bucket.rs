//! One limit of one owner: governor's GCRA over an atomic that we can also read and give back to.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

use super::report::Reading;
use crate::vocab::clock::Clock;
use crate::vocab::units::Rate;

/// A policy and its arithmetic, shared by every bucket that has it.
#[derive(Debug)]
pub struct Policy {
    /// As written: its name.
    pub text: Arc<str>,
    /// `q`
    pub units: u32,
    /// `w`, seconds.
    pub window_s: u64,
    interval: u64,
    depth: u64,
}

/// A refill longer than this (about 146 years) cannot be told from never, and keeps the arithmetic inside 64 bits.
const FULL_REFILL_MAX: u64 = u64::MAX / 4;

impl Policy {
    /// The arithmetic of `rate`. The refill interval is rounded up: never one request more than was written.
    pub fn new(rate: &Rate) -> Self {
        let window = u64::try_from(rate.window.as_nanos()).unwrap_or(u64::MAX);
        let interval = window.div_ceil(u64::from(rate.units.get())).clamp(1, FULL_REFILL_MAX);
        let depth = u64::from(rate.burst.get()).min(FULL_REFILL_MAX / interval).max(1);
        Self {
            text: Arc::clone(&rate.text),
            units: rate.units.get(),
            window_s: rate.window.as_secs().max(1),
            interval,
            depth,
        }
    }

    pub(super) fn limiter<S: StateStore>(&self, state: S, clock: &Clock) -> Limiter<S> {
        let burst = u32::try_from(self.depth).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        let quota = Quota::with_period(Duration::from_nanos(self.interval))
            .unwrap_or_else(|| Quota::per_second(burst))
            .allow_burst(burst);
        RateLimiter::new(quota, state, Ticks(clock.clone()))
    }

    /// What a theoretical arrival time means at `now` (both nanoseconds of the process's clock).
    pub(super) fn reading(self: &Arc<Self>, arrival: u64, now: u64) -> Reading {
        let owed = arrival.saturating_sub(now);
        let free = (self.depth * self.interval).saturating_sub(owed);
        let remaining = free / self.interval;
        let wait = owed.saturating_sub((self.depth - 1) * self.interval);
        Reading { policy: Arc::clone(self), remaining, wait, refill: owed }
    }

    /// What one unit adds to an arrival time.
    pub(super) const fn one(&self) -> u64 {
        self.interval
    }
}

/// One limit of one owner.
#[derive(Debug)]
pub struct Bucket {
    policy: Arc<Policy>,
    arrival: Arrival,
    limiter: Limiter<Arrival>,
}

/// Proof that one unit was taken; [`Bucket::give_back`] undoes it.
#[derive(Clone, Copy, Debug)]
pub struct Taken(pub(super) u64);

impl Bucket {
    /// A full bucket.
    pub fn new(policy: Arc<Policy>, clock: &Clock) -> Self {
        let arrival = Arrival::default();
        let limiter = policy.limiter(arrival.clone(), clock);
        Self { policy, arrival, limiter }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How full it is at `now`; takes nothing.
    pub fn read(&self, now: u64) -> Reading {
        self.policy.reading(self.arrival.0.load(Ordering::Acquire), now)
    }

    /// How full it is after a unit was taken: by the limiter's own clock, because a reading of an earlier moment would
    /// not show the refill since.
    pub fn read_now(&self) -> Reading {
        self.read(self.limiter.clock().0.mono())
    }

    /// Takes one unit if there is one.
    pub fn take(&self) -> Option<Taken> {
        self.limiter.check().ok()?;
        Some(Taken(self.arrival.0.load(Ordering::Acquire)))
    }

    /// Gives back a unit that was just taken for a request that a wider limit then refused. If the bucket ran empty of
    /// debts in between, nothing is given back: rather one too few than one too many.
    pub fn give_back(&self, taken: Taken) {
        undo(&self.arrival.0, taken, self.policy.one());
    }
}

/// governor's limiter over one of our stores.
pub(super) type Limiter<S> = RateLimiter<<S as StateStore>::Key, S, Ticks, NoOpMiddleware<Tick>>;

/// GCRA's theoretical arrival time, in nanoseconds of the process's clock; 0 = never used.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrival(Arc<AtomicU64>);

impl StateStore for Arrival {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        replace(&self.0, decide)
    }
}

/// The compare-and-swap loop of every store: `decide` runs again whenever another thread was first.
pub(super) fn replace<T, E>(cell: &AtomicU64, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
    let mut current = cell.load(Ordering::Acquire);
    loop {
        let (value, next) = decide((current != 0).then(|| Nanos::new(current)))?;
        match cell.compare_exchange_weak(current, next.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(value),
            Err(seen) => current = seen,
        }
    }
}

/// Takes one unit's worth of time off an arrival again. If it was set anew since (the bucket had run empty of debts), it
/// is no whole number of units later than what was taken, and stays.
pub(super) fn undo(cell: &AtomicU64, taken: Taken, one: u64) {
    let _ = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |current| {
        let later = current.checked_sub(taken.0)?;
        later.is_multiple_of(one).then(|| current.saturating_sub(one))
    });
}

/// The process's clock as governor wants it. governor measures from the moment a limiter was made; here all limiters
/// measure from the clock's own origin, so that a bucket can be read without asking its limiter.
#[derive(Clone, Debug)]
pub(super) struct Ticks(Clock);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u64);

impl GovernorClock for Ticks {
    type Instant = Tick;

    fn now(&self) -> Tick {
        Tick(self.0.mono())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(units: u32, window: Duration, burst: u32) -> (Bucket, Clock) {
        let clock = Clock::manual(Duration::from_secs(1));
        let nonzero = |n| NonZeroU32::new(n).expect("not zero");
        let rate = Rate { text: "test".into(), units: nonzero(units), window, burst: nonzero(burst) };
        (Bucket::new(Arc::new(Policy::new(&rate)), &clock), clock)
    }

    #[test]
    fn a_full_bucket_admits_its_depth_and_not_one_more() {
        let (bucket, clock) = bucket(10, Duration::from_secs(1), 25);
        for idle in [0, 3600] {
            clock.advance(Duration::from_secs(idle));
            let admitted = (0..100).filter(|_| bucket.take().is_some()).count();
            assert_eq!(admitted, 25, "after {idle} s");
        }
    }

    #[test]
    fn it_refuses_until_the_wait_it_names_and_admits_right_then() {
        let (bucket, clock) = bucket(7, Duration::from_secs(60), 3);
        for _ in 0..50 {
            while bucket.take().is_some() {}
            let wait = bucket.read(clock.mono()).wait;
            assert!(wait > 0);
            clock.advance(Duration::from_nanos(wait - 1));
            assert!(bucket.take().is_none());
            clock.advance(Duration::from_nanos(1));
            assert!(bucket.take().is_some());
        }
    }

    #[test]
    fn giving_back_leaves_it_as_it_was() {
        let (bucket, clock) = bucket(10, Duration::from_secs(1), 5);
        let before = bucket.read(clock.mono()).remaining;
        let taken = bucket.take().expect("it is full");
        assert_eq!(bucket.read(clock.mono()).remaining, before - 1);
        bucket.give_back(taken);
        assert_eq!(bucket.read(clock.mono()).remaining, before);
    }

    proptest::proptest! {
        #[test]
        fn no_window_ever_holds_more_than_burst_plus_refill(
            units in 1u32..2_000, window_s in 1u64..4_000, burst in 1u32..50,
            steps in proptest::collection::vec((0u64..2_000_000_000, 1usize..20), 1..60),
        ) {
            let (bucket, clock) = bucket(units, Duration::from_secs(window_s), burst);
            let mut admitted = Vec::new();
            for (pause, tries) in steps {
                clock.advance(Duration::from_nanos(pause));
                admitted.extend((0..tries).filter_map(|_| bucket.take().map(|_| clock.mono())));
            }
            let interval = window_s as u128 * 1_000_000_000 / u128::from(units);
            for (at, from) in admitted.iter().enumerate() {
                for (count, to) in admitted[at..].iter().enumerate() {
                    let allowed = u128::from(burst) + u128::from(to - from) / interval.max(1);
                    proptest::prop_assert!((count as u128) < allowed);
                }
            }
        }

        #[test]
        fn what_it_says_remains_is_what_it_admits(units in 1u32..1_000, burst in 1u32..40, spent in 0usize..60, pause in 0u64..10_000_000_000) {
            let (bucket, clock) = bucket(units, Duration::from_secs(1), burst);
            for _ in 0..spent { let _ = bucket.take(); }
            clock.advance(Duration::from_nanos(pause));
            let said = bucket.read(clock.mono()).remaining;
            let admitted = (0..burst + 1).filter(|_| bucket.take().is_some()).count();
            proptest::prop_assert_eq!(said, admitted as u64);
        }
    }
}
