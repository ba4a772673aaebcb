//! The ledger: what must outlive a configuration, so that a reload refills nothing.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use smallvec::SmallVec;

use super::address::AddressLimiter;
use super::bucket::Bucket;
use super::policy::Policy;
use super::report::policy_header;
use crate::vocab::clock::Clock;
use crate::vocab::units::Rate;

/// Buckets that no key holds any more, and what many buckets share. A key's own are with the key, and go from one
/// configuration's to the next one's. Touched when a configuration is built, never by a request.
pub struct Ledger {
    clock: Clock,
    /// By the id of the key that had them.
    left: HashMap<Box<str>, Vec<Arc<Bucket>>>,
    /// `limits.total`, by policy.
    total: HashMap<Arc<str>, Arc<Bucket>>,
    policies: HashMap<Arc<str>, Arc<Policy>>,
    headers: HashMap<Vec<Arc<str>>, Option<Arc<HeaderValue>>>,
    /// The last of them that was asked for: mostly it is the next one, too.
    last: Header,
    per_ip: Option<Arc<AddressLimiter>>,
}

/// `RateLimit-Policy` of these policies.
#[derive(Default)]
struct Header {
    policies: Vec<Arc<Policy>>,
    value: Option<Arc<HeaderValue>>,
}

/// Mostly no more than two, and then they need no memory, and no look at it, of their own.
pub type Buckets = SmallVec<[Arc<Bucket>; 2]>;

/// The limits of one key.
#[derive(Default)]
pub struct Holding {
    /// In the order of the key's limits.
    pub buckets: Buckets,
    /// `RateLimit-Policy` of them; a million keys on one plan share one.
    pub policies: Option<Arc<HeaderValue>>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(clock: Clock) -> Self {
        let (left, total, policies, headers, last) = Default::default();
        Self { clock, left, total, policies, headers, last, per_ip: None }
    }

    /// A key's buckets for these rates: as spent as they were, among those `held` before or left behind once, or full
    /// where they are new.
    pub fn holding(&mut self, id: &str, rates: &[Rate], held: &[Arc<Bucket>]) -> Holding {
        let mut buckets = Buckets::with_capacity(rates.len());
        for rate in rates {
            // One policy written twice is one policy: it must not be charged twice.
            if !buckets.iter().any(|bucket| bucket.policy().text == rate.text) {
                let same = held.iter().find(|bucket| bucket.policy().text == rate.text).cloned();
                let bucket = same.or_else(|| self.found_again(id, rate));
                buckets.push(bucket.unwrap_or_else(|| Arc::new(Bucket::new(self.policy(rate)))));
            }
        }
        self.leave(id, held.iter().filter(|old| !buckets.iter().any(|new| Arc::ptr_eq(old, new))));
        Holding { policies: self.policy_header(&buckets), buckets }
    }

