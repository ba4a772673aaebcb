//! Limits of a route, which are of each key there; what a request costs; and the limits of those who come without a key.

use super::{Site, parameter, statuses};
use crate::harness::Key;

const LIMITED: (&str, &str) = ("rate_limited", "rate_limited");

#[test]
fn a_routes_limits_are_of_each_key_there_beside_its_own() {
    let (one, two) = (Key::new(), Key::new());
    let config = "[[route]]\nname = \"reports\"\npath = \"/reports/*\"\nlimits = [\"2/h\", \"100/d\"]\n[[route]]\n";
    let keys = one.entry("one", "limits = [\"5/h\"]") + &two.entry("two", "");
    let site = Site::start(config, &keys);
    let reports = site.gateway.get("/reports/1").bearer(&one);
    let (reply, line) = site.allowed(&reports);
    let policies = "\"5/h\";q=5;w=3600, \"2/h\";q=2;w=3600, \"100/d\";q=100;w=86400";
    assert_eq!(reply.header("ratelimit-policy"), Some(policies));
    assert!(reply.header("ratelimit").unwrap().starts_with("\"2/h\";r=1;"), "{:?}", reply.header("ratelimit"));
    assert_eq!((&line["limit.policy"], &line["limit.remaining"]), (&"2/h".into(), &1.into()), "{line:#}");
    site.allowed(&reports);
    let (reply, line) = site.throttled(&reports, LIMITED, "2/h");
    assert_eq!(reply.header("ratelimit-policy"), Some(policies));
    assert_eq!((&line["http.route"], &line["key.id"]), (&"reports".into(), &"one".into()));
    // Elsewhere the key has its own limit alone, of which three are left: refusals took nothing.
    let (reply, _) = site.allowed(&site.gateway.get("/x").bearer(&one));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"5/h\";q=5;w=3600"));
    assert_eq!(parameter(reply.header("ratelimit").unwrap(), "r"), Some(2));
    // Another key has limits of its own there, and no others.
    let (reply, _) = site.allowed(&site.gateway.get("/reports/1").bearer(&two));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"2/h\";q=2;w=3600, \"100/d\";q=100;w=86400"));
    let (reply, _) = site.allowed(&site.gateway.get("/x").bearer(&two));
    assert_eq!(reply.header("ratelimit-policy"), None);
}

#[test]
fn a_cost_counts_against_every_limit_and_quota() {
    let key = Key::new();
    let config = "[[route]]\nname = \"dear\"\npath = \"/dear/*\"\ncost = 5\nlimits = [\"12/h\"]\n[[route]]\n";
    let rules = "limits = [\"20/h\"]\nquota = \"11/month\"";
    let site = Site::start(config, &key.entry("a", rules));
    let (dear, plain) = (site.gateway.get("/dear/x").bearer(&key), site.gateway.get("/x").bearer(&key));
    let (reply, line) = site.allowed(&dear);
    let left = |reply: &crate::harness::Reply| parameter(reply.header("ratelimit").unwrap(), "r");
    assert_eq!((left(&reply), &line["limit.policy"]), (Some(6), &"month".into()), "{line:#}");
    let (reply, _) = site.allowed(&dear);
    assert_eq!(left(&reply), Some(1));
    // The route's own limit has two left, which is too few; the quota has one, which is enough for one.
    site.throttled(&dear, LIMITED, "12/h");
    let (reply, _) = site.allowed(&plain);
    assert_eq!(left(&reply), Some(0));
    site.throttled(&plain, ("quota_exceeded", "quota_exceeded"), "month");
    site.reload_keys(&key.entry("a", "limits = [\"20/h\"]"));
    let (reply, _) = site.allowed(&plain);
    assert_eq!(left(&reply), Some(8), "twice five, one, and this one");
}

#[test]
fn a_cost_counts_against_the_limits_of_addresses_and_of_all() {
    let key = Key::new();
    for (limit, reason) in [("per_ip", "ip_limited"), ("total", "total_limited")] {
        let config = format!("limits.{limit} = \"7/h\"\n[[route]]\npath = \"/dear\"\ncost = 3\n[[route]]\n");
        let site = Site::start(&config, &key.entry("a", ""));
        let (dear, plain) = (site.gateway.get("/dear").bearer(&key), site.gateway.get("/x").bearer(&key));
        assert_eq!(statuses(&mut site.gateway.connect(), &dear, 2), [200, 200], "{limit}");
        let (_, line) = site.throttled(&dear, ("rate_limited", reason), "7/h");
        assert_eq!(line["limit.remaining"], 1, "one is left, and three are wanted");
        site.allowed(&plain);
        site.throttled(&plain, ("rate_limited", reason), "7/h");
    }
}

#[test]
fn those_without_a_key_have_limits_by_their_address() {
    let key = Key::new();
    let config = "server.trusted_proxies = [\"127.0.0.1\"]\nlimits.open = \"3/h\"\n\
                  [[route]]\nname = \"ping\"\npath = \"/ping\"\nauth = \"open\"\n\
                  [[route]]\nname = \"dear\"\npath = \"/dear\"\nauth = \"open\"\ncost = 2\n[[route]]\n";
    let site = Site::start(config, &key.entry("a", ""));
    let from = |client: &str, path: &str| site.gateway.get(path).header("X-Forwarded-For", client);
    let (reply, line) = site.allowed(&from("192.0.2.1", "/ping"));
    assert_eq!(reply.header("ratelimit"), None, "what an address has left is nobody's business");
    assert_eq!((&line["http.route"], &line["key.id"]), (&"ping".into(), &serde_json::Value::Null));
    site.allowed(&from("192.0.2.1", "/dear"));
    let (_, line) = site.throttled(&from("192.0.2.1", "/ping"), ("rate_limited", "ip_limited"), "3/h");
    assert_eq!(line["client.address"], "192.0.2.1");
    // Others have their own; of IPv6 it is a network that has them.
    site.allowed(&from("192.0.2.2", "/ping"));
    for client in ["2001:db8:0:1::1", "2001:db8:0:1::2", "2001:db8:0:1:ffff::3"] {
        site.allowed(&from(client, "/ping"));
    }
    site.throttled(&from("2001:db8:0:1::4", "/ping"), ("rate_limited", "ip_limited"), "3/h");
    site.allowed(&from("2001:db8:0:2::1", "/ping"));
    // Who has a key is not counted there, and a key that is sent where none is asked for changes nothing.
    site.allowed(&from("192.0.2.1", "/x").bearer(&key));
    site.throttled(&from("192.0.2.1", "/ping").bearer(&key), ("rate_limited", "ip_limited"), "3/h");
    // A preflight that passes without a key is a request without a key.
    let preflight = |client: &str| {
        let request = site.gateway.request("OPTIONS", "/x").header("X-Forwarded-For", client);
        request.header("Origin", "https://app.example").header("Access-Control-Request-Method", "GET")
    };
    site.throttled(&preflight("192.0.2.1"), ("rate_limited", "ip_limited"), "3/h");
    site.allowed(&preflight("192.0.2.3"));
}
