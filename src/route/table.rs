//! The routes in the order in which they are tried: the most exact first.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};

use super::Rewrite;
use super::matcher::{host_matches, host_rank, path_rank};
use crate::config::gateway::{self, Auth, HostPattern, Mode, PathPattern, Preflight, is_never_taken, takes};
use crate::limits::account::RouteLimits;
use crate::vocab::denial::Denial;

/// One `[[route]]`, ready to serve.
#[derive(Debug)]
pub struct Route {
    /// `http.route` in the log.
    pub name: Box<str>,
    /// Whether a key is needed.
    pub auth: Auth,
    /// Whether CORS preflights pass without a key.
    pub preflight: Preflight,
    /// What a key needs.
    pub roles: Box<[Box<str>]>,
    /// What it takes from every limit and quota.
    pub cost: NonZeroU32,
    /// Whether its refusals are meant.
    pub mode: Mode,
    /// Limits of each key here, beside its own.
    pub limits: Option<Arc<RouteLimits>>,
    /// Until the response head.
    pub timeout: Duration,
    /// Bytes of a request body; `u64::MAX` = any number.
    pub body_bytes_max: u64,
    /// Whether keys are looked for in bodies of responses.
    pub scan_response: bool,
    /// What it changes, if anything.
    pub rewrite: Option<Box<Rewrite>>,
    /// Index into the snapshot's upstreams.
    pub upstream: usize,
    host: HostPattern,
    path: PathPattern,
    methods: Box<[Method]>,
}

impl Route {
    /// A route of the file; `upstream` is the index of the upstream that it names, `limits` are its own, ready to be used.
    pub fn new(route: &gateway::Route, upstream: usize, limits: Option<Arc<RouteLimits>>) -> Self {
        Self {
            name: route.name.as_str().into(),
            auth: route.auth,
            preflight: route.preflight,
            roles: route.roles.clone().into(),
            cost: route.cost,
            mode: route.mode,
            limits,
            timeout: route.timeout,
            body_bytes_max: route.body_bytes_max.unwrap_or(u64::MAX),
            scan_response: route.scan_response,
            rewrite: Rewrite::new(route),
            upstream,
            host: route.host.clone(),
            path: route.path.clone(),
            methods: route.methods.clone().into(),
        }
    }

    fn covers(&self, host: &str, path: &str) -> bool {
        self.path.matches(path) && host_matches(&self.host, host)
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || takes(&self.methods, method)
    }
}

/// What a route makes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It is for other hosts.
    OtherHost,
    /// It is for other paths.
    OtherPath,
    /// It is for other methods.
    OtherMethod,
    /// It takes it.
    Takes,
}

/// All routes.
#[derive(Debug)]
pub struct RouteTable {
    routes: Box<[Arc<Route>]>,
    guards_paths: bool,
}

