//! Where a key may stand, what is taken away before the upstream sees the request, and two keys in one request.

use crate::harness::{Gateway, Key, Req, Setup, Upstream};

/// Percent- and base64-free ways to write a key into a request.
struct Case {
    source: &'static str,
    put: fn(Req, &str) -> Req,
    /// What is left of the credential's place at the upstream.
    left: &'static [(&'static str, &'static str)],
    target: &'static str,
    target_after: &'static str,
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

const CASES: &[Case] = &[
    Case {
        source: "bearer",
        put: |r, k| r.header("Authorization", &format!("Bearer {k}")),
        left: &[("authorization", "")],
        target: "/a?x=1",
        target_after: "/a?x=1",
    },
    Case {
        source: "bearer",
        put: |r, k| r.header("authorization", &format!("bEARER {k}")),
        left: &[("authorization", "")],
        target: "/a",
        target_after: "/a",
    },
    Case {
        source: "header:x-api-key",
        put: |r, k| r.header("x-ApI-kEy", k),
        left: &[("x-api-key", "")],
        target: "/a",
        target_after: "/a",
    },
    Case {
        source: "basic",
        put: |r, k| r.header("Authorization", &format!("Basic {}", base64(&format!("user:{k}")))),
        left: &[("authorization", "")],
        target: "/a",
        target_after: "/a",
    },
    Case {
        source: "cookie:session_key",
        put: |r, k| r.header("Cookie", &format!("theme=dark; session_key={k}; lang=en")),
        left: &[("cookie", "theme=dark; lang=en")],
        target: "/a",
        target_after: "/a",
    },
    Case {
        source: "cookie:session_key",
        put: |r, k| r.header("Cookie", &format!("session_key={k}")),
        left: &[("cookie", "")],
        target: "/a",
        target_after: "/a",
    },
    Case {
        source: "query:api_key",
        put: |r, _| r,
        left: &[],
        target: "/a?x=1&api_key=@KEY@&y=%20z",
        target_after: "/a?x=1&y=%20z",
    },
    Case { source: "query:api_key", put: |r, _| r, left: &[], target: "/a?api_key=@KEY@", target_after: "/a" },
    Case {
        source: "query:api_key",
        put: |r, _| r,
        left: &[],
        target: "/a?api%5Fkey=@KEY@&x=1",
        target_after: "/a?x=1",
    },
    Case {
        source: "websocket-protocol",
        put: |r, k| r.header("Sec-WebSocket-Protocol", &format!("keyward.{k}, chat, superchat")),
        left: &[("sec-websocket-protocol", "chat, superchat")],
        target: "/a",
        target_after: "/a",
    },
];

#[test]
fn a_key_is_taken_from_every_source_and_stripped() {
    let (upstream, key) = (Upstream::start(), Key::new());
    for case in CASES {
        let config = format!("[keys]\nsources = [\"{}\"]\n", case.source);
        let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).start();
        let request = (case.put)(gateway.get(&case.target.replace("@KEY@", &key.text)), &key.text);
        let reply = request.send();
        assert_eq!(reply.status, 200, "{}: {}\n{}", case.source, reply.everything(), gateway.text());
        let seen = upstream.request("/a");
        assert_eq!(seen.target(), case.target_after, "{}", case.source);
        for (name, value) in case.left {
            assert_eq!(seen.get(name).unwrap_or_default(), *value, "{}", case.source);
        }
        assert!(!seen.raw().contains(key.secret().unwrap()), "{}: {}", case.source, seen.raw());
        assert_eq!(gateway.line_of(&reply)["key.source"], case.source);
    }
}

#[test]
fn the_credential_is_passed_on_where_the_operator_wants_it() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[keys]\nforward = true\nsources = [\"bearer\", \"query:api_key\", \"cookie:k\"]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    assert_eq!(gateway.get("/bearer").bearer(&key).send().status, 200);
    assert_eq!(upstream.request("/bearer").get("authorization"), Some(format!("Bearer {}", key.text).as_str()));
    let target = format!("/query?api_key={}", key.text);
    assert_eq!(gateway.get(&target).send().status, 200);
    assert_eq!(upstream.request("/query").target(), target);
    assert_eq!(gateway.get("/cookie").header("Cookie", &format!("k={}", key.text)).send().status, 200);
    assert_eq!(upstream.request("/cookie").get("cookie"), Some(format!("k={}", key.text).as_str()));
}

