//! What is counted: sums that can be added in any order.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::keys::Key;
use crate::vocab::denial::Denial;

const HOUR_US: i64 = 3_600 * 1_000_000;
/// Hours of a day.
pub const DAY_HOURS: u32 = 24;

/// The hour of a wall time, counted since the epoch; times before that belong to the first.
pub fn hour_of(wall_us: i64) -> u32 {
    u32::try_from(wall_us.div_euclid(HOUR_US).max(0)).unwrap_or(u32::MAX)
}

/// What a worker has counted of one key in one hour.
pub struct Counted {
    /// The key.
    pub key: Arc<Key>,
    /// In which its requests were admitted; see [`hour_of`].
    pub hour: u32,
    /// What to add.
    pub delta: Delta,
}

/// Every request is one of `allowed`, `refused`, `throttled` and `shadow_denied`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that passed.
    pub allowed: u64,
    /// Requests that were refused, but not by a limit.
    pub refused: u64,
    /// Requests that a limit refused.
    pub throttled: u64,
    /// Requests that passed only because nothing is enforced.
    pub shadow_denied: u64,
    /// Charged against quotas.
    pub units: u64,
    /// Of request bodies, and through tunnels.
    pub bytes_in: u64,
    /// Of response bodies, and through tunnels.
    pub bytes_out: u64,
}

/// What is to be added to a key's counts of one hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// How much.
    pub counts: Counts,
    /// Why requests were refused, by a limit too.
    pub reasons: SmallVec<[(Denial, u64); 2]>,
    /// When and by whom; nothing where only a tunnel has ended.
    pub used: Option<Used>,
}

/// From when until when a key was used, and by whom last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// The first time, microseconds since the epoch.
    pub first_us: i64,
    /// The last time, likewise.
    pub last_us: i64,
    /// Who it was the last time; nobody has an address on a Unix socket.
    pub client: Option<IpAddr>,
}

impl Counts {
    /// How many columns it has in the file.
    pub(super) const COLUMNS: usize = 7;

    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        let (own, more) = (self.columns(), other.columns());
        *self = Self::from_columns(std::array::from_fn(|n| own[n].saturating_add(more[n])));
    }

    /// How many requests it counts.
    pub const fn requests(&self) -> u64 {
        self.allowed.saturating_add(self.refused).saturating_add(self.throttled).saturating_add(self.shadow_denied)
    }

    /// In the order of the file's columns.
    pub(super) const fn columns(&self) -> [u64; Self::COLUMNS] {
        [self.allowed, self.refused, self.throttled, self.shadow_denied, self.units, self.bytes_in, self.bytes_out]
    }

    /// From the same order.
    pub(super) const fn from_columns(columns: [u64; Self::COLUMNS]) -> Self {
        let [allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out] = columns;
        Self { allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out }
    }
}

impl Delta {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        for (reason, count) in &other.reasons {
            self.add_reason(*reason, *count);
        }
        if let Some(used) = other.used {
            self.add_use(used);
        }
    }

    /// So many were refused for this reason.
    pub fn add_reason(&mut self, reason: Denial, count: u64) {
        match self.reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, counted)) => *counted = counted.saturating_add(count),
            None => self.reasons.push((reason, count)),
        }
    }

    /// It was used, then.
    pub fn add_use(&mut self, other: Used) {
        let used = self.used.get_or_insert(other);
        used.first_us = used.first_us.min(other.first_us);
        if other.last_us >= used.last_us {
            (used.last_us, used.client) = (other.last_us, other.client);
        }
    }
}
