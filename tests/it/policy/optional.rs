//! Routes where a key is optional: without one the open limits hold, with one its own, and a bad one is refused.

use serde_json::Value;

use super::Site;
use crate::harness::Key;

const CONFIG: &str = "limits.open = \"2/h\"\n[[route]]\nname = \"catalogue\"\nauth = \"optional\"\nroles = [\"r\"]\n";

#[test]
fn without_a_key_it_passes_as_nobody_with_the_open_limits() {
    let site = Site::start(CONFIG, &Key::new().entry("a", "roles = [\"r\"]"));
    for path in ["/1", "/2"] {
        let request = site.gateway.get(path).header("X-Consumer-ID", "a").header("Authorization", "Basic YTpi");
        let (reply, line) = site.allowed(&request);
        assert_eq!(reply.header("x-api-key-fingerprint"), None);
        for field in ["key.id", "key.source", "key.state", "key.fingerprint"] {
            assert_eq!(line[field], Value::Null, "{line:#}");
        }
        let seen = site.upstream.request(path);
        assert_eq!((seen.get("x-consumer-id"), seen.get("authorization")), (None, Some("Basic YTpi")));
    }
    site.throttled(&site.gateway.get("/3"), ("rate_limited", "ip_limited"), "2/h");
}

#[test]
fn with_a_good_key_its_own_limits_hold_and_its_own_rights() {
    let (good, lacking) = (Key::new(), Key::new());
    let keys = good.entry("good", "roles = [\"r\"]\nlimits = [\"3/h\"]") + &lacking.entry("lacking", "");
    let site = Site::start(CONFIG, &keys);
    let request = site.gateway.get("/x").bearer(&good);
    for _ in 0..3 {
        let (reply, line) = site.allowed(&request);
        assert_eq!((reply.header("ratelimit-policy"), &line["key.id"]), (Some("\"3/h\";q=3;w=3600"), &"good".into()));
    }
    let seen = site.upstream.request("/x");
    assert_eq!((seen.get("x-consumer-id"), seen.get("authorization")), (Some("good"), None));
    site.throttled(&request, ("rate_limited", "rate_limited"), "3/h");
    site.refused(&site.gateway.get("/x").bearer(&lacking), 403, "forbidden", "role_denied");
    // None of that was taken from the address.
    site.allowed(&site.gateway.get("/x"));
    site.allowed(&site.gateway.get("/x"));
    site.throttled(&site.gateway.get("/x"), ("rate_limited", "ip_limited"), "2/h");
}

#[test]
fn with_a_bad_key_it_is_refused() {
    let (good, expired) = (Key::new(), Key::new());
    let keys = good.entry("good", "roles = [\"r\"]") + &expired.entry("expired", "expires = 2020-01-01T00:00:00Z");
    let site = Site::start(CONFIG, &keys);
    let get = || site.gateway.get("/x");
    site.refused(&get().bearer(&Key::new()), 401, "invalid_key", "unknown_key");
    site.refused(&get().bearer(&expired), 401, "invalid_key", "expired");
    site.refused(&get().api_key(&good.bad_checksum()), 401, "invalid_key", "bad_checksum");
    site.refused(&get().bearer(&good).api_key(&good.text), 400, "duplicate_credential", "duplicate_credential");
    site.allowed(&get());
}
