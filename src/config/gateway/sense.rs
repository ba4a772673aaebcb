//! What can be read and makes no sense: settings that nothing comes of, and requests that could never pass.

use std::ops::Range;

use super::{Auth, Limits, Mode, Preflight, Route, is_never_taken, takes};
use crate::config::mask::quoted;
use crate::config::problems::{Problems, Wrong};
use crate::vocab::units::Rate;

/// Where some settings of a route stand, if they are written.
#[derive(Default)]
pub(super) struct Places {
    pub(super) roles: Option<Range<usize>>,
    pub(super) limits: Option<Range<usize>>,
    pub(super) cost: Option<Range<usize>>,
}

/// What a route asks of keys that it does not look at, and what it costs beside the limits that its requests fall under.
pub(super) fn check_route(route: &Route, places: Places, limits: &Limits, problems: &Problems) {
    if route.auth == Auth::Open {
        if let Some(place) = places.limits.filter(|_| !route.limits.is_empty()) {
            let wrong = Wrong::new(
                "unused-limits",
                "these are limits of keys, and on an open route they apply to nobody",
            )
            .hint("`limits.open` is for requests without a key; `auth = \"optional\"` looks at those that have one");
            problems.warn(place, wrong);
        }
        if let Some(place) = places.roles.filter(|_| !route.roles.is_empty()) {
            let wrong = Wrong::new("unused-roles", "keys have roles, and on an open route none is looked at")
                .hint("for a route that wants roles leave `auth = \"open\"` out");
            problems.warn(place, wrong);
        }
    }
    if let Some(place) = places.cost {
        check_cost(route, &place, limits, problems);
    }
}

/// A bucket that holds less than a request takes admits none.
fn check_cost(route: &Route, place: &Range<usize>, limits: &Limits, problems: &Problems) {
    let (auth, is_trial) = (route.auth, route.mode == Mode::Shadow);
    let report = |is_error: bool, rate: &Rate, whose: &str, what: &str| {
        if rate.burst >= route.cost {
            return;
        }
        let (limit, holds) = (quoted(&rate.text), rate.burst);
        let message = format!("one request takes {} units, and {whose} {limit} holds {holds}: {what}", route.cost);
        let wrong = Wrong::new("cost-over-burst", message).hint("a larger `burst` for the limit, or a smaller `cost`");
        if is_error && !is_trial { problems.add(place.clone(), wrong) } else { problems.warn(place.clone(), wrong) }
    };
    for rate in route.limits.iter().filter(|_| auth != Auth::Open) {
        report(true, rate, "the route's own limit", "no request with a key could ever pass");
    }
    for (name, rate) in [("`limits.per_ip`", &limits.per_ip), ("`limits.total`", &limits.total)] {
        if let Some(rate) = rate {
            report(true, rate, name, "none could ever pass");
        }
    }
    if let Some(rate) = &limits.open {
        match (auth, route.preflight) {
            (Auth::Open | Auth::Optional, _) => {
                report(true, rate, "`limits.open`", "none without a key could ever pass");
            }
            (Auth::Key, Preflight::Pass) => {
                report(false, rate, "`limits.open`", "no preflight, which has no key, could ever pass");
            }
            (Auth::Key, Preflight::Check) => {}
        }
    }
}

/// `earlier` are the routes with the same host and path that stand before it, and none of which is for any method.
pub(super) fn check_reach(route: &Route, earlier: &[&Route], (place, problems): (Range<usize>, &Problems)) {
    let is_taken = |method| is_never_taken(method) || earlier.iter().any(|other| takes(&other.methods, method));
    if route.methods.is_empty() || !route.methods.iter().all(is_taken) {
        return;
    }
    let takes_some = |other: &&&Route| route.methods.iter().any(|method| takes(&other.methods, method));
    let wrong = match earlier.iter().find(takes_some) {
        Some(other) => {
            let message = format!("nothing comes as far as this route: {} takes all of it", quoted(&other.name));
            let hint = "a route for GET takes HEAD as well, unless one for HEAD stands before it";
            Wrong::new("unreachable-route", message).hint(hint)
        }
        None => {
            let message = "nothing comes to this route: CONNECT and TRACE are refused everywhere";
            Wrong::new("unreachable-route", message).hint("leave the route out, or name other methods")
        }
    };
    problems.warn(place, wrong);
}

/// `limits.open` at `place`, beside all routes.
pub(super) fn check_open(routes: &[Route], place: Option<Range<usize>>, problems: &Problems) {
    let asks = |route: &Route| route.auth == Auth::Key && route.preflight == Preflight::Check;
    if let Some(place) = place
        && routes.iter().all(asks)
    {
        let message = "this is the limit of requests without a key, and every route asks for one, of preflights too";
        let wrong = Wrong::new("unused-limits", message)
            .hint("`limits.per_ip` is for all requests of an address; for an open route write `auth = \"open\"`");
        problems.warn(place, wrong);
    }
}
