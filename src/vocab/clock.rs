//! Time as a parameter: one clock for the whole process, which tests advance by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Where the time comes from. Cloning is cheap and every clone tells the same time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System { origin: Instant },
    Manual { elapsed: Arc<AtomicU64>, wall_origin: Duration },
}

/// An instant, read once per request and handed to every stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic nanoseconds since just before the clock was made: never 0, which can mean "never".
    pub mono: u64,
    /// Wall-clock microseconds since the Unix epoch.
    pub wall_us: i64,
}

/// A second as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
#[derive(Clone, Copy, Debug)]
pub struct HttpDate {
    second: i64,
    /// The characters.
    pub text: [u8; Self::LEN],
}

impl HttpDate {
    /// How many characters it has.
    pub const LEN: usize = 29;

    /// The second of this wall time; nothing is written anew within one.
    pub fn at(self, wall_us: i64) -> Self {
        let second = wall_us.div_euclid(1_000_000);
        if second == self.second {
            return self;
        }
        let time = Timestamp::from_second(second).unwrap_or_default().to_zoned(TimeZone::UTC);
        let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        text.as_bytes().try_into().map_or(self, |text| Self { second, text })
    }
}

impl Default for HttpDate {
    fn default() -> Self {
        Self { second: 0, text: *b"Thu, 01 Jan 1970 00:00:00 GMT" }
    }
}

impl Clock {
    /// The operating system's clocks.
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now() })
    }

    /// A clock that stands still until [`Clock::advance`] moves it; `wall_origin` is its first wall time since the epoch.
    pub fn manual(wall_origin: Duration) -> Self {
        Self(Source::Manual { elapsed: Arc::new(AtomicU64::new(0)), wall_origin })
    }

    /// Moves a manual clock forward. A system clock moves by itself and ignores this.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed, .. } = &self.0 {
            elapsed.fetch_add(nanos(by), Ordering::Relaxed);
        }
    }

    /// Monotonic nanoseconds since just before the clock was made.
    pub fn mono(&self) -> u64 {
        match &self.0 {
            Source::System { origin } => nanos(origin.elapsed()).saturating_add(1),
            Source::Manual { elapsed, .. } => elapsed.load(Ordering::Relaxed).saturating_add(1),
        }
    }

    /// Both readings at once.
    pub fn now(&self) -> Now {
        let wall = match &self.0 {
            // A machine whose clock stands before 1970 is shown 1970: no request fails for it.
            Source::System { .. } => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Source::Manual { elapsed, wall_origin } => {
                *wall_origin + Duration::from_nanos(elapsed.load(Ordering::Relaxed))
            }
        };
        Now { mono: self.mono(), wall_us: i64::try_from(wall.as_micros()).unwrap_or(i64::MAX) }
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand_and_all_clones_with_it() {
        let clock = Clock::manual(Duration::from_secs(1_000));
        let twin = clock.clone();
        assert_eq!(clock.now(), Now { mono: 1, wall_us: 1_000_000_000 });
        twin.advance(Duration::from_millis(5));
        assert_eq!(clock.now(), Now { mono: 5_000_001, wall_us: 1_000_005_000 });
    }
}
