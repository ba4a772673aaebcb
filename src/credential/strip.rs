//! Takes the credential out of what is forwarded, and nothing else.

use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use http::uri::PathAndQuery;

use super::extract::{WEBSOCKET_MARK, cookie_named, cookies, pairs, protocols};
use crate::config::gateway::Source;
use crate::vocab::fields::Fields;

/// Removes what `source` took as the key. The path comes back changed only for a query source.
pub fn strip(source: &Source, headers: &mut Fields, target: &mut PathAndQuery) {
    match source {
        Source::Bearer => retain(headers, &AUTHORIZATION, |v| super::extract::scheme(v, "bearer").is_none()),
        Source::Basic => retain(headers, &AUTHORIZATION, |v| super::extract::scheme(v, "basic").is_none()),
        Source::Header(name) => {
            headers.remove(name);
        }
        Source::Query(name) => {
            if let Some(stripped) = without_parameter(target, name) {
                *target = stripped;
            }
        }
        Source::Cookie(name) => {
            rewrite(headers, &COOKIE, |line| join(cookies(line).filter(|c| cookie_named(c, name).is_none()), b"; "));
        }
        Source::WebSocketProtocol => rewrite(headers, &SEC_WEBSOCKET_PROTOCOL, |line| {
            join(protocols(line).filter(|p| !p.starts_with(WEBSOCKET_MARK.as_bytes())), b", ")
        }),
    }
}

fn without_parameter(target: &PathAndQuery, name: &str) -> Option<PathAndQuery> {
    let query = target.query()?;
    let taken: Vec<*const u8> = pairs(Some(query), name).map(|(pair, _)| pair.as_ptr()).collect();
    let kept: Vec<&str> = query.split('&').filter(|pair| !taken.contains(&pair.as_ptr())).collect();
    let text = if kept.is_empty() { target.path().to_owned() } else { format!("{}?{}", target.path(), kept.join("&")) };
    PathAndQuery::try_from(text).ok()
}

fn retain(headers: &mut Fields, name: &HeaderName, keep: impl Fn(&HeaderValue) -> bool) {
    rewrite(headers, name, |value| if keep(value) { value.as_bytes().to_vec() } else { Vec::new() });
}

/// Replaces every line of this name; one that comes back empty is dropped.
fn rewrite(headers: &mut Fields, name: &HeaderName, change: impl Fn(&HeaderValue) -> Vec<u8>) {
    let changed: Vec<_> = headers.get_all(name).map(change).filter(|line| !line.is_empty()).collect();
    headers.remove(name);
    for line in changed {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            headers.append(name.clone(), value);
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts {
        if !out.is_empty() {
            out.extend_from_slice(separator);
        }
        out.extend_from_slice(part);
    }
    out
}
