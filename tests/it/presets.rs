//! Clients and upstreams of fastapi_simple_security and of Kong, which need not know that the gateway is another.

use serde_json::Value;

use crate::harness::{Gateway, Key, Req, Setup, Upstream, curl};
use crate::verdicts::{assert_problem, refused};

fn start(config: &str, keys: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, config, keys).start();
    (upstream, gateway)
}

/// As that library makes them.
fn uuid() -> Key {
    let hex = Key::new().digest_hex();
    Key::from_text(&format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]))
}

#[test]
fn fastapi_clients_send_their_key_as_a_header_or_in_the_query() {
    let (key, expired) = (uuid(), uuid());
    let keys = key.entry("a", "") + &expired.entry("b", "expires = 2020-01-01T00:00:00Z");
    let (upstream, gateway) = start("keys.preset = \"fastapi_simple_security\"\n", &keys);
    assert_eq!(gateway.get("/by-header").header("api-key", &key.text).send().status, 200);
    assert_eq!(upstream.request("/by-header").get("api-key"), None);
    let reply = gateway.get(&format!("/by-query?x=1&api-key={}&y=2", key.text)).send();
    assert_eq!(reply.status, 200);
    assert_eq!(upstream.request("/by-query").target(), "/by-query?x=1&y=2");
    let line = gateway.line_of(&reply);
    assert_eq!(
        (&line["key.source"], &line["url.query"]),
        (&"query:api-key".into(), &"x=1&api-key=REDACTED&y=2".into())
    );
    // As they are called from a shell.
    let url = format!("http://{}/x", gateway.addr());
    let said = curl(&["-s", "-o", "-", "-H", &format!("api-key: {}", key.text), &url]).ok().stdout;
    assert_eq!(said, "ok");
    // The headers of our own defaults are no sources.
    let ours = gateway.get("/x").bearer(&key).api_key(&key.text);
    refused(&gateway, &upstream, &ours, (403, "missing_key", "missing_key"));
}

#[test]
fn fastapi_clients_get_403_for_whatever_is_wrong() {
    let (key, expired, revoked) = (uuid(), uuid(), uuid());
    let keys = key.entry("a", "")
        + &expired.entry("b", "expires = 2020-01-01T00:00:00Z")
        + &revoked.entry("c", "state = \"revoked\"");
    let (upstream, gateway) = start("keys.preset = \"fastapi_simple_security\"\n", &keys);
    let with = |key: &str| gateway.get("/x").header("api-key", key);
    let unknown = uuid();
    let mut details = Vec::new();
    for (request, code, reason) in [
        (gateway.get("/x"), "missing_key", "missing_key"),
        (with(&unknown.text), "invalid_key", "unknown_key"),
        (with(&expired.text), "invalid_key", "expired"),
        (with(&revoked.text), "invalid_key", "revoked"),
        (gateway.get(&format!("/x?api-key={}", expired.text)), "invalid_key", "expired"),
    ] {
        let (reply, _) = refused(&gateway, &upstream, &request, (403, code, reason));
        // What their clients read of a refusal is a member `detail` of a JSON object, and a problem has one, too.
        let body = reply.json();
        assert_eq!((&body["status"], &body["title"]), (&403.into(), &"Forbidden".into()), "{body}");
        details.push(body["detail"].as_str().expect("text").to_owned());
    }
    assert_eq!(details[0], "An API key is required.");
    assert!(details[1..].iter().all(|detail| detail == "The API key is not valid."), "{details:?}");
}

#[test]
fn two_keys_are_one_too_many_also_where_the_library_would_have_fallen_back() {
    let (key, bad) = (uuid(), uuid());
    let (upstream, gateway) = start("keys.preset = \"fastapi_simple_security\"\n", &key.entry("a", ""));
    let both =
        |query: &Key, header: &Key| gateway.get(&format!("/x?api-key={}", query.text)).header("api-key", &header.text);
    for request in [both(&bad, &key), both(&key, &key), both(&key, &bad)] {
        refused(&gateway, &upstream, &request, (400, "duplicate_credential", "duplicate_credential"));
    }
}

#[test]
fn kong_clients_and_upstreams_find_the_names_they_know() {
    let key = Key::from_text("JoyGVVKPDbNuYW2dEHMbLyQmsrWwc4FJ");
    let entry = key.entry("alice.1", "owner = \"alice\"\nroles = [\"gold\", \"eu\"]\nplan = \"p\"");
    let (upstream, gateway) = start("keys.preset = \"kong\"\n[plan.p]\n", &entry);
    let claims = ["X-Consumer-ID", "X-Consumer-Username", "X-Consumer-Groups", "X-Credential-Identifier"];
    let claiming = |request: Req| claims.iter().fold(request, |request, name| request.header(name, "root"));
    let by_header = claiming(gateway.get("/by-header").header("apikey", &key.text));
    let by_query = claiming(gateway.get(&format!("/by-query?apikey={}", key.text)));
    for (request, path, source) in [(by_header, "/by-header", "header:apikey"), (by_query, "/by-query", "query:apikey")]
    {
        let reply = request.send();
        assert_eq!(reply.status, 200);
        let seen = upstream.request(path);
        assert_eq!(seen.all("x-consumer-id"), ["alice.1"]);
        assert_eq!(seen.all("x-consumer-username"), ["alice"]);
        assert_eq!(seen.all("x-consumer-groups"), ["gold,eu"]);
        assert_eq!(seen.all("x-credential-identifier"), ["alice.1"]);
        assert_eq!((seen.get("x-consumer-plan"), seen.get("apikey")), (None, None));
        assert!(!seen.raw().contains(&key.text), "no credential goes on");
        assert_eq!(gateway.line_of(&reply)["key.source"], source);
    }
    let (reply, _) = refused(&gateway, &upstream, &claiming(gateway.get("/x")), (401, "missing_key", "missing_key"));
    assert_eq!(reply.all("www-authenticate"), ["ApiKey realm=\"api\""]);
    let bad = gateway.get("/x").header("apikey", "wrong");
    refused(&gateway, &upstream, &bad, (401, "invalid_key", "unknown_key"));
}

#[test]
fn where_kong_would_let_anybody_pass_nobody_is_anybody_else() {
    let (key, config) = (Key::new(), "keys.preset = \"kong\"\n[[route]]\nauth = \"optional\"\n");
    let (upstream, gateway) = start(config, &key.entry("a", ""));
    let reply = gateway.get("/x").header("X-Credential-Identifier", "a").header("X_Credential_Identifier", "a").send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/x");
    assert_eq!((seen.get("x-credential-identifier"), seen.get("x_credential_identifier")), (None, None));
    assert_eq!(gateway.line_of(&reply)["key.id"], Value::Null);
}

#[test]
fn what_is_written_beside_a_preset_wins() {
    let key = Key::new();
    let config = "[keys]\npreset = \"fastapi_simple_security\"\nstatus_invalid = 401\n\
                  sources = [\"header:api-key\", \"query:api-key\", \"bearer\"]\nidentity.credential = \"X-Cred\"\n";
    let (upstream, gateway) = start(config, &key.entry("a", ""));
    assert_eq!(gateway.get("/x").bearer(&key).send().status, 200);
    assert_eq!(upstream.request("/x").get("x-cred"), Some("a"));
    let missing = gateway.get("/x").send();
    assert_eq!(missing.status, 403);
    assert_problem(&missing, "missing_key");
    assert_eq!(gateway.get("/x").bearer(&uuid()).send().status, 401);
}
