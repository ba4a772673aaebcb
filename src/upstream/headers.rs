//! What changes in a request's and a response's headers on the way: hop-by-hop fields go, identity and forwarding fields
//! are ours.

use http::header::{
    self, CONNECTION, COOKIE, EXPECT, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    UPGRADE,
};

use super::Passing;
use crate::request::forwarded::{X_FORWARDED_FOR, X_FORWARDED_PROTO, X_REQUEST_ID};
use crate::request::{ConnFacts, Facts};
use crate::route::Route;
use crate::vocab::fields::Fields;
use crate::vocab::header::{is_spelling_of, list_has};

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
static HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
static X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields that concern one connection only (RFC 9110 §7.6.1), and those that were never registered but mean the same.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == TE
        || *name == UPGRADE
        || *name == header::PROXY_AUTHENTICATE
        || *name == header::PROXY_AUTHORIZATION
        || [&KEEP_ALIVE, &PROXY_CONNECTION, &HTTP2_SETTINGS].contains(&name)
}

/// Names that `Connection` lists beside its options. Those that frame the message or route it stay whatever it says.
fn named_by_connection(headers: &Fields) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        // Nearly always it says nothing but this.
        .filter(|line| ![&b"keep-alive"[..], b"close"].contains(&line.as_bytes()))
        .flat_map(|line| line.as_bytes().split(|b| *b == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| ![HOST, header::CONTENT_LENGTH, header::TRAILER].contains(name))
}

/// Removes every hop-by-hop field, and what `also` says of the others.
pub fn strip_hop_by_hop(headers: &mut Fields, mut also: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
    let named: Vec<HeaderName> = named_by_connection(headers).collect();
    headers.retain(|name, value| !also(name, value) && !is_hop_by_hop(name) && !named.contains(name));
}

/// Prepares a client's headers for the upstream. `identity` names the headers that only we may set; `asked` is the host that
/// the client asked for, or the upstream's own where an HTTP/1.0 client named none, and `sent` the one that is sent on.
pub fn prepare_request(
    headers: &mut Fields,
    (facts, conn): (&Facts, &ConnFacts),
    (asked, sent): (&HeaderValue, &HeaderValue),
    identity: &[HeaderName],
) {
    let (mut wants_trailers, mut cookies) = (false, 0);
    strip_hop_by_hop(headers, |name, value| {
        if *name == TE {
            // The one hop-by-hop field that is passed on, and only as far as it asks for trailers (RFC 9110 §10.1.4).
            wants_trailers |= list_has(value, "trailers");
        }
        cookies += usize::from(*name == COOKIE);
        *name == EXPECT
            || *name == FORWARDED
            || is_ours(name)
            || identity.iter().any(|ours| is_spelling_of(name.as_str(), ours.as_str()))
    });
    if wants_trailers {
        headers.append(TE, HeaderValue::from_static("trailers"));
        headers.append(CONNECTION, HeaderValue::from_static("te"));
    }
    if cookies > 1 {
        join_cookies(headers);
    }
    headers.set(HOST, sent.clone());
    if let Some(address) = facts.forwarded.as_ref().map_or(&conn.forwarded_for, |forwarded| &forwarded.chain) {
        headers.append(X_FORWARDED_FOR.clone(), address.clone());
    }
    headers.append(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(facts.scheme(conn)));
    headers.append(X_FORWARDED_HOST.clone(), asked.clone());
}

/// Removes from a request's trailers what must not come in by that door: what frames or routes a message (RFC 9110
/// §6.5.1), credentials, and everything that is ours or the route's to say.
pub fn strip_trailers(trailers: &mut HeaderMap, passing: &Passing, route: &Route) {
    let framing = [HOST, header::CONTENT_LENGTH, header::CONTENT_TYPE, header::CONTENT_ENCODING, EXPECT, FORWARDED];
    let is_refused = |name: &HeaderName| {
        is_hop_by_hop(name)
            || is_ours(name)
            || route.rewrite.as_ref().is_some_and(|rewrite| rewrite.request.names(name))
            || framing.contains(name)
            || passing.credential_headers.iter().any(|header| is_spelling_of(name.as_str(), header.as_str()))
            || passing.identity.iter().any(|ours| is_spelling_of(name.as_str(), ours.as_str()))
    };
    let gone: Vec<HeaderName> = trailers.keys().filter(|name| is_refused(name)).cloned().collect();
    for name in gone {
        trailers.remove(name);
    }
}

