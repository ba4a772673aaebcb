//! `[[route]]`

use std::net::Ipv6Addr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use http::Method;

use super::rewrite::{Direction, can_strip, header_edits, prefix};
use super::sense::{Places, check_route};
use super::server::body_bytes;
use super::{
    Auth, HeaderEdits, HostPattern, Http, Keys, Limits, MODES, Mode, PathPattern, Place, Preflight, Route, rates,
};
use crate::config::keyfile::role;
use crate::config::problems::Wrong;
use crate::config::reader::{Neutral, Table};

/// A route, and where its name and its upstream stand if they are written.
pub(super) struct Read {
    pub(super) route: Route,
    pub(super) name: Option<Range<usize>>,
    pub(super) upstream: Option<Range<usize>>,
}

/// What routes depend on beside themselves.
#[derive(Clone, Copy)]
pub(super) struct General<'g> {
    pub(super) http: &'g Http,
    pub(super) keys: &'g Keys,
    pub(super) limits: &'g Limits,
}

/// The route of a file without any: everything to upstream `default`, with a key.
pub(super) fn implied(http: &Http) -> Route {
    Route {
        name: "default".to_owned(),
        host: HostPattern::Any,
        path: PathPattern::Any,
        methods: Vec::new(),
        upstream: "default".to_owned(),
        auth: Auth::Key,
        preflight: Preflight::Pass,
        roles: Vec::new(),
        roles_place: Place::default(),
        limits: Vec::new(),
        cost: NonZeroU32::MIN,
        mode: Mode::Enforce,
        timeout: Duration::from_secs(60),
        body_bytes_max: http.body_bytes_max,
        scan_response: false,
        strip_prefix: String::new(),
        add_prefix: String::new(),
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
    }
}

pub(super) fn route(mut table: Table<'_>, General { http, keys, limits }: General<'_>) -> Read {
    let default = implied(http);
    let problems = table.problems();
    let mut place = |key| table.get(key).map(|item| item.span);
    let places = Places { roles: place("roles"), limits: place("limits"), cost: place("cost") };
    let name_item = table.get("name");
    let name = name_item.as_ref().and_then(|item| item.parsed(name));
    let (host_text, host) = pattern(&mut table, "host", "", host);
    let (path_text, path) = pattern(&mut table, "path", "/*", path);
    let methods = methods(&mut table);
    let upstream = table.string("upstream");
    let auth = [("key", Auth::Key), ("optional", Auth::Optional), ("open", Auth::Open)];
    let auth = table.one_of("auth", &auth, default.auth);
    let preflight = [("pass", Preflight::Pass), ("check", Preflight::Check)];
    let preflight = table.one_of("preflight", &preflight, default.preflight);
    let roles = table.strings("roles", role).into_iter().map(|role| role.value).collect();
    let own_limits = rates(&mut table).unwrap_or_default();
    let cost = table.get("cost").and_then(|item| item.integer(1..=1_000_000)).and_then(NonZeroU32::new);
    let mode = table.one_of("mode", &MODES, default.mode);
    let timeout = table.duration("timeout", default.timeout);
    let body_bytes_max = table.parsed("body_bytes_max", body_bytes).unwrap_or(default.body_bytes_max);
    let path = path.unwrap_or(default.path);
    let (strip_prefix, add_prefix) = prefixes(&mut table, &path);
    let request_headers = header_edits(table.table("request_headers"), &Direction::Request(keys));
    let response_headers = header_edits(table.table("response_headers"), &Direction::Response);
    table.later("sensitive", &[Neutral::False]);
    let scan_response = table.boolean("scan_response", default.scan_response);
    table.finish();
    let route = Route {
        name: name.unwrap_or_else(|| format!("{host_text}{path_text}")),
        host: host.unwrap_or(default.host),
        path,
        methods,
        upstream: upstream.as_ref().map_or(default.upstream, |upstream| upstream.value.to_owned()),
        auth,
        preflight,
        roles,
        roles_place: Place(places.roles.clone().unwrap_or_default()),
        limits: own_limits,
        cost: cost.unwrap_or(default.cost),
        mode,
        timeout,
        body_bytes_max,
        scan_response,
        strip_prefix,
        add_prefix,
        request_headers,
        response_headers,
    };
    check_route(&route, places, limits, problems);
    Read { name: name_item.map(|item| item.span), upstream: upstream.map(|upstream| upstream.span), route }
}

