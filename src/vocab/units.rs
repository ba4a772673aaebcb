//! Durations, sizes and rates as people write them: `250ms`, `32KiB`, `600/5m burst 20`.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// `N/T burst B`: a bucket of depth B (default N) refilled at N per T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    /// As written: the policy's name in headers and logs.
    pub text: Arc<str>,
    /// N: `q` in `RateLimit-Policy`.
    pub units: NonZeroU32,
    /// T: `w` in `RateLimit-Policy`, whole seconds, at least one.
    pub window: Duration,
    /// B: the depth of the bucket.
    pub burst: NonZeroU32,
}

/// Why a word is not what it should be: a lower-case fragment that says what would be right. Never contains the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(pub &'static str);

const DURATION: UnitError = UnitError("a duration is `250ms`, `10s`, `5m`, `12h` or `90d`");
const DURATION_LONG: UnitError = UnitError("a duration is at most `36500d`");
const SIZE: UnitError = UnitError("a size is `512B`, `32KiB`, `10MiB` or `1GiB`");
const SIZE_LARGE: UnitError = UnitError("a size is below 16777216 TiB");
const RATE: UnitError = UnitError("a rate is `100/s`, `600/5m` or `5000/h burst 200`");
const RATE_ZERO: UnitError = UnitError("a rate of zero lets nothing through: its numbers are at least 1");
const BURST_ZERO: UnitError = UnitError("a burst below 1 lets nothing through: it is at least 1");
const RATE_LARGE: UnitError = UnitError("a rate's numbers are at most 4294967295");
const RATE_FAST: UnitError = UnitError("a rate is at most 1000000000 a second");
const RATE_SLOW: UnitError = UnitError("a rate fills its bucket within 100 years: a shorter window or a smaller burst");

/// A century of 365-day years: longer waits are typing errors, and sums with the current time must not overflow.
const LONGEST: Duration = Duration::from_secs(36_500 * 86_400);

/// `250ms 10s 5m 12h 90d`; a bare `0` is zero.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (number, unit) = split(text, DURATION, DURATION_LONG)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        unit => Duration::from_secs(seconds(unit).ok_or(DURATION)?.checked_mul(number).ok_or(DURATION_LONG)?),
    };
    if duration > LONGEST {
        return Err(DURATION_LONG);
    }
    Ok(duration)
}

/// `512B 32KiB 10MiB 1GiB`, in bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text, SIZE, SIZE_LARGE)?;
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(SIZE),
    };
    number.checked_mul(factor).ok_or(SIZE_LARGE)
}

/// `100/s`, `600/5m`, `5000/h burst 200`.
pub fn parse_rate(text: &str) -> Result<Rate, UnitError> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(count(burst, BURST_ZERO)?)),
        None => (text, None),
    };
    let (units, window) = rate.split_once('/').ok_or(RATE)?;
    let units = count(units, RATE_ZERO)?;
    let window = window_of(window)?;
    let burst = burst.unwrap_or(units);
    // How a bucket counts: one unit comes back every `interval`, and a whole bucket must be countable.
    let interval = window.as_nanos() / u128::from(units.get());
    if interval == 0 {
        return Err(RATE_FAST);
    }
    if interval * u128::from(burst.get()) > LONGEST.as_nanos() {
        return Err(RATE_SLOW);
    }
    Ok(Rate { text: text.into(), units, window, burst })
}

/// `s`, `5m`: whole seconds, at least one.
fn window_of(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => split(text, RATE, RATE_SLOW)?,
        false => (1, text),
    };
    let unit = seconds(unit).ok_or(RATE)?;
    if number == 0 {
        return Err(RATE_ZERO);
    }
    let window = Duration::from_secs(unit.checked_mul(number).ok_or(RATE_SLOW)?);
    if window > LONGEST {
        return Err(RATE_SLOW);
    }
    Ok(window)
}

/// A whole number of 1 to 2³²-1, digits only; `zero` is what is wrong with none.
fn count(text: &str, zero: UnitError) -> Result<NonZeroU32, UnitError> {
    let (number, rest) = split(text, RATE, RATE_LARGE)?;
    if !rest.is_empty() {
        return Err(RATE);
    }
    let number = u32::try_from(number).map_err(|_| RATE_LARGE)?;
    NonZeroU32::new(number).ok_or(zero)
}

/// Seconds of a unit that rates and durations share.
fn seconds(unit: &str) -> Option<u64> {
    match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    }
}

/// The digits at the start, as a number, and the rest; there must be at least one digit.
fn split(text: &str, none: UnitError, large: UnitError) -> Result<(u64, &str), UnitError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return Err(none);
    }
    Ok((digits.parse().map_err(|_| large)?, rest))
}

