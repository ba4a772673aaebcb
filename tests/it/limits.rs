//! How much is too much: exact counts, honest headers, and nobody paying for another's refusal.

use std::thread;

use serde_json::Value;

use crate::harness::{Conn, Gateway, Key, Reply, Setup, Upstream};

fn gateway(config: &str, limits: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, config, &key.entry("a", &format!("limits = {limits}"))).start();
    (upstream, key, gateway)
}

/// `"100/s";q=100;w=1` → its parts.
fn parameter(header: &str, name: &str) -> Option<u64> {
    header.split(';').find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}

fn statuses(conn: &mut Conn, request: &crate::harness::Req, count: usize) -> Vec<u16> {
    (0..count).map(|_| conn.send(request).status).collect()
}

#[track_caller]
fn assert_throttled(reply: &Reply, policy: &str) {
    assert_eq!(reply.status, 429, "{}", reply.everything());
    let body = reply.json();
    assert_eq!(body["code"], "rate_limited");
    assert!(body["type"].as_str().unwrap().ends_with("/http-problem-types#quota-exceeded"), "{body}");
    assert_eq!(body["violated-policies"], Value::from(vec![policy]));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert!(reply.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[test]
fn a_limit_counts_down_and_then_refuses() {
    let (upstream, key, gateway) = gateway("", "[\"3/h\"]");
    let request = gateway.get("/x").bearer(&key);
    for left in [2, 1, 0] {
        let reply = request.send();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), Some("\"3/h\";q=3;w=3600"));
        let report = reply.header("ratelimit").unwrap();
        assert!(report.starts_with("\"3/h\";r="), "{report}");
        assert_eq!(parameter(report, "r"), Some(left), "{report}");
        assert_eq!(gateway.line_of(&reply)["limit.remaining"], left);
        assert_eq!(reply.header("retry-after"), None);
    }
    let reply = request.send();
    assert_throttled(&reply, "3/h");
    assert_eq!(reply.header("ratelimit-policy"), Some("\"3/h\";q=3;w=3600"));
    let report = reply.header("ratelimit").unwrap();
    assert_eq!(parameter(report, "r"), Some(0));
    let retry: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=1200).contains(&retry), "a third of an hour at most: {retry}");
    assert_eq!(parameter(report, "t"), Some(retry), "{report}");
    let line = gateway.line_of(&reply);
    assert_eq!((&line["event"], &line["reason"]), (&"throttle".into(), &"rate_limited".into()), "{line}");
    assert_eq!((&line["limit.policy"], &line["limit.limit"]), (&"3/h".into(), &3.into()), "{line}");
    assert_eq!(line["limit.remaining"], 0);
    assert_eq!(line["key.id"], "a");
    assert_eq!(upstream.count("/x"), 3);
}

#[test]
fn a_burst_is_the_depth_and_the_rate_the_refill() {
    let (_upstream, key, gateway) = gateway("", "[\"2/h burst 5\"]");
    let request = gateway.get("/").bearer(&key);
    let first = request.send();
    assert_eq!(first.header("ratelimit-policy"), Some("\"2/h burst 5\";q=2;w=3600"));
    let rest = statuses(&mut gateway.connect(), &request, 6);
    assert_eq!(rest, [200, 200, 200, 200, 429, 429]);
    let fast = self::gateway("", "[\"20/s burst 1\"]");
    let request = fast.2.get("/").bearer(&fast.1);
    assert_eq!(request.send().status, 200);
    crate::harness::eventually("the bucket to refill", || (request.send().status == 200).then_some(()));
}

#[test]
fn retry_after_is_true() {
    let (_upstream, key, gateway) = gateway("", "[\"1/s\"]");
    let request = gateway.get("/").bearer(&key);
    let mut conn = gateway.connect();
    let refused = crate::harness::eventually("a refusal", || {
        let reply = conn.send(&request);
        (reply.status == 429).then_some(reply)
    });
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    let wait = std::time::Duration::from_secs(after);
    let asked = std::time::Instant::now();
    crate::harness::eventually("the time to pass", || (asked.elapsed() >= wait).then_some(()));
    assert_eq!(conn.send(&request).status, 200, "after Retry-After: {after}");
}

#[test]
fn several_policies_are_listed_and_the_nearest_to_exhaustion_reported() {
    let (_upstream, key, gateway) = gateway("", "[\"100/h\", \"3/d\"]");
    let reply = gateway.get("/").bearer(&key).send();
    let policies = reply.all("ratelimit-policy").join(", ");
    for policy in ["\"100/h\";q=100;w=3600", "\"3/d\";q=3;w=86400"] {
        assert!(policies.contains(policy), "{policies}");
    }
    assert!(reply.header("ratelimit").unwrap().starts_with("\"3/d\";r=2"), "{:?}", reply.header("ratelimit"));
    assert_eq!(gateway.line_of(&reply)["limit.policy"], "3/d");
}

