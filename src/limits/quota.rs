//! Quotas: units of a calendar day, week or month, UTC. What was spent is kept by its owner, for all three periods at once,
//! so that another quota finds what was spent under the one before.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::report::{Counts, Label, Reading};
use crate::vocab::clock::Now;
use crate::vocab::period::{Period, Quota};

/// A quota, shared by all keys that have it.
#[derive(Debug)]
pub struct QuotaPolicy {
    /// As written.
    pub text: Arc<str>,
    /// What it is called in headers and lines: its period.
    pub label: Arc<Label>,
    period: Period,
}

/// Units spent in the present day, week and month.
#[derive(Debug, Default)]
pub struct Spent([Count; 3]);

/// The number of a period, and below it what was spent in it.
#[derive(Debug, Default)]
struct Count(AtomicU64);

const UNITS_BITS: u32 = 44;
const UNITS: u64 = (1 << UNITS_BITS) - 1;

/// Proof that units were spent; [`Spent::give_back`] undoes it.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    units: u64,
    wall_us: i64,
}

impl QuotaPolicy {
    /// What the quota says.
    pub fn new(quota: &Quota) -> Self {
        let label = Label {
            text: quota.period.as_str().into(),
            units: quota.units.get(),
            window_s: quota.period.seconds(),
            counts: Counts::Requests,
        };
        Self { text: Arc::clone(&quota.text), label: Arc::new(label), period: quota.period }
    }
}

impl Spent {
    /// Nothing but these units, in the periods of this wall time: in the order of [`Period::ALL`].
    pub fn restored(units: [u64; 3], wall_us: i64) -> Self {
        let count = |(period, units): (Period, u64)| Count(AtomicU64::new(pack(period.number(wall_us), units)));
        let [day, week, month] = Period::ALL;
        let [in_day, in_week, in_month] = units;
        Self([(day, in_day), (week, in_week), (month, in_month)].map(count))
    }

    /// How much of a quota is left at `now`, for a request that costs `cost`; spends nothing.
    pub fn read(&self, quota: &QuotaPolicy, cost: u64, now: Now) -> Reading {
        let spent = self.count(quota.period).units(quota.period.number(now.wall_us));
        let remaining = quota.label.units.saturating_sub(spent);
        let until_end = nanos(quota.period.end_us(now.wall_us) - now.wall_us);
        let enough = remaining >= cost;
        let (wait, refill) = (if enough { 0 } else { until_end }, if spent == 0 { 0 } else { until_end });
        Reading { label: Arc::clone(&quota.label), remaining, enough, wait, refill }
    }

    /// Spends `cost` at `now`, if the quota has as much left.
    pub fn take(&self, quota: &QuotaPolicy, cost: u64, now: Now) -> Option<Receipt> {
        let number = quota.period.number(now.wall_us);
        self.count(quota.period).add(number, cost, quota.label.units)?;
        for period in Period::ALL {
            if period != quota.period {
                // Nothing is refused for these: they are counted for the day on which another quota asks.
                let _ = self.count(period).add(period.number(now.wall_us), cost, UNITS);
            }
        }
        Some(Receipt { units: cost, wall_us: now.wall_us })
    }

    /// Gives back what was just spent for a request that a wider limit then refused.
    pub fn give_back(&self, receipt: Receipt) {
        for period in Period::ALL {
            self.count(period).subtract(period.number(receipt.wall_us), receipt.units);
        }
    }

    /// Whether anything was spent in a period that is not over at this wall time.
    pub fn is_empty(&self, wall_us: i64) -> bool {
        Period::ALL.into_iter().all(|period| self.count(period).units(period.number(wall_us)) == 0)
    }

    const fn count(&self, period: Period) -> &Count {
        &self.0[period as usize]
    }
}

impl Count {
    /// Spent in the period of this number.
    fn units(&self, number: u32) -> u64 {
        let value = self.0.load(Ordering::Acquire);
        if is_present(value, number) { value & UNITS } else { 0 }
    }

