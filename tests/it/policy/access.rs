//! What a key may reach: one answer for all refusals, and a reason of its own for each.

use super::Site;
use crate::harness::Key;

const ROUTES: &str = "[[route]]\nname = \"orders\"\npath = \"/v1/orders/*\"\nroles = [\"orders:read\", \"eu\"]\n\
                      [[route]]\nname = \"rest\"\n";

#[test]
fn each_refusal_has_its_own_reason_and_all_have_one_answer() {
    let cases = [
        ("routes = [\"orders\"]", "GET", "/x", "route_denied", "rest"),
        ("methods = [\"GET\"]", "POST", "/x", "method_denied", "rest"),
        ("paths = [\"/v1/carts/*\", \"/y\"]", "GET", "/x", "path_denied", "rest"),
        ("networks = [\"10.0.0.0/8\", \"2001:db8::/32\"]", "GET", "/x", "network_denied", "rest"),
        ("roles = [\"orders:read\"]", "GET", "/v1/orders/7", "role_denied", "orders"),
        // The first of several is the one that is told.
        (
            "routes = [\"orders\"]\nmethods = [\"PUT\"]\nnetworks = [\"10.0.0.0/8\"]",
            "GET",
            "/x",
            "route_denied",
            "rest",
        ),
        ("paths = [\"/y\"]\nnetworks = [\"10.0.0.0/8\"]", "GET", "/v1/orders/7", "path_denied", "orders"),
    ];
    let keys: Vec<Key> = cases.iter().map(|_| Key::new()).collect();
    let entry = |(at, (key, case)): (usize, (&Key, &(&str, _, _, _, _)))| {
        key.entry(&format!("key-{at}"), &format!("owner = \"team {at}\"\nlimits = [\"5/h\"]\n{}", case.0))
    };
    let entries: String = keys.iter().zip(&cases).enumerate().map(entry).collect();
    let site = Site::start(ROUTES, &entries);
    let mut answers = Vec::new();
    for (at, (key, (_, method, target, reason, route))) in keys.iter().zip(&cases).enumerate() {
        let request = site.gateway.request(method, target).bearer(key);
        let (reply, line) = site.refused(&request, 403, "forbidden", reason);
        assert_eq!(reply.all("www-authenticate"), ["Bearer realm=\"api\", error=\"insufficient_scope\""]);
        assert_eq!((reply.header("ratelimit"), reply.header("retry-after")), (None, None));
        assert_eq!((&line["event"], &line["fault"]), (&"decision".into(), &"client".into()), "{line:#}");
        assert_eq!((&line["key.id"], &line["key.state"]), (&format!("key-{at}").into(), &"active".into()), "{line:#}");
        assert_eq!((&line["key.owner"], &line["http.route"]), (&format!("team {at}").into(), &(*route).into()));
        assert_eq!(line["key.fingerprint"].as_str(), reply.header("x-api-key-fingerprint"));
        answers.push(reply.anonymous());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[test]
fn without_bearer_among_the_sources_the_challenge_names_no_error() {
    let key = Key::new();
    let config = "[keys]\nsources = [\"header:x-api-key\"]\nrealm = \"shop\"\nstatus_missing = 403\n";
    let site = Site::start(config, &key.entry("a", "methods = [\"PUT\"]"));
    let (reply, _) = site.refused(&site.gateway.get("/").api_key(&key.text), 403, "forbidden", "method_denied");
    assert_eq!(reply.all("www-authenticate"), ["ApiKey realm=\"shop\""]);
}

#[test]
fn what_an_entry_lets_through_passes() {
    let (wide, narrow) = (Key::new(), Key::new());
    let rules = "roles = [\"eu\", \"other\", \"orders:read\"]\nroutes = [\"orders\"]\nmethods = [\"GET\", \"DELETE\"]\n\
                 paths = [\"/v1/orders/eu/*\", \"/v1/orders/7\"]\nnetworks = [\"127.0.0.0/8\"]";
    let site = Site::start(ROUTES, &(wide.entry("wide", "") + &narrow.entry("narrow", rules)));
    site.allowed(&site.gateway.request("PATCH", "/anything").bearer(&wide));
    for (method, target) in [("GET", "/v1/orders/7"), ("DELETE", "/v1/orders/eu/1"), ("GET", "/v1/orders/eu")] {
        let (_, line) = site.allowed(&site.gateway.request(method, target).bearer(&narrow));
        assert_eq!((&line["key.id"], &line["http.route"]), (&"narrow".into(), &"orders".into()));
    }
    // Who may GET may HEAD.
    let head = site.gateway.request("HEAD", "/v1/orders/7").bearer(&narrow).send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    // What is matched is what the path means, and the upstream gets the same.
    site.allowed(&site.gateway.get("/v1/orders/%65u/2").bearer(&narrow));
    assert_eq!(site.upstream.last_target(), "/v1/orders/eu/2");
    let ambiguous = site.gateway.get("/v1/orders/eu/../../carts").bearer(&narrow);
    site.refused(&ambiguous, 400, "bad_request", "malformed_request");
}

#[test]
fn a_network_is_where_the_client_is_behind_trusted_proxies_and_ipv4_in_ipv6_is_ipv4() {
    let (key, v6) = (Key::new(), Key::new());
    let keys = key.entry("v4", "networks = [\"192.0.2.0/24\"]")
        + &v6.entry("v6", "networks = [\"2001:db8::/32\", \"::ffff:198.51.100.0/120\"]");
    let config =
        "server.trusted_proxies = [\"127.0.0.0/8\"]\n[[listener]]\naddress = \"[::]:0\"\ninsecure = \"allow\"\n";
    let site = Site::start(config, &keys);
    let port = site.gateway.addr().port();
    let from = |client: &str, key: &Key| {
        let request = crate::harness::Req::new(([127, 0, 0, 1], port).into(), "GET", "/").bearer(key);
        let reply = request.header("X-Forwarded-For", client).send();
        let line = site.gateway.line_of(&reply);
        (reply.status, line["reason"].as_str().unwrap().to_owned(), line["client.address"].as_str().unwrap().to_owned())
    };
    for (client, key, status, reason, address) in [
        ("192.0.2.7", &key, 200, "allowed", "192.0.2.7"),
        ("::ffff:192.0.2.7", &key, 200, "allowed", "192.0.2.7"),
        ("192.0.3.7", &key, 403, "network_denied", "192.0.3.7"),
        // What a client says of itself before the proxy's own word is not believed.
        ("192.0.2.7, 203.0.113.9", &key, 403, "network_denied", "203.0.113.9"),
        ("2001:db8::7", &key, 403, "network_denied", "2001:db8::7"),
        ("2001:db8:ffff::7", &v6, 200, "allowed", "2001:db8:ffff::7"),
        ("198.51.100.9", &v6, 200, "allowed", "198.51.100.9"),
        ("198.51.101.9", &v6, 403, "network_denied", "198.51.101.9"),
    ] {
        assert_eq!(from(client, key), (status, reason.to_owned(), address.to_owned()), "{client}");
    }
}

#[test]
fn without_a_trusted_proxy_nobody_talks_himself_into_a_network() {
    let key = Key::new();
    let site = Site::start("", &key.entry("a", "networks = [\"192.0.2.0/24\"]"));
    for header in ["X-Forwarded-For", "X-Real-IP", "Forwarded"] {
        let value = if header == "Forwarded" { "for=192.0.2.1" } else { "192.0.2.1" };
        let request = site.gateway.get("/").bearer(&key).header(header, value);
        site.refused(&request, 403, "forbidden", "network_denied");
    }
}

#[test]
fn a_key_that_is_bad_is_told_that_and_not_what_it_may_reach() {
    let (expired, unknown) = (Key::new(), Key::new());
    let site = Site::start(ROUTES, &expired.entry("a", "expires = 2020-01-01T00:00:00Z\nroutes = [\"orders\"]"));
    site.refused(&site.gateway.get("/x").bearer(&expired), 401, "invalid_key", "expired");
    site.refused(&site.gateway.get("/v1/orders/1").bearer(&unknown), 401, "invalid_key", "unknown_key");
    site.refused(&site.gateway.get("/v1/orders/1"), 401, "missing_key", "missing_key");
}

#[test]
fn what_a_key_may_reach_changes_with_the_next_request_on_a_connection_that_is_there() {
    let key = Key::new();
    let site = Site::start(ROUTES, &key.entry("a", ""));
    let mut conn = site.gateway.connect();
    let request = site.gateway.get("/x").bearer(&key);
    assert_eq!(conn.send(&request).status, 200);
    for (rules, status) in
        [("routes = [\"orders\"]", 403), ("methods = [\"GET\"]", 200), ("paths = [\"/y\"]", 403), ("", 200)]
    {
        site.reload_keys(&key.entry("a", rules));
        assert_eq!(conn.send(&request).status, status, "{rules}");
    }
}

#[test]
fn a_grpc_client_without_the_role_reads_permission_denied() {
    let key = Key::new();
    let site = Site::start(ROUTES, &key.entry("a", ""));
    let request = site.gateway.request("POST", "/v1/orders/Get").bearer(&key);
    let reply = request.header("Content-Type", "application/grpc").body(b"").send();
    assert_eq!((reply.status, reply.header("grpc-status")), (200, Some("7")), "{}", reply.everything());
    assert_eq!(site.gateway.line_of(&reply)["reason"], "role_denied");
}

#[test]
fn a_key_that_was_made_with_flags_may_reach_that_and_no_more() {
    let site = Site::start(ROUTES, "");
    let dir = site.gateway.dir.path();
    let made = |args: &str| {
        let before = site.gateway.reloads().len();
        let args: Vec<&str> = ["key", "new"].into_iter().chain(args.split(' ')).collect();
        let ran = crate::harness::keyward(dir, &[&args[..], &["-c", "keyward.toml"]].concat()).ok();
        assert_eq!(site.gateway.reload_after(before)["result"], "applied");
        Key::from_text(ran.stdout.trim_end())
    };
    let orders = made("orders --role orders:read --role eu --route orders --method GET --path /v1/orders/eu/*");
    site.allowed(&site.gateway.get("/v1/orders/eu/1").bearer(&orders));
    for (method, target, reason) in [
        ("GET", "/x", "route_denied"),
        ("POST", "/v1/orders/eu/1", "method_denied"),
        ("GET", "/v1/orders/us/1", "path_denied"),
    ] {
        site.refused(&site.gateway.request(method, target).bearer(&orders), 403, "forbidden", reason);
    }
    let elsewhere = made("elsewhere --network 192.0.2.0/24");
    site.refused(&site.gateway.get("/x").bearer(&elsewhere), 403, "forbidden", "network_denied");
    let counted = made("counted --quota 1/month --concurrency 3");
    let (reply, _) = site.allowed(&site.gateway.get("/x").bearer(&counted));
    let policies = "\"month\";q=1, \"concurrency\";q=3;qu=\"concurrent-requests\"";
    assert_eq!(reply.header("ratelimit-policy"), Some(policies));
    site.throttled(&site.gateway.get("/x").bearer(&counted), ("quota_exceeded", "quota_exceeded"), "month");
}