#[test]
fn a_refusal_by_one_policy_spends_nothing_of_the_others() {
    let (_upstream, key, gateway) = gateway("", "[\"100/h\", \"2/d\"]");
    let request = gateway.get("/").bearer(&key);
    let mut conn = gateway.connect();
    assert_eq!(statuses(&mut conn, &request, 12), [[200; 2].as_slice(), &[429; 10]].concat());
    // Raise the narrow policy: what is left of the wide one shows what it was charged.
    let wider = key.entry("a", "limits = [\"100/h\", \"50/d\"]");
    let before = gateway.reloads().len();
    std::fs::write(gateway.keys_path(), wider).unwrap();
    assert_eq!(gateway.reload_after(before)["result"], "applied");
    assert_eq!(statuses(&mut conn, &request, 50), [200; 50]);
    let reply = conn.send(&request);
    assert_throttled(&reply, "50/d");
    let only_wide = key.entry("a", "limits = [\"100/h\"]");
    let before = gateway.reloads().len();
    std::fs::write(gateway.keys_path(), only_wide).unwrap();
    gateway.reload_after(before);
    let left = parameter(conn.send(&request).header("ratelimit").unwrap(), "r");
    assert_eq!(left, Some(47), "52 allowed before and this one: the 11 refusals were free");
}

#[test]
fn each_key_has_its_own_budget_also_within_a_plan() {
    let (upstream, one, two, own) = (Upstream::start(), Key::new(), Key::new(), Key::new());
    let config = "[plan.gold]\nlimits = [\"2/h\"]\n";
    let entries = one.entry("one", "plan = \"gold\"")
        + &two.entry("two", "plan = \"gold\"")
        + &own.entry("own", "plan = \"gold\"\nlimits = [\"1/h\"]");
    let gateway = Setup::with(&upstream, config, &entries).start();
    for (key, expected) in [(&one, vec![200, 200, 429]), (&two, vec![200, 200, 429]), (&own, vec![200, 429])] {
        assert_eq!(statuses(&mut gateway.connect(), &gateway.get("/").bearer(key), expected.len()), expected);
    }
}

#[test]
fn a_key_without_limits_is_unlimited_and_says_nothing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!((reply.header("ratelimit"), reply.header("ratelimit-policy")), (None, None));
    assert_eq!(statuses(&mut gateway.connect(), &gateway.get("/").bearer(&key), 200), [200; 200]);
}

#[test]
fn the_legacy_headers_are_there_when_asked_for_and_none_when_not() {
    let (_upstream, key, gateway) = gateway("[limits]\nheaders = [\"x-ratelimit\"]\n", "[\"5/h\"]");
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), (Some("5"), Some("4")));
    assert!(reply.header("x-ratelimit-reset").unwrap().parse::<u64>().is_ok());
    assert_eq!((reply.header("ratelimit"), reply.header("ratelimit-policy")), (None, None));
    let (_upstream, key, gateway) = self::gateway("[limits]\nheaders = []\n", "[\"1/h\"]");
    for status in [200, 429] {
        let reply = gateway.get("/").bearer(&key).send();
        assert_eq!(reply.status, status);
        assert!(!reply.everything().to_lowercase().contains("ratelimit-"), "{}", reply.everything());
    }
}

#[test]
fn an_address_has_a_limit_before_any_key_is_looked_at() {
    let (_upstream, key, gateway) = gateway("[limits]\nper_ip = \"3/h\"\n", "[\"100/h\"]");
    let good = gateway.get("/").bearer(&key);
    let mut conn = gateway.connect();
    assert_eq!(statuses(&mut conn, &good, 4), [200, 200, 200, 429]);
    // Whatever is sent now is not even looked at.
    let bad = gateway.get("/").bearer(&Key::new());
    assert_eq!(statuses(&mut conn, &bad, 1), [429]);
    assert_eq!(statuses(&mut conn, &gateway.get("/"), 1), [429]);
    let refused = conn.send(&good);
    let line = gateway.line_of(&refused);
    assert_eq!((&line["event"], &line["reason"]), (&"throttle".into(), &"ip_limited".into()));
    assert_eq!(refused.json()["code"], "rate_limited");
    assert!(refused.header("retry-after").is_some());
}

