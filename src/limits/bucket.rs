//! One limit of one owner.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::policy::{Cell, Policy, Taken};
use super::report::Reading;

/// A policy and how much of it its owner has used.
#[derive(Debug)]
pub struct Bucket {
    policy: Arc<Policy>,
    cell: Cell,
}

impl Bucket {
    /// A full bucket.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self { policy, cell: Cell::default() }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How full it is at `now`, for a request that takes `cost` units; takes nothing.
    pub fn read(&self, cost: NonZeroU32, now: u64) -> Reading {
        self.policy.read(&self.cell, cost, now)
    }

    /// It is full at `now`.
    pub fn is_full(&self, now: u64) -> bool {
        self.cell.arrival() <= now
    }

    /// Takes `cost` units at `now`, if there are as many.
    pub fn take(&self, cost: NonZeroU32, now: u64) -> Option<Taken> {
        self.policy.take(&self.cell, cost, now)
    }

    /// Gives back what was just taken for a request that a wider limit then refused.
    pub fn give_back(&self, taken: Taken) {
        self.policy.give_back(&self.cell, taken);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vocab::clock::Clock;
    use crate::vocab::units::Rate;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn bucket(units: u32, window: Duration, burst: u32) -> (Bucket, Clock) {
        let clock = Clock::manual(Duration::from_secs(1));
        let nonzero = |n| NonZeroU32::new(n).expect("not zero");
        let rate = Rate { text: "test".into(), units: nonzero(units), window, burst: nonzero(burst) };
        (Bucket::new(Arc::new(Policy::new(&rate))), clock)
    }

    #[test]
    fn a_full_bucket_admits_its_depth_and_not_one_more() {
        let (bucket, clock) = bucket(10, Duration::from_secs(1), 25);
        for idle in [0, 3600] {
            clock.advance(Duration::from_secs(idle));
            let admitted = (0..100).filter(|_| bucket.take(ONE, clock.mono()).is_some()).count();
            assert_eq!(admitted, 25, "after {idle} s");
        }
    }

    #[test]
    fn it_refuses_until_the_wait_it_names_and_admits_right_then() {
        let (bucket, clock) = bucket(7, Duration::from_secs(60), 3);
        for _ in 0..50 {
            while bucket.take(ONE, clock.mono()).is_some() {}
            let wait = bucket.read(ONE, clock.mono()).wait;
            assert!(wait > 0);
            clock.advance(Duration::from_nanos(wait - 1));
            assert!(bucket.take(ONE, clock.mono()).is_none());
            clock.advance(Duration::from_nanos(1));
            assert!(bucket.take(ONE, clock.mono()).is_some());
        }
    }

    #[test]
    fn giving_back_leaves_it_as_it_was() {
        let (bucket, clock) = bucket(10, Duration::from_secs(1), 5);
        let before = bucket.read(ONE, clock.mono()).remaining;
        let taken = bucket.take(ONE, clock.mono()).expect("it is full");
        assert_eq!(bucket.read(ONE, clock.mono()).remaining, before - 1);
        bucket.give_back(taken);
        assert_eq!(bucket.read(ONE, clock.mono()).remaining, before);
    }

    #[test]
    fn a_cost_is_taken_and_given_back_whole_or_not_at_all() {
        let (bucket, clock) = bucket(10, Duration::from_secs(10), 10);
        let cost = |n| NonZeroU32::new(n).expect("not zero");
        let taken = bucket.take(cost(7), clock.mono()).expect("it is full");
        let reading = bucket.read(cost(5), clock.mono());
        assert_eq!((reading.remaining, reading.enough, reading.wait), (3, false, 2_000_000_000));
        assert!(bucket.take(cost(5), clock.mono()).is_none());
        clock.advance(Duration::from_nanos(reading.wait));
        assert!(bucket.read(cost(5), clock.mono()).enough && bucket.take(cost(5), clock.mono()).is_some());
        assert_eq!(bucket.read(ONE, clock.mono()).remaining, 0);
        bucket.give_back(taken);
        assert_eq!(bucket.read(ONE, clock.mono()).remaining, 7);
        assert!(bucket.take(cost(11), clock.mono()).is_none(), "more than it ever holds");
        clock.advance(Duration::from_secs(100));
        assert!(!bucket.read(cost(11), clock.mono()).enough);
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
                admitted.extend((0..tries).filter_map(|_| bucket.take(ONE, clock.mono()).map(|_| clock.mono())));
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
            for _ in 0..spent { let _ = bucket.take(ONE, clock.mono()); }
            clock.advance(Duration::from_nanos(pause));
            let said = bucket.read(ONE, clock.mono()).remaining;
            let admitted = (0..burst + 1).filter(|_| bucket.take(ONE, clock.mono()).is_some()).count();
            proptest::prop_assert_eq!(said, admitted as u64);
        }
    }
}
