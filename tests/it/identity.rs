//! Who the upstream is told the client is, and that no client tells it itself.

use crate::harness::{Key, Setup, Upstream};

#[test]
fn the_upstream_learns_who_calls() {
    let (upstream, key, bare) = (Upstream::start(), Key::new(), Key::new());
    let config = "[plan.gold]\nlimits = [\"1000/s\"]\n";
    let entries = key.entry("billing", "owner = \"payments team\"\nplan = \"gold\"") + &bare.entry("bare", "");
    let gateway = Setup::with(&upstream, config, &entries).start();
    assert_eq!(gateway.get("/full").bearer(&key).send().status, 200);
    let seen = upstream.request("/full");
    assert_eq!(seen.all("x-consumer-id"), ["billing"]);
    assert_eq!(seen.all("x-consumer-username"), ["payments team"]);
    assert_eq!(seen.all("x-consumer-plan"), ["gold"]);
    assert_eq!(gateway.get("/bare").bearer(&bare).send().status, 200);
    let seen = upstream.request("/bare");
    assert_eq!(seen.all("x-consumer-id"), ["bare"]);
    assert!(seen.get("x-consumer-username").is_none_or(str::is_empty));
}

#[test]
fn identity_headers_have_the_operators_names() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[keys.identity]\nid = \"X-App-Client\"\nowner = \"X-App-Owner\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "owner = \"o\"")).start();
    let request = gateway.get("/").bearer(&key).header("X-App-Client", "admin").header("X-App_Owner", "root");
    assert_eq!(request.send().status, 200);
    let seen = upstream.request("/");
    assert_eq!((seen.all("x-app-client"), seen.all("x-app-owner")), (vec!["a"], vec!["o"]));
    assert!(!seen.raw().contains("root") && !seen.raw().contains("admin"), "{}", seen.raw());
}

#[test]
fn a_clients_own_identity_headers_never_pass() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/open/*\"\nauth = \"open\"\n[[route]]\npath = \"/optional/*\"\nauth = \"optional\"\n[[route]]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let names = [
        "X-Consumer-ID",
        "x-consumer-id",
        "X-CONSUMER-ID",
        "X_Consumer_ID",
        "X-Consumer_ID",
        "x_consumer-id",
        "X-Consumer-Username",
        "X_CONSUMER_USERNAME",
        "X-Consumer-Groups",
        "X_Consumer_Groups",
        "X-Consumer-Plan",
        "x_consumer_plan",
    ];
    for (path, with_key) in [("/closed/x", true), ("/open/x", false), ("/optional/x", false)] {
        let mut request = gateway.get(path);
        for name in names {
            request = request.header(name, "forged");
        }
        if with_key {
            request = request.bearer(&key);
        }
        assert_eq!(request.send().status, 200, "{path}");
        let seen = upstream.request(path);
        assert!(!seen.raw().contains("forged"), "{path}: {}", seen.raw());
        let ids = seen.all("x-consumer-id");
        assert_eq!(ids, if with_key { vec!["a"] } else { Vec::new() });
    }
}

#[test]
fn connection_cannot_name_a_header_that_carries_identity() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "owner = \"o\"")).start();
    let named =
        "X-Consumer-ID, X-Consumer-Username, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Host, keep-alive";
    let request = gateway.get("/").bearer(&key).header("Connection", named).header("X-Consumer-ID", "forged");
    assert_eq!(request.send().status, 200);
    let seen = upstream.request("/");
    assert_eq!(seen.all("x-consumer-id"), ["a"]);
    assert_eq!(seen.all("x-consumer-username"), ["o"]);
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["api.example.com"]);
    assert_eq!(seen.all("host"), ["api.example.com"]);
    assert!(!seen.raw().contains("forged"));
}

#[test]
fn connection_cannot_hide_a_credential() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let hidden = gateway.get("/hidden").api_key(&key.text).header("Connection", "X-API-Key, Authorization");
    let reply = hidden.send();
    assert_eq!(gateway.line_of(&reply)["key.id"], "a", "the gateway itself reads what is sent to it");
    let both = gateway.get("/both").api_key(&key.text).bearer(&key).header("Connection", "Authorization");
    assert_eq!(both.send().json()["code"], "duplicate_credential");
}

#[test]
fn an_owner_beyond_ascii_does_not_break_the_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "owner = \"équipe paiements ✓\"")).start();
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.line_of(&reply)["key.owner"], "équipe paiements ✓");
    assert_eq!(upstream.request("/").all("x-consumer-id"), ["a"]);
}
