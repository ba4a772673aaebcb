//! Shadow mode: everything is decided, counted and logged, and nothing is refused that could be passed on.

use serde_json::Value;

use super::{Site, statuses};
use crate::harness::{Key, Reply, Req};

const ROUTES: &str = "limits.open = \"1000/h\"\n\
                      [[route]]\nname = \"trial\"\npath = \"/trial/*\"\nmode = \"shadow\"\nroles = [\"r\"]\nlimits = [\"2/h\"]\n\
                      methods = [\"GET\", \"POST\"]\nbody_bytes_max = \"10B\"\n[[route]]\n";

impl Site {
    /// A request that passes though it would have been refused, and its line.
    #[track_caller]
    fn shadowed(&self, request: &Req, reason: &str) -> (Reply, Value) {
        let before = self.upstream.seen_count();
        let reply = request.send();
        assert_eq!(reply.status, 200, "{reason}: {}", reply.everything());
        assert_eq!(self.upstream.seen_count(), before + 1, "{reason}");
        let line = self.gateway.line_of(&reply);
        assert_eq!((&line["decision"], &line["reason"]), (&"shadow_deny".into(), &reason.into()), "{line:#}");
        assert_eq!((&line["http.response.status_code"], &line["outcome"]), (&200.into(), &"complete".into()));
        (reply, line)
    }
}

#[test]
fn a_route_on_trial_passes_on_what_it_would_have_refused_for_its_key() {
    let (good, lacking, expired, elsewhere) = (Key::new(), Key::new(), Key::new(), Key::new());
    let keys = good.entry("good", "roles = [\"r\"]")
        + &lacking.entry("lacking", "")
        + &expired.entry("expired", "expires = 2020-01-01T00:00:00Z")
        + &elsewhere.entry("elsewhere", "roles = [\"r\"]\nnetworks = [\"192.0.2.0/24\"]");
    let site = Site::start(ROUTES, &keys);
    let get = |path: &str| site.gateway.get(path).header("X-Consumer-ID", "root");
    site.allowed(&get("/trial/good").bearer(&good));
    let bad = good.bad_checksum();
    let unknown = Key::new();
    for (request, reason, id, state) in [
        (get("/trial/1"), "missing_key", Value::Null, Value::Null),
        (get("/trial/1").bearer(&unknown), "unknown_key", Value::Null, Value::Null),
        (get("/trial/1").api_key(&bad), "bad_checksum", Value::Null, Value::Null),
        (get("/trial/1").bearer(&expired), "expired", "expired".into(), "expired".into()),
        (get("/trial/1").bearer(&lacking), "role_denied", "lacking".into(), "active".into()),
        (get("/trial/1").bearer(&elsewhere), "network_denied", "elsewhere".into(), "active".into()),
        (get("/trial/1").bearer(&good).api_key(&bad), "duplicate_credential", Value::Null, Value::Null),
    ] {
        let (reply, line) = site.shadowed(&request, reason);
        assert_eq!((&line["event"], &line["fault"]), (&"decision".into(), &Value::Null), "{line:#}");
        assert_eq!((&line["key.id"], &line["key.state"]), (&id, &state), "{line:#}");
        assert_eq!((reply.header("www-authenticate"), reply.header("ratelimit")), (None, None));
        let seen = site.upstream.request("/trial/1");
        // No credential passes, good or bad; and only a good key says who it is.
        assert_eq!((seen.get("authorization"), seen.get("x-api-key")), (None, None), "{reason}");
        let known = ["role_denied", "network_denied"].contains(&reason).then(|| id.as_str().unwrap());
        assert_eq!(seen.get("x-consumer-id"), known, "{reason}");
    }
    // Elsewhere all of that is refused as ever.
    site.refused(&get("/x"), 401, "missing_key", "missing_key");
    site.refused(&get("/x").bearer(&expired), 401, "invalid_key", "expired");
}

#[test]
fn limits_on_trial_are_counted_and_told_of() {
    let key = Key::new();
    let site = Site::start(ROUTES, &key.entry("a", "roles = [\"r\"]\nquota = \"4/month\""));
    let request = site.gateway.get("/trial/x").bearer(&key);
    assert_eq!(statuses(&mut site.gateway.connect(), &request, 2), [200, 200]);
    for _ in 0..3 {
        let (reply, line) = site.shadowed(&request, "rate_limited");
        assert_eq!((&line["event"], &line["limit.policy"]), (&"throttle".into(), &"2/h".into()), "{line:#}");
        assert_eq!((&line["limit.limit"], &line["limit.remaining"]), (&2.into(), &0.into()), "{line:#}");
        assert!(line["limit.reset_s"].as_u64().is_some_and(|seconds| seconds >= 1), "{line:#}");
        assert_eq!((reply.header("retry-after"), reply.header("ratelimit")), (None, None));
    }
    // As with a refusal, nothing was taken for these: of the quota two are left for the routes that mean it.
    let elsewhere = site.gateway.get("/x").bearer(&key);
    assert_eq!(statuses(&mut site.gateway.connect(), &elsewhere, 3), [200, 200, 429]);
}