#[test]
fn an_authorization_that_is_no_key_source_belongs_to_the_application() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[keys]\nsources = [\"header:x-api-key\"]\n", &key.entry("a", "")).start();
    let request = gateway.get("/app").api_key(&key.text).header("Authorization", "Bearer of-the-application");
    assert_eq!(request.send().status, 200);
    let seen = upstream.request("/app");
    assert_eq!(seen.get("authorization"), Some("Bearer of-the-application"));
    assert_eq!(seen.get("x-api-key"), None);
    // Where bearer is a source but basic is not, a Basic header is not a key either.
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let request = gateway.get("/basic").api_key(&key.text).header("Authorization", "Basic dXNlcjpwYXNz");
    assert_eq!(request.send().status, 200);
    assert_eq!(upstream.request("/basic").get("authorization"), Some("Basic dXNlcjpwYXNz"));
}

#[test]
fn a_place_that_is_no_source_holds_no_key() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for request in [
        gateway.get(&format!("/?api_key={}", key.text)),
        gateway.get("/").header("Cookie", &format!("api_key={}", key.text)),
        gateway.get("/").header("Authorization", &format!("Basic {}", base64(&format!("u:{}", key.text)))),
        gateway.get("/").header("Authorization", &key.text),
    ] {
        let reply = request.send();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (401, Some("missing_key")));
    }
}

/// Sends a request that carries two credentials and asserts that it is refused for that.
#[track_caller]
fn duplicate(gateway: &Gateway, request: &Req) {
    let reply = request.send();
    assert_eq!(reply.status, 400, "{}", reply.everything());
    crate::verdicts::assert_problem(&reply, "duplicate_credential");
    assert_eq!(gateway.line_of(&reply)["reason"], "duplicate_credential");
}

#[test]
fn two_keys_in_one_request_are_refused_even_when_equal() {
    let (upstream, key, other) = (Upstream::start(), Key::new(), Key::new());
    let config =
        "[keys]\nsources = [\"bearer\", \"header:x-api-key\", \"query:k\", \"cookie:k\", \"websocket-protocol\"]\n";
    let entries = key.entry("a", "") + &other.entry("b", "");
    let gateway = Setup::with(&upstream, config, &entries).start();
    let (one, two) = (&key.text, &other.text);
    let both = |a: &str, b: &str| {
        vec![
            gateway.get("/d").api_key(a).api_key(b),
            gateway
                .get("/d")
                .header("Authorization", &format!("Bearer {a}"))
                .header("Authorization", &format!("Bearer {b}")),
            gateway.get("/d").header("Authorization", &format!("Bearer {a}")).api_key(b),
            gateway.get(&format!("/d?k={a}&k={b}")),
            gateway.get(&format!("/d?k={a}&%6B={b}")),
            gateway.get(&format!("/d?k={a}")).api_key(b),
            gateway.get("/d").header("Cookie", &format!("k={a}; k={b}")),
            gateway.get("/d").header("Cookie", &format!("k={a}")).header("Cookie", &format!("k={b}")),
            gateway.get(&format!("/d?k={a}")).header("Cookie", &format!("k={b}")),
            gateway.get("/d").header("Sec-WebSocket-Protocol", &format!("keyward.{a}, keyward.{b}")),
            gateway.get("/d").header("Sec-WebSocket-Protocol", &format!("keyward.{a}")).api_key(b),
        ]
    };
    for request in both(one, two).into_iter().chain(both(one, one)).chain(both(one, "no-key")) {
        duplicate(&gateway, &request);
    }
    assert_eq!(upstream.count("/d"), 0);
}

#[test]
fn a_comma_does_not_hide_a_second_key() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("/").api_key(&format!("{0}, {0}", key.text)).send();
    assert!(reply.status == 400 || reply.status == 401, "{}", reply.everything());
}

#[test]
fn a_peppered_key_works_only_with_its_pepper() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let (upstream, key) = (Upstream::start(), Key::new());
    let pepper = "a pepper of the operator, 32 byte";
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(pepper.as_bytes()).unwrap();
    mac.update(key.text.as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    let entry = format!("[[key]]\nid = \"a\"\nhash = \"hmac-sha256:{digest}\"\n");
    let plain = Key::new();
    let config = "[keys]\npepper = \"env:PEPPER\"\n";
    let setup = Setup::with(&upstream, config, &(entry.clone() + &plain.entry("plain", ""))).env("PEPPER", pepper);
    let gateway = setup.start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    assert_eq!(gateway.get("/").bearer(&plain).send().status, 200, "keys made before the pepper keep working");
    assert!(!gateway.text().contains(pepper));
    let gateway = Setup::with(&upstream, config, &entry).env("PEPPER", "another pepper, just as long as it").start();
    let refused = gateway.get("/").bearer(&key).send();
    assert_eq!(gateway.line_of(&refused)["reason"], "unknown_key");
}
