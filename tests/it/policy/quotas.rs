//! Quotas: exact counts in calendar periods, in the headers as a policy of their own.

use std::thread;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Site, parameter, statuses};
use crate::harness::{Conn, Key, Reply, Req};

const EXCEEDED: (&str, &str) = ("quota_exceeded", "quota_exceeded");

/// Seconds until the day, the week (of Monday) or the month ends in which it is `now`, as a calendar has it.
fn seconds_left(period: &str, now: Timestamp) -> u64 {
    let today = now.to_zoned(TimeZone::UTC).date();
    let end = match period {
        "day" => today.tomorrow().unwrap(),
        "week" => today.nth_weekday(1, jiff::civil::Weekday::Monday).unwrap(),
        "month" => today.last_of_month().tomorrow().unwrap(),
        other => panic!("{other}"),
    };
    let end = end.to_zoned(TimeZone::UTC).unwrap().timestamp();
    let left = end.as_millisecond() - now.as_millisecond();
    u64::try_from(left).unwrap().div_ceil(1000)
}

/// Sends, and gives how long its period may have had left then.
fn timed(request: &Req, period: &str) -> (Reply, std::ops::RangeInclusive<u64>) {
    let before = seconds_left(period, Timestamp::now());
    let reply = request.send();
    let after = seconds_left(period, Timestamp::now());
    (reply, after..=before)
}

#[test]
fn a_quota_counts_down_and_then_refuses_until_its_period_ends() {
    for (period, window) in [("day", ";w=86400"), ("week", ";w=604800"), ("month", "")] {
        let key = Key::new();
        let site = Site::start("", &key.entry("a", &format!("quota = \"3/{period}\"")));
        let request = site.gateway.get("/x").bearer(&key);
        let policies = format!("\"{period}\";q=3{window}");
        for left in [2, 1, 0] {
            let (reply, time) = timed(&request, period);
            assert_eq!((reply.status, reply.header("ratelimit-policy")), (200, Some(policies.as_str())));
            let report = reply.header("ratelimit").unwrap();
            assert!(report.starts_with(&format!("\"{period}\";r={left};t=")), "{report}");
            let t = parameter(report, "t").unwrap();
            // A test that begins right before midnight sees two periods.
            assert!(time.contains(&t) || time.is_empty(), "{t} is not in {time:?}");
            let line = site.gateway.line_of(&reply);
            assert_eq!((&line["limit.policy"], &line["limit.limit"]), (&period.into(), &3.into()), "{line:#}");
            assert_eq!((&line["limit.remaining"], &line["limit.reset_s"]), (&left.into(), &t.into()), "{line:#}");
        }
        let (reply, time) = timed(&request, period);
        let after: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!(time.contains(&after) || time.is_empty(), "{after} is not in {time:?}");
        let (reply, line) = site.throttled(&request, EXCEEDED, period);
        assert_eq!(reply.header("ratelimit-policy"), Some(policies.as_str()));
        assert_eq!(parameter(reply.header("ratelimit").unwrap(), "r"), Some(0));
        assert_eq!((&line["limit.remaining"], &line["key.id"]), (&0.into(), &"a".into()));
        assert_eq!(site.upstream.count("/x"), 3);
    }
}

#[test]
fn every_policy_of_a_key_is_listed_and_the_nearest_to_exhaustion_reported() {
    let key = Key::new();
    let rules = "limits = [\"100/h\"]\nquota = \"1000000/month\"\nconcurrency = 8";
    let site = Site::start("[[route]]\nlimits = [\"5/m\"]\n", &key.entry("a", rules));
    let (reply, line) = site.allowed(&site.gateway.get("/").bearer(&key));
    let policies =
        "\"100/h\";q=100;w=3600, \"month\";q=1000000, \"concurrency\";q=8;qu=\"concurrent-requests\", \"5/m\";q=5;w=60";
    assert_eq!(reply.header("ratelimit-policy"), Some(policies));
    assert!(reply.header("ratelimit").unwrap().starts_with("\"5/m\";r=4;"));
    assert_eq!(line["limit.policy"], "5/m");
}

