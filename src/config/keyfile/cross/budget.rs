//! Requests that cost more than a limit or quota of a key ever has.

use std::collections::BTreeMap;

use super::Remark;
use super::reach::Reach;
use crate::config::gateway::{Gateway, Plan, Route};
use crate::config::keyfile::KeySpec;
use crate::config::mask::quoted;
use crate::vocab::period::Quota;
use crate::vocab::units::Rate;

pub(super) const CODE: &str = "cost-over-burst";
pub(super) const HINT: &str = "a larger limit (`N/T burst B` holds B), a smaller `cost`, or `routes` without this one";

/// What plans have too little of, found out with the first key that has it from them.
pub(super) struct Budgets<'g> {
    gateway: &'g Gateway,
    /// There is a route whose requests take more than one unit.
    any_dear: bool,
    /// By plan and route.
    of_plans: BTreeMap<(&'g str, &'g str), String>,
}

impl<'g> Budgets<'g> {
    pub(super) fn new(gateway: &'g Gateway) -> Self {
        let any_dear = gateway.routes.iter().any(|route| route.cost.get() > 1);
        Self { gateway, any_dear, of_plans: BTreeMap::new() }
    }

    /// Says which field of the entry is too small, and for what; notes what is too small of its plan.
    pub(super) fn check(&mut self, key: &KeySpec, reach: &Reach<'g>, mut warn: impl FnMut(&str, String)) {
        if !self.any_dear {
            return;
        }
        let plan = key.plan.as_ref().and_then(|name| self.gateway.plans.get_key_value(&**name));
        let own_quota = key.rules.as_ref().and_then(|rules| rules.quota.as_ref());
        for route in reach.routes.iter().filter(|route| route.cost.get() > 1) {
            if !route.roles.iter().all(|role| key.roles.contains(role)) {
                continue;
            }
            if let Some(own) = too_small(key.limits.as_deref(), None, route) {
                warn("limits", format!("key `{}` {own}", key.id));
            } else if let Some(own) = too_small(None, own_quota, route) {
                warn("quota", format!("key `{}` {own}", key.id));
            } else if let Some((name, Plan { limits, quota, .. })) = plan {
                let limits = key.limits.is_none().then_some(&**limits);
                let quota = quota.as_ref().filter(|_| own_quota.is_none());
                if let Some(of_plan) = too_small(limits, quota, route) {
                    self.of_plans.entry((name, &route.name)).or_insert(of_plan);
                }
            }
        }
    }

    pub(super) fn of_plans(self) -> impl Iterator<Item = Remark> {
        let Self { gateway, of_plans, .. } = self;
        of_plans.into_iter().filter_map(|((plan, _), what)| {
            let place = gateway.plans.get(plan)?.place.clone();
            Some((place, CODE, format!("a key with this plan {what}"), HINT.to_owned()))
        })
    }
}

/// What no request on the route could ever get.
fn too_small(limits: Option<&[Rate]>, quota: Option<&Quota>, route: &Route) -> Option<String> {
    let cost = route.cost;
    let limit =
        limits.into_iter().flatten().find(|rate| rate.burst < cost).map(|rate| (&rate.text, rate.burst.get().into()));
    let quota =
        quota.filter(|quota| quota.units.get() < u64::from(cost.get())).map(|quota| (&quota.text, quota.units.get()));
    let (text, holds) = limit.or(quota)?;
    let (route, text) = (quoted(&route.name), quoted(text));
    Some(format!("could never use the route {route}: one request takes {cost} units, and its {text} holds {holds}"))
}