fn prefixes(table: &mut Table<'_>, path: &PathPattern) -> (String, String) {
    let item = table.get("strip_prefix");
    let strip = item.as_ref().and_then(|item| item.parsed(prefix)).unwrap_or_default();
    if let Some(item) = item
        && !can_strip(path, &strip)
    {
        let wrong = Wrong::new("idle-prefix", "no path of this route begins with this prefix, so it strips nothing");
        table.problems().warn(item.span, wrong);
    }
    (strip, table.parsed("add_prefix", prefix).unwrap_or_default())
}

/// A pattern as it is written, and as it is meant.
fn pattern<'a, T>(
    table: &mut Table<'a>,
    key: &'static str,
    absent: &'static str,
    read: fn(&str) -> Result<T, Wrong>,
) -> (&'a str, Option<T>) {
    let Some(item) = table.get(key) else {
        return (absent, None);
    };
    let text = item.value().as_str().unwrap_or(absent);
    (text, item.parsed(read))
}

fn name(text: &str) -> Result<String, Wrong> {
    match (1..=128).contains(&text.len()) && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::value("a name is 1 to 128 characters without control characters")),
    }
}

fn methods(table: &mut Table<'_>) -> Vec<Method> {
    let mut methods = Vec::new();
    for item in table.list("methods") {
        let Some(method) = item.parsed(method) else {
            continue;
        };
        if methods.contains(&method) {
            item.wrong(Wrong::value("listed twice"));
        }
        methods.push(method);
    }
    methods
}

pub(in crate::config) fn method(text: &str) -> Result<Method, Wrong> {
    let method = Method::from_bytes(text.as_bytes())
        .map_err(|_| Wrong::value("expected the name of a method, as in \"GET\""))?;
    if text.bytes().any(|c| c.is_ascii_lowercase()) {
        let upper = text.to_ascii_uppercase();
        return Err(Wrong::value("methods are written in capitals")
            .hint(format!("did you mean {}?", crate::config::mask::quoted(&upper))));
    }
    Ok(method)
}

/// `api.example.com`, `*.example.com` or `[::1]`, lower-cased.
fn host(text: &str) -> Result<HostPattern, Wrong> {
    let wrong = Wrong::value("expected a host, as in \"api.example.com\" or \"*.example.com\"");
    let lower = text.to_ascii_lowercase();
    if text == "*" {
        return Err(wrong.hint("for any host leave `host` out"));
    }
    if let Some(suffix) = lower.strip_prefix("*.") {
        return match is_dns_name(suffix) {
            true => Ok(HostPattern::Suffix(format!(".{suffix}"))),
            false => Err(wrong),
        };
    }
    let address = lower.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if is_dns_name(&lower) || address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
        return Ok(HostPattern::Exact(lower));
    }
    match lower.rsplit_once(':') {
        Some(_) => Err(wrong.hint("a host has no scheme and no port here")),
        None => Err(wrong),
    }
}

/// Labels of letters, digits, `-` and `_` between dots (RFC 1123, and `_` as service names have it); IPv4 as well.
pub(super) fn is_dns_name(text: &str) -> bool {
    let member = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(member) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// `/v1/orders` or `/v1/orders/*`, as a path reads that means one thing only: nothing else is ever matched.
pub(in crate::config) fn path(text: &str) -> Result<PathPattern, Wrong> {
    let wrong = Wrong::value("expected a path, as in \"/v1/orders\" or \"/v1/orders/*\"");
    let Some(rest) = text.strip_prefix('/') else {
        return Err(wrong.hint("a path begins with `/`"));
    };
    let (rest, prefix) = match rest.strip_suffix('*') {
        Some(rest) if rest.is_empty() || rest.ends_with('/') => (rest, true),
        Some(_) => return Err(wrong.hint("`*` stands alone behind the last `/`")),
        None => (rest, false),
    };
    if rest.contains('*') {
        return Err(wrong.hint("`*` stands alone behind the last `/`"));
    }
    if rest.contains(['?', '#']) {
        return Err(wrong.hint("a path has no query and no fragment"));
    }
    let plain = |c: char| matches!(c, '!'..='~') && !"\\;%\"<>^`{|}".contains(c);
    if !rest.chars().all(plain) {
        return Err(wrong.hint("a path here has no `%`, `\\`, `;`, space or control character"));
    }
    let inner = rest.strip_suffix('/').unwrap_or(rest);
    let odd = |segment| matches!(segment, "" | "." | "..");
    if rest == "/" || (!inner.is_empty() && inner.split('/').any(odd)) {
        return Err(wrong.hint("a path has no empty, `.` or `..` segments"));
    }
    Ok(match (prefix, rest) {
        (true, "") => PathPattern::Any,
        (true, rest) => PathPattern::Prefix(format!("/{rest}")),
        (false, _) => PathPattern::Exact(text.to_owned()),
    })
}
