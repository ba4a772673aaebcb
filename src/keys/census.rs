//! How many keys are in which state.

use super::lifecycle::judge;
use super::ring::Ring;
use crate::config::keyfile::KeyState;
use crate::vocab::denial::Denial;

/// The states, as the log's `key.state` has them; those whose entry cannot be trusted are `quarantined`.
const STATES: [&str; 8] =
    ["active", "disabled", "revoked", "compromised", "honey", "expired", "not_yet_valid", "quarantined"];

/// A count that is good for as long as no key expires, or comes into its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    counts: [usize; STATES.len()],
    /// From, and until when; microseconds since the epoch.
    good: (i64, i64),
}

impl Census {
    /// Counts all keys of the ring, as they are at `now_us` (microseconds since the epoch).
    pub fn of(ring: &Ring, now_us: i64) -> Self {
        let mut census = Self { counts: [0; STATES.len()], good: (now_us, i64::MAX) };
        for key in ring.keys() {
            let state = judge(key, None, now_us).map_or("active", Denial::reason);
            census.add(state, 1);
            if key.state == KeyState::Active {
                let changes = [key.not_before_us, key.expires_us].into_iter().filter(|at| *at > now_us);
                census.good.1 = changes.fold(census.good.1, i64::min);
            }
        }
        census.add("quarantined", ring.quarantined());
        census
    }

    fn add(&mut self, state: &str, more: usize) {
        if let Some(place) = STATES.iter().position(|it| *it == state) {
            self.counts[place] += more;
        }
    }

    /// Whether it is still right.
    pub const fn is_good(&self, now_us: i64) -> bool {
        self.good.0 <= now_us && now_us < self.good.1
    }

    /// Every state, and how many are in it.
    pub fn states(&self) -> impl Iterator<Item = (&'static str, usize)> {
        STATES.into_iter().zip(self.counts)
    }
}
