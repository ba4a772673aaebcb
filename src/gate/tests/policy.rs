//! Policy in depth: what a key may reach, how much it may use, and shadow mode.

use super::*;
use crate::limits::account::Underway;
use crate::record::Trail;

const GOOD: &[(&str, &str)] = &[("x-api-key", "good")];

impl World {
    fn good(&self, method: &str, target: &str) -> &'static str {
        self.reason(&Ask { method, target, headers: GOOD, ..Ask::default() })
    }

    /// What the good key's request was logged with, and whether it passes.
    fn told(&self, target: &str, headers: &[(&str, &str)]) -> (bool, Option<Denial>, Trail) {
        let Decision { verdict, trail } = self.ask(&Ask { target, headers, ..Ask::default() });
        (verdict.is_ok(), trail.shadow, trail)
    }

    /// A request that goes on.
    fn begin(&self, target: &str) -> Result<Option<Underway>, Denial> {
        let decision = self.ask(&Ask { target, headers: GOOD, ..Ask::default() });
        decision.verdict.map(|mut permit| permit.admitted.take_underway()).map_err(|refusal| refusal.denial)
    }
}

#[test]
fn a_key_reaches_what_its_entry_lets_through() {
    let config = "[[route]]\nname = \"orders\"\npath = \"/v1/orders/*\"\nroles = [\"orders:read\"]\n\
                  [[route]]\nname = \"rest\"\n";
    for (rules, method, target, peer, reason) in [
        ("", "GET", "/", "192.0.2.1:1", "allowed"),
        ("", "GET", "/v1/orders/1", "192.0.2.1:1", "role_denied"),
        ("roles = [\"orders:write\"]", "GET", "/v1/orders/1", "192.0.2.1:1", "role_denied"),
        ("roles = [\"a\", \"orders:read\"]", "GET", "/v1/orders/1", "192.0.2.1:1", "allowed"),
        ("routes = [\"orders\"]", "GET", "/", "192.0.2.1:1", "route_denied"),
        ("routes = [\"orders\", \"rest\"]", "GET", "/", "192.0.2.1:1", "allowed"),
        ("methods = [\"GET\"]", "POST", "/", "192.0.2.1:1", "method_denied"),
        ("methods = [\"GET\"]", "HEAD", "/", "192.0.2.1:1", "allowed"),
        ("methods = [\"POST\"]", "HEAD", "/", "192.0.2.1:1", "method_denied"),
        ("paths = [\"/v2/*\"]", "GET", "/v1", "192.0.2.1:1", "path_denied"),
        ("paths = [\"/v2/*\"]", "GET", "/v2", "192.0.2.1:1", "allowed"),
        ("paths = [\"/v2/*\", \"/v1\"]", "GET", "/v1", "192.0.2.1:1", "allowed"),
        ("paths = [\"/v2/*\"]", "GET", "/%762/x", "192.0.2.1:1", "allowed"),
        ("networks = [\"10.0.0.0/8\"]", "GET", "/", "192.0.2.1:1", "network_denied"),
        ("networks = [\"10.0.0.0/8\", \"192.0.2.1\"]", "GET", "/", "192.0.2.1:1", "allowed"),
        ("networks = [\"192.0.2.0/24\"]", "GET", "/", "[::ffff:192.0.2.1]:1", "allowed"),
        ("networks = [\"::ffff:192.0.2.0/120\"]", "GET", "/", "192.0.2.7:1", "allowed"),
        ("networks = [\"2001:db8::/32\"]", "GET", "/", "[2001:db8::1]:1", "allowed"),
        ("networks = [\"2001:db8::/32\"]", "GET", "/", "192.0.2.1:1", "network_denied"),
        // The first that refuses says why.
        (
            "routes = [\"rest\"]\nmethods = [\"PUT\"]\npaths = [\"/x\"]",
            "GET",
            "/v1/orders/1",
            "192.0.2.1:1",
            "route_denied",
        ),
        (
            "methods = [\"PUT\"]\npaths = [\"/x\"]\nnetworks = [\"10.0.0.0/8\"]",
            "GET",
            "/",
            "192.0.2.1:1",
            "method_denied",
        ),
        ("paths = [\"/x\"]\nnetworks = [\"10.0.0.0/8\"]", "GET", "/", "192.0.2.1:1", "path_denied"),
    ] {
        let world = World::new(config, &entry("k", "good", rules));
        let ask = Ask { method, target, peer, headers: GOOD, ..Ask::default() };
        assert_eq!(world.reason(&ask), reason, "{rules}: {method} {target} {peer}");
    }
}

