//! Which routes an entry's rules let its key use. Rules are shared, and so is what is found out of them.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;

use super::asks_for_keys;
use crate::config::gateway::{Gateway, Preflight, Route, methods_meet};
use crate::config::keyfile::{KeySpec, Rules};
use crate::config::mask::quoted;
use crate::config::reader::did_you_mean;

/// The routes that look at keys, and what was found out of rules so far.
pub(super) struct Reaches<'g> {
    gateway: &'g Gateway,
    /// Of those without rules.
    all: Reach<'g>,
    known: HashMap<*const Rules, Reach<'g>>,
}

/// Of how many rules it is remembered. Mostly there are few; where there are many, they are found out again.
const KNOWN_MAX: usize = 1_000;

/// Where rules let a key through.
pub(super) struct Reach<'g> {
    /// The routes that look at keys and some of whose requests the rules let through.
    pub(super) routes: Vec<&'g Route>,
    /// Names in `routes` that no route has: their places in the list, and what was meant.
    unknown: Vec<(usize, Option<&'g str>)>,
}

impl<'g> Reaches<'g> {
    pub(super) fn new(gateway: &'g Gateway) -> Self {
        let routes = gateway.routes.iter().filter(|route| asks_for_keys(route)).collect();
        Self { gateway, all: Reach { routes, unknown: Vec::new() }, known: HashMap::new() }
    }

    pub(super) fn of(&mut self, key: &KeySpec) -> &Reach<'g> {
        let narrows = |rules: &&Arc<Rules>| rules.routes.is_some() || rules.methods.is_some() || rules.paths.is_some();
        let Some(rules) = key.rules.as_ref().filter(narrows) else { return &self.all };
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let (gateway, all) = (self.gateway, &self.all);
        self.known.entry(Arc::as_ptr(rules)).or_insert_with(|| Reach::new(rules, gateway, all))
    }
}

impl<'g> Reach<'g> {
    fn new(rules: &Rules, gateway: &'g Gateway, all: &Self) -> Self {
        let names = || gateway.routes.iter().map(|route| route.name.as_str());
        let listed = rules.routes.iter().flatten().enumerate();
        let unknown = listed.filter(|(_, name)| names().all(|known| known != &***name));
        let unknown = unknown.map(|(at, name)| (at, did_you_mean(name, names()))).collect();
        Self { routes: all.routes.iter().copied().filter(|route| lets_through(rules, route)).collect(), unknown }
    }

    /// Says what is wrong with the rules: the field and the element of it, code, message, hint.
    pub(super) fn tell(
        &self,
        key: &KeySpec,
        mut warn: impl FnMut((&str, Option<usize>), &'static str, String, String),
    ) {
        let Some(rules) = &key.rules else { return };
        for (at, meant) in &self.unknown {
            let name = rules.routes.as_ref().and_then(|names| names.get(*at)).map_or("", |name| name);
            let message = format!("key `{}` may use the route {}, which does not exist", key.id, quoted(name));
            let hint = meant.map_or_else(
                || "a route has its `name`, or without one its host and path".to_owned(),
                |word| format!("did you mean {}?", quoted(word)),
            );
            warn(("routes", Some(*at)), "unknown-route", message, hint);
        }
        let listed = rules.routes.as_ref().map_or(0, |names| names.len());
        if !self.routes.is_empty() || (listed > 0 && listed == self.unknown.len()) {
            return;
        }
        let fields = [("paths", rules.paths.is_some()), ("methods", rules.methods.is_some())];
        let written = fields.iter().filter(|(_, is_written)| *is_written).map(|(field, _)| *field);
        let message = format!(
            "key `{}` is good for nothing: no route that asks for keys takes what its rules let through",
            key.id
        );
        let hint = "a request must be on one of its `routes`, with one of its `methods`, under one of its `paths`";
        let field = written.chain(rules.routes.as_ref().map(|_| "routes")).next();
        if let Some(field) = field {
            warn((field, None), "unusable-key", message, hint.to_owned());
        }
    }
}

/// Whether there is a request on the route that the rules let through. Where a more exact route takes all of those, this is
/// true all the same: rather no warning than a false one.
fn lets_through(rules: &Rules, route: &Route) -> bool {
    let names = rules.routes.as_ref();
    let methods = rules.methods.as_deref();
    let paths = rules.paths.as_ref();
    let takes = (!route.methods.is_empty()).then_some(&*route.methods);
    // A preflight that is checked is an OPTIONS on the route of the method that it asks about.
    let as_preflight =
        route.preflight == Preflight::Check && methods.is_some_and(|methods| methods.contains(&Method::OPTIONS));
    names.is_none_or(|names| names.iter().any(|name| **name == *route.name))
        && (methods_meet(methods, takes) || as_preflight)
        && paths.is_none_or(|paths| paths.iter().any(|path| path.meets(&route.path)))
}