#[test]
fn the_legacy_headers_tell_of_quotas_too() {
    let key = Key::new();
    let site = Site::start("limits.headers = [\"x-ratelimit\"]\n", &key.entry("a", "quota = \"2/month\""));
    let request = site.gateway.get("/").bearer(&key);
    let (reply, _) = site.allowed(&request);
    assert_eq!((reply.header("x-ratelimit-limit"), reply.header("x-ratelimit-remaining")), (Some("2"), Some("1")));
    assert_eq!(reply.header("ratelimit"), None);
    site.allowed(&request);
    let (reply, _) = site.throttled(&request, EXCEEDED, "month");
    assert_eq!(
        (reply.header("x-ratelimit-remaining"), reply.header("x-ratelimit-reset")),
        (Some("0"), reply.header("retry-after"))
    );
}

#[test]
fn a_plan_gives_each_key_a_quota_of_its_own_and_a_keys_own_goes_before_it() {
    let (one, two, own) = (Key::new(), Key::new(), Key::new());
    let keys = one.entry("one", "plan = \"gold\"")
        + &two.entry("two", "plan = \"gold\"")
        + &own.entry("own", "plan = \"gold\"\nquota = \"1/week\"");
    let site = Site::start("[plan.gold]\nquota = \"2/month\"\n", &keys);
    for (key, expected) in [(&one, vec![200, 200, 429]), (&two, vec![200, 200, 429]), (&own, vec![200, 429])] {
        let request = site.gateway.get("/").bearer(key);
        assert_eq!(statuses(&mut site.gateway.connect(), &request, expected.len()), expected);
    }
    site.throttled(&site.gateway.get("/").bearer(&own), EXCEEDED, "week");
}

#[test]
fn a_quota_outlives_reloads_and_a_wider_one_goes_on_from_what_was_used() {
    let key = Key::new();
    let site = Site::start("", &key.entry("a", "quota = \"3/month\""));
    let request = site.gateway.get("/").bearer(&key);
    let mut conn = site.gateway.connect();
    assert_eq!(statuses(&mut conn, &request, 4), [200, 200, 200, 429]);
    site.reload_keys(&key.entry("a", "quota = \"3/month\"\nnote = \"the same\""));
    assert_eq!(conn.send(&request).status, 429);
    site.reload_keys(&key.entry("a", "quota = \"5/month\""));
    assert_eq!(statuses(&mut conn, &request, 3), [200, 200, 429]);
    // A new secret is no new quota.
    let rotated = Key::new();
    site.reload_keys(&rotated.entry("a", "quota = \"5/month\""));
    assert_eq!(conn.send(&site.gateway.get("/").bearer(&rotated)).status, 429);
}

#[test]
fn what_is_refused_costs_nothing_of_a_quota() {
    let key = Key::new();
    let rules = "quota = \"4/month\"\nmethods = [\"GET\", \"POST\"]\nlimits = [\"2/h\"]";
    let config = "[[route]]\nbody_bytes_max = \"10B\"\n";
    let site = Site::start(config, &key.entry("a", rules));
    let request = site.gateway.get("/").bearer(&key);
    for _ in 0..5 {
        site.refused(&site.gateway.request("PUT", "/").bearer(&key), 403, "forbidden", "method_denied");
        let large = site.gateway.request("POST", "/").bearer(&key).body(&[b'x'; 11]);
        site.refused(&large, 413, "body_too_large", "body_too_large");
    }
    assert_eq!(statuses(&mut site.gateway.connect(), &request, 2), [200, 200]);
    site.throttled(&request, ("rate_limited", "rate_limited"), "2/h");
    site.reload_keys(&key.entry("a", "quota = \"4/month\""));
    assert_eq!(statuses(&mut site.gateway.connect(), &request, 3), [200, 200, 429]);
}

#[test]
fn many_connections_never_get_one_request_more_than_the_quota() {
    let key = Key::new();
    let site = Site::start("[server]\nworkers = 2\n", &key.entry("a", "quota = \"50/month\""));
    let request = site.gateway.get("/x").bearer(&key);
    let addr = site.gateway.addr();
    let clients: Vec<_> = (0..64)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || statuses(&mut Conn::open(addr), &request, 8))
        })
        .collect();
    let sent: Vec<u16> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let count = |status| sent.iter().filter(|sent| **sent == status).count();
    assert_eq!((sent.len(), count(200), count(429)), (512, 50, 462));
    assert_eq!(site.upstream.count("/x"), 50);
    site.throttled(&request, EXCEEDED, "month");
}
