//! What a key may spend on one request: its own buckets, those of the route, its quota, its place among those underway.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::{Charge, Limited, has_room};
use crate::keys::Key;
use crate::limits::account::{OnRoute, RouteLimits, Underway};
use crate::limits::bucket::Bucket;
use crate::limits::quota::QuotaPolicy;
use crate::limits::report::{Label, Reading};
use crate::vocab::clock::Now;
use crate::vocab::denial::Denial;

pub(super) struct Budget<'k> {
    key: &'k Key,
    on_route: Option<Arc<OnRoute>>,
    cost: NonZeroU32,
}

impl<'k> Budget<'k> {
    /// Of a key on a route that has these limits.
    pub(super) fn of(key: &'k Key, limits: Option<&Arc<RouteLimits>>, cost: NonZeroU32) -> Self {
        let on_route = limits.map(|limits| key.account().on_route(limits, key.policies()));
        Self { key, on_route, cost }
    }

    /// Looks, and takes nothing.
    ///
    /// # Errors
    /// [`Denial::RateLimited`], [`Denial::QuotaExceeded`], [`Denial::ConcurrencyLimited`]: the first in this order.
    pub(super) fn check(&self, now: Now) -> Result<(), Limited> {
        for bucket in self.buckets() {
            has_room(Denial::RateLimited, bucket.read(self.cost, now.mono)).map_err(|it| self.ours(it))?;
        }
        if let Some(quota) = self.key.quota() {
            has_room(Denial::QuotaExceeded, self.left_of(quota, now)).map_err(|it| self.ours(it))?;
        }
        if let Some(most) = self.key.concurrency() {
            let free = most.units.saturating_sub(self.key.account().underway().into());
            has_room(Denial::ConcurrencyLimited, places(most, free)).map_err(|it| self.ours(it))?;
        }
        Ok(())
    }

    /// Takes from all of them, then whatever `last` takes; or gives back.
    pub(super) fn take(self, last: impl FnOnce() -> Result<(), Limited>, now: Now) -> Result<Charge, Limited> {
        let own: &[Arc<Bucket>] = &self.key.buckets;
        let routes: &[Arc<Bucket>] = self.on_route.as_ref().map_or(&[], |on_route| &on_route.buckets);
        let rest = || self.take_of_account(last, now);
        let underway = self.take_of(own, || self.take_of(routes, rest, now), now)?;
        let of_quota = self.key.quota().map(|quota| self.left_of(quota, now));
        let readings = self.buckets().map(|bucket| bucket.read(NonZeroU32::MIN, now.mono)).chain(of_quota);
        let reading = readings.reduce(Reading::nearer);
        Ok(Charge { units: self.cost.get(), reading, underway, on_route: self.on_route })
    }

    /// A recursion, so that what was taken lives on the stack.
    fn take_of<T>(
        &self,
        buckets: &[Arc<Bucket>],
        last: impl FnOnce() -> Result<T, Limited>,
        now: Now,
    ) -> Result<T, Limited> {
        let Some((first, rest)) = buckets.split_first() else {
            return last();
        };
        let limited = || self.ours(Limited::by(Denial::RateLimited, first.read(self.cost, now.mono)));
        let taken = first.take(self.cost, now.mono).ok_or_else(limited)?;
        self.take_of(rest, last, now).inspect_err(|_| first.give_back(taken))
    }

    fn take_of_account(
        &self,
        last: impl FnOnce() -> Result<(), Limited>,
        now: Now,
    ) -> Result<Option<Underway>, Limited> {
        let spent = match self.key.quota() {
            None => None,
            Some(quota) => {
                let limited = || self.ours(Limited::by(Denial::QuotaExceeded, self.left_of(quota, now)));
                let spent = &self.key.account().spent;
                Some(spent.take(quota, self.cost.get().into(), now).ok_or_else(limited)?)
            }
        };
        self.begin().and_then(|underway| last().map(|()| underway)).inspect_err(|_| {
            if let Some(receipt) = spent {
                self.key.account().spent.give_back(receipt);
            }
        })
    }

    fn begin(&self) -> Result<Option<Underway>, Limited> {
        let Some(most) = self.key.concurrency() else { return Ok(None) };
        let limited = || self.ours(Limited::by(Denial::ConcurrencyLimited, places(most, 0)));
        let most = u32::try_from(most.units).unwrap_or(u32::MAX);
        self.key.account().begin(most).map(Some).ok_or_else(limited)
    }

    fn buckets(&self) -> impl Iterator<Item = &Arc<Bucket>> {
        self.key.buckets.iter().chain(self.on_route.iter().flat_map(|on_route| &*on_route.buckets))
    }

    fn left_of(&self, quota: &QuotaPolicy, now: Now) -> Reading {
        self.key.account().spent.read(quota, self.cost.get().into(), now)
    }

    /// A refusal for one of the key's limits names all of them.
    fn ours(&self, limited: Limited) -> Limited {
        let policies =
            self.on_route.as_ref().map_or_else(|| self.key.policies(), |on_route| on_route.policies.as_ref());
        Limited { policies: policies.cloned(), ..limited }
    }
}

/// Of places nobody knows when one will be free: it is worth another try after a second.
fn places(most: &Arc<Label>, free: u64) -> Reading {
    let wait = if free == 0 { 1_000_000_000 } else { 0 };
    Reading { label: Arc::clone(most), remaining: free, enough: free > 0, wait, refill: wait }
}
