//! Limits as other products have them: so many requests in so many seconds.

use crate::vocab::units::parse_rate;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// `100/m`; `None` where no limit can say it.
pub(super) fn rate(count: u64, seconds: u64) -> Option<String> {
    let (window, unit) = match seconds {
        _ if seconds.is_multiple_of(DAY) => (seconds / DAY, "d"),
        _ if seconds.is_multiple_of(HOUR) => (seconds / HOUR, "h"),
        _ if seconds.is_multiple_of(MINUTE) => (seconds / MINUTE, "m"),
        _ => (seconds, "s"),
    };
    let text = if window == 1 { format!("{count}/{unit}") } else { format!("{count}/{window}{unit}") };
    parse_rate(&text).is_ok().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_written_in_the_largest_unit() {
        for (count, seconds, text) in [
            (5, 1, "5/s"),
            (100, 60, "100/m"),
            (600, 300, "600/5m"),
            (1000, 3_600, "1000/h"),
            (1, 86_400, "1/d"),
            (10_000, 2_592_000, "10000/30d"),
            (7, 90, "7/90s"),
        ] {
            assert_eq!(rate(count, seconds).as_deref(), Some(text));
        }
        for (count, seconds) in [(0, 1), (1, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert_eq!(rate(count, seconds), None, "{count}/{seconds}");
        }
    }
}
