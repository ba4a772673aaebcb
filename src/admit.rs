//! The one place that charges a request. Everything is checked before anything is taken; narrow limits are taken before
//! wide ones; and where another thread was faster in between, what was taken is given back.

use std::sync::Arc;

use crate::keys::{Identified, Key};
use crate::limits::address::{AddressLimiter, Client};
use crate::limits::bucket::Bucket;
use crate::limits::report::Reading;
use crate::route::{OpenRoute, Route};
use crate::vocab::clock::Now;
use crate::vocab::denial::Denial;

/// The limits that are wider than a key.
#[derive(Clone, Default)]
pub struct WideLimits {
    /// `limits.total`
    pub total: Option<Arc<Bucket>>,
    /// `limits.per_ip`
    pub per_ip: Option<Arc<AddressLimiter>>,
}

/// What entitles a request to pass, short of its limits.
pub enum Passage {
    /// The route asks for no key, or for none in this case.
    Open(OpenRoute),
    /// A good key on this route.
    Keyed(Identified, Arc<Route>),
}

/// A request that may be forwarded: every check has passed and every limit is charged. Only [`admit`] makes one, and
/// only this opens the way to an upstream.
pub struct Admitted {
    route: Arc<Route>,
    client: Client,
    identified: Option<Identified>,
    reading: Option<Reading>,
}

/// A request that a limit refuses.
#[derive(Debug)]
pub struct Limited {
    /// Which kind of limit.
    pub denial: Denial,
    /// The limit, where it is one that fills up again.
    pub reading: Option<Reading>,
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

    /// Who sends it; `None` on an open route.
    pub fn key(&self) -> Option<&Arc<Key>> {
        self.identified.as_ref().map(Identified::key)
    }

    /// The key with its standing.
    pub const fn identified(&self) -> Option<&Identified> {
        self.identified.as_ref()
    }

    /// The key's policy that is nearest exhaustion, after this request.
    pub const fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }
}

impl WideLimits {
    /// Looks, and takes nothing: refuses what would be refused anyway before any key is looked at.
    ///
    /// # Errors
    /// [`Denial::IpLimited`], [`Denial::TotalLimited`].
    pub fn check(&self, client: Client, now: Now) -> Result<(), Limited> {
        if let Some(per_ip) = &self.per_ip {
            has_room(Denial::IpLimited, per_ip.read(client, now.mono))?;
        }
        if let Some(total) = &self.total {
            has_room(Denial::TotalLimited, total.read(now.mono))?;
        }
        Ok(())
    }

    fn take(&self, client: Client, now: Now) -> Result<(), Limited> {
        let of_address = match &self.per_ip {
            None => None,
            Some(per_ip) => {
                let limited = || Limited::by(Denial::IpLimited, per_ip.read(client, now.mono));
                Some((per_ip, per_ip.take(client, now.mono).ok_or_else(limited)?))
            }
        };
        if let Some(total) = &self.total
            && total.take(now.mono).is_none()
        {
            if let Some((per_ip, taken)) = of_address {
                per_ip.give_back(client, taken);
            }
            return Err(Limited::by(Denial::TotalLimited, total.read(now.mono)));
        }
        Ok(())
    }
}

impl Limited {
    const fn by(denial: Denial, reading: Reading) -> Self {
        Self { denial, reading: Some(reading) }
    }
}

fn has_room(denial: Denial, reading: Reading) -> Result<(), Limited> {
    if reading.remaining > 0 { Ok(()) } else { Err(Limited::by(denial, reading)) }
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
        Passage::Keyed(identified, route) => (route, Some(identified)),
    };
    let buckets = identified.as_ref().map_or(&[][..], |i| i.key().buckets.as_slice());
    for bucket in buckets {
        has_room(Denial::RateLimited, bucket.read(now.mono))?;
    }
    wide.check(client, now)?;
    if route.body_bytes_max < u64::MAX && body_bytes() > route.body_bytes_max {
        return Err(Limited { denial: Denial::BodyTooLarge, reading: None });
    }

    take_all(buckets, || wide.take(client, now), now)?;
    let reading = buckets.iter().map(|b| b.read(now.mono)).reduce(Reading::nearer);
    Ok(Admitted { route, client, identified, reading })
}

/// Takes one unit of each bucket, then `last`. A recursion, so that what was taken lives on the stack.
fn take_all(buckets: &[Arc<Bucket>], last: impl FnOnce() -> Result<(), Limited>, now: Now) -> Result<(), Limited> {
    let Some((first, rest)) = buckets.split_first() else {
        return last();
    };
    let limited = || Limited::by(Denial::RateLimited, first.read(now.mono));
    let taken = first.take(now.mono).ok_or_else(limited)?;
    take_all(rest, last, now).inspect_err(|_| first.give_back(taken))
}
