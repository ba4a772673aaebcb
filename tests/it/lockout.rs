//! Whoever guesses is locked out, and nobody else is.

use std::fs;
use std::thread;

use serde_json::Value;

use crate::harness::{Conn, Gateway, Key, Reply, Req, Setup, Upstream, eventually};

const BEHIND_A_PROXY: &str = "[server]\nworkers = 2\ntrusted_proxies = [\"127.0.0.0/8\"]\n";

/// A gateway with one good key and more config.
fn world(config: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    (upstream, key, gateway)
}

fn limits(failures: &str, lockout: &str) -> String {
    format!("[limits]\nfailures_per_ip = \"{failures}\"\nlockout = \"{lockout}\"\n")
}

/// So many requests with a key that nobody has.
fn guess(conn: &mut Conn, request: &Req, count: usize) -> Vec<u16> {
    (0..count).map(|_| conn.send(&request.clone().bearer(&Key::new())).status).collect()
}

#[track_caller]
fn assert_locked_out(gateway: &Gateway, reply: &Reply, policy: &str) {
    assert_eq!(reply.status, 429, "{}", reply.everything());
    crate::verdicts::assert_problem(reply, "too_many_failures");
    assert_eq!(reply.header("www-authenticate"), None);
    let line = gateway.line_of(reply);
    assert_eq!((&line["event"], &line["reason"]), (&"throttle".into(), &"locked_out".into()), "{line}");
    assert_eq!((&line["limit.policy"], &line["limit.remaining"]), (&policy.into(), &0.into()), "{line}");
    let retry: u64 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(retry >= 1 && line["limit.reset_s"] == retry, "{line}");
}

fn lockout_lines(gateway: &Gateway) -> Vec<(String, String, u64, u64)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap_or_else(|| panic!("{name} in {line}"));
    let lines = gateway.events("lockout");
    let told = |l: &Value| (text(l, "state"), text(l, "client.address"), number(l, "duration_s"), number(l, "times"));
    lines.iter().map(told).collect()
}

#[test]
fn twenty_guesses_are_answered_and_then_nothing_is() {
    let (upstream, key, gateway) = world("");
    let mut conn = gateway.connect();
    let request = gateway.get("/");
    assert_eq!(guess(&mut conn, &request, 19), [401; 19]);
    assert_eq!(
        conn.send(&request.clone().bearer(&key)).status,
        200,
        "a good key in between neither counts nor pardons"
    );
    assert_eq!(guess(&mut conn, &request, 2), [401, 429]);
    // Before any key is looked at: all are refused alike, and none of them is told to the upstream or in the line.
    let sent =
        [request.clone().bearer(&Key::new()), request.clone().bearer(&key), request.clone().api_key("x"), request];
    for request in sent {
        let reply = conn.send(&request);
        assert_locked_out(&gateway, &reply, "20/m");
        let retry: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((280..=300).contains(&retry), "5 minutes, the default: {retry}");
        assert_eq!(gateway.line_of(&reply)["key.id"], Value::Null);
    }
    assert_eq!(upstream.seen().len(), 1);
    let line = gateway.wait_event("lockout", |_| true);
    assert_eq!((&line["level"], &line["limit.policy"]), (&"warn".into(), &"20/m".into()), "{line}");
    assert_eq!(lockout_lines(&gateway), [("begin".into(), "127.0.0.1".into(), 300, 1)]);
}

#[test]
fn it_ends_and_the_next_one_is_twice_as_long() {
    let (_upstream, key, gateway) = world(&limits("2/h", "1s"));
    let mut conn = gateway.connect();
    let good = gateway.get("/").bearer(&key);
    for _ in 0..2 {
        let refused = || Some(conn.send(&gateway.get("/").bearer(&Key::new()))).filter(|reply| reply.status != 401);
        assert_locked_out(&gateway, &eventually("a lock-out", refused), "2/h");
        eventually("the end of it", || (conn.send(&good).status == 200).then_some(()));
    }
    // On a machine that stands still for a second there may have been more.
    let told = eventually("the last line", || {
        let lines = lockout_lines(&gateway);
        let is_over = lines.len() >= 4 && lines.last().is_some_and(|line| line.0 == "end");
        is_over.then_some(lines)
    });
    for (lines, times) in told.chunks(2).zip(1..) {
        let length = 1 << (times - 1);
        assert_eq!(lines, ["begin", "end"].map(|state| (state.to_owned(), "127.0.0.1".to_owned(), length, times)));
    }
    assert!(
        gateway.events("lockout").iter().all(|l| l["level"] == if l["state"] == "begin" { "warn" } else { "info" })
    );
}