fn is_ours(name: &HeaderName) -> bool {
    let ours = [&X_FORWARDED_FOR, &X_FORWARDED_PROTO, &X_FORWARDED_HOST, &X_REQUEST_ID];
    // All begin alike, in every spelling, and few others do.
    name.as_str().starts_with('x') && ours.iter().any(|ours| is_spelling_of(name.as_str(), ours.as_str()))
}

/// HTTP/2 may send cookies apart; HTTP/1.1 knows one line (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut Fields) {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.set(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{Method, Version};

    use super::*;
    use crate::config::gateway::Insecure;
    use crate::request::{RequestId, Transport};
    use crate::vocab::clock::Now;

    fn prepared(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = Fields::new();
        for (name, value) in lines {
            headers
                .append(HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"));
        }
        let peer = SocketAddr::from(([192, 0, 2, 7], 1234));
        let conn = ConnFacts::new(peer.into(), Transport::Tls("1.3"), Insecure::Refuse);
        let identity = [HeaderName::from_static("x-consumer-id")];
        let now = Now { mono: 0, wall_us: 0 };
        let uri = "/".parse().expect("a target");
        let (facts, _) = Facts::read(now, RequestId::new(1), Method::GET, uri, Version::HTTP_11, &headers);
        let (asked, sent) = (HeaderValue::from_static("a.example"), HeaderValue::from_static("b.internal"));
        prepare_request(&mut headers, (&facts, &conn), (&asked, &sent), &identity);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_str().expect("text").to_owned()))
            .filter(|(n, _)| !matches!(n.as_str(), "connection" | "host" | "x-forwarded-proto" | "x-forwarded-host"))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn what_concerns_one_connection_or_is_ours_does_not_pass() {
        let ours = ("x-forwarded-for".to_owned(), "192.0.2.7".to_owned());
        for (line, passes) in [
            (("accept", "a/b"), true),
            (("connection", "close"), false),
            (("keep-alive", "5"), false),
            (("te", "gzip"), false),
            (("te", "trailers"), true),
            (("upgrade", "h2c"), false),
            (("http2-settings", "x"), false),
            (("proxy-connection", "close"), false),
            (("proxy-authorization", "x"), false),
            (("trailer", "x"), true),
            (("expect", "100-continue"), false),
            (("forwarded", "for=1.2.3.4"), false),
            (("x-forwarded-for", "1.2.3.4"), false),
            (("x_forwarded_for", "1.2.3.4"), false),
            (("X-Consumer-ID", "admin"), false),
            (("x_consumer_id", "admin"), false),
            (("x-consumer_id", "admin"), false),
            (("x-consumer-idx", "1"), true),
            (("authorization", "Basic eDp5"), true),
        ] {
            let mut expected = vec![ours.clone()];
            if passes {
                expected.push((line.0.to_owned(), line.1.to_owned()));
            }
            expected.sort();
            assert_eq!(prepared(&[line]), expected, "{line:?}");
        }
    }

    #[test]
    fn connection_names_fields_but_never_ours() {
        let left =
            prepared(&[("connection", "close, X-Drop, x-forwarded-for, host"), ("x-drop", "1"), ("x-keep", "1")]);
        let names: Vec<_> = left.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["x-forwarded-for", "x-keep"]);
    }

    #[test]
    fn cookies_sent_apart_become_one_line() {
        let left = prepared(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert!(left.contains(&("cookie".into(), "a=1; b=2".into())));
    }
}
