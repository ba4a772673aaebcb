//! Points in time as people type them, and as the key file has them.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::vocab::clock::Clock;
use crate::vocab::units::parse_duration;

/// No calendar reaches there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time is too far away")]
pub struct TooFar;

/// `90d`, `2027-01-01`, `2027-01-01T12:00:00Z`, `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Not at all.
    Never,
    /// This long from now.
    In(Duration),
    /// Then.
    At(Timestamp),
}

impl When {
    /// Reads an expiry, which may be `never`.
    pub fn parse_expiry(text: &str) -> Result<Self, &'static str> {
        if text == "never" {
            return Ok(Self::Never);
        }
        Self::parse_instant(text).map_err(|_| "an expiry is as 90d, 2027-01-01, 2027-01-01T12:00:00Z or never")
    }

    /// Reads a point in time. A date is its first instant in UTC.
    pub fn parse_instant(text: &str) -> Result<Self, &'static str> {
        // jiff reads a date out of a longer text too, and would drop its time and zone.
        if text.len() == "2027-01-01".len()
            && let Ok(date) = text.parse::<Date>()
            && let Ok(midnight) = date.to_zoned(TimeZone::UTC)
        {
            return Ok(Self::At(midnight.timestamp()));
        }
        if let Ok(instant) = text.parse() {
            return Ok(Self::At(instant));
        }
        parse_duration(text).map(Self::In).map_err(|_| "a time is as 90d, 2027-01-01 or 2027-01-01T12:00:00Z")
    }

    /// The instant meant; `None` is never.
    pub(crate) fn resolve(self, now: Timestamp) -> Result<Option<Timestamp>, TooFar> {
        match self {
            Self::Never => Ok(None),
            Self::At(instant) => Ok(Some(instant)),
            Self::In(after) => later(now, after).map(Some),
        }
    }
}

/// The clock's time in whole seconds, as the key file has it.
pub(crate) fn now(clock: &Clock) -> Timestamp {
    // No clock reaches the year 9999; one that did would make keys of 1970, which are refused.
    Timestamp::from_second(clock.now().wall_us.div_euclid(1_000_000)).unwrap_or_default()
}

/// `from` and `by` later.
pub(crate) fn later(from: Timestamp, by: Duration) -> Result<Timestamp, TooFar> {
    from.checked_add(by).map_err(|_| TooFar)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> When {
        When::At(text.parse().expect("a time"))
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(When::parse_expiry("never"), Ok(When::Never));
        assert_eq!(When::parse_expiry("90d"), Ok(When::In(Duration::from_secs(90 * 86_400))));
        assert_eq!(When::parse_expiry("2027-01-01"), Ok(at("2027-01-01T00:00:00Z")));
        assert_eq!(When::parse_expiry("2027-01-01T12:00:00+02:00"), Ok(at("2027-01-01T10:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in ["", "soon", "2027-13-01", "2027-02-30", "2027-01-01T12:00:00", "90", "-1d", "2027"] {
            assert!(When::parse_expiry(bad).is_err(), "{bad}");
        }
        assert!(When::parse_instant("never").is_err());
    }

    #[test]
    fn the_end_of_time_is_an_error_and_no_panic() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(When::In(Duration::MAX).resolve(now).is_err());
        assert!(matches!(When::Never.resolve(now), Ok(None)));
    }
}