#[test]
fn where_a_key_has_paths_ambiguous_ones_are_refused() {
    let world = World::new("", &(entry("k", "good", "") + &entry("l", "other", "paths = [\"/a/*\"]")));
    assert_eq!(world.good("GET", "/a/../b"), "malformed_request");
    assert_eq!(World::new("", &entry("k", "good", "")).good("GET", "/a/../b"), "allowed");
}

#[test]
fn who_may_not_do_this_is_told_no_more_than_that() {
    let world = World::new("", &entry("k", "good", "methods = [\"GET\"]\nlimits = [\"1/h\"]"));
    for _ in 0..3 {
        assert_eq!(world.good("POST", "/"), "method_denied", "and a refusal costs nothing");
    }
    assert_eq!([world.good("GET", "/"), world.good("GET", "/")], ["allowed", "rate_limited"]);
    assert_eq!(Denial::MethodDenied.code(), Denial::NetworkDenied.code());
}

#[test]
fn a_quota_holds_until_its_period_ends() {
    let mut world = World::new("[plan.p]\nquota = \"3/day\"", &entry("k", "good", "plan = \"p\""));
    assert_eq!((0..9).filter(|_| world.with_key("good") == "allowed").count(), 3);
    let refused = world.ask(&Ask { headers: GOOD, ..Ask::default() });
    let reading = refused.trail.reading.expect("a reading");
    assert_eq!((&*reading.label.text, reading.remaining), ("day", 0));
    // The test begins at midnight.
    assert_eq!(reading.retry_after_s(), 86_400);
    assert_eq!(refused.verdict.map(|_| ()).map_err(|it| it.denial).err(), Some(Denial::QuotaExceeded));
    world.reload("[plan.p]\nquota = \"4/week\"", &entry("k", "good", "plan = \"p\""));
    assert_eq!([world.with_key("good"), world.with_key("good")], ["allowed", "quota_exceeded"]);
    world.clock.advance(Duration::from_secs(86_400 - 1));
    assert_eq!(world.with_key("good"), "quota_exceeded", "Sunday is not over");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((0..9).filter(|_| world.with_key("good") == "allowed").count(), 4, "a new week");
    world.reload("[plan.p]\nquota = \"4/week\"", &entry("k", "good", "plan = \"p\"\nquota = \"9/week\""));
    assert_eq!((0..9).filter(|_| world.with_key("good") == "allowed").count(), 5, "a key's own goes before its plan's");
}

#[test]
fn a_refusal_by_a_quota_spends_nothing_and_nothing_spends_of_a_quota_that_did_not_pass() {
    let keys = entry("k", "good", "limits = [\"5/h\"]\nquota = \"2/day\"");
    let world = World::new("limits.total = \"3/h\"", &(keys + &entry("l", "other", "quota = \"9/day\"")));
    assert_eq!((0..9).filter(|_| world.with_key("good") == "allowed").count(), 2);
    let key = &world.snapshot.ring.keys()[0];
    assert_eq!(key.buckets[0].read(ONE, world.clock.mono()).remaining, 3);
    assert_eq!([world.with_key("other"), world.with_key("other")], ["allowed", "total_limited"]);
    let other = &world.snapshot.ring.keys()[1];
    let quota = other.quota().expect("it has one");
    assert_eq!(other.account().spent.read(quota, 1, world.clock.now()).remaining, 8);
}

#[test]
fn no_more_are_underway_than_may_be() {
    let mut world = World::new("[plan.p]\nconcurrency = 2", &entry("k", "good", "plan = \"p\"\nlimits = [\"5/h\"]"));
    let (one, two) = (world.begin("/").expect("the first"), world.begin("/").expect("the second"));
    assert!(one.is_some() && two.is_some());
    assert_eq!(world.begin("/").err(), Some(Denial::ConcurrencyLimited));
    world.reload("[plan.p]\nconcurrency = 2", &entry("k", "good", "plan = \"p\"\nlimits = [\"5/h\"]\nowner = \"o\""));
    assert_eq!(world.begin("/").err(), Some(Denial::ConcurrencyLimited), "a reload forgets nobody");
    drop(one);
    assert!(world.begin("/").is_ok());
    drop(two);
    assert_eq!((0..9).filter(|_| world.begin("/").is_ok()).count(), 2, "refusals took nothing of the five");
}

