//! The ledger: which buckets exist. It outlives every configuration, so that a reload refills nothing.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;

use super::address::AddressLimiter;
use super::bucket::Bucket;
use super::policy::Policy;
use super::report::policy_header;
use crate::vocab::clock::Clock;
use crate::vocab::units::Rate;

/// Every bucket by owner and policy. Touched when a configuration is built, never by a request.
pub struct Ledger {
    clock: Clock,
    buckets: HashMap<(Owner, Arc<str>), Arc<Bucket>>,
    policies: HashMap<Arc<str>, Arc<Policy>>,
    headers: HashMap<Vec<Arc<str>>, Option<HeaderValue>>,
    per_ip: Option<Arc<AddressLimiter>>,
}

/// Whose bucket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A key, by its id.
    Key(Arc<str>),
    /// `limits.total`
    Gateway,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(clock: Clock) -> Self {
        Self { clock, buckets: HashMap::new(), policies: HashMap::new(), headers: HashMap::new(), per_ip: None }
    }

    /// The owner's bucket for this policy: as spent as it was, or full if it is new.
    pub fn bucket(&mut self, owner: &Owner, rate: &Rate) -> Arc<Bucket> {
        let policy = self.policy(rate);
        let entry = self.buckets.entry((owner.clone(), Arc::clone(&policy.text)));
        Arc::clone(entry.or_insert_with(|| Arc::new(Bucket::new(policy))))
    }

    /// `RateLimit-Policy` of these buckets; a million keys on one plan share one.
    pub fn policy_header(&mut self, buckets: &[Arc<Bucket>]) -> Option<HeaderValue> {
        let texts: Vec<Arc<str>> = buckets.iter().map(|bucket| Arc::clone(&bucket.policy().text)).collect();
        let entry = self.headers.entry(texts);
        entry.or_insert_with(|| policy_header(buckets.iter().map(|b| &**b.policy()))).clone()
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

    /// Forgets buckets that no configuration holds and that are full again: removing a key and putting it back spends
    /// nothing and refills nothing.
    pub fn sweep(&mut self) {
        let now = self.clock.mono();
        self.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || bucket.read(now).refill > 0);
        // Made anew when a key wants them.
        self.headers.clear();
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
        let owner = Owner::Key("a".into());
        assert!(ledger.bucket(&owner, &rate("1/m")).take(clock.mono()).is_some());
        ledger.sweep();
        assert!(ledger.bucket(&owner, &rate("1/m")).take(clock.mono()).is_none(), "it was refilled");
        assert!(ledger.bucket(&owner, &rate("2/m")).take(clock.mono()).is_some(), "another policy is another bucket");
        clock.advance(Duration::from_secs(61));
        ledger.sweep();
        assert!(ledger.buckets.is_empty(), "full buckets that nobody holds are forgotten");
    }
}
