//! Metrics: they count what the lines say, to the last one, and no request can put a word into them.

mod gauges;
mod real;

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use serde_json::Value;

use crate::harness::{Conn, Gateway, Key, Req, Scrape, Setup, Upstream, eventually};

pub(crate) const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

/// Waits until as many requests are counted as there are lines.
pub(crate) fn settled(gateway: &Gateway, requests: usize) -> Scrape {
    eventually("every line", || (gateway.decided() >= requests).then_some(()));
    assert_eq!(gateway.decided(), requests);
    eventually("every count", || {
        Some(gateway.scrape()).filter(|scrape| scrape.sum("keyward_requests_total") >= requests as f64)
    })
}

/// How many lines there are of each kind, as the fields say.
fn lines_by(lines: &[Value], fields: &[&str]) -> BTreeMap<Vec<String>, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        let text = |field: &&str| line[field].as_str().unwrap_or("_none").to_owned();
        *counts.entry(fields.iter().map(text).collect()).or_default() += 1;
    }
    counts
}

fn sum_of(lines: &[Value], field: &str) -> u64 {
    lines.iter().filter_map(|line| line[field].as_u64()).sum()
}

const WORLD: &str = "[limits]\nfailures_per_ip = \"none\"\n[plan.small]\nlimits = [\"5/h\"]\n\
    [[route]]\nname = \"all\"\n[[route]]\nname = \"open\"\npath = \"/open/*\"\nauth = \"open\"\n\
    [[route]]\nname = \"shadow\"\npath = \"/shadow/*\"\nmode = \"shadow\"\n\
    [[route]]\nname = \"roles\"\npath = \"/roles/*\"\nroles = [\"r\"]\n";

/// What one client sends, over and over: most of what can become of a request.
fn mixture(addr: std::net::SocketAddr, good: &Key, small: &Key) -> Vec<Req> {
    let req = |method: &str, target: &str| Req::new(addr, method, target);
    vec![
        req("GET", "/").bearer(good),
        req("POST", "/echo").bearer(good).body(b"twelve bytes"),
        req("GET", "/open/x"),
        req("GET", "/shadow/x").bearer(&Key::new()),
        req("GET", "/roles/x").bearer(good),
        req("DELETE", "/open/x"),
        req("GET", "/").bearer(&Key::new()),
        req("GET", "/"),
        req("GET", "/").bearer(small),
        req("GET", "/shadow/y").bearer(small),
        req("GET", "/").bearer(good).api_key(&small.text),
        req("POST", "/reset").bearer(good).body(b"x"),
    ]
}

