//! Who is refused, with which reason in the log and which answer to the client.

use serde_json::Value;

use crate::harness::{Gateway, Key, Reply, Req, Setup, Upstream, curl, free_port};

/// Asserts one refusal: status, public code, reason in the log, and that the upstream never heard of it.
#[track_caller]
pub(crate) fn refused(
    gateway: &Gateway,
    upstream: &Upstream,
    request: &Req,
    expect: (u16, &str, &str),
) -> (Reply, Value) {
    let before = upstream.seen().len();
    let reply = request.send();
    let (status, code, reason) = expect;
    assert_eq!(reply.status, status, "{reason}: {}", reply.everything());
    assert_eq!(reply.json()["code"], code, "{reason}");
    assert_problem(&reply, code);
    let line = gateway.line_of(&reply);
    assert_eq!(line["reason"], reason);
    assert_eq!(line["decision"], "deny", "{line}");
    assert_eq!(line["http.response.status_code"], status, "{line}");
    assert_eq!(upstream.seen().len(), before, "{reason}: a refused request is never forwarded");
    (reply, line)
}

/// The form every refusal has.
#[track_caller]
pub(crate) fn assert_problem(reply: &Reply, code: &str) {
    let body = reply.json();
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(body["status"], reply.status, "the status member is the response's");
    assert_eq!(body["code"], code);
    assert_eq!(body["request_id"], reply.request_id());
    for member in ["type", "title", "detail"] {
        assert!(body[member].as_str().is_some_and(|s| !s.is_empty()), "{member} in {body}");
    }
}

#[test]
fn an_allowed_request_reaches_the_upstream() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("billing", "")).start();
    let reply = gateway.get("/v1/orders?page=2").bearer(&key).send();
    assert_eq!((reply.status, reply.text().as_str()), (200, "ok"));
    let line = gateway.line_of(&reply);
    assert_eq!(
        (&line["event"], &line["decision"], &line["reason"]),
        (&"decision".into(), &"allow".into(), &"allowed".into())
    );
    assert_eq!(upstream.request("/v1/orders").target(), "/v1/orders?page=2");
}

#[test]
fn a_request_without_a_key_is_told_how_to_bring_one() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "", &Key::new().entry("a", "")).start();
    let (reply, line) = refused(&gateway, &upstream, &gateway.get("/"), (401, "missing_key", "missing_key"));
    assert_eq!(reply.all("www-authenticate"), ["Bearer realm=\"api\""]);
    assert_eq!(line["key.id"], Value::Null);
    assert_eq!(line["key.fingerprint"], Value::Null, "nothing was presented");
}

#[test]
fn an_empty_key_file_refuses_everybody() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "", "").start();
    refused(&gateway, &upstream, &gateway.get("/"), (401, "missing_key", "missing_key"));
    refused(&gateway, &upstream, &gateway.get("/").bearer(&Key::new()), (401, "invalid_key", "unknown_key"));
}

