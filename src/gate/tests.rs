//! The verdict without a socket: the whole table of INTERFACE.md §4, as far as it is decided before an upstream is asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Method, Version};

use super::decide::{Decision, decide};
use crate::config::gateway::{self, Insecure};
use crate::config::keyfile;
use crate::config::source::SourceFile;
use crate::credential::format::generate;
use crate::request::{ConnFacts, Facts, Forwarded, RequestId, Transport};
use crate::snapshot::{Builder, Parts, Snapshot};
use crate::vocab::clock::Clock;
use crate::vocab::denial::Denial;
use crate::vocab::digest::{Digest, Pepper};
use crate::vocab::fields::Fields;
use crate::vocab::secret::Secret;

mod policy;
mod properties;

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// 2026-11-22T00:00:00Z, a Sunday
const START: Duration = Duration::from_secs(1_795_305_600);

struct World {
    clock: Clock,
    builder: Builder,
    snapshot: Snapshot,
}

impl World {
    fn new(config: &str, keys: &str) -> Self {
        let clock = Clock::manual(START);
        let mut builder = Builder::new(clock.clone(), &[3; 64]);
        let snapshot = build(&mut builder, config, keys);
        Self { clock, builder, snapshot }
    }

    fn reload(&mut self, config: &str, keys: &str) {
        self.snapshot = build(&mut self.builder, config, keys);
    }

    fn ask(&self, request: &Ask<'_>) -> Decision {
        let mut headers = Fields::new();
        headers.set(http::header::HOST, HeaderValue::from_static("api.example.com"));
        for (name, value) in request.headers {
            let name = HeaderName::try_from(*name).expect("a header name");
            headers.append(name, HeaderValue::try_from(*value).expect("a header value"));
        }
        let method = Method::from_bytes(request.method.as_bytes()).expect("a method");
        let uri = request.target.parse().expect("a target");
        let id = RequestId::new(7);
        let (mut facts, readable) = Facts::read(self.clock.now(), id, method, uri, Version::HTTP_11, &headers);
        let peer: SocketAddr = request.peer.parse().expect("an address");
        let conn = ConnFacts::new(peer.into(), request.transport, request.insecure);
        facts.forwarded = Forwarded::read(&self.snapshot.trusted_proxies, &conn, &headers);
        decide(&self.snapshot, &facts, readable, &conn, &headers)
    }

    /// The reason, `allowed` for a permit.
    fn reason(&self, request: &Ask<'_>) -> &'static str {
        self.ask(request).verdict.map_or_else(|refusal| refusal.denial.reason(), |_| "allowed")
    }

    fn with_key(&self, key: &str) -> &'static str {
        self.reason(&Ask { headers: &[("x-api-key", key)], ..Ask::default() })
    }
}

fn build(builder: &mut Builder, config: &str, keys: &str) -> Snapshot {
    let config = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n{config}");
    let source = Arc::new(SourceFile::new("keyward.toml", config));
    let (gateway, _) = gateway::parse(&source).unwrap_or_else(|report| panic!("{}", report.render(false)));
    let source = Arc::new(SourceFile::new("keys.toml", keys));
    let (keys, _) = keyfile::parse(&source).unwrap_or_else(|report| panic!("{}", report.render(false)));
    let pepper = gateway.keys.pepper.as_ref().map(|_| Pepper::new(&Secret::from("pepper")));
    let upstream_tls = &BTreeMap::new();
    builder.build(Parts {
        gateway: &gateway,
        keys: &keys,
        pepper: pepper.as_ref(),
        upstream_tls,
        entrances: Vec::new(),
    })
}

struct Ask<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    peer: &'a str,
    transport: Transport,
    insecure: Insecure,
}

impl Default for Ask<'_> {
    fn default() -> Self {
        Self {
            method: "GET",
            target: "/",
            headers: &[],
            peer: "192.0.2.1:5000",
            transport: Transport::Tls("1.3"),
            insecure: Insecure::Refuse,
        }
    }
}

fn entry(id: &str, key: &str, rest: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{}\"\n{rest}\n", Digest::sha256(key.as_bytes()).to_hex())
}