#[test]
fn what_counts_is_a_key_that_is_not_good() {
    let (upstream, good) = (Upstream::start(), Key::new());
    let (revoked, expired, denied) = (Key::new(), Key::new(), Key::new());
    let entries = good.entry("a", "limits = [\"1/h\"]")
        + &revoked.entry("b", "state = \"revoked\"")
        + &expired.entry("c", "expires = 2020-01-01T00:00:00Z")
        + &denied.entry("d", "methods = [\"PUT\"]");
    let gateway = Setup::with(&upstream, &limits("6/h", "1h"), &entries).start();
    let mut conn = gateway.connect();
    let get = || gateway.get("/");
    let long = "x".repeat(600);
    let mut send = |request: Req| conn.send(&request).status;
    // No key, two keys, a key that may not, a key that is used up: nobody guesses.
    for _ in 0..10 {
        assert_eq!(send(get()), 401);
        assert_eq!(send(get().bearer(&good).api_key(&good.text)), 400);
        assert_eq!(send(get().bearer(&denied)), 403);
    }
    assert_eq!([(); 10].map(|()| send(get().bearer(&good)))[1..], [429; 9]);
    for key in [&Key::new().text, &good.bad_checksum(), "kw_short", &long, &revoked.text, &expired.text] {
        assert_eq!(send(get().api_key(key)), 401);
    }
    assert_eq!(send(get()), 429);
    assert_eq!(gateway.wait_event("lockout", |_| true)["state"], "begin");
}

#[test]
fn clients_behind_a_trusted_proxy_are_locked_out_and_the_proxy_never_is() {
    let (_upstream, key, gateway) = world(&format!("{BEHIND_A_PROXY}{}", limits("3/h", "1h")));
    let mut conn = gateway.connect();
    let from = |client: &str| gateway.get("/").header("X-Forwarded-For", client);
    for (guesses, others, told) in [
        ("203.0.113.1", "203.0.113.2", "203.0.113.1"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.1", "198.51.100.2", "198.51.100.1"),
    ] {
        assert_eq!(guess(&mut conn, &from(guesses), 4), [401, 401, 401, 429], "{guesses}");
        assert_locked_out(&gateway, &conn.send(&from(guesses).bearer(&key)), "3/h");
        assert_eq!(conn.send(&from(others).bearer(&key)).status, 200, "{others}");
        gateway.wait_event("lockout", |line| line["client.address"] == told);
    }
    assert_eq!(conn.send(&from("2001:db8:1:2:ffff::9").bearer(&key)).status, 429, "the same /64");
    // What the proxy sends for nobody, health checks or its own: a wrong key there must not cut off all who come by it.
    assert_eq!(guess(&mut conn, &gateway.get("/"), 30), [401; 30]);
    assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200);
    assert_eq!(guess(&mut conn, &from("127.0.0.9"), 10), [401; 10], "nor any other of the trusted ones");
    assert_eq!(lockout_lines(&gateway).len(), 3);
}