/// The mixture, from many connections at once; how many requests it was.
fn load(gateway: &Gateway, good: &Key, small: &Key) -> usize {
    const ROUNDS: usize = 5;
    let addr = gateway.addr();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let requests = mixture(addr, good, small);
            thread::spawn(move || {
                let mut conn = Conn::open(addr);
                requests.iter().cycle().take(ROUNDS * requests.len()).map(|request| conn.send(request)).count()
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).sum()
}

const CLIENTS: usize = 64;

#[test]
fn counts_are_exactly_what_the_lines_say() {
    let (upstream, good, small) = (Upstream::start(), Key::new(), Key::new());
    let keys = good.entry("good", "") + &small.entry("small", "plan = \"small\"");
    let config = format!("{WORLD}{ADMIN}[metrics]\nper_key = true\n");
    let gateway = Setup::with(&upstream, &config, &keys).start();
    let sent = load(&gateway, &good, &small);
    // One that cannot be read at all.
    crate::harness::raw(gateway.addr(), b"GET / HTTP/1.1\r\nHost : a\r\n\r\n").unwrap();
    let scrape = settled(&gateway, sent + 1);
    let lines = gateway.decisions();

    verdicts_are_those_of_the_lines(&scrape, &lines);
    let total = |name: &str| scrape.sum(name) as u64;
    assert_eq!(total("keyward_request_duration_seconds_count"), sent as u64, "but the unreadable one");
    let seconds = sum_of(&lines, "duration_us") as f64 / 1e6;
    assert!((scrape.sum("keyward_request_duration_seconds_sum") - seconds).abs() < 1e-3, "{seconds}");
    assert_eq!(total("keyward_request_body_bytes_total"), sum_of(&lines, "http.request.body.size"));
    assert_eq!(total("keyward_response_body_bytes_total"), sum_of(&lines, "http.response.body.size"));
    let upstream = [("upstream", "default")];
    assert_eq!(scrape.get("keyward_upstream_attempts_total", &upstream) as u64, sum_of(&lines, "upstream.attempts"));
    let waited = lines.iter().filter(|line| line["upstream_duration_us"].is_u64()).count();
    assert_eq!(total("keyward_upstream_duration_seconds_count"), waited as u64);
    let with_keys: Vec<_> = lines.iter().filter(|line| line["key.id"].is_string()).cloned().collect();
    assert_eq!(scrape.by("keyward_key_requests_total", &["key_id"]), lines_by(&with_keys, &["key.id"]));
    assert_eq!(total("keyward_connections_accepted_total"), CLIENTS as u64 + 1);
    eventually("nothing to be underway", || {
        let scrape = gateway.scrape();
        let underway = ["keyward_requests_in_flight", "keyward_connections_open"].map(|name| scrape.get(name, &[]));
        (underway == [0.0, 0.0]).then_some(())
    });
}

fn verdicts_are_those_of_the_lines(scrape: &Scrape, lines: &[Value]) {
    let by_reason = scrape.by("keyward_requests_total", &["route", "decision", "reason"]);
    assert_eq!(by_reason, lines_by(lines, &["http.route", "decision", "reason"]));
    // Whether one of the key with few is taken in shadow mode is a matter of chance.
    assert!(by_reason.len() >= 11, "{by_reason:#?}");
    let those =
        |matches: &dyn Fn(&Value) -> bool| lines.iter().filter(|line| matches(line)).cloned().collect::<Vec<_>>();
    let throttled = those(&|line| line["event"] == "throttle");
    let policies = scrape.by("keyward_throttled_total", &["policy", "decision"]);
    assert_eq!(policies, lines_by(&throttled, &["limit.policy", "decision"]));
    assert!(policies.len() == 2, "{policies:?}");
    let about_keys = ["missing_key", "duplicate_credential", "unknown_key", "role_denied"];
    let failed = those(&|line| line["decision"] == "deny" && about_keys.iter().any(|reason| line["reason"] == *reason));
    assert_eq!(scrape.by("keyward_auth_failures_total", &["reason"]), lines_by(&failed, &["reason"]));
    let class = |line: &Value| format!("{}xx", line["http.response.status_code"].as_u64().unwrap() / 100);
    let mut classes = BTreeMap::new();
    lines.iter().for_each(|line| *classes.entry(vec![class(line)]).or_default() += 1);
    assert_eq!(scrape.by("keyward_responses_total", &["code"]), classes);
}

#[test]
fn a_request_is_in_flight_until_it_is_over_and_a_tunnel_as_well() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ADMIN, &key.entry("a", "")).start();
    let underway = |count: f64| {
        let is_so = || (gateway.scrape().get("keyward_requests_in_flight", &[]) == count).then_some(());
        eventually(&format!("{count} in flight"), is_so);
    };
    underway(0.0);
    let mut held: Vec<Conn> = (0..3).map(|_| gateway.connect()).collect();
    for conn in &mut held {
        conn.write(&gateway.get("/gate").bearer(&key).bytes()).unwrap();
    }
    underway(3.0);
    upstream.open_gate();
    for conn in &mut held {
        assert_eq!(conn.read_reply("GET").unwrap().status, 200);
    }
    underway(0.0);
    let upgrade = gateway.get("/socket").bearer(&key).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let upgrade = upgrade.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(held[0].send(&upgrade).status, 101);
    underway(1.0);
    let before = gateway.scrape().sum("keyward_request_body_bytes_total");
    held[0].write(b"\x81\x05hello").unwrap();
    drop(held);
    underway(0.0);
    gateway.wait_event("tunnel", |_| true);
    let bytes = || gateway.scrape().sum("keyward_request_body_bytes_total") - before;
    eventually("a tunnel's bytes", || (bytes() == 7.0).then_some(()));
}

