//! Calendar periods and the quotas that are counted in them: `3000000/month`. All of it is UTC.

use std::num::NonZeroU64;
use std::sync::Arc;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::units::UnitError;

/// Units a quota may have at the most, so that a count and the number of its period fit into 64 bits.
pub const QUOTA_MAX: u64 = (1 << 44) - 1;

const QUOTA: UnitError = UnitError("a quota is `5000/day`, `20000/week` or `1000000/month`");
const QUOTA_ZERO: UnitError = UnitError("a quota of zero lets nothing through: it is at least 1");
const QUOTA_LARGE: UnitError = UnitError("a quota is at most 17592186044415");

const DAY_US: i64 = 86_400 * 1_000_000;
/// 1970-01-01 was a Thursday, three days into its ISO week.
const DAYS_INTO_FIRST_WEEK: i64 = 3;

/// A calendar period in UTC. Weeks begin on Monday (ISO 8601).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From Monday to Monday.
    Week,
    /// From the first of a month to that of the next.
    Month,
}

/// `N/day`, `N/week`, `N/month`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    /// As written.
    pub text: Arc<str>,
    /// N
    pub units: NonZeroU64,
    /// In which it is counted.
    pub period: Period,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Month];

    /// As written, and as the policy is called in headers and lines.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Seconds, where all periods of the kind have as many.
    pub const fn seconds(self) -> Option<u64> {
        match self {
            Self::Day => Some(86_400),
            Self::Week => Some(7 * 86_400),
            Self::Month => None,
        }
    }

    /// Counts the periods since the epoch: the one of this wall time, microseconds since the epoch. Times before the epoch
    /// belong to the first.
    pub fn number(self, wall_us: i64) -> u32 {
        let days = wall_us.div_euclid(DAY_US);
        let number = match self {
            Self::Day => days,
            Self::Week => (days + DAYS_INTO_FIRST_WEEK).div_euclid(7),
            Self::Month => {
                let date = date(wall_us);
                (i64::from(date.year()) - 1970) * 12 + i64::from(date.month()) - 1
            }
        };
        u32::try_from(number.max(0)).unwrap_or(u32::MAX)
    }

    /// When the period of this wall time begins; both microseconds since the epoch.
    pub fn begin_us(self, wall_us: i64) -> i64 {
        let days = wall_us.div_euclid(DAY_US);
        match self {
            Self::Day => days * DAY_US,
            Self::Week => (days - (days + DAYS_INTO_FIRST_WEEK).rem_euclid(7)) * DAY_US,
            Self::Month => midnight_us(date(wall_us).first_of_month()),
        }
    }

    /// When the period of this wall time is over; both microseconds since the epoch.
    pub fn end_us(self, wall_us: i64) -> i64 {
        match self {
            Self::Day => self.begin_us(wall_us) + DAY_US,
            Self::Week => self.begin_us(wall_us) + 7 * DAY_US,
            Self::Month => {
                let first = date(wall_us).first_of_month();
                midnight_us(first.saturating_add(Span::new().months(1)))
            }
        }
    }
}

fn date(wall_us: i64) -> Date {
    Timestamp::from_microsecond(wall_us).unwrap_or_default().to_zoned(TimeZone::UTC).date()
}

fn midnight_us(date: Date) -> i64 {
    date.to_zoned(TimeZone::UTC).map_or(i64::MAX, |midnight| midnight.timestamp().as_microsecond())
}

/// `5000/day`, `20000/week`, `1000000/month`.
///
/// # Errors
/// What a quota looks like.
pub fn parse_quota(text: &str) -> Result<Quota, UnitError> {
    let (units, period) = text.split_once('/').ok_or(QUOTA)?;
    let period = Period::ALL.into_iter().find(|known| known.as_str() == period).ok_or(QUOTA)?;
    if units.is_empty() || !units.bytes().all(|c| c.is_ascii_digit()) {
        return Err(QUOTA);
    }
    let units = units.parse::<u64>().ok().filter(|units| *units <= QUOTA_MAX).ok_or(QUOTA_LARGE)?;
    let units = NonZeroU64::new(units).ok_or(QUOTA_ZERO)?;
    Ok(Quota { text: text.into(), units, period })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().expect("a time").as_microsecond()
    }

    #[test]
    fn periods_end_where_the_calendar_says() {
        for (period, time, begin, end) in [
            (Period::Day, "2026-11-28T12:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"),
            (Period::Day, "2026-12-31T23:59:59.999999Z", "2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Period::Week, "2026-11-28T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "2026-11-29T23:59:59.999999Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
            (Period::Week, "2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"),
            (Period::Week, "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"),
            (Period::Month, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
            (Period::Month, "2027-02-28T23:59:59Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"),
            (Period::Month, "2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        ] {
            assert_eq!(period.begin_us(at(time)), at(begin), "{period:?} {time}");
            assert_eq!(period.end_us(at(time)), at(end), "{period:?} {time}");
            assert_eq!(period.number(at(time)), period.number(at(begin)), "{period:?} {time}");
            assert_eq!(period.number(at(time)) + 1, period.number(at(end)), "{period:?} {time}");
        }
    }

    #[test]
    fn quotas() {
        let quota = parse_quota("3000000/month").expect("a quota");
        assert_eq!((&*quota.text, quota.units.get(), quota.period), ("3000000/month", 3_000_000, Period::Month));
        for (text, wrong) in [
            ("", QUOTA),
            ("5", QUOTA),
            ("5/h", QUOTA),
            ("/day", QUOTA),
            ("+5/day", QUOTA),
            ("5/days", QUOTA),
            ("0/day", QUOTA_ZERO),
            ("17592186044416/day", QUOTA_LARGE),
            ("99999999999999999999999/week", QUOTA_LARGE),
        ] {
            assert_eq!(parse_quota(text).err(), Some(wrong), "{text}");
        }
        assert!(parse_quota("17592186044415/week").is_ok());
    }

    proptest::proptest! {
        #[test]
        fn a_period_holds_every_moment_from_its_begin_to_its_end(seconds in 0i64..20_000_000_000, micros in 0i64..1_000_000) {
            let now = seconds * 1_000_000 + micros;
            for period in Period::ALL {
                let (begin, end) = (period.begin_us(now), period.end_us(now));
                proptest::prop_assert!(begin <= now && now < end);
                proptest::prop_assert_eq!(period.number(begin), period.number(end - 1));
                proptest::prop_assert_eq!(period.number(end), period.number(now) + 1);
                proptest::prop_assert_eq!(period.begin_us(end), end);
            }
        }
    }
}