#[test]
fn a_key_is_judged_by_its_entry() {
    let hash = |key: &str| Digest::sha256(key.as_bytes()).to_hex();
    let previous = |until: &str| format!("previous = [{{ hash = \"sha256:{}\", until = {until} }}]", hash("old"));
    for (rest, key, reason) in [
        ("", "good", "allowed"),
        ("", "Good", "unknown_key"),
        ("state = \"disabled\"", "good", "disabled"),
        ("state = \"revoked\"", "good", "revoked"),
        ("state = \"compromised\"", "good", "compromised"),
        ("state = \"honey\"", "good", "honey"),
        ("expires = 2026-11-22T00:00:00Z", "good", "expired"),
        ("expires = 2026-11-22T00:00:01Z", "good", "allowed"),
        ("expires = 2026-11-22T01:00:01+01:00", "good", "allowed"),
        ("not_before = 2026-11-22T00:00:00Z", "good", "allowed"),
        ("not_before = 2026-11-22T00:00:01Z", "good", "not_yet_valid"),
        ("state = \"revoked\"\nexpires = 2020-01-01T00:00:00Z", "good", "revoked"),
        (&previous("2026-11-22T00:00:01Z"), "old", "allowed"),
        (&previous("2026-11-22T00:00:01Z"), "good", "allowed"),
        (&previous("2026-11-22T00:00:00Z"), "old", "rotated_out"),
        ("frobnicate = 1", "good", "quarantined"),
        ("plan = \"nowhere\"", "good", "quarantined"),
    ] {
        let world = World::new("", &entry("k", "good", rest));
        assert_eq!(world.with_key(key), reason, "{rest} {key}");
    }
}

#[test]
fn the_log_knows_more_than_the_client() {
    let world = World::new("", &entry("k", "good", "state = \"revoked\"\nowner = \"o\""));
    let decision = world.ask(&Ask { headers: &[("authorization", "Bearer good")], ..Ask::default() });
    let trail = decision.trail;
    assert_eq!(trail.key.as_ref().map(|k| k.id()), Some("k"));
    assert_eq!((trail.key_state, trail.source.as_deref()), (Some("revoked"), Some("bearer")));
    assert!(trail.fingerprint.is_some() && trail.route.is_some());
}

#[test]
fn keys_of_our_own_shape_are_checked_before_they_are_looked_for() {
    let key = generate("kw").expect("randomness");
    let key = std::str::from_utf8(key.expose()).expect("text");
    let world = World::new("", &entry("k", key, ""));
    let (body, last) = key.split_at(key.len() - 1);
    let wrong = format!("{body}{}", if last == "0" { "1" } else { "0" });
    for (key, reason) in [
        (key, "allowed"),
        (wrong.as_str(), "bad_checksum"),
        (body, "malformed_key"),
        ("kw_", "malformed_key"),
        (&"x".repeat(513), "malformed_key"),
        (&"x".repeat(512), "unknown_key"),
        ("something else", "unknown_key"),
    ] {
        assert_eq!(world.with_key(key), reason, "a key of {} bytes", key.len());
    }
}

#[test]
fn peppered_keys_need_the_pepper_and_plain_ones_go_on_working() {
    let hmac = Pepper::new(&Secret::from("pepper")).digest(b"peppered").to_hex();
    let keys = format!("{}[[key]]\nid = \"p\"\nhash = \"hmac-sha256:{hmac}\"\n", entry("k", "plain", ""));
    let with = World::new("keys.pepper = \"env:P\"", &keys);
    assert_eq!([with.with_key("plain"), with.with_key("peppered")], ["allowed", "allowed"]);
    let without = World::new("", &keys);
    assert_eq!([without.with_key("plain"), without.with_key("peppered")], ["allowed", "unknown_key"]);
}

#[test]
fn the_first_refusal_in_the_order_of_the_table_wins() {
    let world = World::new(
        "limits.total = \"1/h\"\n[[route]]\npath = \"/a/*\"\nmethods = [\"GET\"]",
        &entry("k", "good", "limits = [\"100/h\"]"),
    );
    let good = &[("x-api-key", "good")][..];
    let plain = Ask { headers: good, transport: Transport::Plain, ..Ask::default() };
    for (ask, reason) in [
        (Ask { target: "/a/../b", ..plain }, "malformed_request"),
        (Ask { target: "/b", ..plain }, "insecure_transport"),
        (Ask { target: "/b", headers: &[("x-api-key", "bad")], ..plain }, "insecure_transport"),
        (Ask { target: "/b", headers: good, ..Ask::default() }, "no_route"),
        (Ask { target: "/a/", method: "PUT", headers: good, ..Ask::default() }, "method_not_allowed"),
        (Ask { target: "/a/", ..Ask::default() }, "missing_key"),
        (
            Ask { target: "/a/", headers: &[("x-api-key", "1"), ("authorization", "Bearer 1")], ..Ask::default() },
            "duplicate_credential",
        ),
        (Ask { target: "/a/", headers: &[("x-api-key", "bad")], ..Ask::default() }, "unknown_key"),
        (Ask { target: "/a/", headers: good, ..plain }, "insecure_transport"),
        (Ask { target: "/a/", headers: good, insecure: Insecure::Allow, ..plain }, "allowed"),
        (Ask { target: "/a/", headers: good, ..Ask::default() }, "total_limited"),
        (Ask { target: "/b", ..Ask::default() }, "total_limited"),
    ] {
        assert_eq!(world.reason(&ask), reason, "{} {} {:?}", ask.method, ask.target, ask.headers);
    }
}

