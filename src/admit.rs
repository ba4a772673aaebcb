//! The one place that charges a request. Everything is checked before anything is taken; narrow limits are taken before
//! wide ones; and where another thread was faster in between, what was taken is given back.

mod budget;

use std::num::NonZeroU32;
use std::sync::Arc;

use http::HeaderValue;

use self::budget::Budget;
use crate::access::Authorized;
use crate::keys::{Identified, Key};
use crate::limits::account::{OnRoute, Underway};
use crate::limits::address::{AddressLimiter, Client};
use crate::limits::bucket::Bucket;
use crate::limits::lockout::Lockout;
use crate::limits::report::Reading;
use crate::route::{OpenRoute, Route, ShadowRoute};
use crate::vocab::clock::Now;
use crate::vocab::denial::Denial;

/// The limits that are wider than a key.
#[derive(Clone, Default)]
pub struct WideLimits {
    /// `limits.total`
    pub total: Option<Arc<Bucket>>,
    /// `limits.per_ip`
    pub per_ip: Option<Arc<AddressLimiter>>,
    /// `limits.open`: of requests without a key alone.
    pub open: Option<Arc<AddressLimiter>>,
    /// `limits.failures_per_ip`
    pub lockout: Option<Arc<Lockout>>,
}

/// What entitles a request to pass, short of its limits.
pub enum Passage {
    /// The route asks for no key, or for none in this case.
    Open(OpenRoute),
    /// A good key that may do this here.
    Keyed(Authorized),
}

/// A request that may be forwarded: every check has passed and every limit is charged, or its route is in shadow mode. Only
/// [`admit`] and [`let_pass`] make one, and only this opens the way to an upstream.
pub struct Admitted {
    route: Arc<Route>,
    client: Client,
    identified: Option<Identified>,
    charge: Charge,
    shadow: Option<Limited>,
}

/// What a request has taken.
#[derive(Default)]
struct Charge {
    /// Units from every limit and quota.
    units: u32,
    /// The key's policy that is nearest exhaustion, after this request.
    reading: Option<Reading>,
    on_route: Option<Arc<OnRoute>>,
    underway: Option<Underway>,
}

/// A request that a limit refuses.
#[derive(Debug)]
pub struct Limited {
    /// Which kind of limit.
    pub denial: Denial,
    /// The limit, where it is one that fills up again.
    pub reading: Option<Reading>,
    /// `RateLimit-Policy` of the key, where it is one of its limits.
    pub policies: Option<Arc<HeaderValue>>,
}

impl Admitted {
    /// Where it goes.
    pub const fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// From where it comes.
    pub const fn client(&self) -> Client {
        self.client
    }

    /// Who sends it; `None` without a good key.
    pub fn key(&self) -> Option<&Arc<Key>> {
        self.identified.as_ref().map(Identified::key)
    }

    /// The key's policy that is nearest exhaustion, after this request.
    pub const fn reading(&self) -> Option<&Reading> {
        self.charge.reading.as_ref()
    }

    /// `RateLimit-Policy` of the key on this route. Of what only shadow mode lets pass, clients are told nothing.
    pub fn policies(&self) -> Option<&HeaderValue> {
        if self.charge.units == 0 {
            return None;
        }
        match &self.charge.on_route {
            Some(on_route) => on_route.policies.as_deref(),
            None => self.key().and_then(|key| key.policies()).map(|policies| &**policies),
        }
    }

    /// Units that it took from every limit and quota.
    pub const fn charged(&self) -> u32 {
        self.charge.units
    }

    /// Its place among the key's requests that are underway, which whoever sees the exchange to its end has to keep.
    pub const fn take_underway(&mut self) -> Option<Underway> {
        self.charge.underway.take()
    }

    /// What a key in shadow mode would have been refused for.
    pub const fn shadow(&self) -> Option<&Limited> {
        self.shadow.as_ref()
    }
}

impl WideLimits {
    /// Looks, and takes nothing: refuses what would be refused anyway before any key is looked at. `cost` is what the
    /// request would take.
    ///
    /// # Errors
    /// [`Denial::IpLimited`], [`Denial::TotalLimited`].
    pub fn check(&self, client: Client, cost: NonZeroU32, now: Now) -> Result<(), Limited> {
        if let Some(per_ip) = &self.per_ip {
            has_room(Denial::IpLimited, per_ip.read(client, cost, now.mono))?;
        }
        if let Some(total) = &self.total {
            has_room(Denial::TotalLimited, total.read(cost, now.mono))?;
        }
        Ok(())
    }

