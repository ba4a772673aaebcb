//! What a key has used, beyond the buckets that are its own: quotas, requests underway, limits of routes. It is made by a
//! key's first request and outlives configurations, by the key's id.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use http::HeaderValue;

use super::bucket::Bucket;
use super::policy::Policy;
use super::quota::Spent;
use super::report::policy_text;
use crate::vocab::clock::Now;

/// One key's account.
#[derive(Debug, Default)]
pub struct Account {
    /// Units of quotas.
    pub spent: Spent,
    underway: AtomicU32,
    held_until: AtomicU64,
    on_routes: ArcSwap<Vec<Arc<OnRoute>>>,
}

/// The limits of one route, in one configuration.
#[derive(Debug)]
pub struct RouteLimits {
    /// The route's name.
    pub route: Box<str>,
    /// In the order of the file; not empty.
    pub policies: Box<[Arc<Policy>]>,
}

/// A key's buckets for the limits of one route.
#[derive(Debug)]
pub struct OnRoute {
    limits: Arc<RouteLimits>,
    /// The key's own `RateLimit-Policy`.
    own: Option<Arc<HeaderValue>>,
    /// In the order of the route's limits.
    pub buckets: Box<[Arc<Bucket>]>,
    /// `RateLimit-Policy` of the key there: its own policies, then the route's.
    pub policies: Option<Arc<HeaderValue>>,
}

/// One of a key's requests that is underway, until this is dropped.
#[derive(Debug)]
pub struct Underway(Arc<Account>);

/// All accounts, by the ids of keys.
#[derive(Debug, Default)]
pub struct Accounts {
    by_id: DashMap<Box<str>, Arc<Account>>,
}

impl Accounts {
    /// The account of a key.
    pub fn of(&self, id: &str) -> Arc<Account> {
        if let Some(account) = self.by_id.get(id) {
            return Arc::clone(&account);
        }
        Arc::clone(&self.by_id.entry(id.into()).or_default())
    }

    /// Puts back what a key had spent before the process started: units in the day, week and month of this wall time.
    pub fn restore(&self, id: &str, units: [u64; 3], wall_us: i64) {
        let account = Account { spent: Spent::restored(units, wall_us), ..Account::default() };
        self.by_id.insert(id.into(), Arc::new(account));
    }

    /// Forgets accounts that no key holds and that hold nothing.
    pub fn sweep(&self, now: Now) {
        self.by_id.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_blank(now));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl Account {
    /// Begins one more request, if no more than `most` are underway then.
    pub fn begin(self: &Arc<Self>, most: u32) -> Option<Underway> {
        let next = |now: u32| (now < most).then_some(now + 1);
        self.underway.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(Underway(Arc::clone(self)))
    }

    /// Suspends the key until then, nanoseconds of the process's clock; 0 ends it.
    pub fn hold(&self, until: u64) {
        self.held_until.store(until, Ordering::Release);
    }

    /// How long the key is still suspended at `now`, nanoseconds, if it is.
    pub fn held(&self, now: u64) -> Option<NonZeroU64> {
        NonZeroU64::new(self.held_until.load(Ordering::Acquire).saturating_sub(now))
    }

    /// Requests that are underway, of those that were counted.
    pub fn underway(&self) -> u32 {
        self.underway.load(Ordering::Acquire)
    }

    /// The key's buckets for the limits of a route. `own` is `RateLimit-Policy` of the key itself.
    pub fn on_route(&self, limits: &Arc<RouteLimits>, own: Option<&Arc<HeaderValue>>) -> Arc<OnRoute> {
        if let Some(there) = self.on_routes.load().iter().find(|it| it.is(limits, own)) {
            return Arc::clone(there);
        }
        let mut made = None;
        self.on_routes.rcu(|all| {
            if let Some(there) = all.iter().find(|it| it.is(limits, own)) {
                made = Some(Arc::clone(there));
                return Arc::clone(all);
            }
            // What was spent of a limit that is as it was stays spent.
            let (same, mut next): (Vec<_>, Vec<_>) =
                all.iter().cloned().partition(|it| it.limits.route == limits.route);
            let new = Arc::new(OnRoute::new(limits, own, &same));
            next.push(Arc::clone(&new));
            made = Some(new);
            Arc::new(next)
        });
        made.unwrap_or_else(|| Arc::new(OnRoute::new(limits, own, &[])))
    }

    fn is_blank(&self, now: Now) -> bool {
        let all_full = self.on_routes.load().iter().flat_map(|it| &*it.buckets).all(|bucket| bucket.is_full(now.mono));
        all_full && self.held(now.mono).is_none() && self.underway() == 0 && self.spent.is_empty(now.wall_us)
    }
}

impl OnRoute {
    fn new(limits: &Arc<RouteLimits>, own: Option<&Arc<HeaderValue>>, before: &[Arc<Self>]) -> Self {
        let bucket = |policy: &Arc<Policy>| {
            let mut kept = before.iter().flat_map(|it| &*it.buckets);
            let kept = kept.find(|bucket| bucket.policy().text() == policy.text());
            kept.cloned().unwrap_or_else(|| Arc::new(Bucket::new(Arc::clone(policy))))
        };
        let here = policy_text(limits.policies.iter().map(|policy| &*policy.label));
        let policies = match own.and_then(|own| own.to_str().ok()) {
            Some(own) => HeaderValue::try_from(format!("{own}, {here}")),
            None => HeaderValue::try_from(here),
        };
        Self {
            limits: Arc::clone(limits),
            own: own.cloned(),
            buckets: limits.policies.iter().map(bucket).collect(),
            policies: policies.ok().map(Arc::new),
        }
    }

