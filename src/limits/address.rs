//! `limits.per_ip`: one bucket per client address, in a table that cannot be grown without end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use governor::nanos::Nanos;
use governor::state::StateStore;

use super::bucket::{Limiter, Policy, Taken, replace, undo};
use super::report::Reading;
use crate::vocab::clock::Clock;
use crate::vocab::units::Rate;

/// Addresses tracked at once, about 100 bytes each. Beyond it, new addresses share one bucket: an attacker with many
/// addresses throttles newcomers, and cannot buy a fresh bucket by having an old one evicted.
const ADDRESSES_MAX: usize = 200_000;

/// One client: an IPv4 address, or the /64 that an IPv6 subscriber has to itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// The whole address.
    V4([u8; 4]),
    /// The first 64 bits.
    V6([u8; 8]),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.octets()),
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, h, ..] = v6.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The limiter of all addresses.
#[derive(Debug)]
pub struct AddressLimiter {
    policy: Arc<Policy>,
    limiter: Limiter<Table>,
    table: Table,
}

impl AddressLimiter {
    /// No address seen yet.
    pub fn new(rate: &Rate, clock: &Clock) -> Self {
        Self::with_capacity(rate, clock, ADDRESSES_MAX)
    }

    fn with_capacity(rate: &Rate, clock: &Clock, capacity: usize) -> Self {
        let policy = Policy::new(rate);
        let table = Table(Arc::new(Addresses {
            seen: DashMap::new(),
            count: AtomicUsize::new(0),
            overflow: AtomicU64::new(0),
            capacity,
        }));
        Self { limiter: policy.limiter(table.clone(), clock), table, policy: Arc::new(policy) }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How full the client's bucket is at `now`; takes nothing.
    pub fn read(&self, client: Client, now: u64) -> Reading {
        let table = &self.table.0;
        let arrival = match table.seen.get(&client) {
            Some(cell) => cell.load(Ordering::Acquire),
            None if table.is_full() => table.overflow.load(Ordering::Acquire),
            None => 0,
        };
        self.policy.reading(arrival, now)
    }

    /// Takes one unit of the client's bucket if there is one.
    pub fn take(&self, client: Client) -> Option<Taken> {
        self.limiter.check_key(&client).ok()?;
        Some(Taken(self.table.0.seen.get(&client).map_or(0, |cell| cell.load(Ordering::Acquire))))
    }

    /// Gives back what was just taken for a request that a wider limit then refused.
    pub fn give_back(&self, client: Client, taken: Taken) {
        // What came out of the bucket that newcomers share is not given back: rather one too few than one too many.
        if let Some(cell) = self.table.0.seen.get(&client) {
            undo(&cell, taken, self.policy.one());
        }
    }

    /// Forgets addresses whose bucket is full again at `now`.
    pub fn sweep(&self, now: u64) {
        let table = &self.table.0;
        table.seen.retain(|_, arrival| arrival.load(Ordering::Acquire) > now);
        table.count.store(table.seen.len(), Ordering::Release);
    }
}

#[derive(Clone, Debug)]
struct Table(Arc<Addresses>);

#[derive(Debug)]
struct Addresses {
    seen: DashMap<Client, AtomicU64>,
    count: AtomicUsize,
    overflow: AtomicU64,
    capacity: usize,
}

impl Addresses {
    fn is_full(&self) -> bool {
        self.count.load(Ordering::Acquire) >= self.capacity
    }
}

impl StateStore for Table {
    type Key = Client;

    fn measure_and_replace<T, F, E>(&self, client: &Client, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(cell) = self.0.seen.get(client) {
            return replace(&cell, decide);
        }
        if self.0.is_full() {
            return replace(&self.0.overflow, decide);
        }
        let cell = self.0.seen.entry(*client).or_insert_with(|| {
            self.0.count.fetch_add(1, Ordering::AcqRel);
            AtomicU64::new(0)
        });
        replace(&cell, decide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn limiter(capacity: usize) -> (AddressLimiter, Clock) {
        let clock = Clock::manual(Duration::ZERO);
        let two = NonZeroU32::new(2).expect("not zero");
        let rate = Rate { text: "2/m".into(), units: two, window: Duration::from_secs(60), burst: two };
        (AddressLimiter::with_capacity(&rate, &clock, capacity), clock)
    }

    fn client(text: &str) -> Client {
        Client::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn each_address_has_its_own_bucket_and_an_ipv6_subscriber_only_one() {
        let (limiter, _clock) = limiter(100);
        for (address, admitted) in [
            ("10.0.0.1", 2),
            ("10.0.0.2", 2),
            ("::ffff:10.0.0.1", 0),
            ("2001:db8::1", 2),
            ("2001:db8::ffff:1", 0),
            ("2001:db8:0:1::1", 2),
        ] {
            let client = client(address);
            assert_eq!((0..5).filter(|_| limiter.take(client).is_some()).count(), admitted, "{address}");
        }
    }

    #[test]
    fn a_full_table_throttles_newcomers_together_and_forgets_nobody() {
        let (limiter, clock) = limiter(10);
        for n in 0..10 {
            assert!(limiter.take(client(&format!("10.0.0.{n}"))).is_some());
        }
        let newcomers = (0..100).filter(|n| limiter.take(client(&format!("10.0.1.{n}"))).is_some()).count();
        assert_eq!(newcomers, 2);
        assert!(limiter.take(client("10.0.0.3")).is_some(), "a known address keeps what it had");
        assert!(limiter.take(client("10.0.0.3")).is_none(), "and no more");
        clock.advance(Duration::from_secs(120));
        limiter.sweep(clock.mono());
        assert!(limiter.take(client("10.0.1.1")).is_some() && limiter.table.0.seen.len() == 1);
    }
}
