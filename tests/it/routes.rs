//! Which route a request takes, and what stands at its gate.

use crate::harness::{Key, Reply, Setup, Upstream};

const ROUTES: &str = r#"
[[route]]
name = "exact"
path = "/v1/orders"
[[route]]
name = "prefix"
path = "/v1/*"
methods = ["GET", "POST"]
[[route]]
name = "longer"
path = "/v1/orders/*"
[[route]]
name = "writes"
path = "/v1/orders/*"
methods = ["DELETE"]
[[route]]
name = "host"
host = "shop.example.com"
path = "/v1/*"
[[route]]
name = "wild"
host = "*.example.com"
path = "/v1/*"
[[route]]
name = "reads-only"
path = "/ro/*"
methods = ["GET", "HEAD"]
"#;

#[test]
fn the_most_specific_route_wins() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ROUTES, &key.entry("a", "")).start();
    for (method, host, path, route) in [
        ("GET", "localhost", "/v1/orders", "exact"),
        ("GET", "localhost", "/v1/orders/7", "longer"),
        ("DELETE", "localhost", "/v1/orders/7", "writes"),
        ("GET", "localhost", "/v1/x", "prefix"),
        ("GET", "localhost:8080", "/v1/x", "prefix"),
        ("GET", "shop.example.com", "/v1/orders", "host"),
        ("GET", "SHOP.Example.com:443", "/v1/orders", "host"),
        ("GET", "a.example.com", "/v1/orders", "wild"),
    ] {
        let reply = gateway.request(method, path).header("Host", host).bearer(&key).send();
        assert_eq!(reply.status, 200, "{method} {host}{path}");
        assert_eq!(gateway.line_of(&reply)["http.route"], route, "{method} {host}{path}");
    }
}

#[test]
fn what_no_route_takes_is_not_found() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ROUTES, &key.entry("a", "")).start();
    for path in ["/", "/v2/x", "/v10/x", "/V1/x"] {
        // A caller without a key learns no more than one with a key.
        for request in
            [gateway.get(path).header("Host", "localhost"), gateway.get(path).header("Host", "localhost").bearer(&key)]
        {
            let reply = request.send();
            assert_eq!(reply.status, 404, "{path}");
            crate::verdicts::assert_problem(&reply, "not_found");
            assert_eq!(gateway.line_of(&reply)["reason"], "no_route");
        }
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_route_for_other_methods_says_which() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ROUTES, &key.entry("a", "")).start();
    let reply = gateway.request("DELETE", "/ro/x").header("Host", "localhost").bearer(&key).send();
    assert_eq!(reply.status, 405);
    crate::verdicts::assert_problem(&reply, "method_not_allowed");
    assert_eq!(gateway.line_of(&reply)["reason"], "method_not_allowed");
    let mut allowed: Vec<String> = reply.header("allow").unwrap().split(',').map(|m| m.trim().to_owned()).collect();
    allowed.sort();
    assert_eq!(allowed, ["GET", "HEAD"]);
}

const GATES: &str = r#"
[[route]]
name = "open"
path = "/open/*"
auth = "open"
[[route]]
name = "optional"
path = "/optional/*"
auth = "optional"
[[route]]
name = "closed"
"#;

#[test]
fn an_open_route_asks_for_nothing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, GATES, &key.entry("a", "")).start();
    let reply = gateway.get("/open/x").send();
    assert_eq!(reply.status, 200);
    let line = gateway.line_of(&reply);
    assert_eq!((&line["reason"], &line["http.route"]), (&"allowed".into(), &"open".into()));
}

#[test]
fn an_optional_route_takes_a_good_key_or_none() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, GATES, &key.entry("a", "")).start();
    assert_eq!(gateway.get("/optional/x").send().status, 200);
    assert_eq!(upstream.request("/optional/x").get("x-consumer-id"), None);
    assert_eq!(gateway.get("/optional/y").bearer(&key).send().status, 200);
    assert_eq!(upstream.request("/optional/y").get("x-consumer-id"), Some("a"));
    let bad = gateway.get("/optional/z").bearer(&Key::new()).send();
    assert_eq!((bad.status, bad.json()["code"].as_str()), (401, Some("invalid_key")));
}

fn preflight(reply: &Reply) -> u16 {
    reply.status
}

#[test]
fn a_cors_preflight_needs_no_key_unless_told_otherwise() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/checked/*\"\npreflight = \"check\"\n[[route]]\npath = \"/passed/*\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let ask = |path: &str| {
        let request = gateway.request("OPTIONS", path).header("Origin", "https://app.example");
        request.header("Access-Control-Request-Method", "POST")
    };
    assert_eq!(preflight(&ask("/passed/x").send()), 200);
    assert_eq!(preflight(&ask("/checked/x").send()), 401);
    let plain_options = gateway.request("OPTIONS", "/passed/x").send();
    assert_eq!(plain_options.status, 401, "only a preflight passes, not every OPTIONS");
}

#[test]
fn a_route_may_have_its_own_upstream_and_timeout() {
    let (first, second, key) = (Upstream::start(), Upstream::start(), Key::new());
    let config = format!(
        "[[route]]\npath = \"/second/*\"\nupstream = \"other\"\n[[route]]\npath = \"/hang/*\"\ntimeout = \"200ms\"\n[[route]]\n\
         [upstream.default]\nservers = [\"@UP@\"]\n[upstream.other]\nservers = [\"{}\"]\n",
        second.url()
    );
    let gateway = Setup::with(&first, &config, &key.entry("a", "")).start();
    let reply = gateway.get("/second/x").bearer(&key).send();
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.line_of(&reply)["upstream.name"], "other");
    assert_eq!((first.count("/second/x"), second.count("/second/x")), (0, 1));
    assert_eq!(gateway.request("POST", "/hang/x").bearer(&key).send().status, 504);
}

#[test]
fn no_spelling_of_a_guarded_path_gets_around_its_guard() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/v1/admin\"\nmethods = [\"GET\"]\n[[route]]\npath = \"/v1/admin/*\"\n\
        [[route]]\npath = \"/v1/*\"\nauth = \"open\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    for path in ["/v1/admin", "/v1/%61dmin", "/v1/%61%64%6D%69%6e", "/v1/admi%6E?x=1", "/v%31/admin", "/%76%31/admin"] {
        let reply = gateway.get(path).send();
        assert_eq!(reply.status, 401, "{path}: {}", reply.everything());
        assert_eq!(gateway.get(path).bearer(&key).send().status, 200, "{path} means the same");
    }
    for path in ["/v1/admin/users", "/v1/%61dmin/users", "/v1/admin/%75sers"] {
        assert_eq!(gateway.get(path).send().status, 401, "{path}");
    }
    assert!([400, 401, 405].contains(&gateway.request("get", "/v1/admin").send().status), "methods have a case");
    assert_eq!(gateway.get("/v1/public").send().status, 200);
}