    fn add(&self, number: u32, units: u64, most: u64) -> Option<u64> {
        let next = |value: u64| {
            let (number, spent) = match is_present(value, number) {
                true => (number_of(value), value & UNITS),
                false => (number, 0),
            };
            let spent = spent.checked_add(units).filter(|spent| *spent <= most)?;
            Some(pack(number, spent))
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()
    }

    fn subtract(&self, number: u32, units: u64) {
        let next = |value: u64| {
            let given = pack(number_of(value), (value & UNITS).saturating_sub(units));
            (number_of(value) == number).then_some(given)
        };
        // Of a period that is over there is nothing to give back; and rather one too few than one too many.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }
}

/// A count is that of the period asked for; or of the next one: then the wall clock was set back over the end of a
/// period, and what was spent there is not to be spent again.
const fn is_present(value: u64, number: u32) -> bool {
    let counted = number_of(value);
    counted == number || counted == number.saturating_add(1)
}

fn pack(number: u32, units: u64) -> u64 {
    u64::from(number) << UNITS_BITS | units.min(UNITS)
}

/// Days since the epoch fit 20 bits for 2,800 years.
const fn number_of(value: u64) -> u32 {
    (value >> UNITS_BITS) as u32
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::vocab::period::parse_quota;

    fn quota(text: &str) -> QuotaPolicy {
        QuotaPolicy::new(&parse_quota(text).expect("a quota"))
    }

    fn at(text: &str) -> Now {
        Now { mono: 1, wall_us: text.parse::<Timestamp>().expect("a time").as_microsecond() }
    }

    #[test]
    fn a_quota_ends_with_its_period_and_not_a_moment_earlier_or_later() {
        for (text, last, next) in [
            ("3/day", "2026-11-28T23:59:59.999999Z", "2026-11-29T00:00:00Z"),
            ("3/week", "2026-11-29T23:59:59.999999Z", "2026-11-30T00:00:00Z"),
            ("3/month", "2028-02-29T23:59:59.999999Z", "2028-03-01T00:00:00Z"),
            ("3/month", "2027-02-28T23:59:59.999999Z", "2027-03-01T00:00:00Z"),
            ("3/month", "2026-12-31T23:59:59.999999Z", "2027-01-01T00:00:00Z"),
        ] {
            let (spent, quota) = (Spent::default(), quota(text));
            for _ in 0..3 {
                assert!(spent.take(&quota, 1, at(last)).is_some(), "{text} {last}");
            }
            assert!(spent.take(&quota, 1, at(last)).is_none(), "{text} {last}");
            let reading = spent.read(&quota, 1, at(last));
            assert_eq!((reading.remaining, reading.enough, reading.retry_after_s()), (0, false, 1), "{text} {last}");
            assert_eq!(spent.read(&quota, 1, at(next)).remaining, 3, "{text} {next}");
            assert!(spent.take(&quota, 3, at(next)).is_some() && spent.take(&quota, 1, at(next)).is_none());
        }
    }

    #[test]
    fn what_is_given_back_was_not_spent() {
        let (spent, quota, now) = (Spent::default(), quota("10/week"), at("2026-11-28T00:00:00Z"));
        let receipt = spent.take(&quota, 7, now).expect("it is new");
        assert!(spent.take(&quota, 4, now).is_none());
        spent.give_back(receipt);
        assert!(spent.is_empty(now.wall_us));
        assert!(spent.take(&quota, 10, now).is_some());
        // The period of the receipt is over.
        let later = at("2026-12-02T00:00:00Z");
        let old = spent.take(&quota, 1, later).expect("a new week");
        spent.give_back(Receipt { wall_us: now.wall_us, ..old });
        assert_eq!(spent.read(&quota, 1, later).remaining, 9);
    }

    #[test]
    fn another_quota_finds_what_was_spent() {
        let (spent, now) = (Spent::default(), at("2026-11-28T00:00:00Z"));
        assert!(spent.take(&quota("10/day"), 4, now).is_some());
        assert_eq!(spent.read(&quota("100/month"), 1, now).remaining, 96);
        let restored = Spent::restored([1, 20, 300], now.wall_us);
        for (text, remaining) in [("400/day", 399), ("400/week", 380), ("400/month", 100)] {
            assert_eq!(restored.read(&quota(text), 1, now).remaining, remaining, "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_over_the_end_of_a_period_gives_nothing_twice() {
        let (spent, quota) = (Spent::default(), quota("2/day"));
        assert!(spent.take(&quota, 2, at("2026-11-29T00:00:00Z")).is_some());
        assert!(spent.take(&quota, 1, at("2026-11-28T23:59:59Z")).is_none());
        // One that was years ahead is another matter.
        assert!(spent.take(&quota, 1, at("2025-11-28T00:00:00Z")).is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_period_ever_has_more_than_the_quota(
            start in 0i64..4_000_000_000, units in 1u64..40,
            steps in proptest::collection::vec((0i64..400_000, 1u64..6), 1..200),
        ) {
            for period in Period::ALL {
                let quota = quota(&format!("{units}/{}", period.as_str()));
                let (spent, mut now_s) = (Spent::default(), start);
                let mut sums = std::collections::BTreeMap::<u32, u64>::new();
                for (pause, cost) in &steps {
                    now_s += pause;
                    let now = Now { mono: 1, wall_us: now_s * 1_000_000 };
                    let sum = sums.entry(period.number(now.wall_us)).or_default();
                    let reading = spent.read(&quota, *cost, now);
                    proptest::prop_assert_eq!(reading.remaining, units - *sum);
                    let taken = spent.take(&quota, *cost, now).is_some();
                    proptest::prop_assert_eq!(taken, reading.enough);
                    proptest::prop_assert_eq!(taken, *sum + cost <= units);
                    if taken {
                        *sum += cost;
                    } else {
                        // As soon as Retry-After is over, and not before.
                        let after = now_s + i64::try_from(reading.retry_after_s()).expect("it is short");
                        proptest::prop_assert_eq!(period.number((after - 1) * 1_000_000), period.number(now.wall_us));
                        proptest::prop_assert_eq!(period.number(after * 1_000_000), period.number(now.wall_us) + 1);
                    }
                }
            }
        }
    }
}