#[test]
fn the_whole_gateway_has_a_limit() {
    let (upstream, one, two) = (Upstream::start(), Key::new(), Key::new());
    let entries = one.entry("one", "limits = [\"100/h\"]") + &two.entry("two", "");
    let gateway = Setup::with(&upstream, "[limits]\ntotal = \"3/h\"\n", &entries).start();
    let mut conn = gateway.connect();
    let sent: Vec<u16> =
        [&one, &two, &one, &two, &one].iter().map(|k| conn.send(&gateway.get("/").bearer(k)).status).collect();
    assert_eq!(sent, [200, 200, 200, 429, 429]);
    let refused = conn.send(&gateway.get("/").bearer(&one));
    let line = gateway.line_of(&refused);
    assert_eq!((&line["event"], &line["reason"]), (&"throttle".into(), &"total_limited".into()));
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn refused_credentials_do_not_drain_the_total() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[limits]\ntotal = \"3/h\"\n", &key.entry("a", "limits = [\"2/h\"]")).start();
    let mut conn = gateway.connect();
    assert_eq!(statuses(&mut conn, &gateway.get("/").bearer(&Key::new()), 6), [401; 6]);
    assert_eq!(statuses(&mut conn, &gateway.get("/").bearer(&key), 2), [200, 200]);
    let throttled = conn.send(&gateway.get("/").bearer(&key));
    assert_eq!(gateway.line_of(&throttled)["reason"], "rate_limited", "the key's limit refused, not the gateway's");
}

#[test]
fn many_connections_never_get_one_request_more_than_the_limit() {
    let (upstream, key, gateway) = gateway("[server]\nworkers = 2\n", "[\"50/h\"]");
    let request = gateway.get("/x").bearer(&key);
    let addr = gateway.addr();
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || {
                let mut conn = Conn::open(addr);
                (0..8).map(|_| conn.send(&request).status).collect::<Vec<u16>>()
            })
        })
        .collect();
    let sent: Vec<u16> = clients.into_iter().flat_map(|c| c.join().unwrap()).collect();
    let count = |status| sent.iter().filter(|s| **s == status).count();
    assert_eq!((sent.len(), count(200), count(429)), (512, 50, 462));
    assert_eq!(upstream.count("/x"), 50);
}

#[test]
fn spent_limits_outlive_a_reload() {
    let (_upstream, key, gateway) = gateway("", "[\"5/h\"]");
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(statuses(&mut conn, &request, 3), [200; 3]);
    for round in 0..3 {
        let before = gateway.reloads().len();
        let other = Key::new().entry(&format!("other-{round}"), "");
        let text = other + &key.entry("a", &format!("note = \"round {round}\"\nlimits = [\"5/h\"]"));
        std::fs::write(gateway.keys_path(), text).unwrap();
        assert_eq!(gateway.reload_after(before)["result"], "applied");
    }
    assert_eq!(statuses(&mut conn, &request, 3), [200, 200, 429]);
}

#[test]
fn a_policy_is_told_as_it_was_written() {
    for (text, policy, remaining) in [
        ("600/5m", "\"600/5m\";q=600;w=300", 599),
        ("5000/h burst 200", "\"5000/h burst 200\";q=5000;w=3600", 199),
        ("7/d", "\"7/d\";q=7;w=86400", 6),
        ("3/30s", "\"3/30s\";q=3;w=30", 2),
    ] {
        let (_upstream, key, gateway) = gateway("", &format!("[\"{text}\"]"));
        let reply = gateway.get("/").bearer(&key).send();
        assert_eq!(reply.header("ratelimit-policy"), Some(policy));
        assert_eq!(parameter(reply.header("ratelimit").unwrap(), "r"), Some(remaining), "{text}");
    }
}

#[test]
fn a_limit_that_changes_starts_anew_and_one_that_does_not_goes_on() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[plan.gold]\nlimits = [\"2/h\", \"100/d\"]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "plan = \"gold\"")).start();
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(statuses(&mut conn, &request, 3), [200, 200, 429]);
    let text = std::fs::read_to_string(gateway.config_path()).unwrap().replace("2/h", "90/h");
    std::fs::write(gateway.config_path(), text).unwrap();
    gateway.reload_after(0);
    let reply = crate::harness::eventually("the wider limit", || Some(conn.send(&request)).filter(|r| r.status == 200));
    assert_eq!(parameter(reply.header("ratelimit").unwrap(), "r"), Some(89), "{:?}", reply.header("ratelimit"));
    let before = gateway.reloads().len();
    let text = std::fs::read_to_string(gateway.config_path()).unwrap().replace("\"90/h\", ", "");
    std::fs::write(gateway.config_path(), text).unwrap();
    gateway.reload_after(before);
    let reply = conn.send(&request);
    assert_eq!(parameter(reply.header("ratelimit").unwrap(), "r"), Some(96), "the day's limit was kept throughout");
}