#[test]
fn a_refusal_by_one_limit_spends_nothing_of_the_others() {
    let keys = entry("a", "a", "limits = [\"3/h\", \"5/d\"]") + &entry("b", "b", "limits = [\"9/h\"]");
    let world = World::new("limits.total = \"4/h\"", &keys);
    assert_eq!((0..10).filter(|_| world.with_key("a") == "allowed").count(), 3);
    assert_eq!(world.with_key("a"), "rate_limited");
    assert_eq!(world.with_key("b"), "allowed", "the total still has the one that a's refusals did not take");
    assert_eq!(world.with_key("b"), "total_limited");
    let bucket = &world.snapshot.ring.keys()[1].buckets[0];
    assert_eq!(bucket.read(ONE, world.clock.mono()).remaining, 8, "the total's refusals took nothing from b");
    let day = &world.snapshot.ring.keys()[0].buckets[1];
    assert_eq!(day.read(ONE, world.clock.mono()).remaining, 2, "nor a's hour from a's day");
}

#[test]
fn refused_until_retry_after_then_admitted() {
    let world = World::new("", &entry("k", "good", "limits = [\"2/m\"]"));
    assert_eq!(
        [world.with_key("good"), world.with_key("good"), world.with_key("good")],
        ["allowed", "allowed", "rate_limited"]
    );
    let refused = world.ask(&Ask { headers: &[("x-api-key", "good")], ..Ask::default() });
    let wait = refused.trail.reading.expect("a reading").retry_after_s();
    assert_eq!(wait, 30);
    world.clock.advance(Duration::from_secs(wait - 1));
    assert_eq!(world.with_key("good"), "rate_limited");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.with_key("good"), "allowed");
}

#[test]
fn a_reload_keeps_what_is_spent_of_limits_that_stay() {
    let keys = entry("k", "good", "limits = [\"2/h\"]");
    let mut world = World::new("", &keys);
    assert_eq!([world.with_key("good"), world.with_key("good")], ["allowed", "allowed"]);
    world.reload("", &keys);
    assert_eq!(world.with_key("good"), "rate_limited");
    world.reload("", "");
    assert_eq!(world.with_key("good"), "unknown_key");
    world.reload("", &keys);
    assert_eq!(world.with_key("good"), "rate_limited", "removing a key and putting it back refills nothing");
    world.reload("", &entry("k", "new secret", "limits = [\"2/h\"]"));
    assert_eq!(world.with_key("new secret"), "rate_limited", "nor does a new secret");
}

#[test]
fn a_plan_gives_each_of_its_keys_a_budget_of_its_own() {
    let keys = entry("a", "a", "plan = \"p\"")
        + &entry("b", "b", "plan = \"p\"")
        + &entry("c", "c", "plan = \"p\"\nlimits = [\"2/h\"]");
    let world = World::new("[plan.p]\nlimits = [\"1/h\"]", &keys);
    for (key, admitted) in [("a", 1), ("b", 1), ("c", 2)] {
        assert_eq!((0..5).filter(|_| world.with_key(key) == "allowed").count(), admitted, "{key}");
    }
}

#[test]
fn addresses_have_limits_of_their_own_before_any_key_is_looked_at() {
    let world = World::new("limits.per_ip = \"1/h\"", &entry("k", "good", ""));
    let from = |peer| world.reason(&Ask { headers: &[("x-api-key", "good")], peer, ..Ask::default() });
    assert_eq!([from("192.0.2.1:1"), from("192.0.2.1:2"), from("192.0.2.2:1")], ["allowed", "ip_limited", "allowed"]);
    let bad = Ask { headers: &[("x-api-key", "bad")], ..Ask::default() };
    assert_eq!(world.reason(&bad), "ip_limited");
}