/// One key for every reason that ends in `invalid_key`, and the file they come from.
fn invalid_keys() -> (String, Vec<(&'static str, String)>) {
    let mut entries = String::new();
    let mut cases = Vec::new();
    let states = ["disabled", "revoked", "compromised", "honey"];
    for state in states {
        let key = Key::new();
        entries += &key.entry(state, &format!("state = \"{state}\""));
        cases.push((state, key.text));
    }
    for (reason, fields) in [
        ("expired", "expires = 2020-01-01T00:00:00Z"),
        ("not_yet_valid", "not_before = 2099-01-01T00:00:00Z"),
        ("quarantined", "state = \"sleeping\""),
    ] {
        let key = Key::new();
        entries += &key.entry(&reason.replace('_', "-"), fields);
        cases.push((reason, key.text));
    }
    let (new, old, twice) = (Key::new(), Key::new(), Key::new());
    let previous = format!("previous = [{{ hash = \"{}\", until = 2020-01-01T00:00:00Z }}]", old.hash());
    entries += &new.entry("rotated", &previous);
    cases.push(("rotated_out", old.text));
    entries += &twice.entry("twin-a", "");
    entries += &twice.entry("twin-b", "");
    cases.push(("quarantined", twice.text));
    let good = Key::new();
    entries += &good.entry("good", "");
    cases.push(("bad_checksum", good.bad_checksum()));
    cases.push(("unknown_key", Key::new().text));
    cases.push(("unknown_key", "of-another-shape".to_owned()));
    cases.push(("malformed_key", good.text[..good.text.len() - 1].to_owned()));
    cases.push(("malformed_key", format!("{}0", good.text)));
    cases.push(("malformed_key", format!("{}-", &good.text[..good.text.len() - 1])));
    cases.push(("malformed_key", "x".repeat(513)));
    (entries, cases)
}

#[test]
fn every_invalid_key_gets_the_same_answer_and_its_own_reason() {
    let upstream = Upstream::start();
    let (entries, cases) = invalid_keys();
    let gateway = Setup::with(&upstream, "", &entries).start();
    let mut answers = Vec::new();
    for (reason, key) in &cases {
        let request = gateway.get("/").api_key(key);
        let (reply, line) = refused(&gateway, &upstream, &request, (401, "invalid_key", reason));
        assert_eq!(reply.all("www-authenticate"), ["Bearer realm=\"api\", error=\"invalid_token\""]);
        assert_eq!(line["fault"], "client", "{line}");
        assert_eq!(line["key.source"], "header:x-api-key");
        assert_eq!(line["key.fingerprint"].as_str(), reply.header("x-api-key-fingerprint"));
        answers.push(reply.anonymous());
    }
    for (answer, (reason, _)) in answers.iter().zip(&cases) {
        assert_eq!(&answers[0], answer, "{reason} tells itself apart");
    }
}

#[test]
fn a_key_of_any_shape_that_is_in_the_file_works() {
    let upstream = Upstream::start();
    let foreign = Key::from_text("sk-live.legacy/4242");
    let ours_elsewhere = Key::with_prefix("acme");
    let entries = foreign.entry("foreign", "") + &ours_elsewhere.entry("acme", "");
    let gateway = Setup::with(&upstream, "", &entries).start();
    for key in [&foreign, &ours_elsewhere] {
        assert_eq!(gateway.get("/").bearer(key).send().status, 200, "{}", gateway.text());
    }
}

#[test]
fn the_prefix_decides_which_keys_are_ours() {
    let (upstream, key) = (Upstream::start(), Key::with_prefix("acme"));
    let gateway = Setup::with(&upstream, "[keys]\nprefix = \"acme\"\n", &key.entry("a", "")).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    let wrong = gateway.get("/").api_key(&key.bad_checksum());
    refused(&gateway, &upstream, &wrong, (401, "invalid_key", "bad_checksum"));
    refused(&gateway, &upstream, &gateway.get("/").api_key("acme_short"), (401, "invalid_key", "malformed_key"));
    refused(&gateway, &upstream, &gateway.get("/").api_key("kw_short"), (401, "invalid_key", "unknown_key"));
}

#[test]
fn both_keys_work_while_a_rotation_has_grace() {
    let (upstream, new, old) = (Upstream::start(), Key::new(), Key::new());
    let previous = format!("previous = [{{ hash = \"{}\", until = 2099-01-01T00:00:00Z }}]", old.hash());
    let gateway = Setup::with(&upstream, "", &new.entry("a", &previous)).start();
    for (key, state) in [(&new, "active"), (&old, "grace")] {
        let reply = gateway.get("/").bearer(key).send();
        assert_eq!(reply.status, 200);
        let line = gateway.line_of(&reply);
        assert_eq!((&line["key.id"], &line["key.state"]), (&"a".into(), &state.into()));
    }
}

#[test]
fn statuses_and_realm_are_the_operators() {
    let upstream = Upstream::start();
    let config =
        "[keys]\nstatus_missing = 403\nstatus_invalid = 403\nrealm = \"shop\"\nsources = [\"header:x-api-key\"]\n";
    let gateway = Setup::with(&upstream, config, &Key::new().entry("a", "")).start();
    let (missing, _) = refused(&gateway, &upstream, &gateway.get("/"), (403, "missing_key", "missing_key"));
    let unknown = gateway.get("/").api_key(&Key::new().text);
    let (invalid, _) = refused(&gateway, &upstream, &unknown, (403, "invalid_key", "unknown_key"));
    for reply in [missing, invalid] {
        assert!(
            reply.all("www-authenticate").iter().all(|v| *v == "ApiKey realm=\"shop\""),
            "{:?}",
            reply.head.headers
        );
    }
    let gateway = Setup::with(&upstream, "[keys]\nrealm = \"shop\"\nsources = [\"cookie:k\"]\n", "").start();
    assert_eq!(gateway.get("/").send().all("www-authenticate"), ["ApiKey realm=\"shop\""]);
}

#[test]
fn a_credential_over_plaintext_gets_one_answer_for_good_and_bad_keys() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let mut answers = Vec::new();
    for text in [&key.text, &Key::new().text, &key.bad_checksum(), &"whatever".to_owned()] {
        let request = gateway.get("/").api_key(text);
        let (reply, _) = refused(&gateway, &upstream, &request, (403, "insecure_transport", "insecure_transport"));
        assert_eq!(reply.header("location"), None, "no redirect");
        answers.push(reply.anonymous());
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

#[test]
fn an_upstream_that_cannot_be_reached_is_the_upstreams_fault() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let nobody = format!("http://{}", free_port());
    let gateway = Setup::before(&nobody, "", &key.entry("a", "")).start();
    let expect = (502, "upstream_unavailable", "upstream_unavailable");
    let reply = gateway.get("/x").bearer(&key).send();
    assert_eq!(reply.status, expect.0);
    assert_problem(&reply, expect.1);
    let line = gateway.line_of(&reply);
    assert_eq!((&line["reason"], &line["fault"]), (&expect.2.into(), &"upstream".into()));
    assert_eq!(line["key.id"], "a");
    drop(upstream);
}

/// What a gRPC client reads: `grpc-status` over HTTP 200.
fn grpc(gateway: &Gateway, path: &str, key: Option<&str>) -> (String, String) {
    let url = format!("http://{}{path}", gateway.addr());
    let mut args = vec!["--http2-prior-knowledge", "-D", "-", "-o", "-", "-X", "POST"];
    args.extend(["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "", &url]);
    let header = key.map(|k| format!("authorization: Bearer {k}"));
    if let Some(header) = &header {
        args.extend(["-H", header]);
    }
    let answer = curl(&args).ok().stdout.to_lowercase();
    let status = answer.lines().next().unwrap_or_default().to_owned();
    let code = answer.lines().find_map(|l| l.strip_prefix("grpc-status:")).unwrap_or("none").trim().to_owned();
    assert!(answer.contains("content-type: application/grpc"), "{answer}");
    (status, code)
}

#[test]
fn a_grpc_client_reads_refusals_in_its_own_terms() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/shop.Orders/*\"\nmethods = [\"POST\"]\n[[route]]\npath = \"/get.Only/*\"\nmethods = [\"GET\"]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "limits = [\"1/h\"]")).start();
    assert_eq!(gateway.request("POST", "/shop.Orders/Get").bearer(&key).send().status, 200);
    for (path, key, status) in [
        ("/shop.Orders/Get", None, "16"),
        ("/shop.Orders/Get", Some("kw_nonsense"), "16"),
        ("/shop.Orders/Get", Some(key.text.as_str()), "8"),
        ("/other.Service/Get", Some(key.text.as_str()), "12"),
        ("/get.Only/Get", Some(key.text.as_str()), "12"),
    ] {
        let (head, code) = grpc(&gateway, path, key);
        assert!(head.contains(" 200"), "{path}: {head}");
        assert_eq!(code, status, "{path}");
    }
    let nobody = Setup::before(&format!("http://{}", free_port()), "", &key.entry("a", "")).start();
    assert_eq!(grpc(&nobody, "/x.Y/Z", Some(&key.text)).1, "14", "an upstream that is away is UNAVAILABLE");
}
