//! The whole of `keyward.toml`: its tables one by one, then what holds between them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::route::General;
use super::sense::{check_open, check_reach};
use super::{
    Gateway, Output, Route, Upstream, admin, alerts, keys, limits, listener, log, metrics, route, server, upstream,
};
use crate::config::diagnostics::{Report, Severity};
use crate::config::mask::quoted;
use crate::config::problems::{self, Problems, Wrong};
use crate::config::reader::{Neutral, Table, did_you_mean};
use crate::config::source::SourceFile;

/// Reads `keyward.toml`: the gateway with the warnings about it, or everything that is wrong with it.
pub fn parse(source: &Arc<SourceFile>) -> Result<(Gateway, Report), Report> {
    let (gateway, report) = read(source);
    match gateway {
        Some(gateway) if !report.has_errors() => Ok((gateway, report)),
        _ => Err(report),
    }
}

/// Reads as much as can be read: unless the file is not TOML there is a gateway, with defaults where the file is wrong.
/// It is for `check`, which goes on to the other files; nothing may be served from it while the report has errors.
pub(crate) fn read(source: &Arc<SourceFile>) -> (Option<Gateway>, Report) {
    let document = match problems::document(source) {
        Ok(document) => document,
        Err(report) => return (None, report),
    };
    let problems = Problems::new(source, Severity::Error);
    let gateway = gateway(Table::new(&problems, "", document.get_ref(), 0..0));
    let output = match &gateway.log.output {
        Output::File(path) => Some(path.as_path()),
        Output::Stdout | Output::Stderr => None,
    };
    let others = [source.path(), &gateway.keys.file.value].into_iter().chain(output);
    server::state_stands_alone(&gateway.server, others, &problems);
    (Some(gateway), problems.into_report())
}

fn gateway(mut file: Table<'_>) -> Gateway {
    let server = server::server(&mut file);
    let listeners = listener::listeners(&mut file);
    let http = server::http(&mut file);
    let keys = keys::keys(&mut file);
    let plans = named(&mut file, "plan", |table| limits::plan(table, server.state.is_some()));
    let (limits, open_place) = limits::limits(&mut file);
    let upstreams = upstreams(&mut file);
    let routes = routes(&mut file, &upstreams, General { http: &http, keys: &keys, limits: &limits });
    check_open(&routes, open_place, file.problems());
    let log = log::log(&mut file);
    let alerts = alerts::alerts(&mut file);
    let admin = admin::admin(&mut file, &listeners);
    let metrics = metrics::metrics(&mut file, admin.address.is_some());
    for later in ["tracing", "audit"] {
        file.later(later, &[Neutral::EmptyTable]);
    }
    file.finish();
    Gateway { server, listeners, http, keys, plans, limits, routes, upstreams, log, alerts, admin, metrics }
}

/// `[upstream.NAME]`, at least one.
fn upstreams(file: &mut Table<'_>) -> BTreeMap<String, Upstream> {
    let upstreams = named(file, "upstream", upstream::upstream);
    if file.get("upstream").is_none() {
        let wrong = Wrong::new("missing-upstream", "there is no upstream to forward to")
            .hint("`upstream.default.servers = [\"http://127.0.0.1:3000\"]` is the smallest file");
        file.problems().add(0..0, wrong);
    }
    upstreams
}

/// A table of tables with free names.
fn named<T>(file: &mut Table<'_>, key: &'static str, read: impl Fn(Table<'_>) -> T) -> BTreeMap<String, T> {
    let mut out = BTreeMap::new();
    let Some(table) = file.table(key) else {
        return out;
    };
    for (name, item) in table.pairs() {
        if !is_name(name.value) {
            let wrong = Wrong::value(format!(
                "a name is 1 to 63 of the characters `A-Za-z0-9._-`, and {} is not",
                quoted(name.value)
            ));
            table.problems().add(name.span, wrong);
        }
        // A wrong one keeps its name, so that what refers to it is not called wrong, too.
        if let Some(value) = item.table().map(&read) {
            out.insert(name.value.to_owned(), value);
        }
    }
    out
}

/// Names of plans and upstreams stand in headers and log lines.
fn is_name(name: &str) -> bool {
    let member = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=63).contains(&name.len()) && name.bytes().all(member)
}

