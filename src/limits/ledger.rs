//! The ledger: what must outlive a configuration, so that a reload refills nothing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use smallvec::SmallVec;

use super::account::{Accounts, RouteLimits};
use super::address::AddressLimiter;
use super::bucket::Bucket;
use super::lockout::Lockout;
use super::policy::Policy;
use super::quota::QuotaPolicy;
use super::report::{Counts, Label, policy_text};
use crate::vocab::clock::Clock;
use crate::vocab::period::Quota;
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
    quotas: HashMap<Arc<str>, Arc<QuotaPolicy>>,
    concurrencies: HashMap<u64, Arc<Label>>,
    route_limits: Vec<Arc<RouteLimits>>,
    headers: HashMap<String, Arc<HeaderValue>>,
    /// The last of them that was asked for: mostly it is the next one, too.
    last: Header,
    per_ip: Option<Arc<AddressLimiter>>,
    open: Option<Arc<AddressLimiter>>,
    lockout: Option<Arc<Lockout>>,
    accounts: Arc<Accounts>,
}

/// `RateLimit-Policy` of these policies.
#[derive(Default)]
struct Header {
    labels: Vec<Arc<Label>>,
    value: Option<Arc<HeaderValue>>,
}

/// What a key is granted, by its own entry or by its plan.
#[derive(Clone, Copy, Default)]
pub struct Grant<'a> {
    /// Rates.
    pub rates: &'a [Rate],
    /// Units of a calendar period.
    pub quota: Option<&'a Quota>,
    /// Requests at the same time.
    pub concurrency: Option<NonZeroU32>,
}

/// Mostly no more than two, and then they need no memory, and no look at it, of their own.
pub type Buckets = SmallVec<[Arc<Bucket>; 2]>;

