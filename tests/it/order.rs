//! A request that is wrong in two ways is refused for the first of them.

use crate::harness::{Gateway, Key, Req, Setup, Upstream};

const CONFIG: &str = r#"
[keys]
sources = ["bearer", "header:x-api-key"]
[[route]]
path = "/v1/*"
methods = ["GET"]
[[route]]
path = "/open/*"
auth = "open"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
insecure = "refuse"
"#;

#[track_caller]
fn reason(gateway: &Gateway, request: &Req, expected: &str) {
    let reply = request.send();
    assert_eq!(gateway.line_of(&reply)["reason"], expected, "{}", reply.everything());
}

#[test]
fn the_first_refusal_wins() {
    let (upstream, revoked, spent) = (Upstream::start(), Key::new(), Key::new());
    let fields = "state = \"revoked\"\nexpires = 2020-01-01T00:00:00Z\nlimits = [\"1/h\"]";
    let entries = revoked.entry("revoked", fields) + &spent.entry("spent", "limits = [\"1/h\"]");
    let gateway = Setup::with(&upstream, CONFIG, &entries).start();
    let insecure = |target: &str| Req::new(gateway.listener(1), "GET", target);
    let post = |target: &str| gateway.request("POST", target);
    assert_eq!(gateway.get("/v1/x").bearer(&spent).send().status, 200);
    for (request, expected) in [
        (insecure("/v1/../x").bearer(&spent), "malformed_request"),
        (insecure("/nowhere").bearer(&spent), "insecure_transport"),
        (insecure("/v1/x").bearer(&revoked).api_key("two"), "insecure_transport"),
        (gateway.get("/nowhere").bearer(&spent).api_key("two"), "no_route"),
        (post("/v1/x"), "method_not_allowed"),
        (post("/v1/x").bearer(&Key::new()), "method_not_allowed"),
        (gateway.get("/v1/x").bearer(&revoked).api_key("kw_short"), "duplicate_credential"),
        (gateway.get("/v1/x").bearer(&revoked), "revoked"),
        (gateway.get("/v1/x").bearer(&spent), "rate_limited"),
    ] {
        reason(&gateway, &request, expected);
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn addresses_and_the_whole_are_limited_before_routes_and_keys() {
    for (setting, expected) in [("per_ip", "ip_limited"), ("total", "total_limited")] {
        let (upstream, key) = (Upstream::start(), Key::new());
        let config = format!("[limits]\n{setting} = \"1/h\"\n{CONFIG}");
        let gateway = Setup::with(&upstream, &config, &key.entry("a", "limits = [\"1/h\"]")).start();
        assert_eq!(gateway.get("/v1/x").bearer(&key).send().status, 200);
        for request in [
            gateway.get("/nowhere"),
            gateway.request("POST", "/v1/x"),
            gateway.get("/v1/x"),
            gateway.get("/v1/x").bearer(&Key::new()),
            gateway.get("/v1/x").bearer(&key),
        ] {
            reason(&gateway, &request, expected);
        }
        // What is malformed is not even counted.
        reason(&gateway, &gateway.get("/v1/../x"), "malformed_request");
    }
}

#[test]
fn an_exposed_key_spends_nothing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, CONFIG, &key.entry("a", "limits = [\"1/h\"]")).start();
    for _ in 0..3 {
        reason(&gateway, &Req::new(gateway.listener(1), "GET", "/v1/x").bearer(&key), "insecure_transport");
    }
    assert_eq!(gateway.get("/v1/x").bearer(&key).send().status, 200);
}