#[test]
fn what_cannot_be_passed_on_is_refused_on_trial_as_ever() {
    let key = Key::new();
    let config = format!(
        "{ROUTES}[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n"
    );
    let site = Site::start(&config, &key.entry("a", "roles = [\"r\"]"));
    let get = |path: &str| site.gateway.get(path).bearer(&key);
    site.refused(&get("/trial/../x"), 400, "bad_request", "malformed_request");
    let plain = Req::new(site.gateway.listener(1), "GET", "/trial/x");
    site.refused(&plain.clone().bearer(&key), 403, "insecure_transport", "insecure_transport");
    site.shadowed(&plain, "missing_key");
    let put = site.gateway.request("PUT", "/trial/x").bearer(&key);
    site.allowed(&put);
    let large = site.gateway.request("POST", "/trial/x").bearer(&key).body(&[b'x'; 11]);
    site.refused(&large, 413, "body_too_large", "body_too_large");
}

#[test]
fn an_upstream_that_fails_on_trial_is_the_upstreams_fault() {
    let config = "[[route]]\nmode = \"shadow\"\n";
    let site = Site::start(config, &Key::new().entry("a", ""));
    let reply = site.gateway.get("/reset").send();
    crate::verdicts::assert_problem(&reply, "upstream_error");
    let line = site.gateway.line_of(&reply);
    assert_eq!((&line["decision"], &line["reason"]), (&"shadow_deny".into(), &"missing_key".into()), "{line:#}");
    assert_eq!((&line["fault"], &line["outcome"]), (&"upstream".into(), &"upstream_gone".into()), "{line:#}");
}

#[test]
fn wide_limits_on_trial_are_told_of_and_not_meant() {
    for (limit, reason) in [("per_ip", "ip_limited"), ("total", "total_limited"), ("open", "ip_limited")] {
        let key = Key::new();
        let auth = if limit == "open" { "open" } else { "key" };
        let config = format!(
            "limits.{limit} = \"1/h\"\n[[route]]\npath = \"/trial/*\"\nmode = \"shadow\"\nauth = \"{auth}\"\n[[route]]\n"
        );
        let site = Site::start(&config, &key.entry("a", ""));
        let request = site.gateway.get("/trial/x").bearer(&key);
        site.allowed(&request);
        let (_, line) = site.shadowed(&request, reason);
        assert_eq!((&line["event"], &line["limit.policy"]), (&"throttle".into(), &"1/h".into()), "{line:#}");
        if limit != "open" {
            site.throttled(&site.gateway.get("/x").bearer(&key), ("rate_limited", reason), "1/h");
        }
    }
}

#[test]
fn the_limits_of_a_key_on_trial_are_told_of_and_not_meant_and_its_rights_are() {
    let (trial, other) = (Key::new(), Key::new());
    let rules = "mode = \"shadow\"\nmethods = [\"GET\"]\nlimits = [\"100/h\", \"3/h\"]\nquota = \"2/month\"";
    let site = Site::start("", &(trial.entry("trial", rules) + &other.entry("other", "limits = [\"1/h\"]")));
    let request = site.gateway.get("/x").bearer(&trial);
    let (reply, _) = site.allowed(&request);
    assert!(reply.header("ratelimit").unwrap().starts_with("\"month\";r=1;"));
    site.allowed(&request);
    for _ in 0..3 {
        let (_, line) = site.shadowed(&request, "quota_exceeded");
        assert_eq!((&line["event"], &line["limit.policy"]), (&"throttle".into(), &"month".into()), "{line:#}");
        assert_eq!((&line["key.id"], &line["key.state"]), (&"trial".into(), &"active".into()), "{line:#}");
        assert_eq!(site.upstream.request("/x").get("x-consumer-id"), Some("trial"));
    }
    site.refused(&site.gateway.request("PUT", "/x").bearer(&trial), 403, "forbidden", "method_denied");
    site.allowed(&site.gateway.get("/x").bearer(&other));
    site.throttled(&site.gateway.get("/x").bearer(&other), ("rate_limited", "rate_limited"), "1/h");
}

#[test]
fn a_key_on_trial_has_as_many_underway_as_it_likes() {
    let key = Key::new();
    let config = "[[route]]\ntimeout = \"60s\"\n";
    let site = Site::start(config, &key.entry("a", "mode = \"shadow\"\nconcurrency = 1"));
    let mut held = site.gateway.connect();
    held.write(&site.gateway.get("/hang").bearer(&key).bytes()).unwrap();
    site.upstream.request("/hang");
    let (_, line) = site.shadowed(&site.gateway.get("/x").bearer(&key), "concurrency_limited");
    assert_eq!((&line["event"], &line["limit.policy"]), (&"throttle".into(), &"concurrency".into()), "{line:#}");
}

#[test]
fn a_trial_ends_with_the_next_reload() {
    let key = Key::new();
    let site = Site::start("", &key.entry("a", "mode = \"shadow\"\nlimits = [\"1/h\"]"));
    let request = site.gateway.get("/x").bearer(&key);
    site.allowed(&request);
    site.shadowed(&request, "rate_limited");
    site.reload_keys(&key.entry("a", "limits = [\"1/h\"]"));
    site.throttled(&request, ("rate_limited", "rate_limited"), "1/h");
}