/// The limits of one key.
#[derive(Default)]
pub struct Holding {
    /// In the order of the key's limits.
    pub buckets: Buckets,
    /// The key's quota.
    pub quota: Option<Arc<QuotaPolicy>>,
    /// How many of its requests may be underway: `units` of it.
    pub concurrency: Option<Arc<Label>>,
    /// `RateLimit-Policy` of them all; a million keys on one plan share one.
    pub policies: Option<Arc<HeaderValue>>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            left: HashMap::default(),
            total: HashMap::default(),
            policies: HashMap::default(),
            quotas: HashMap::default(),
            concurrencies: HashMap::default(),
            route_limits: Vec::new(),
            headers: HashMap::default(),
            last: Header::default(),
            per_ip: None,
            open: None,
            lockout: None,
            accounts: Arc::default(),
        }
    }

    /// A key's buckets for these rates: as spent as they were, among those `held` before or left behind once, or full
    /// where they are new.
    pub fn holding(&mut self, id: &str, grant: Grant<'_>, held: &[Arc<Bucket>]) -> Holding {
        let mut buckets = Buckets::with_capacity(grant.rates.len());
        for rate in grant.rates {
            // One policy written twice is one policy: it must not be charged twice.
            if !buckets.iter().any(|bucket| *bucket.policy().text() == rate.text) {
                let same = held.iter().find(|bucket| *bucket.policy().text() == rate.text).cloned();
                let bucket = same.or_else(|| self.found_again(id, rate));
                buckets.push(bucket.unwrap_or_else(|| Arc::new(Bucket::new(self.policy(rate)))));
            }
        }
        self.leave(id, held.iter().filter(|old| !buckets.iter().any(|new| Arc::ptr_eq(old, new))));
        let quota = grant.quota.map(|quota| self.quota(quota));
        let concurrency = grant.concurrency.map(|most| self.concurrency(most));
        let others = quota.iter().map(|quota| &quota.label).chain(&concurrency);
        let labels = buckets.iter().map(|bucket| &bucket.policy().label).chain(others);
        let policies = self.policy_header(labels);
        Holding { buckets, quota, concurrency, policies }
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
        let place = left.iter().position(|bucket| *bucket.policy().text() == rate.text)?;
        Some(left.swap_remove(place))
    }

    /// The bucket of `limits.total`, as spent as it was.
    pub fn total(&mut self, rate: &Rate) -> Arc<Bucket> {
        let policy = self.policy(rate);
        let entry = self.total.entry(Arc::clone(policy.text()));
        Arc::clone(entry.or_insert_with(|| Arc::new(Bucket::new(policy))))
    }

    fn policy_header<'l>(&mut self, labels: impl Iterator<Item = &'l Arc<Label>> + Clone) -> Option<Arc<HeaderValue>> {
        let same = labels.clone().map(Arc::as_ptr).eq(self.last.labels.iter().map(Arc::as_ptr));
        if !same {
            let text = policy_text(labels.clone().map(|label| &**label));
            let value = match self.headers.get(&text) {
                Some(value) => Some(Arc::clone(value)),
                None => HeaderValue::try_from(&text).ok().filter(|_| !text.is_empty()).map(Arc::new),
            };
            if let Some(value) = &value {
                self.headers.insert(text, Arc::clone(value));
            }
            self.last = Header { labels: labels.cloned().collect(), value };
        }
        self.last.value.clone()
    }

    fn quota(&mut self, quota: &Quota) -> Arc<QuotaPolicy> {
        let entry = self.quotas.entry(Arc::clone(&quota.text));
        Arc::clone(entry.or_insert_with(|| Arc::new(QuotaPolicy::new(quota))))
    }

    fn concurrency(&mut self, most: NonZeroU32) -> Arc<Label> {
        let units = u64::from(most.get());
        let label = || Label { text: "concurrency".into(), units, window_s: None, counts: Counts::Concurrent };
        Arc::clone(self.concurrencies.entry(units).or_insert_with(|| Arc::new(label())))
    }

    /// The limits of a route; the same ones while they say the same.
    pub fn route_limits(&mut self, route: &str, rates: &[Rate]) -> Option<Arc<RouteLimits>> {
        if rates.is_empty() {
            return None;
        }
        let policies: Box<[_]> = rates.iter().map(|rate| self.policy(rate)).collect();
        let same = |it: &&Arc<RouteLimits>| {
            *it.route == *route && it.policies.iter().map(Arc::as_ptr).eq(policies.iter().map(Arc::as_ptr))
        };
        if let Some(there) = self.route_limits.iter().find(same) {
            return Some(Arc::clone(there));
        }
        let new = Arc::new(RouteLimits { route: route.into(), policies });
        self.route_limits.push(Arc::clone(&new));
        Some(new)
    }

    /// What keys have used beyond their buckets.
    pub const fn accounts(&self) -> &Arc<Accounts> {
        &self.accounts
    }

    fn policy(&mut self, rate: &Rate) -> Arc<Policy> {
        let entry = self.policies.entry(Arc::clone(&rate.text));
        Arc::clone(entry.or_insert_with(|| Arc::new(Policy::new(rate))))
    }

    /// The limiter of `limits.per_ip`, kept while its text stays the same.
    pub fn per_ip(&mut self, rate: Option<&Rate>) -> Option<Arc<AddressLimiter>> {
        self.per_ip = self.addresses(self.per_ip.clone(), rate);
        self.per_ip.clone()
    }

    /// The limiter of `limits.open`, likewise.
    pub fn open(&mut self, rate: Option<&Rate>) -> Option<Arc<AddressLimiter>> {
        self.open = self.addresses(self.open.clone(), rate);
        self.open.clone()
    }

    fn addresses(&mut self, kept: Option<Arc<AddressLimiter>>, rate: Option<&Rate>) -> Option<Arc<AddressLimiter>> {
        let rate = rate?;
        let kept = kept.filter(|kept| *kept.policy().text() == rate.text);
        Some(kept.unwrap_or_else(|| Arc::new(AddressLimiter::new(self.policy(rate)))))
    }

    /// `limits.failures_per_ip` and `limits.lockout`: who has failed and who is locked out stays so while `failures` does. Only
    /// lock-outs that begin later take another `first`.
    pub fn lockout(&mut self, failures: Option<&Rate>, first: Duration) -> Option<Arc<Lockout>> {
        let kept = self.lockout.take().filter(|kept| failures.is_some_and(|rate| *kept.failures().text() == rate.text));
        if let Some(kept) = &kept {
            kept.set_first(first);
        }
        let make = |rate| Arc::new(Lockout::new(self.policy(rate), first));
        self.lockout = kept.or_else(|| failures.map(make));
        self.lockout.clone()
    }

    /// Forgets buckets that no configuration holds and that are full again.
    pub fn sweep(&mut self) {
        let now = self.clock.mono();
        let is_wanted = |bucket: &Arc<Bucket>| Arc::strong_count(bucket) > 1 || !bucket.is_full(now);
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
        self.route_limits.retain(|limits| Arc::strong_count(limits) > 1);
        self.accounts.sweep(self.clock.now());
        self.policies.retain(|_, policy| Arc::strong_count(policy) > 1);
        self.quotas.retain(|_, quota| Arc::strong_count(quota) > 1);
        self.concurrencies.retain(|_, label| Arc::strong_count(label) > 1);
        for addresses in [&self.per_ip, &self.open].into_iter().flatten() {
            addresses.sweep(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        Rate { text: text.into(), units: NonZeroU32::MIN, window: Duration::from_secs(60), burst: NonZeroU32::MIN }
    }

    fn grant(rates: &[Rate]) -> Grant<'_> {
        Grant { rates, ..Grant::default() }
    }

    #[test]
    fn a_key_that_is_removed_and_put_back_finds_its_bucket_as_it_left_it() {
        let clock = Clock::manual(Duration::ZERO);
        let mut ledger = Ledger::new(clock.clone());
        let holding = ledger.holding("a", grant(&[rate("1/m")]), &[]);
        assert!(holding.buckets[0].take(NonZeroU32::MIN, clock.mono()).is_some());
        ledger.leave("a", &holding.buckets);
        drop(holding);
        ledger.sweep();
        let other = ledger.holding("a", grant(&[rate("2/m")]), &[]);
        assert!(other.buckets[0].take(NonZeroU32::MIN, clock.mono()).is_some(), "another policy is another bucket");
        let again = ledger.holding("a", grant(&[rate("1/m"), rate("2/m")]), &other.buckets);
        assert!(
            again.buckets.iter().all(|bucket| bucket.take(NonZeroU32::MIN, clock.mono()).is_none()),
            "one was refilled"
        );
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
        let before = ledger.holding("a", grant(&[rate("1/m"), rate("2/m"), rate("1/m")]), &[]);
        assert_eq!(before.buckets.len(), 2, "a policy written twice is one");
        let after = ledger.holding("a", grant(&[rate("2/m")]), &before.buckets);
        assert!(Arc::ptr_eq(&after.buckets[0], &before.buckets[1]));
        let left = &ledger.left["a"];
        assert!(left.len() == 1 && Arc::ptr_eq(&left[0], &before.buckets[0]));
    }

    #[test]
    fn who_is_locked_out_stays_so_while_the_budget_of_failures_is_the_same() {
        let clock = Clock::manual(Duration::ZERO);
        let mut ledger = Ledger::new(clock.clone());
        let mut wait = |rate: Option<&str>, first_s: u64, who: u8| {
            ledger.sweep();
            let lockout = ledger.lockout(rate.map(self::rate).as_ref(), Duration::from_secs(first_s))?;
            let client = super::super::address::Client::V4([192, 0, 2, who]);
            let locked = lockout.locked(client, clock.mono());
            let failed = lockout.failed(client, clock.mono());
            assert_eq!(locked.is_some(), failed.is_some());
            lockout.locked(client, clock.mono()).map(|it| it.retry_after_s())
        };
        assert_eq!([wait(Some("1/m"), 60, 1), wait(Some("1/m"), 60, 1)], [Some(60); 2]);
        assert_eq!(
            [wait(Some("1/m"), 90, 1), wait(Some("1/m"), 90, 2)],
            [Some(60), Some(90)],
            "only new ones are longer"
        );
        assert_eq!([wait(None, 90, 1), wait(Some("1/m"), 30, 1)], [None, Some(30)], "without a budget nobody is");
        assert_eq!(wait(Some("1/h"), 10, 1), Some(10), "another budget begins anew");
    }
}