/// Appends `value` in decimal.
pub fn push_number(out: &mut Vec<u8>, mut value: u64) {
    if value < 10 {
        out.push(b'0' + value as u8);
        return;
    }
    // Made from the end, in a place of a size that is known: as long as the longest number.
    let mut digits = [0; 20];
    let mut from = digits.len();
    while value >= 100 {
        from -= 2;
        digits[from..from + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value >= 10 {
        from -= 2;
        digits[from..from + 2].copy_from_slice(&PAIRS[value as usize]);
    } else {
        from -= 1;
        digits[from] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[from..]);
}

/// Appends `value` in lower-case hexadecimal.
pub fn push_hexadecimal(out: &mut Vec<u8>, value: u64) {
    let digits = 16 - (value | 1).leading_zeros() / 4;
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[(value >> (digit * 4) & 15) as usize]));
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut at = 0;
    while at < 100 {
        pairs[at] = [b'0' + at as u8 / 10, b'0' + at as u8 % 10];
        at += 1;
    }
    pairs
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest::proptest! {
        #[test]
        fn numbers_are_written_as_everybody_writes_them(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = b"n=".to_vec();
            push_number(&mut out, value);
            out.push(b' ');
            push_hexadecimal(&mut out, value);
            proptest::prop_assert_eq!(out, format!("n={value} {value:x}").into_bytes());
        }
    }

    #[test]
    fn durations() {
        let good = [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("10s", 10_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("90d", 7_776_000_000),
        ];
        for (text, ms) in good {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "1", "s", "-1s", "+1s", "1.5s", "1 s", " 1s", "1s ", "1S", "1w", "1us", "١s"] {
            assert_eq!(parse_duration(bad), Err(DURATION), "{bad}");
        }
        for long in ["36501d", "18446744073709551615d", "99999999999999999999s", "18446744073709551615ms"] {
            assert_eq!(parse_duration(long), Err(DURATION_LONG), "{long}");
        }
    }

    #[test]
    fn sizes() {
        let good = [("0B", 0), ("512B", 512), ("32KiB", 32_768), ("10MiB", 10_485_760), ("1GiB", 1 << 30)];
        for (text, bytes) in good {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "1", "0", "B", "1KB", "1kib", "1 KiB", "1.5MiB", "-1B", "1TiB", "none"] {
            assert_eq!(parse_size(bad), Err(SIZE), "{bad}");
        }
        for large in ["18446744073709551615KiB", "99999999999999999999B"] {
            assert_eq!(parse_size(large), Err(SIZE_LARGE), "{large}");
        }
    }

    #[test]
    fn rates() {
        let good = [
            ("100/s", 100, 1, 100),
            ("600/5m", 600, 300, 600),
            ("5000/h burst 200", 5_000, 3_600, 200),
            ("1/365d", 1, 31_536_000, 1),
            ("1000000000/s", 1_000_000_000, 1, 1_000_000_000),
        ];
        for (text, units, window, burst) in good {
            let rate = parse_rate(text).expect(text);
            assert_eq!(&*rate.text, text);
            assert_eq!((rate.units.get(), rate.window.as_secs(), rate.burst.get()), (units, window, burst), "{text}");
        }
        let bad = [
            ("", RATE),
            ("100", RATE),
            ("100/", RATE),
            ("/s", RATE),
            ("100/ms", RATE),
            ("100/500ms", RATE),
            ("100/fortnight", RATE),
            ("100 / s", RATE),
            ("100/s ", RATE),
            ("100/s burst", RATE),
            ("100/s burst ", RATE),
            ("100/s burst x", RATE),
            ("100/s burst 5 burst 6", RATE),
            ("100/s  burst 5", RATE),
            ("-1/s", RATE),
            ("1.5/s", RATE),
            ("0/s", RATE_ZERO),
            ("1/0s", RATE_ZERO),
            ("1/s burst 0", BURST_ZERO),
            ("4294967296/s", RATE_LARGE),
            ("99999999999999999999/s", RATE_LARGE),
            ("1000000001/s", RATE_FAST),
            ("1/36501d", RATE_SLOW),
            ("1/d burst 4294967295", RATE_SLOW),
            ("1/99999999999999999999d", RATE_SLOW),
        ];
        for (text, why) in bad {
            assert_eq!(parse_rate(text), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
        }

        #[test]
        fn near_misses_do_not_panic(text in "[0-9]{0,22}[/ .a-zA-Z]{0,6}[0-9]{0,22}[a-z ]{0,8}[0-9]{0,22}") {
            let _ = (parse_duration(&text), parse_size(&text), parse_rate(&text));
        }

        #[test]
        fn whole_seconds_round_trip(n in 0u64..=876_000, unit in 0usize..4) {
            let (unit, factor) = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)][unit];
            let seconds = n * factor;
            prop_assume!(seconds <= LONGEST.as_secs());
            prop_assert_eq!(parse_duration(&format!("{n}{unit}")), Ok(Duration::from_secs(seconds)));
        }

        #[test]
        fn rates_round_trip(n in 1u32..=1_000_000_000, t in 1u64..=365, unit in 0usize..4, b in 1u32..=1_000_000) {
            let (unit, factor) = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)][unit];
            let text = format!("{n}/{t}{unit} burst {b}");
            match parse_rate(&text) {
                Ok(rate) => {
                    prop_assert_eq!(rate.units.get(), n);
                    prop_assert_eq!(rate.burst.get(), b);
                    prop_assert_eq!(rate.window, Duration::from_secs(t * factor));
                    prop_assert_eq!(&*rate.text, text.as_str());
                }
                Err(why) => prop_assert_eq!(why, RATE_SLOW),
            }
        }
    }
}