#[test]
fn a_key_that_lists_the_address_opens_its_door_all_the_same() {
    let (upstream, key, at_home, elsewhere) = (Upstream::start(), Key::new(), Key::new(), Key::new());
    let entries = key.entry("a", "")
        + &at_home.entry("home", "networks = [\"203.0.113.0/24\"]")
        + &elsewhere.entry("elsewhere", "networks = [\"10.0.0.0/8\"]");
    let config = format!("{BEHIND_A_PROXY}{}", limits("3/h", "1h"));
    let gateway = Setup::with(&upstream, &config, &entries).start();
    let mut conn = gateway.connect();
    let from = |client: &str| gateway.get("/").header("X-Forwarded-For", client);
    for client in ["203.0.113.1", "198.51.100.1"] {
        assert_eq!(guess(&mut conn, &from(client), 4), [401, 401, 401, 429]);
    }
    assert_eq!(conn.send(&from("203.0.113.1").bearer(&at_home)).status, 200);
    for (client, key) in [("203.0.113.1", &key), ("203.0.113.1", &elsewhere), ("198.51.100.1", &at_home)] {
        assert_locked_out(&gateway, &conn.send(&from(client).bearer(key)), "3/h");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn clients_that_the_proxy_protocol_names_are_locked_out_one_by_one() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n";
    let (_upstream, key, gateway) = world(&format!("{}{listener}", limits("3/h", "1h")));
    let from = |client: &str| {
        let mut conn = gateway.connect();
        conn.write(format!("PROXY TCP4 {client} 192.0.2.9 1024 443\r\n").as_bytes()).unwrap();
        conn
    };
    assert_eq!(guess(&mut from("203.0.113.1"), &gateway.get("/"), 4), [401, 401, 401, 429]);
    assert_eq!(from("203.0.113.1").send(&gateway.get("/").bearer(&key)).status, 429);
    assert_eq!(from("203.0.113.2").send(&gateway.get("/").bearer(&key)).status, 200);
}

#[test]
fn many_connections_get_no_guess_more_than_one_does() {
    let (_upstream, _key, gateway) = world(&format!("[server]\nworkers = 2\n{}", limits("20/h", "1h")));
    let (addr, request) = (gateway.addr(), gateway.get("/"));
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let request = request.clone();
            thread::spawn(move || guess(&mut Conn::open(addr), &request, 10))
        })
        .collect();
    let sent: Vec<u16> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    let count = |status| sent.iter().filter(|s| **s == status).count();
    assert_eq!((count(401), count(429)), (20, 140));
    gateway.wait_event("lockout", |_| true);
    assert_eq!(lockout_lines(&gateway).len(), 1);
}

#[test]
fn a_reload_frees_nobody_unless_the_budget_is_another_one() {
    let (_upstream, key, gateway) = world(&limits("3/h", "1h"));
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(guess(&mut conn, &gateway.get("/"), 4), [401, 401, 401, 429]);
    let reload = |from: &str, to: &str| {
        let before = gateway.reloads().len();
        let text = fs::read_to_string(gateway.config_path()).unwrap();
        fs::write(gateway.config_path(), text.replace(from, to)).unwrap();
        assert_eq!(gateway.reload_after(before)["result"], "applied");
    };
    reload("\"1h\"", "\"1s\"");
    assert_locked_out(&gateway, &conn.send(&request), "3/h");
    let retry: u64 = conn.send(&request).header("retry-after").unwrap().parse().unwrap();
    assert!(retry > 3_000, "those that last run to their end: {retry}");
    gateway.wait_event("lockout", |line| line["state"] == "begin");
    reload("\"3/h\"", "\"none\"");
    assert_eq!(conn.send(&request).status, 200);
    gateway.wait_event("lockout", |line| line["state"] == "end");
    assert_eq!(guess(&mut conn, &gateway.get("/"), 30), [401; 30]);
    assert_eq!(lockout_lines(&gateway).len(), 2);
}

/// With a budget of one, so that each address is locked out at once and the table is filled with what it gives up last.
#[test]
fn many_addresses_cost_little_and_keep_nobody_out() {
    const ADDRESSES: u32 = 20_000;
    let (_upstream, key, gateway) = world(&format!("{BEHIND_A_PROXY}{}", limits("1/h", "1h")));
    let from = |n: u32| gateway.get("/").header("X-Forwarded-For", &std::net::Ipv4Addr::from(n).to_string());
    let mut conn = gateway.connect();
    assert_eq!(guess(&mut conn, &from(1), 1), [401]);
    let before = gateway.rss_kib();
    let wrong = Key::new();
    for n in 2..ADDRESSES {
        assert_eq!(conn.send(&from(n).bearer(&wrong)).status, 401);
        if n % 1_000 == 0 {
            assert_eq!(conn.send(&from(0x0a00_0000 + n).bearer(&key)).status, 200, "somebody else");
        }
    }
    let growth = gateway.rss_kib().saturating_sub(before);
    assert!(growth < 16 * 1024, "{growth} KiB more");
    assert_eq!(conn.send(&from(1).bearer(&key)).status, 429, "the first is known still");
    // All of them are told of, or counted.
    eventually("a line for each", || {
        let lines = gateway.events("lockout");
        let begun = lines.iter().filter(|line| line["state"] == "begin");
        let told: u64 = begun.map(|line| line["count"].as_u64().unwrap_or(1)).sum();
        (told == u64::from(ADDRESSES) - 1).then_some(())
    });
}
