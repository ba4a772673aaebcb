//! Which route a request takes, and what the route says of keys.

mod matcher;
mod rewrite;
mod table;

pub use matcher::Preflighted;
pub use rewrite::Rewrite;
pub use table::{Fit, Route, RouteTable};

use std::sync::Arc;

use crate::config::gateway::{Auth, Mode, Preflight};
use crate::request::Facts;
use crate::vocab::denial::Denial;
use crate::vocab::fields::Fields;

/// Where a request goes: the proof that a route was found. Only [`find`] makes one.
#[derive(Clone, Debug)]
pub enum Routed {
    /// No key is looked at.
    Open(OpenRoute),
    /// A key decides.
    Guarded(GuardedRoute),
}

/// A route, or a preflight on one, that needs no key.
#[derive(Clone, Debug)]
pub struct OpenRoute(Arc<Route>);

/// A route on which keys are looked at.
#[derive(Clone, Debug)]
pub struct GuardedRoute(Arc<Route>);

/// A route on which nothing is refused that may pass in shadow mode: the proof that it is one.
#[derive(Clone, Debug)]
pub struct ShadowRoute(Arc<Route>);

impl Routed {
    /// The route itself.
    pub const fn route(&self) -> &Arc<Route> {
        match self {
            Self::Open(OpenRoute(route)) | Self::Guarded(GuardedRoute(route)) => route,
        }
    }

    /// The route, if it is in shadow mode.
    pub fn shadow(&self) -> Option<ShadowRoute> {
        let route = self.route();
        (route.mode == Mode::Shadow).then(|| ShadowRoute(Arc::clone(route)))
    }
}

impl ShadowRoute {
    /// The route itself.
    pub const fn route(&self) -> &Arc<Route> {
        &self.0
    }
}

impl OpenRoute {
    /// The route itself.
    pub const fn route(&self) -> &Arc<Route> {
        &self.0
    }
}

impl GuardedRoute {
    /// The route itself.
    pub const fn route(&self) -> &Arc<Route> {
        &self.0
    }

    /// What becomes of a request that sent no key.
    ///
    /// # Errors
    /// [`Denial::MissingKey`] unless the route's `auth` is `optional`.
    pub fn without_key(self) -> Result<OpenRoute, Denial> {
        match self.0.auth {
            Auth::Optional | Auth::Open => Ok(OpenRoute(self.0)),
            Auth::Key => Err(Denial::MissingKey),
        }
    }
}

/// Finds the route of a request by host, canonical path and method.
///
/// # Errors
/// [`Denial::NoRoute`]; [`Denial::MethodNotAllowed`] where host and path have routes, for other methods.
pub fn find(table: &RouteTable, facts: &Facts, path: &str, headers: &Fields) -> Result<Routed, Denial> {
    let preflight = Preflighted::read(&facts.method, headers);
    let method = preflight.as_ref().map_or(&facts.method, |p| &p.method);
    let route = table.find(facts.host_name(), path, method)?;
    let passes = preflight.is_some() && route.preflight == Preflight::Pass;
    Ok(match route.auth {
        Auth::Open => Routed::Open(OpenRoute(Arc::clone(route))),
        Auth::Key | Auth::Optional if passes => Routed::Open(OpenRoute(Arc::clone(route))),
        Auth::Key | Auth::Optional => Routed::Guarded(GuardedRoute(Arc::clone(route))),
    })
}