#[test]
fn behind_a_trusted_proxy_the_client_is_whom_it_names() {
    let config = "server.trusted_proxies = [\"192.0.2.0/24\"]\nlimits.per_ip = \"1/h\"";
    let world = World::new(config, &entry("k", "good", ""));
    let from = |peer, client, proto| {
        let headers = &[("x-api-key", "good"), ("x-forwarded-for", client), ("x-forwarded-proto", proto)][..];
        world.reason(&Ask { headers, peer, transport: Transport::Plain, ..Ask::default() })
    };
    for (peer, client, proto, reason) in [
        ("192.0.2.1:1", "198.51.100.1", "https", "allowed"),
        ("192.0.2.2:1", "198.51.100.1", "https", "ip_limited"),
        ("192.0.2.1:1", "198.51.100.2", "https", "allowed"),
        ("192.0.2.1:1", "198.51.100.3", "http", "insecure_transport"),
        ("203.0.113.1:1", "198.51.100.4", "https", "insecure_transport"),
    ] {
        assert_eq!(from(peer, client, proto), reason, "{peer} {client} {proto}");
    }
    let direct = Ask { headers: &[("x-api-key", "good"), ("x-forwarded-for", "198.51.100.1")], ..Ask::default() };
    assert_eq!(world.reason(&Ask { peer: "203.0.113.1:1", ..direct }), "allowed", "who is not trusted is itself");
    assert_eq!(world.reason(&Ask { peer: "203.0.113.1:1", ..direct }), "ip_limited");
}

#[test]
fn routes_say_whether_a_key_is_looked_at() {
    let config = "[[route]]\npath = \"/open/*\"\nauth = \"open\"\n[[route]]\npath = \"/maybe/*\"\nauth = \"optional\"\n\
                  [[route]]\npath = \"/key/*\"\nmethods = [\"GET\"]\n[[route]]\npath = \"/strict/*\"\npreflight = \"check\"\n";
    let world = World::new(config, &entry("k", "good", ""));
    let (good, bad) = (&[("x-api-key", "good")][..], &[("x-api-key", "bad")][..]);
    let preflight = &[("origin", "https://x.example"), ("access-control-request-method", "GET")][..];
    for (method, target, headers, reason) in [
        ("GET", "/open/", &[][..], "allowed"),
        ("GET", "/open/", bad, "allowed"),
        ("GET", "/maybe/", &[], "allowed"),
        ("GET", "/maybe/", good, "allowed"),
        ("GET", "/maybe/", bad, "unknown_key"),
        ("GET", "/key/", &[], "missing_key"),
        ("GET", "/key/", good, "allowed"),
        ("OPTIONS", "/key/", &[], "method_not_allowed"),
        ("OPTIONS", "/key/", preflight, "allowed"),
        ("OPTIONS", "/strict/", preflight, "missing_key"),
        ("OPTIONS", "/strict/", &[], "missing_key"),
    ] {
        let ask = Ask { method, target, headers, ..Ask::default() };
        assert_eq!(world.reason(&ask), reason, "{method} {target} {headers:?}");
    }
    let open = world.ask(&Ask { target: "/open/", headers: good, ..Ask::default() });
    assert!(open.trail.key.is_none() && open.verdict.is_ok_and(|permit| permit.credential.sources().is_empty()));
}

#[test]
fn the_upstream_gets_the_path_that_was_matched() {
    let world = World::new("[[route]]\npath = \"/v1/*\"", &entry("k", "good", ""));
    let ask = Ask { target: "/%761/a%2Db?q=%2e", headers: &[("x-api-key", "good")], ..Ask::default() };
    let permit = world.ask(&ask).verdict.unwrap_or_else(|r| panic!("{:?}", r.denial));
    assert_eq!(permit.target, "/v1/a-b?q=%2e");
    let world = World::new("[[route]]\npath = \"/a!b/*\"\n[[route]]\nauth = \"open\"", &entry("k", "good", ""));
    assert_eq!(world.reason(&Ask { target: "/a%21b/x", ..Ask::default() }), "missing_key", "no escape dodges a guard");
    let ask = Ask { target: "/a%21b/%2b", headers: &[("x-api-key", "good")], ..Ask::default() };
    let permit = world.ask(&ask).verdict.unwrap_or_else(|r| panic!("{:?}", r.denial));
    assert_eq!(permit.target, "/a%21b/%2B", "and what an application may tell apart stays apart");
    let unguarded = World::new("", &entry("k", "good", ""));
    let ask = Ask { target: "/a/../b%2f;c", headers: &[("x-api-key", "good")], ..Ask::default() };
    let permit = unguarded.ask(&ask).verdict.unwrap_or_else(|r| panic!("{:?}", r.denial));
    assert_eq!(permit.target, "/a/../b%2f;c", "without routes that look at paths it passes as sent");
}

#[test]
fn two_entries_with_one_hash_are_both_refused() {
    let world = World::new("", &(entry("a", "same", "") + &entry("b", "same", "") + &entry("c", "other", "")));
    assert_eq!([world.with_key("same"), world.with_key("other")], ["quarantined", "allowed"]);
    assert_eq!(Denial::Quarantined.code(), Denial::UnknownKey.code());
}
