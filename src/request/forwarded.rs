//! What trusted proxies say of a request: whom it comes from, over what, and under which name.
//!
//! Every proxy adds the address that it was called from to the right end of `X-Forwarded-For`, so that only that end can be
//! believed: the list is walked from the right for as long as the hop that wrote an entry is trusted. What is no address
//! ends the walk at the last good hop.
//!
//! `Forwarded` (RFC 7239) is walked in the same way, but only where there is no `X-Forwarded-For`. Nearly every proxy keeps
//! the latter and passes on a `Forwarded` that a client made up; believing that would let clients choose their address. A
//! proxy that writes `Forwarded` alone has to remove `X-Forwarded-For`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::{FORWARDED, HeaderName, HeaderValue};

use super::facts::{ConnFacts, RequestId};
use super::peer::Peer;
use crate::config::gateway::TrustedProxies;
use crate::vocab::fields::Fields;

/// `X-Forwarded-For`
pub static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub static X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Request-ID`
pub static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How many hops are followed. More proxies in a row than this are a loop.
const HOPS_MAX: usize = 64;
/// Longest request id that is taken over, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// What a trusted peer says of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Who sent it; absent where a proxy on a Unix socket does not say.
    pub client: Option<IpAddr>,
    /// The client's port, where it is told.
    pub port: Option<u16>,
    /// `https` or `http`: as the client came in, if that is told; else as the request came to us.
    pub scheme: &'static str,
    /// The name that a proxy has given the request.
    pub request_id: Option<RequestId>,
    /// The `X-Forwarded-For` to be sent on: what there was, and whom the connection comes from.
    pub chain: Option<HeaderValue>,
}

/// One entry of the way: who called the proxy that wrote it, and by which scheme.
struct Hop {
    address: IpAddr,
    port: Option<u16>,
    scheme: Option<&'static str>,
}

impl Forwarded {
    /// Reads what the peer says, if it is trusted.
    pub fn read(proxies: &TrustedProxies, conn: &ConnFacts, headers: &Fields) -> Option<Box<Self>> {
        let is_trusted = match conn.source {
            Peer::Unix => proxies.unix,
            Peer::Ip(address) => proxies.trusts(address.ip()),
        };
        is_trusted.then(|| Box::new(Self::believe(proxies, conn, headers)))
    }

    fn believe(proxies: &TrustedProxies, conn: &ConnFacts, headers: &Fields) -> Self {
        let is_listed = headers.contains(&X_FORWARDED_FOR);
        let client = if is_listed {
            walk(proxies, from_the_right(headers, &X_FORWARDED_FOR).map(hop))
        } else {
            walk(proxies, from_the_right(headers, &FORWARDED).map(element))
        };
        let scheme = scheme(headers).or_else(|| client.as_ref().and_then(|hop| hop.scheme));
        Self {
            chain: chain(conn, headers, client.as_ref().filter(|_| !is_listed)),
            port: client.as_ref().map_or_else(|| conn.source.port(), |hop| hop.port),
            client: client.map_or_else(|| conn.source.ip(), |hop| Some(hop.address)),
            scheme: scheme.unwrap_or_else(|| conn.scheme()),
            request_id: request_id(headers),
        }
    }
}

/// The first hop from the right that is not trusted, else the last good one.
fn walk(proxies: &TrustedProxies, hops: impl Iterator<Item = Option<Hop>>) -> Option<Hop> {
    let mut last = None;
    for hop in hops.take(HOPS_MAX) {
        let Some(hop) = hop else { break };
        let goes_on = proxies.trusts(hop.address);
        last = Some(hop);
        if !goes_on {
            break;
        }
    }
    last
}

/// The members of a list (RFC 9110 §5.6.1), the last of the last line first; commas within quotes do not part them.
/// Quotes are paired from the right, so that one that a client left open cannot swallow what a proxy wrote behind it.
fn from_the_right<'a>(headers: &'a Fields, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).rev();
    lines
        .flat_map(|line| {
            let mut is_quoted = false;
            line.as_bytes().rsplit(move |byte| {
                is_quoted ^= *byte == b'"';
                *byte == b',' && !is_quoted
            })
        })
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// An entry of `X-Forwarded-For`.
fn hop(text: &[u8]) -> Option<Hop> {
    let (address, port) = node(std::str::from_utf8(text).ok()?)?;
    Some(Hop { address, port, scheme: None })
}

/// An address with or without a port; IPv6 in brackets where there is one.
fn node(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.to_canonical(), None));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip().to_canonical(), Some(address.port())));
    }
    let bare = text.strip_prefix('[')?.strip_suffix(']')?;
    Some((IpAddr::V6(bare.parse::<Ipv6Addr>().ok()?).to_canonical(), None))
}

/// A `forwarded-element` of RFC 7239 §4. `unknown` and obfuscated nodes (`_hidden`) are no addresses.
fn element(text: &[u8]) -> Option<Hop> {
    let text = std::str::from_utf8(text).ok()?;
    let (mut found, mut scheme) = (None, None);
    let mut is_quoted = false;
    let pairs = text.split(|c| {
        is_quoted ^= c == '"';
        c == ';' && !is_quoted
    });
    for pair in pairs.map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
        if name.eq_ignore_ascii_case("for") {
            // Two of them, and nobody knows which is meant.
            if found.replace(node(value)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("proto") {
            scheme = known_scheme(value.as_bytes());
        }
    }
    let (address, port) = found?;
    Some(Hop { address, port, scheme })
}

/// The scheme by `X-Forwarded-Proto`. Some proxies make it a list: then every hop has to have been secure.
fn scheme(headers: &Fields) -> Option<&'static str> {
    let mut all = None;
    for word in from_the_right(headers, &X_FORWARDED_PROTO) {
        let scheme = known_scheme(word)?;
        all = Some(if all == Some("http") { "http" } else { scheme });
    }
    all
}

/// Some proxies say `wss` of a WebSocket.
fn known_scheme(word: &[u8]) -> Option<&'static str> {
    let is = |names: [&str; 2]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    if is(["https", "wss"]) { Some("https") } else { is(["http", "ws"]).then_some("http") }
}

/// A name of one request: short, and safe in a header, a line and a command.
fn request_id(headers: &Fields) -> Option<RequestId> {
    let mut lines = headers.get_all(&X_REQUEST_ID);
    let (Some(only), None) = (lines.next(), lines.next()) else { return None };
    let is_safe = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:=+/@".contains(b);
    let text = only.as_bytes();
    ((1..=REQUEST_ID_MAX).contains(&text.len()) && text.iter().all(is_safe)).then(|| RequestId::given(only.clone()))
}

/// What there was of `X-Forwarded-For`, or the client that `Forwarded` named in its stead; then our source.
fn chain(conn: &ConnFacts, headers: &Fields, client: Option<&Hop>) -> Option<HeaderValue> {
    let named = client.map(|hop| hop.address.to_string());
    let before = headers.get_all(&X_FORWARDED_FOR).map(HeaderValue::as_bytes);
    let parts: Vec<&[u8]> = before
        .chain(named.as_ref().map(String::as_bytes))
        .chain(conn.forwarded_for.as_ref().map(HeaderValue::as_bytes))
        .filter(|part| !part.is_empty())
        .collect();
    // Nothing there cannot stand in a header: it stood in one.
    HeaderValue::from_bytes(&parts.join(&b", "[..])).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::gateway::Insecure;
    use crate::request::Transport;
    use crate::vocab::network::parse_network;

    /// A plain connection from a proxy at 10.0.0.1, where 10/8 and 2001:db8::/32 are proxies.
    fn read(source: &str, lines: &[(&str, &str)]) -> Option<Forwarded> {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| parse_network(text).expect("a network"));
        let proxies = TrustedProxies { networks: networks.into(), unix: true };
        let source = source.parse::<SocketAddr>().map_or(Peer::Unix, Peer::from);
        let conn = ConnFacts::new(source, Transport::Plain, Insecure::Refuse);
        let mut headers = Fields::new();
        for (name, value) in lines {
            let name = HeaderName::try_from(*name).expect("a name");
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        Forwarded::read(&proxies, &conn, &headers).map(|forwarded| *forwarded)
    }

    /// `address` or `address|port`
    fn client(lines: &[(&str, &str)]) -> String {
        let Forwarded { client, port, .. } = read("10.0.0.1:5000", lines).expect("it is trusted");
        let address = client.map_or("nobody".to_owned(), |address| address.to_string());
        port.map_or(address.clone(), |port| format!("{address}|{port}"))
    }

    #[test]
    fn only_a_trusted_source_is_listened_to() {
        let lines = [("x-forwarded-for", "192.0.2.7"), ("x-request-id", "a"), ("x-forwarded-proto", "https")];
        for (source, is_trusted) in [
            ("192.0.2.1:5000", false),
            ("11.0.0.1:5000", false),
            ("10.255.0.1:5000", true),
            ("[::ffff:10.0.0.1]:5000", true),
            ("[2001:db8:1::1]:5000", true),
            ("[2001:db9::1]:5000", false),
            ("unix:", true),
        ] {
            assert_eq!(read(source, &lines).is_some(), is_trusted, "{source}");
        }
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right_over_trusted_hops() {
        for (list, expected) in [
            (&["192.0.2.7"][..], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7"], "192.0.2.7"),
            (&["1.1.1.1, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
            (&["1.1.1.1", "192.0.2.7", "10.0.0.2,10.0.0.3"], "192.0.2.7"),
            (&["192.0.2.7:443"], "192.0.2.7|443"),
            (&["::ffff:192.0.2.7"], "192.0.2.7"),
            (&["192.0.2.7, ::ffff:10.0.0.9"], "192.0.2.7"),
            (&["2001:DB9::1"], "2001:db9::1"),
            (&["[2001:db9::1]"], "2001:db9::1"),
            (&["[2001:db9::1]:443"], "2001:db9::1|443"),
            (&["192.0.2.7, , ,\t10.0.0.2 ,"], "192.0.2.7"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            (&[], "10.0.0.1|5000"),
            (&[""], "10.0.0.1|5000"),
            (&["192.0.2.7, garbage"], "10.0.0.1|5000"),
            (&["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["\"192.0.2.8, 192.0.2.7"], "192.0.2.7"),
            (&["192.0.2.7, 010.0.0.2"], "10.0.0.1|5000"),
            (&["192.0.2.7:99999"], "10.0.0.1|5000"),
            (&["fe80::1%eth0"], "10.0.0.1|5000"),
            (&["192.0.2.7\u{e9}"], "10.0.0.1|5000"),
        ] {
            let lines: Vec<_> = list.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(client(&lines), expected, "{list:?}");
        }
    }

    #[test]
    fn a_way_without_end_is_not_followed() {
        let list = ["192.0.2.7"].into_iter().chain(std::iter::repeat_n("10.0.0.2", 100_000)).collect::<Vec<_>>();
        assert_eq!(client(&[("x-forwarded-for", &list.join(","))]), "10.0.0.2");
    }

    #[test]
    fn forwarded_is_walked_in_the_same_way() {
        for (list, expected) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (&["For=\"192.0.2.7:80\";proto=https;by=10.0.0.1"], "192.0.2.7|80"),
            (&["by=10.0.0.1;proto=http; for=192.0.2.7;"], "192.0.2.7"),
            (&["for=1.1.1.1, for=192.0.2.7, for=10.0.0.2"], "192.0.2.7"),
            (&["for=192.0.2.7", "for=\"[2001:db8::9]:1\""], "192.0.2.7"),
            (&["for=\"[2001:db9::1]\""], "2001:db9::1"),
            (&["for=\"_a,b\", for=192.0.2.7"], "192.0.2.7"),
            (&["for=\"1.1.1.1, for=192.0.2.7"], "192.0.2.7"),
            (&["for=192.0.2.7;host=\"a;for=1.1.1.1,b\""], "192.0.2.7"),
            (&["for=192.0.2.7, for=unknown"], "10.0.0.1|5000"),
            (&["for=192.0.2.7, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
            (&["for=192.0.2.7;for=192.0.2.8"], "10.0.0.1|5000"),
            (&["proto=https"], "10.0.0.1|5000"),
            (&["192.0.2.7"], "10.0.0.1|5000"),
            (&["for=\"192.0.2.7"], "10.0.0.1|5000"),
        ] {
            let lines: Vec<_> = list.iter().map(|value| ("forwarded", *value)).collect();
            assert_eq!(client(&lines), expected, "{list:?}");
        }
        let both = [("forwarded", "for=1.1.1.1;proto=https"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(client(&both), "192.0.2.7", "what clients make up goes through most proxies");
        assert_eq!(read("10.0.0.1:1", &both).map(|forwarded| forwarded.scheme), Some("http"));
    }

    #[test]
    fn the_scheme_is_secure_only_if_it_was_all_the_way() {
        for (lines, expected) in [
            (&[("x-forwarded-proto", "https")][..], "https"),
            (&[("x-forwarded-proto", "HTTPS")], "https"),
            (&[("x-forwarded-proto", "wss")], "https"),
            (&[("x-forwarded-proto", "https, https")], "https"),
            (&[("x-forwarded-proto", "https, http")], "http"),
            (&[("x-forwarded-proto", "http"), ("x-forwarded-proto", "https")], "http"),
            (&[("x-forwarded-proto", "https, gopher")], "http"),
            (&[("x-forwarded-proto", "https;")], "http"),
            (&[("x-forwarded-proto", "")], "http"),
            (&[("x_forwarded_proto", "https")], "http"),
            (&[("forwarded", "for=192.0.2.7;proto=https")], "https"),
            (&[("forwarded", "for=1.1.1.1;proto=https, for=192.0.2.7;proto=http")], "http"),
            (&[("forwarded", "for=192.0.2.7;proto=https"), ("x-forwarded-proto", "http")], "http"),
        ] {
            assert_eq!(read("10.0.0.1:1", lines).map(|forwarded| forwarded.scheme), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn a_request_id_is_taken_over_if_it_is_short_and_plain() {
        let long = "x".repeat(129);
        for (ids, is_good) in [
            (&["4bf92f35-77b3/4da6=a3ce.929d_0e0e+4736:1@b"][..], true),
            (&[&long[..128]], true),
            (&[&long], false),
            (&[""], false),
            (&["a b"], false),
            (&["a\"b"], false),
            (&["a", "a"], false),
        ] {
            let lines: Vec<_> = ids.iter().map(|id| ("x-request-id", *id)).collect();
            let id = read("10.0.0.1:1", &lines).and_then(|forwarded| forwarded.request_id);
            assert_eq!(id.as_ref().map(RequestId::as_str), is_good.then_some(ids[0]), "{ids:?}");
        }
    }

    #[test]
    fn the_chain_is_what_there_was_and_the_source() {
        for (source, lines, expected) in [
            ("10.0.0.1:1", &[("x-forwarded-for", "1.1.1.1, 192.0.2.7")][..], Some("1.1.1.1, 192.0.2.7, 10.0.0.1")),
            ("10.0.0.1:1", &[("x-forwarded-for", "a"), ("x-forwarded-for", "b")], Some("a, b, 10.0.0.1")),
            ("10.0.0.1:1", &[("x-forwarded-for", "")], Some("10.0.0.1")),
            ("10.0.0.1:1", &[], Some("10.0.0.1")),
            ("10.0.0.1:1", &[("forwarded", "for=192.0.2.7")], Some("192.0.2.7, 10.0.0.1")),
            ("unix:", &[("x-forwarded-for", "192.0.2.7")], Some("192.0.2.7")),
            ("unix:", &[], None),
        ] {
            let chain = read(source, lines).and_then(|forwarded| forwarded.chain);
            assert_eq!(chain.as_ref().and_then(|value| value.to_str().ok()), expected, "{source} {lines:?}");
        }
        assert_eq!(read("unix:", &[]).map(|forwarded| (forwarded.client, forwarded.port)), Some((None, None)));
    }
}
