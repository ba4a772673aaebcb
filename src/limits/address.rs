//! `limits.per_ip` and `limits.open`: one bucket per client address, in a table that cannot be grown without end.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;

use super::policy::{Cell, Policy, Taken};
use super::report::Reading;

/// Addresses tracked at once, about 100 bytes each. Beyond it, new addresses share one bucket: an attacker with many
/// addresses throttles newcomers, and cannot buy a fresh bucket by having an old one evicted.
const ADDRESSES_MAX: usize = 200_000;

/// One client: an IPv4 address, or the /64 that an IPv6 subscriber has to itself. Whoever comes over a Unix socket without
/// saying for whom is one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// The whole address.
    V4([u8; 4]),
    /// The first 64 bits.
    V6([u8; 8]),
    /// No address.
    Unix,
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

impl From<Option<IpAddr>> for Client {
    fn from(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Unix, Self::from)
    }
}

/// `192.0.2.1`, `2001:db8:1:2::/64`, `unix:`
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => Ipv4Addr::from(*address).fmt(f),
            Self::V6(network) => {
                let bits = u128::from(u64::from_be_bytes(*network)) << 64;
                write!(f, "{}/64", Ipv6Addr::from(bits))
            }
            Self::Unix => f.write_str("unix:"),
        }
    }
}

/// The limiter of all addresses.
#[derive(Debug)]
pub struct AddressLimiter {
    policy: Arc<Policy>,
    seen: DashMap<Client, Cell>,
    /// Kept beside the table, whose own length takes a lock per shard.
    count: AtomicUsize,
    overflow: Cell,
    capacity: usize,
}

impl AddressLimiter {
    /// No address seen yet.
    pub fn new(policy: Arc<Policy>) -> Self {
        Self::with_capacity(policy, ADDRESSES_MAX)
    }

    fn with_capacity(policy: Arc<Policy>, capacity: usize) -> Self {
        let (seen, count, overflow) = (DashMap::new(), AtomicUsize::new(0), Cell::default());
        Self { policy, seen, count, overflow, capacity }
    }

    /// The policy.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How full the client's bucket is at `now`, for a request that takes `cost` units; takes nothing.
    pub fn read(&self, client: Client, cost: NonZeroU32, now: u64) -> Reading {
        match self.seen.get(&client) {
            Some(cell) => self.policy.read(&cell, cost, now),
            None if self.is_full() => self.policy.read(&self.overflow, cost, now),
            None => self.policy.read(&Cell::default(), cost, now),
        }
    }

    /// Takes `cost` units of the client's bucket at `now`, if there are as many.
    pub fn take(&self, client: Client, cost: NonZeroU32, now: u64) -> Option<Taken> {
        if let Some(cell) = self.seen.get(&client) {
            return self.policy.take(&cell, cost, now);
        }
        if self.is_full() {
            return self.policy.take(&self.overflow, cost, now);
        }
        let cell = self.seen.entry(client).or_insert_with(|| {
            self.count.fetch_add(1, Ordering::AcqRel);
            Cell::default()
        });
        self.policy.take(&cell, cost, now)
    }

    /// Gives back what was just taken for a request that a wider limit then refused. What came out of the bucket that
    /// newcomers share is not given back: rather one too few than one too many.
    pub fn give_back(&self, client: Client, taken: Taken) {
        if let Some(cell) = self.seen.get(&client) {
            self.policy.give_back(&cell, taken);
        }
    }

    /// Forgets addresses whose bucket is full again at `now`.
    pub fn sweep(&self, now: u64) {
        self.seen.retain(|_, cell| cell.arrival() > now);
        self.count.store(self.seen.len(), Ordering::Release);
    }

    fn is_full(&self) -> bool {
        self.count.load(Ordering::Acquire) >= self.capacity
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::vocab::clock::Clock;
    use crate::vocab::units::Rate;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn limiter(capacity: usize) -> (AddressLimiter, Clock) {
        let clock = Clock::manual(Duration::ZERO);
        let two = NonZeroU32::new(2).expect("not zero");
        let rate = Rate { text: "2/m".into(), units: two, window: Duration::from_secs(60), burst: two };
        (AddressLimiter::with_capacity(Arc::new(Policy::new(&rate)), capacity), clock)
    }

    fn client(text: &str) -> Client {
        Client::from(text.parse::<IpAddr>().expect("an address"))
    }

    #[test]
    fn a_client_is_told_of_as_what_it_is() {
        for (address, told) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
            ("::1", "::/64"),
        ] {
            assert_eq!(client(address).to_string(), told);
        }
        assert_eq!(Client::from(None).to_string(), "unix:");
    }

    #[test]
    fn each_address_has_its_own_bucket_and_an_ipv6_subscriber_only_one() {
        let (limiter, clock) = limiter(100);
        for (address, admitted) in [
            ("10.0.0.1", 2),
            ("10.0.0.2", 2),
            ("::ffff:10.0.0.1", 0),
            ("2001:db8::1", 2),
            ("2001:db8::ffff:1", 0),
            ("2001:db8:0:1::1", 2),
        ] {
            let client = client(address);
            assert_eq!(
                (0..5).filter(|_| limiter.take(client, ONE, clock.mono()).is_some()).count(),
                admitted,
                "{address}"
            );
        }
    }

    #[test]
    fn a_full_table_throttles_newcomers_together_and_forgets_nobody() {
        let (limiter, clock) = limiter(10);
        for n in 0..10 {
            assert!(limiter.take(client(&format!("10.0.0.{n}")), ONE, clock.mono()).is_some());
        }
        let newcomers =
            (0..100).filter(|n| limiter.take(client(&format!("10.0.1.{n}")), ONE, clock.mono()).is_some()).count();
        assert_eq!(newcomers, 2);
        assert!(limiter.take(client("10.0.0.3"), ONE, clock.mono()).is_some(), "a known address keeps what it had");
        assert!(limiter.take(client("10.0.0.3"), ONE, clock.mono()).is_none(), "and no more");
        clock.advance(Duration::from_secs(120));
        limiter.sweep(clock.mono());
        assert!(limiter.take(client("10.0.1.1"), ONE, clock.mono()).is_some() && limiter.seen.len() == 1);
    }
}