#[test]
fn limits_of_a_route_are_of_each_key_there_and_costs_count_everywhere() {
    let config =
        "[[route]]\nname = \"dear\"\npath = \"/dear/*\"\ncost = 3\nlimits = [\"7/h\"]\n[[route]]\nname = \"rest\"\n";
    let keys = entry("k", "good", "limits = [\"20/h\"]\nquota = \"11/day\"") + &entry("l", "other", "");
    let mut world = World::new(config, &keys);
    assert_eq!((0..9).filter(|_| world.good("GET", "/dear/") == "allowed").count(), 2, "seven are twice three");
    let (_, _, trail) = world.told("/dear/", GOOD);
    let reading = trail.reading.expect("a reading");
    assert_eq!((&*reading.label.text, reading.remaining, reading.retry_after_s()), ("7/h", 1, 1029));
    world.clock.advance(Duration::from_secs(1028));
    assert_eq!(world.good("GET", "/dear/"), "rate_limited");
    assert_eq!((0..20).filter(|_| world.good("GET", "/") == "allowed").count(), 5, "of the quota six are gone");
    let other = Ask { target: "/dear/", headers: &[("x-api-key", "other")], ..Ask::default() };
    assert_eq!((0..9).filter(|_| world.reason(&other) == "allowed").count(), 2, "another key has its own");
    world.reload(&config.replace("7/h", "8/h"), &keys);
    assert_eq!((0..9).filter(|_| world.reason(&other) == "allowed").count(), 2, "another limit is a new one");
    world.reload(config, &keys);
    assert_eq!(world.reason(&other), "allowed", "and the one before was forgotten with its route");
}

#[test]
fn requests_without_a_key_have_a_limit_of_their_own() {
    let config =
        "limits.open = \"2/h\"\n[[route]]\npath = \"/open\"\nauth = \"open\"\n[[route]]\nauth = \"optional\"\n";
    let world = World::new(config, &entry("k", "good", ""));
    let plain = |target, peer| world.reason(&Ask { target, peer, ..Ask::default() });
    assert_eq!([plain("/open", "192.0.2.1:1"), plain("/", "192.0.2.1:2")], ["allowed", "allowed"]);
    assert_eq!([plain("/open", "192.0.2.1:1"), plain("/", "192.0.2.1:2")], ["ip_limited", "ip_limited"]);
    assert_eq!([plain("/open", "192.0.2.9:1"), world.with_key("good")], ["allowed", "allowed"]);
}

#[test]
fn a_suspended_key_is_refused_until_its_time_is_over() {
    let world = World::new("", &(entry("k", "good", "") + &entry("l", "other", "")));
    let account = world.snapshot.ring.keys()[0].account();
    account.hold(world.clock.mono() + 1_500_000_000);
    assert_eq!([world.with_key("good"), world.with_key("other")], ["suspended", "allowed"]);
    world.clock.advance(Duration::from_millis(1_500));
    assert_eq!(world.with_key("good"), "allowed");
    account.hold(world.clock.mono() + 1_500_000_000);
    account.hold(0);
    assert_eq!(world.with_key("good"), "allowed");
}

#[test]
fn who_guesses_is_locked_out_before_any_key_is_looked_at() {
    let config = "server.trusted_proxies = [\"198.51.100.0/24\"]\nlimits.failures_per_ip = \"3/m\"\nlimits.lockout = \"1m\"\n\
                  [[route]]\npath = \"/s/*\"\nmode = \"shadow\"\n[[route]]\n";
    let keys = entry("k", "good", "")
        + &entry("l", "home", "networks = [\"192.0.2.0/24\"]")
        + &entry("m", "gone", "state = \"revoked\"");
    let world = World::new(config, &keys);
    let ask = |key: &str, peer: &str, target: &str| {
        let headers = [("x-api-key", key)];
        let headers = if key.is_empty() { &[][..] } else { &headers[..] };
        world.reason(&Ask { target, headers, peer, ..Ask::default() })
    };
    let (guesser, other) = ("192.0.2.1:1", "192.0.2.2:1");
    for _ in 0..5 {
        assert_eq!(ask("", guesser, "/"), "missing_key", "who sends none does not guess");
        assert_eq!(ask("bad", guesser, "/s/"), "allowed", "nothing is held against anybody in shadow mode");
    }
    assert_eq!([ask("bad", guesser, "/"), ask("gone", guesser, "/")], ["unknown_key", "revoked"]);
    assert_eq!(ask("good", guesser, "/"), "allowed", "not yet");
    assert_eq!([ask("worse", guesser, "/"), ask("worst", guesser, "/")], ["unknown_key", "locked_out"]);
    assert_eq!([ask("good", guesser, "/"), ask("", guesser, "/nowhere")], ["locked_out", "locked_out"]);
    assert_eq!(ask("good", guesser, "/s/"), "allowed", "shadow mode refuses nobody");
    assert_eq!(ask("home", guesser, "/"), "allowed", "its entry names that network");
    assert_eq!([ask("good", other, "/"), ask("bad", other, "/")], ["allowed", "unknown_key"]);
    for _ in 0..9 {
        assert_eq!(ask("bad", "198.51.100.7:1", "/"), "unknown_key", "a proxy is not locked out for its clients");
    }
    let refused = world.ask(&Ask { headers: GOOD, peer: guesser, ..Ask::default() });
    assert_eq!(refused.trail.reading.map(|it| it.retry_after_s()), Some(60));
    assert!(refused.trail.fingerprint.is_none(), "no key was looked at");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(ask("good", guesser, "/"), "allowed");
}