    /// `of_open` where the request has no key.
    fn take(&self, of_open: bool, client: Client, cost: NonZeroU32, now: Now) -> Result<(), Limited> {
        let open = self.open.as_ref().filter(|_| of_open);
        let addresses: [_; 2] = [open, self.per_ip.as_ref()];
        let total = || match &self.total {
            Some(total) if total.take(cost, now.mono).is_none() => {
                Err(Limited::by(Denial::TotalLimited, total.read(cost, now.mono)))
            }
            Some(_) | None => Ok(()),
        };
        take_of_addresses(&addresses, total, (client, cost, now))
    }
}

/// A recursion, so that what was taken lives on the stack.
fn take_of_addresses(
    addresses: &[Option<&Arc<AddressLimiter>>],
    last: impl FnOnce() -> Result<(), Limited>,
    (client, cost, now): (Client, NonZeroU32, Now),
) -> Result<(), Limited> {
    let Some((first, rest)) = addresses.split_first() else { return last() };
    let Some(first) = first else { return take_of_addresses(rest, last, (client, cost, now)) };
    let limited = || Limited::by(Denial::IpLimited, first.read(client, cost, now.mono));
    let taken = first.take(client, cost, now.mono).ok_or_else(limited)?;
    take_of_addresses(rest, last, (client, cost, now)).inspect_err(|_| first.give_back(client, taken))
}

impl Limited {
    /// By this limit, at this moment.
    pub const fn by(denial: Denial, reading: Reading) -> Self {
        Self { denial, reading: Some(reading), policies: None }
    }
}

fn has_room(denial: Denial, reading: Reading) -> Result<(), Limited> {
    if reading.enough { Ok(()) } else { Err(Limited::by(denial, reading)) }
}

/// Charges the request to every limit it falls under, or to none. `body_bytes` gives the length of its body by its
/// own account, zero where it has none.
///
/// # Errors
/// The first limit, narrow before wide, that has no room; [`Denial::BodyTooLarge`] where all have.
pub fn admit(
    wide: &WideLimits,
    passage: Passage,
    client: Client,
    body_bytes: impl FnOnce() -> u64,
    now: Now,
) -> Result<Admitted, Limited> {
    let (route, identified) = match passage {
        Passage::Open(open) => (Arc::clone(open.route()), None),
        Passage::Keyed(authorized) => {
            let (identified, route) = authorized.into_parts();
            (route, Some(identified))
        }
    };
    let (cost, is_open) = (route.cost, identified.is_none());
    let budget = identified.as_ref().map(|identified| Budget::of(identified.key(), route.limits.as_ref(), cost));
    let is_shadow = identified.as_ref().is_some_and(|identified| identified.key().is_shadow());
    let of_key = budget.as_ref().map_or(Ok(()), |budget| budget.check(now));
    let shadow = if is_shadow { of_key.err() } else { of_key.map(|()| None)? };
    if let Some(open) = wide.open.as_ref().filter(|_| is_open) {
        has_room(Denial::IpLimited, open.read(client, cost, now.mono))?;
    }
    wide.check(client, cost, now)?;
    if route.body_bytes_max < u64::MAX && body_bytes() > route.body_bytes_max {
        return Err(Limited { denial: Denial::BodyTooLarge, reading: None, policies: None });
    }

    let take_wide = || wide.take(is_open, client, cost, now);
    let (charge, shadow) = match (budget, shadow) {
        (Some(budget), None) => match budget.take(take_wide, now) {
            // Another thread was faster: the same as if there had been no room from the first.
            Err(limited) if is_shadow && limited.is_of_key() => {
                take_wide()?;
                (Charge::default(), Some(limited))
            }
            taken => (taken?, None),
        },
        (Some(_), Some(limited)) => {
            take_wide()?;
            (Charge::default(), Some(limited))
        }
        (None, _) => {
            take_wide()?;
            (Charge { units: cost.get(), ..Charge::default() }, None)
        }
    };
    Ok(Admitted { route, client, identified, charge, shadow })
}

impl Limited {
    const fn is_of_key(&self) -> bool {
        matches!(self.denial, Denial::RateLimited | Denial::QuotaExceeded | Denial::ConcurrencyLimited)
    }
}

/// Lets a request pass that would have been refused, because its route is in shadow mode. As with a refusal, nothing is
/// charged. `identified` where its key is good.
pub fn let_pass(route: &ShadowRoute, client: Client, identified: Option<Identified>) -> Admitted {
    let route = Arc::clone(route.route());
    Admitted { route, client, identified, charge: Charge::default(), shadow: None }
}