impl RouteTable {
    /// Sorts the routes: an exact host before `*.`, before none; then an exact path before the longest prefix; then one
    /// that names methods before one that does not; then file order.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut routes: Vec<_> = routes.into_iter().map(Arc::new).collect();
        routes.sort_by_key(|r| (host_rank(&r.host), path_rank(&r.path), r.methods.is_empty()));
        let rewrites_paths = |r: &Route| r.rewrite.as_ref().is_some_and(|rewrite| rewrite.changes_paths());
        let guards_paths = routes.iter().any(|r| r.path != PathPattern::Any || rewrites_paths(r));
        Self { routes: routes.into(), guards_paths }
    }

    /// True if any route looks at the path or changes it, so that ambiguous paths must be refused.
    pub const fn guards_paths(&self) -> bool {
        self.guards_paths
    }

    /// The most exact route that takes the request.
    ///
    /// # Errors
    /// [`Denial::NoRoute`], [`Denial::MethodNotAllowed`].
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Result<&Arc<Route>, Denial> {
        let mut denial = Denial::NoRoute;
        for route in &self.routes {
            if route.covers(host, path) {
                if route.takes(method) && !is_never_taken(method) {
                    return Ok(route);
                }
                denial = Denial::MethodNotAllowed;
            }
        }
        Err(denial)
    }

    /// Every route, in the order in which they are tried, and what it makes of the request.
    pub fn tried(&self, host: &str, path: &str, method: &Method) -> impl Iterator<Item = (&Arc<Route>, Fit)> {
        self.routes.iter().map(move |route| {
            let fit = if !host_matches(&route.host, host) {
                Fit::OtherHost
            } else if !route.path.matches(path) {
                Fit::OtherPath
            } else if !route.takes(method) {
                Fit::OtherMethod
            } else {
                Fit::Takes
            };
            (route, fit)
        })
    }

    /// The `Allow` of a 405: the methods of every route with this host and path.
    pub fn allow(&self, host: &str, path: &str) -> HeaderValue {
        let mut methods: Vec<&str> = Vec::new();
        for route in self.routes.iter().filter(|r| r.covers(host, path)) {
            if route.methods.is_empty() {
                methods.extend(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
            }
            methods.extend(route.methods.iter().map(Method::as_str));
        }
        let mut seen = Vec::new();
        methods.retain(|m| {
            !seen.contains(m) && {
                seen.push(*m);
                true
            }
        });
        HeaderValue::try_from(methods.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::gateway::HeaderEdits;

    fn route(name: &str, host: &str, path: &str, methods: &[&str]) -> Route {
        let host = match host {
            "" => HostPattern::Any,
            h if h.starts_with('*') => HostPattern::Suffix(h[1..].to_owned()),
            h => HostPattern::Exact(h.to_owned()),
        };
        let path = match path {
            "/*" => PathPattern::Any,
            p if p.ends_with("/*") => PathPattern::Prefix(p[..p.len() - 1].to_owned()),
            p => PathPattern::Exact(p.to_owned()),
        };
        let route = gateway::Route {
            name: name.into(),
            host,
            path,
            methods: methods.iter().map(|m| m.parse().expect("a method")).collect(),
            upstream: "default".into(),
            auth: Auth::Key,
            preflight: Preflight::Pass,
            roles: Vec::new(),
            roles_place: gateway::Place::default(),
            limits: Vec::new(),
            cost: NonZeroU32::MIN,
            mode: Mode::Enforce,
            timeout: Duration::from_secs(60),
            body_bytes_max: None,
            scan_response: false,
            strip_prefix: String::new(),
            add_prefix: String::new(),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        };
        Route::new(&route, 0, None)
    }

    #[test]
    fn the_most_exact_route_wins_whatever_the_order_of_the_file() {
        let mut routes = vec![
            route("rest", "", "/*", &[]),
            route("v1", "", "/v1/*", &[]),
            route("orders", "", "/v1/orders/*", &[]),
            route("orders-get", "", "/v1/orders/*", &["GET"]),
            route("exact", "", "/v1/orders/7", &[]),
            route("wild", "*.example.com", "/*", &[]),
            route("api", "api.example.com", "/v1/*", &["GET", "POST"]),
        ];
        for turn in 0..routes.len() {
            routes.rotate_left(turn);
            let table = RouteTable::new(std::mem::take(&mut routes));
            for (host, path, method, expected) in [
                ("x", "/", "GET", Ok("rest")),
                ("x", "/v1", "GET", Ok("v1")),
                ("x", "/v1/orders/1", "GET", Ok("orders-get")),
                ("x", "/v1/orders/1", "HEAD", Ok("orders-get")),
                ("x", "/v1/orders/1", "PUT", Ok("orders")),
                ("x", "/v1/orders/7", "GET", Ok("exact")),
                ("a.example.com", "/v1/orders/7", "GET", Ok("wild")),
                ("api.example.com", "/v1/a", "POST", Ok("api")),
                ("api.example.com", "/v1/a", "PUT", Ok("wild")),
                ("x", "/", "TRACE", Err(Denial::MethodNotAllowed)),
            ] {
                let got = table.find(host, path, &method.parse().expect("a method")).map(|r| &*r.name);
                assert_eq!(got, expected, "{method} {host}{path}");
            }
            routes = table.routes.into_vec().into_iter().filter_map(Arc::into_inner).collect();
        }
    }

    #[test]
    fn a_405_names_every_method_once_and_a_404_is_a_404() {
        let table = RouteTable::new([
            route("a", "", "/a", &["GET", "HEAD"]),
            route("b", "", "/a", &["GET", "POST"]),
            route("c", "h", "/c", &[]),
        ]);
        assert_eq!(table.find("", "/a", &Method::PUT).map(|_| ()), Err(Denial::MethodNotAllowed));
        assert_eq!(table.allow("", "/a"), "GET, HEAD, POST");
        assert_eq!(table.find("", "/c", &Method::GET).map(|_| ()), Err(Denial::NoRoute));
    }
}