/// `[[route]]`, or the one that is implied.
fn routes(file: &mut Table<'_>, upstreams: &BTreeMap<String, Upstream>, general: General<'_>) -> Vec<Route> {
    let problems = file.problems();
    let Some(tables) = file.tables("route") else {
        let implied = route::implied(general.http);
        // Without any upstream at all that has been said already.
        if !upstreams.is_empty() && !upstreams.contains_key(&implied.upstream) {
            let wrong = Wrong::new(
                "unknown-upstream",
                "without a `[[route]]` everything goes to the upstream `default`, and there is none",
            )
            .hint("call an upstream `default`, or write a `[[route]]` that names another");
            problems.add(0..0, wrong);
        }
        return vec![implied];
    };
    if tables.is_empty() {
        problems.add(0..0, Wrong::value("`route` is an empty list"));
    }
    let mut seen = Seen::default();
    let mut routes = Vec::with_capacity(tables.len());
    for table in tables {
        let span = table.span();
        let read = route::route(table, general);
        let place = read.upstream.clone().unwrap_or_else(|| span.clone());
        known_upstream(&read.route, upstreams, problems, place);
        seen.check(&read, problems, span);
        routes.push(read.route);
    }
    routes
}

fn known_upstream(route: &Route, upstreams: &BTreeMap<String, Upstream>, problems: &Problems, place: Range<usize>) {
    if upstreams.is_empty() || upstreams.contains_key(&route.upstream) {
        return;
    }
    let message = format!("there is no upstream {}", quoted(&route.upstream));
    let wrong = Wrong::new("unknown-upstream", message);
    let known = upstreams.keys().map(String::as_str);
    let wrong = match did_you_mean(&route.upstream, known) {
        Some(word) => wrong.hint(format!("did you mean `{word}`?")),
        None => wrong.hint("each upstream is a table `[upstream.NAME]`"),
    };
    problems.add(place, wrong);
}

/// The routes so far, by name and by what they take.
#[derive(Default)]
struct Seen {
    names: HashSet<String>,
    targets: HashMap<String, Vec<Route>>,
}

impl Seen {
    fn check(&mut self, read: &route::Read, problems: &Problems, span: Range<usize>) {
        let route = &read.route;
        if !self.names.insert(route.name.clone()) {
            let message = format!("two routes are called {}", quoted(&route.name));
            let wrong = Wrong::new("duplicate-route", message)
                .hint("give each its own `name`; without one it is the host and path");
            problems.add(read.name.clone().unwrap_or_else(|| span.clone()), wrong);
        }
        let target = format!("{:?} {:?}", route.host, route.path);
        let same = self.targets.entry(target).or_default();
        if let Some(first) = same.iter().find(|first| takes_the_same(first, route)) {
            let message = format!("this route takes what {} takes: same host, path and method", quoted(&first.name));
            problems.add(span, Wrong::new("ambiguous-route", message));
        } else {
            // One for any method comes last, wherever it stands.
            let earlier: Vec<&Route> = same.iter().filter(|earlier| !earlier.methods.is_empty()).collect();
            check_reach(route, &earlier, (span, problems));
        }
        same.push(route.clone());
    }
}

/// Of two routes with one host and path: whether a request exists that neither leaves to the other.
fn takes_the_same(a: &Route, b: &Route) -> bool {
    match (a.methods.is_empty(), b.methods.is_empty()) {
        (true, true) => true,
        (false, false) => a.methods.iter().any(|method| b.methods.contains(method)),
        _ => false,
    }
}