    fn is(&self, limits: &Arc<RouteLimits>, own: Option<&Arc<HeaderValue>>) -> bool {
        Arc::ptr_eq(&self.limits, limits) && self.own.as_ref().map(Arc::as_ptr) == own.map(Arc::as_ptr)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;
    use crate::vocab::clock::Clock;
    use crate::vocab::units::parse_rate;

    fn limits(route: &str, rates: &[&str]) -> Arc<RouteLimits> {
        let policy = |text: &&str| Arc::new(Policy::new(&parse_rate(text).expect("a rate")));
        Arc::new(RouteLimits { route: route.into(), policies: rates.iter().map(policy).collect() })
    }

    #[test]
    fn no_more_are_underway_than_may_be_and_each_ends_once() {
        let account = Arc::new(Account::default());
        let two: Vec<_> = (0..3).filter_map(|_| account.begin(2)).collect();
        assert_eq!((two.len(), account.underway()), (2, 2));
        assert!(account.begin(3).is_some(), "another limit counts the same requests");
        drop(two);
        assert_eq!(account.underway(), 0);
    }

    #[test]
    fn a_route_keeps_what_was_spent_of_a_limit_that_has_not_changed() {
        let (account, clock) = (Account::default(), Clock::manual(Duration::from_secs(1)));
        let one = NonZeroU32::MIN;
        let spend = |on: &OnRoute| on.buckets.iter().map(|b| b.take(one, clock.mono()).is_some()).collect::<Vec<_>>();
        let before = limits("orders", &["1/h", "1/m"]);
        let on = account.on_route(&before, None);
        assert_eq!(spend(&on), [true, true]);
        assert!(Arc::ptr_eq(&on, &account.on_route(&before, None)));
        assert_eq!(spend(&account.on_route(&limits("carts", &["1/h"]), None)), [true], "another route");
        assert_eq!(spend(&account.on_route(&limits("orders", &["1/m", "2/m"]), None)), [false, true]);
        assert_eq!(account.on_routes.load().len(), 2, "one for each route");
        let own = Arc::new(HeaderValue::from_static("\"5/s\";q=5;w=1"));
        let on = account.on_route(&limits("carts", &["1/h"]), Some(&own));
        assert_eq!(spend(&on), [false], "the key's own limits are others now");
        assert_eq!(on.policies.as_ref().and_then(|p| p.to_str().ok()), Some(r#""5/s";q=5;w=1, "1/h";q=1;w=3600"#));
    }

    #[test]
    fn only_blank_accounts_of_nobody_are_forgotten() {
        let (accounts, clock) = (Accounts::default(), Clock::manual(Duration::from_secs(1)));
        let held = accounts.of("held");
        accounts.restore("spent", [0, 0, 5], clock.now().wall_us);
        let _ = accounts.of("blank");
        let limited = accounts.of("limited").on_route(&limits("orders", &["1/m"]), None);
        let _ = limited.buckets[0].take(NonZeroU32::MIN, clock.mono());
        accounts.sweep(clock.now());
        assert!(accounts.by_id.contains_key("held") && accounts.by_id.contains_key("spent"));
        assert!(accounts.by_id.contains_key("limited") && !accounts.by_id.contains_key("blank"));
        clock.advance(Duration::from_secs(40 * 86_400));
        drop(held);
        accounts.sweep(clock.now());
        assert!(accounts.is_empty());
    }
}
