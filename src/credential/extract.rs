//! Every place a key may stand in. Each source yields all candidates, so that two keys are never mistaken for one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, COOKIE, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use zeroize::Zeroizing;

use crate::config::gateway::Source;
use crate::request::target::percent_decode;
use crate::vocab::fields::Fields;

/// The raw query of a request, without its `?`.
pub type Query<'a> = Option<&'a str>;

/// The sub-protocol that carries a key: `Sec-WebSocket-Protocol: keyward.KEY`.
pub(super) const WEBSOCKET_MARK: &str = "keyward.";

/// Calls `take` with every non-empty key that `source` holds.
pub(super) fn each(source: &Source, headers: &Fields, query: Query<'_>, take: &mut dyn FnMut(&[u8])) {
    match source {
        Source::Bearer => {
            for token in headers.get_all(AUTHORIZATION).filter_map(|v| scheme(v, "bearer")) {
                some(token, take);
            }
        }
        Source::Basic => {
            for coded in headers.get_all(AUTHORIZATION).filter_map(|v| scheme(v, "basic")) {
                if let Some(password) = basic_password(coded) {
                    some(&password, take);
                }
            }
        }
        Source::Header(name) => {
            for value in headers.get_all(name) {
                some(value.as_bytes().trim_ascii(), take);
            }
        }
        Source::Query(name) => {
            for (_, value) in pairs(query, name) {
                some(&Zeroizing::new(percent_decode(value).into_owned()), take);
            }
        }
        Source::Cookie(name) => {
            for value in headers.get_all(COOKIE).flat_map(cookies).filter_map(|c| cookie_named(c, name)) {
                some(value, take);
            }
        }
        Source::WebSocketProtocol => {
            for protocol in headers.get_all(SEC_WEBSOCKET_PROTOCOL).flat_map(protocols) {
                if let Some(key) = protocol.strip_prefix(WEBSOCKET_MARK.as_bytes()) {
                    some(key, take);
                }
            }
        }
    }
}

/// An empty credential is no credential: a client that sends `X-API-Key:` is told that a key is missing.
fn some(key: &[u8], take: &mut dyn FnMut(&[u8])) {
    if !key.is_empty() {
        take(key);
    }
}

/// The rest of an `Authorization` value of this scheme (RFC 9110 §11.4: case-insensitive, then one or more spaces).
pub(super) fn scheme<'a>(value: &'a HeaderValue, name: &str) -> Option<&'a [u8]> {
    let value = value.as_bytes().trim_ascii();
    let (head, rest) = value.split_at_checked(name.len())?;
    let separated = rest.is_empty() || rest[0] == b' ';
    (head.eq_ignore_ascii_case(name.as_bytes()) && separated).then(|| rest.trim_ascii_start())
}

fn basic_password(coded: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut decoded = Zeroizing::new(STANDARD.decode(coded).ok()?);
    let colon = decoded.iter().position(|b| *b == b':')?;
    decoded.drain(..=colon);
    Some(decoded)
}

/// Every `(raw pair, raw value)` of the query whose decoded name is `name`.
pub(super) fn pairs<'a>(query: Query<'a>, name: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    query.into_iter().flat_map(|q| q.split('&')).filter_map(move |pair| {
        let (raw, value) = pair.split_once('=').unwrap_or((pair, ""));
        (*percent_decode(raw) == *name.as_bytes()).then_some((pair, value))
    })
}

/// The `name=value` pairs of one Cookie line (RFC 6265 §4.2.1).
pub(super) fn cookies(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|b| *b == b';').map(<[u8]>::trim_ascii)
}

/// The value of a cookie of this name, without the quotes that it may stand in.
pub(super) fn cookie_named<'a>(cookie: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let value = cookie.strip_prefix(name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii();
    Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
}

/// The entries of one `Sec-WebSocket-Protocol` line.
pub(super) fn protocols(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii)
}
