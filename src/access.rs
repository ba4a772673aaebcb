//! May this key do this, here? What its entry lets through, and what the route asks of it.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use crate::config::gateway::{PathPattern, takes};
use crate::config::keyfile::Rules;
use crate::keys::Identified;
use crate::route::Route;
use crate::vocab::denial::Denial;

/// A good key that may make this request. Only [`authorize`] makes one.
pub struct Authorized {
    identified: Identified,
    route: Arc<Route>,
}

/// What a key wants to do.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// As sent.
    pub method: &'a Method,
    /// As routes are matched.
    pub path: &'a str,
    /// Who asks; absent where it comes over a Unix socket and nobody says.
    pub client: Option<IpAddr>,
}

impl Authorized {
    /// Who, and where to.
    pub fn into_parts(self) -> (Identified, Arc<Route>) {
        (self.identified, self.route)
    }
}

/// Holds a request against what the key's entry and the route say.
///
/// # Errors
/// [`Denial::RouteDenied`], [`Denial::MethodDenied`], [`Denial::PathDenied`], [`Denial::NetworkDenied`],
/// [`Denial::RoleDenied`]: the first in this order.
pub fn authorize(identified: Identified, route: Arc<Route>, asked: &Asked<'_>) -> Result<Authorized, Denial> {
    let key = identified.key();
    if let Some(rules) = key.rules() {
        follow(rules, &route, asked)?;
    }
    if !route.roles.iter().all(|role| key.roles().contains(role)) {
        return Err(Denial::RoleDenied);
    }
    Ok(Authorized { identified, route })
}

fn follow(rules: &Rules, route: &Route, asked: &Asked<'_>) -> Result<(), Denial> {
    let may = |allowed: bool, denial: Denial| if allowed { Ok(()) } else { Err(denial) };
    let Rules { routes, methods, paths, networks, .. } = rules;
    may(routes.as_ref().is_none_or(|names| names.contains(&route.name)), Denial::RouteDenied)?;
    may(methods.as_ref().is_none_or(|methods| takes(methods, asked.method)), Denial::MethodDenied)?;
    let under = |paths: &[PathPattern]| paths.iter().any(|pattern| pattern.matches(asked.path));
    may(paths.as_ref().is_none_or(|paths| under(paths)), Denial::PathDenied)?;
    may(networks.is_none() || rules.names(asked.client), Denial::NetworkDenied)
}