#[test]
fn a_route_in_shadow_mode_refuses_nothing_that_can_be_passed_on() {
    let config = "limits.per_ip = \"9/h\"\n[[route]]\npath = \"/s/*\"\nmode = \"shadow\"\nroles = [\"r\"]\n[[route]]\n";
    let world =
        World::new(config, &(entry("k", "good", "roles = [\"r\"]\nlimits = [\"1/h\"]") + &entry("l", "other", "")));
    for (target, headers, passes, shadow) in [
        ("/s/", GOOD, true, None),
        ("/s/", GOOD, true, Some(Denial::RateLimited)),
        ("/", GOOD, false, None),
        ("/s/", &[("x-api-key", "other")][..], true, Some(Denial::RoleDenied)),
        ("/s/", &[("x-api-key", "bad")], true, Some(Denial::UnknownKey)),
        ("/s/", &[("x-api-key", "bad"), ("authorization", "Bearer bad")], true, Some(Denial::DuplicateCredential)),
        ("/s/", &[], true, Some(Denial::MissingKey)),
        ("/s/..", GOOD, false, None),
    ] {
        let (passed, said, trail) = world.told(target, headers);
        assert_eq!((passed, said), (passes, shadow), "{target} {headers:?}");
        assert_eq!(trail.charged, u32::from(passed && said.is_none()), "{target} {headers:?}");
    }
    let plain = Ask { target: "/s/", headers: GOOD, transport: Transport::Plain, ..Ask::default() };
    assert_eq!(world.reason(&plain), "insecure_transport");
}

#[test]
fn what_passes_in_shadow_mode_is_known_and_stripped() {
    let config = "[[route]]\nmode = \"shadow\"\nroles = [\"r\"]";
    let world = World::new(config, &entry("k", "good", ""));
    let permit = |headers| {
        let decision = world.ask(&Ask { headers, ..Ask::default() });
        decision.verdict.unwrap_or_else(|refusal| panic!("{:?}", refusal.denial))
    };
    assert_eq!(permit(GOOD).admitted.key().map(|key| key.id()), Some("k"), "a good key that lacks a role is who it is");
    for (headers, stripped) in [
        (GOOD, 1),
        (&[("x-api-key", "bad")][..], 1),
        (&[("x-api-key", "bad"), ("authorization", "Bearer bad")], 2),
        (&[], 0),
    ] {
        let permit = permit(headers);
        assert_eq!(permit.credential.sources().len(), stripped, "{headers:?}");
        assert!(permit.admitted.key().is_none() || headers == GOOD);
    }
}

#[test]
fn what_passes_before_its_key_was_looked_at_is_known_and_stripped_all_the_same() {
    let config = "limits.per_ip = \"1/h\"\n[[route]]\nmode = \"shadow\"";
    let world = World::new(config, &entry("k", "good", ""));
    for shadow in [None, Some(Denial::IpLimited)] {
        let decision = world.ask(&Ask { headers: GOOD, ..Ask::default() });
        assert_eq!(decision.trail.shadow, shadow);
        assert_eq!(decision.trail.key.as_ref().map(|key| key.id()), Some("k"));
        let permit = decision.verdict.unwrap_or_else(|refusal| panic!("{:?}", refusal.denial));
        assert_eq!(permit.credential.sources().len(), 1, "the upstream must not get the key");
        assert_eq!(permit.admitted.key().map(|key| key.id()), Some("k"));
    }
}

#[test]
fn the_limits_of_a_key_in_shadow_mode_are_counted_and_not_meant() {
    let rules = "mode = \"shadow\"\nlimits = [\"1/h\"]\nnetworks = [\"192.0.2.0/24\"]";
    let world = World::new("limits.total = \"3/h\"", &entry("k", "good", rules));
    for shadow in [None, Some(Denial::RateLimited), Some(Denial::RateLimited)] {
        let (passes, said, trail) = world.told("/", GOOD);
        assert_eq!((passes, said), (true, shadow));
        assert_eq!(trail.reading.map(|it| it.remaining), Some(0));
    }
    assert_eq!(world.with_key("good"), "total_limited", "a limit of all is meant");
    let elsewhere = Ask { headers: GOOD, peer: "198.51.100.1:1", ..Ask::default() };
    assert_eq!(World::new("", &entry("k", "good", rules)).reason(&elsewhere), "network_denied");
}
