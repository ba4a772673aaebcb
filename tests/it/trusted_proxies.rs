//! Who the client is when somebody stands between it and us.

use crate::harness::{Conn, Gateway, Key, Req, Setup, Upstream};

const TRUSTING: &str = "[server]\ntrusted_proxies = [\"127.0.0.0/8\", \"192.0.2.0/24\"]\n[[listener]]\n\
    address = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n";

fn world(more: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, &format!("{more}{TRUSTING}"), &key.entry("a", "")).start();
    (upstream, key, gateway)
}

#[test]
fn the_line_and_the_upstream_name_the_client_behind_trusted_proxies() {
    let (upstream, key, gateway) = world("");
    let mut conn = gateway.connect();
    for (list, client, sent) in [
        ("203.0.113.9", "203.0.113.9", "203.0.113.9, 127.0.0.1"),
        ("1.1.1.1, 203.0.113.8, 192.0.2.1", "203.0.113.8", "1.1.1.1, 203.0.113.8, 192.0.2.1, 127.0.0.1"),
        ("not an address", "127.0.0.1", "not an address, 127.0.0.1"),
    ] {
        let request = gateway.get("/who").bearer(&key).header("X-Forwarded-For", list);
        let reply = conn.send(&request.header("X_Forwarded_For", "6.6.6.6").header("Forwarded", "for=6.6.6.6"));
        let line = gateway.line_of(&reply);
        assert_eq!((&line["client.address"], &line["network.peer.address"]), (&client.into(), &"127.0.0.1".into()));
        assert_eq!(
            line["client.port"].is_u64(),
            client == "127.0.0.1",
            "the port of a client behind a proxy is not known"
        );
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.all("x-forwarded-for"), [sent]);
        assert!(!seen.raw().contains("6.6.6.6"), "{}", seen.raw());
    }
    let reply = conn.send(&gateway.get("/").bearer(&key).header("Forwarded", "for=\"[2001:db8::7]:4711\";proto=https"));
    let line = gateway.line_of(&reply);
    assert_eq!((&line["client.address"], &line["client.port"]), (&"2001:db8::7".into(), &4711.into()));
    let seen = upstream.seen().pop().unwrap();
    assert_eq!((seen.get("forwarded"), seen.get("x-forwarded-proto")), (None, Some("https")));
    assert_eq!(seen.all("x-forwarded-for"), ["2001:db8::7, 127.0.0.1"]);
}

#[test]
fn a_trusted_proxy_names_the_request_and_its_scheme_and_a_client_does_not() {
    let (upstream, key, gateway) = world("");
    let untrusting = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let dress = |request: Req| {
        let request =
            request.bearer(&key).header("X-Request-Id", "from-the-proxy.1").header("X-Forwarded-Proto", "https");
        request.header("X-Forwarded-Host", "evil.example")
    };
    let reply = dress(gateway.get("/trusted")).send();
    assert_eq!(reply.request_id(), "from-the-proxy.1");
    gateway.line_of(&reply);
    let seen = upstream.request("/trusted");
    assert_eq!(seen.all("x-request-id"), ["from-the-proxy.1"]);
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), ["api.example.com"], "the host is always the request's own");
    let reply = dress(untrusting.get("/untrusted")).send();
    assert_ne!(reply.request_id(), "from-the-proxy.1");
    assert_eq!(upstream.request("/untrusted").all("x-forwarded-proto"), ["http"]);
    // A client that gets its key into the id by way of a proxy shall not read it in the log.
    let reply = gateway.get("/").bearer(&key).header("X-Request-Id", &key.text).send();
    assert_ne!(reply.request_id(), key.text);
    for id in ["two words", "\"quoted\"", &"x".repeat(200)] {
        assert_ne!(gateway.get("/").bearer(&key).header("X-Request-Id", id).send().request_id(), id);
    }
}

#[test]
fn a_credential_in_the_clear_is_refused_unless_a_trusted_proxy_had_it_by_tls() {
    let (upstream, key, gateway) = world("");
    let send = |key: &str, proto: &str| {
        let request = Req::new(gateway.listener(1), "GET", "/x").api_key(key).header("X-Forwarded-Proto", proto);
        Conn::open(gateway.listener(1)).send(&request)
    };
    assert_eq!(send(&key.text, "https").status, 200);
    assert_eq!(send(&Key::new().text, "https").status, 401);
    assert_eq!(upstream.seen().len(), 1);
    let mut answers: Vec<String> = Vec::new();
    for text in [&key.text, &Key::new().text] {
        for proto in ["http", "http, https", "httpss", ""] {
            let reply = send(text, proto);
            assert_eq!(reply.status, 403, "{proto}");
            answers.push(reply.anonymous());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "good and bad keys get one answer, byte for byte: {answers:#?}");
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn each_client_behind_a_proxy_has_its_own_limit() {
    let (_upstream, key, gateway) = world("[limits]\nper_ip = \"2/h\"\n");
    let mut conn = gateway.connect();
    for (client, statuses) in [("203.0.113.1", [200, 200, 429]), ("203.0.113.2", [200, 200, 429])] {
        let request = gateway.get("/").bearer(&key).header("X-Forwarded-For", client);
        assert_eq!([(); 3].map(|()| conn.send(&request).status), statuses, "{client}");
    }
}

#[test]
fn trust_follows_a_reload_on_open_connections() {
    let (_upstream, key, gateway) = world("");
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key).header("X-Forwarded-For", "203.0.113.1");
    assert_eq!(gateway.line_of(&conn.send(&request))["client.address"], "203.0.113.1");
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    std::fs::write(gateway.config_path(), text.replace("\"127.0.0.0/8\", ", "")).unwrap();
    gateway.reload_after(0);
    assert_eq!(gateway.line_of(&conn.send(&request))["client.address"], "127.0.0.1");
}