#[test]
fn ids_of_keys_are_labels_only_where_they_are_wanted_and_only_of_keys_there_are() {
    let (upstream, [a, b, c]) = (Upstream::start(), [Key::new(), Key::new(), Key::new()]);
    let expires = "expires = 2099-01-01T00:00:00Z";
    let keys = a.entry("alice", expires) + &b.entry("bob", "") + &c.entry("carol", "expires = 2098-01-01T00:00:00Z");
    let gateway = Setup::with(&upstream, ADMIN, &keys).start();
    for key in [&a, &a, &b] {
        assert_eq!(gateway.get("/").bearer(key).send().status, 200);
    }
    let scrape = settled(&gateway, 3);
    assert!(!scrape.text.contains("alice") && !scrape.text.contains("key_id"), "{}", scrape.text);

    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), format!("{config}[metrics]\nper_key = true\n")).unwrap();
    assert_eq!(gateway.reload_after(0)["result"], "applied");
    // A worker learns of it at its next tick, before which it may still count for nobody.
    let counted = |id: &str| gateway.scrape().value("keyward_key_requests_total", &[("key_id", id)]);
    eventually("counts of keys", || {
        gateway.get("/").bearer(&a).send();
        counted("alice")
    });
    gateway.get("/").bearer(&b).send();
    eventually("bob's", || counted("bob"));
    let scrape = gateway.scrape();
    let expiry = |id: &str| scrape.value("keyward_key_expiry_timestamp_seconds", &[("key_id", id)]);
    assert_eq!((expiry("alice"), expiry("bob"), expiry("carol")), (Some(4_070_908_800.0), None, Some(4_039_372_800.0)));
    let used = |scrape: &Scrape, id: &str| scrape.value("keyward_key_last_used_timestamp_seconds", &[("key_id", id)]);
    assert!(used(&scrape, "bob") >= used(&scrape, "alice") && used(&scrape, "alice").is_some());
    assert_eq!((used(&scrape, "carol"), counted("carol")), (None, None), "nobody has used it");

    fs::write(gateway.keys_path(), b.entry("bob", "")).unwrap();
    assert_eq!(gateway.reload_after(1)["result"], "applied");
    let scrape = gateway.scrape();
    assert!(!scrape.text.contains("alice") && used(&scrape, "bob").is_some(), "{}", scrape.text);
    fs::write(gateway.config_path(), &config).unwrap();
    assert_eq!(gateway.reload_after(2)["result"], "applied");
    assert!(!gateway.scrape().text.contains("key_id"));
}

#[test]
fn what_is_beyond_the_series_is_counted_in_one_and_told_of_once() {
    let (upstream, keys) = (Upstream::start(), [Key::new(), Key::new(), Key::new(), Key::new()]);
    let entries =
        keys.iter().enumerate().map(|(n, key)| key.entry(&format!("key-{n}"), "expires = 2099-01-01T00:00:00Z"));
    let config = format!("{ADMIN}[metrics]\nper_key = true\nseries_max = 2\n[server]\nworkers = 1\n");
    let gateway = Setup::with(&upstream, &config, &entries.collect::<String>()).start();
    for _ in 0..3 {
        for key in &keys {
            assert_eq!(gateway.get("/").bearer(key).send().status, 200);
        }
    }
    let scrape = settled(&gateway, 12);
    let counts = scrape.by("keyward_key_requests_total", &["key_id"]);
    assert_eq!(counts.len(), 3, "{counts:?}");
    assert_eq!((counts[&vec!["_other".to_owned()]], counts.values().sum::<u64>()), (6, 12));
    let expiries = scrape.by("keyward_key_expiry_timestamp_seconds", &["key_id"]);
    assert_eq!(expiries.keys().map(|id| id[0].as_str()).collect::<Vec<_>>(), ["_other", "key-0", "key-1"]);
    for metric in ["key_requests", "key_last_used_timestamp_seconds", "key_expiry_timestamp_seconds"] {
        let name = format!("keyward_{metric}");
        let told = gateway.wait_event("metrics_overflow", |line| line["metric"] == name.as_str());
        assert_eq!((&told["level"], &told["series_max"]), (&"warn".into(), &2.into()));
    }
    gateway.scrape();
    assert_eq!(gateway.events("metrics_overflow").len(), 3, "each is told of once");
}

#[test]
fn no_request_puts_a_word_into_a_label() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway =
        Setup::with(&upstream, &format!("{ADMIN}[limits]\nfailures_per_ip = \"none\"\n"), &key.entry("a", ""));
    let gateway = gateway.start();
    let canary = "canary\"}{\\n";
    for n in 0..50 {
        let odd = Req::new(gateway.addr(), &format!("CANARY{n}"), &format!("/canary{n}?canary"));
        odd.header("Host", &format!("canary{n}")).header("User-Agent", canary).bearer(&key).send();
        gateway.get("/").api_key(&format!("canary{n}")).send();
    }
    let scrape = settled(&gateway, 100);
    assert!(!scrape.text.to_ascii_lowercase().contains("canary"), "{}", scrape.text);
    assert_eq!(scrape.by("keyward_requests_total", &["route"]).len(), 1);
}