    /// Keeps what a key no longer has: removing a limit or a key and putting it back spends nothing and refills nothing.
    pub fn leave<'b>(&mut self, id: &str, buckets: impl IntoIterator<Item = &'b Arc<Bucket>>) {
        for bucket in buckets.into_iter().cloned() {
            match self.left.get_mut(id) {
                Some(left) => left.push(bucket),
                None => {
                    self.left.insert(id.into(), vec![bucket]);
                }
            }
        }
    }

    fn found_again(&mut self, id: &str, rate: &Rate) -> Option<Arc<Bucket>> {
        let left = self.left.get_mut(id)?;
        let place = left.iter().position(|bucket| bucket.policy().text == rate.text)?;
        Some(left.swap_remove(place))
    }

    /// The bucket of `limits.total`, as spent as it was.
    pub fn total(&mut self, rate: &Rate) -> Arc<Bucket> {
        let policy = self.policy(rate);
        let entry = self.total.entry(Arc::clone(&policy.text));
        Arc::clone(entry.or_insert_with(|| Arc::new(Bucket::new(policy))))
    }

    fn policy_header(&mut self, buckets: &[Arc<Bucket>]) -> Option<Arc<HeaderValue>> {
        let last = &self.last.policies;
        let mut pairs = last.iter().zip(buckets);
        if last.len() != buckets.len() || !pairs.all(|(policy, bucket)| Arc::ptr_eq(policy, bucket.policy())) {
            let policies: Vec<_> = buckets.iter().map(|bucket| Arc::clone(bucket.policy())).collect();
            let texts = policies.iter().map(|policy| Arc::clone(&policy.text)).collect();
            let make = || policy_header(policies.iter().map(|policy| &**policy)).map(Arc::new);
            let value = self.headers.entry(texts).or_insert_with(make).clone();
            self.last = Header { policies, value };
        }
        self.last.value.clone()
    }

    fn policy(&mut self, rate: &Rate) -> Arc<Policy> {
        let entry = self.policies.entry(Arc::clone(&rate.text));
        Arc::clone(entry.or_insert_with(|| Arc::new(Policy::new(rate))))
    }

    /// The limiter of `limits.per_ip`, kept while its text stays the same.
    pub fn per_ip(&mut self, rate: Option<&Rate>) -> Option<Arc<AddressLimiter>> {
        let same = |kept: &Arc<AddressLimiter>| rate.is_some_and(|rate| rate.text == kept.policy().text);
        if !self.per_ip.as_ref().is_some_and(same) {
            self.per_ip = rate.map(|rate| Arc::new(AddressLimiter::new(self.policy(rate))));
        }
        self.per_ip.clone()
    }

    /// Forgets buckets that no configuration holds and that are full again.
    pub fn sweep(&mut self) {
        let now = self.clock.mono();
        let is_wanted = |bucket: &Arc<Bucket>| Arc::strong_count(bucket) > 1 || bucket.read(now).refill > 0;
        self.left.retain(|_, left| {
            left.retain(is_wanted);
            !left.is_empty()
        });
        self.total.retain(|_, bucket| is_wanted(bucket));
        // Memory that many needed at once, one day.
        self.left.shrink_to(self.left.len() * 2);
        // Made anew when a key wants them.
        self.headers.clear();
        self.last = Header::default();
        self.policies.retain(|_, policy| Arc::strong_count(policy) > 1);
        if let Some(per_ip) = &self.per_ip {
            per_ip.sweep(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn rate(text: &str) -> Rate {
        Rate { text: text.into(), units: NonZeroU32::MIN, window: Duration::from_secs(60), burst: NonZeroU32::MIN }
    }

    #[test]
    fn a_key_that_is_removed_and_put_back_finds_its_bucket_as_it_left_it() {
        let clock = Clock::manual(Duration::ZERO);
        let mut ledger = Ledger::new(clock.clone());
        let holding = ledger.holding("a", &[rate("1/m")], &[]);
        assert!(holding.buckets[0].take(clock.mono()).is_some());
        ledger.leave("a", &holding.buckets);
        drop(holding);
        ledger.sweep();
        let other = ledger.holding("a", &[rate("2/m")], &[]);
        assert!(other.buckets[0].take(clock.mono()).is_some(), "another policy is another bucket");
        let again = ledger.holding("a", &[rate("1/m"), rate("2/m")], &other.buckets);
        assert!(again.buckets.iter().all(|bucket| bucket.take(clock.mono()).is_none()), "one was refilled");
        ledger.leave("a", &again.buckets);
        drop((again, other));
        clock.advance(Duration::from_secs(61));
        ledger.sweep();
        assert!(ledger.left.is_empty() && ledger.policies.is_empty(), "full buckets that nobody holds are forgotten");
    }

    #[test]
    fn what_a_key_still_has_is_not_left_behind() {
        let clock = Clock::manual(Duration::ZERO);
        let mut ledger = Ledger::new(clock);
        let before = ledger.holding("a", &[rate("1/m"), rate("2/m"), rate("1/m")], &[]);
        assert_eq!(before.buckets.len(), 2, "a policy written twice is one");
        let after = ledger.holding("a", &[rate("2/m")], &before.buckets);
        assert!(Arc::ptr_eq(&after.buckets[0], &before.buckets[1]));
        let left = &ledger.left["a"];
        assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &before.buckets[0]));
    }
}
