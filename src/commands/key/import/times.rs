//! Points in time as other products write them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A point in time, and whether its zone was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    /// `false`: UTC was assumed.
    pub(super) zoned: bool,
}

/// ISO 8601: a date, or a date and a time, with a zone or without one.
pub(super) fn moment(text: &str) -> Option<Moment> {
    if let Ok(at) = text.parse() {
        return Some(Moment { at, zoned: true });
    }
    // The name of a zone would be dropped, and with it the zone.
    if text.contains('[') {
        return None;
    }
    let local: DateTime = text.parse().ok()?;
    let at = local.to_zoned(TimeZone::UTC).ok()?.timestamp();
    Some(Moment { at, zoned: false })
}

/// Seconds since the epoch, as databases count them, with or without a fraction; `None` for a time that is still to come.
pub(super) fn epoch(text: &str, now: Timestamp) -> Option<Timestamp> {
    let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
    let at = Timestamp::from_second(whole.parse().ok()?).ok()?;
    (at > Timestamp::UNIX_EPOCH && at <= now).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn moments_with_a_zone_and_without() {
        for (text, time, zoned) in [
            ("2023-12-01", "2023-12-01T00:00:00Z", false),
            ("2023-12-01T10:20:30", "2023-12-01T10:20:30Z", false),
            ("2023-12-01 10:20:30", "2023-12-01T10:20:30Z", false),
            ("2023-12-01T10:20:30.5", "2023-12-01T10:20:30.5Z", false),
            ("2222-01-01T00:00:00+00:00", "2222-01-01T00:00:00Z", true),
            ("2222-01-01T00:00:00+02:00", "2221-12-31T22:00:00Z", true),
            ("2222-01-01T00:00:00Z", "2222-01-01T00:00:00Z", true),
        ] {
            assert_eq!(moment(text), Some(Moment { at: at(time), zoned }), "{text}");
        }
        for text in ["", "soon", "2023-13-01", "2023-12-01T25:00:00", "2023-12-01T10:20[Europe/Berlin]", "17"] {
            assert_eq!(moment(text), None, "{text}");
        }
    }

    #[test]
    fn seconds_since_the_epoch() {
        let now = at("2026-11-21T10:00:00Z");
        assert_eq!(epoch("1734329245", now), Some(at("2024-12-16T06:07:25Z")));
        assert_eq!(epoch("1740658918.076", now), Some(at("2025-02-27T12:21:58Z")));
        for text in ["", "0", "-1", "x", "99999999999", "1e9"] {
            assert_eq!(epoch(text, now), None, "{text}");
        }
    }
}
