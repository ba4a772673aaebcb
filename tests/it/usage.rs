//! What is counted of keys: that it is what the lines say, to the last request, and that it is shown while a gateway runs.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::thread;

use serde_json::Value;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually, keyward, secrets_in};

/// A gateway that counts.
fn counting(upstream: &Upstream, config: &str, keys: &str) -> Gateway {
    let config = format!("[server]\nstate = \"state.db\"\nworkers = 2\n{config}");
    Setup::with(upstream, &config, keys).start()
}

/// What `keyward usage ID --json` says.
pub(crate) fn usage(gateway: &Gateway, id: &str) -> Value {
    let ran = keyward(gateway.dir.path(), &["usage", id, "--json", "-c", "keyward.toml"]).ok();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

/// Counts of one key, as lines and as the state file have them: allowed, refused, throttled, shadow-denied, bytes in, bytes
/// out, and refusals by reason.
type Sums = ([u64; 6], BTreeMap<String, u64>);

fn said(lines: &[Value], id: &str) -> Sums {
    let mut sums = Sums::default();
    for line in lines.iter().filter(|line| line["key.id"] == id) {
        let is_throttled = line["http.response.status_code"] == 429;
        let which = match line["decision"].as_str().unwrap() {
            "allow" => 0,
            "shadow_deny" => 3,
            _ if is_throttled => 2,
            _ => 1,
        };
        sums.0[which] += 1;
        sums.0[4] += line["http.request.body.size"].as_u64().unwrap();
        sums.0[5] += line["http.response.body.size"].as_u64().unwrap();
        if which == 1 || which == 2 {
            *sums.1.entry(line["reason"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    sums
}

fn counted(gateway: &Gateway, id: &str) -> Sums {
    let usage = usage(gateway, id);
    let fields = ["allowed", "refused", "throttled", "shadow_denied", "bytes_in", "bytes_out"];
    let reasons = usage["reasons"].as_object().unwrap();
    let reasons = reasons.iter().map(|(reason, count)| (reason.clone(), count.as_u64().unwrap()));
    (fields.map(|field| usage[field].as_u64().unwrap()), reasons.collect())
}

#[test]
fn two_hundred_uses_at_once_count_200() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = counting(&upstream, "", &key.entry("a", ""));
    let request = gateway.get("/").bearer(&key);
    thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| assert_eq!(request.send().status, 200));
        }
    });
    eventually("all of them to be counted", || (counted(&gateway, "a").0[0] == 200).then_some(()));
    gateway.stop();
    assert_eq!(counted(&gateway, "a").0[0], 200);
}

#[test]
fn counts_are_what_the_lines_say() {
    let upstream = Upstream::start();
    let keys: BTreeMap<&str, Key> =
        ["plain", "limited", "expired", "revoked", "elsewhere", "shadow"].map(|id| (id, Key::new())).into();
    let entries = [
        ("plain", ""),
        ("limited", "limits = [\"2/h\"]"),
        ("expired", "expires = 2020-01-01T00:00:00Z"),
        ("revoked", "state = \"revoked\""),
        ("elsewhere", "networks = [\"192.0.2.0/24\"]"),
        ("shadow", "limits = [\"1/h\"]\nmode = \"shadow\""),
    ];
    let entries: String = entries.iter().map(|(id, fields)| keys[id].entry(id, fields)).collect();
    let config = "[limits]\nfailures_per_ip = \"none\"\n[[route]]\nbody_bytes_max = \"1KiB\"\n";
    let mut gateway = counting(&upstream, config, &entries);
    for key in keys.values() {
        for n in 0..5 {
            gateway.get(&format!("/{n}")).bearer(key).send();
        }
        gateway.request("POST", "/").bearer(key).body(&[7; 1_000]).send();
        gateway.request("POST", "/").bearer(key).body(&[7; 2_000]).send();
    }
    // Nobody's.
    gateway.get("/").send();
    gateway.get("/").bearer(&Key::new()).send();
    gateway.stop();
    let lines = gateway.decisions();
    assert_eq!(lines.len(), 6 * 7 + 2);
    for id in keys.keys() {
        assert_eq!(counted(&gateway, id), said(&lines, id), "{id}");
    }
    let total = |which: usize| keys.keys().map(|id| counted(&gateway, id).0[which]).sum::<u64>();
    assert!((0..6).all(|which| total(which) > 0), "each of them has happened");
    assert_eq!(usage(&gateway, "limited")["reasons"], serde_json::json!({"rate_limited": 5}));
    assert_eq!(usage(&gateway, "plain")["reasons"], serde_json::json!({"body_too_large": 1}));
    assert_eq!(usage(&gateway, "revoked")["reasons"], serde_json::json!({"revoked": 7}));
    let file = std::fs::read(gateway.dir.path().join("state.db")).unwrap();
    let found = secrets_in(&String::from_utf8_lossy(&file));
    assert!(found.is_empty(), "secrets in the state file: {found:?}");
}

#[test]
fn a_tunnel_counts_its_bytes_at_its_end() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = counting(&upstream, "", &key.entry("a", ""));
    let request = gateway.get("/socket").bearer(&key).header("Connection", "Upgrade").header("Upgrade", "websocket");
    let request = request.header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let mut conn = gateway.connect();
    assert_eq!(conn.send(&request).status, 101);
    conn.stream().write_all(&[7; 300_000]).unwrap();
    conn.stream().read_exact(&mut [0; 300_000]).unwrap();
    eventually("the handshake to be counted", || (counted(&gateway, "a").0 == [1, 0, 0, 0, 0, 0]).then_some(()));
    drop(conn);
    let both_ways = [1, 0, 0, 0, 300_000, 300_000];
    eventually("the tunnel to be counted", || (counted(&gateway, "a").0 == both_ways).then_some(()));
}

#[test]
fn the_last_client_is_the_one_behind_trusted_proxies() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = counting(&upstream, "trusted_proxies = [\"127.0.0.1/32\"]\n", &key.entry("a", ""));
    gateway.get("/").bearer(&key).header("X-Forwarded-For", "2001:db8::7").send();
    let seen = eventually("a use", || Some(usage(&gateway, "a")).filter(|usage| usage["allowed"] == 1));
    assert_eq!(seen["last_client"], "2001:db8::7");
    assert_eq!(seen["first_use"], seen["last_use"]);
    gateway.get("/").bearer(&key).send();
    let again = eventually("another use", || Some(usage(&gateway, "a")).filter(|usage| usage["allowed"] == 2));
    assert_eq!((&again["last_client"], &again["first_use"]), (&"127.0.0.1".into(), &seen["first_use"]));
    assert!(again["last_use"].as_str() > seen["last_use"].as_str(), "{again:#}");
}

#[test]
fn commands_show_it_while_the_gateway_runs() {
    let (upstream, key, unused) = (Upstream::start(), Key::new(), Key::new());
    let gateway = counting(&upstream, "", &format!("{}{}", key.entry("a", ""), unused.entry("b", "")));
    for _ in 0..3 {
        gateway.get("/").bearer(&key).send();
    }
    let command = |args: &[&str]| keyward(gateway.dir.path(), args).ok().stdout;
    let shown = eventually("three uses", || Some(command(&["key", "show", "a"])).filter(|t| t.contains("3 allowed")));
    assert!(shown.contains("last client        127.0.0.1\n"), "{shown}");
    let list = command(&["key", "list"]);
    assert!(list.lines().next().unwrap().ends_with("ALLOWED  REFUSED  THROTTLED  LAST USE"), "{list}");
    assert!(list.contains("  never"), "{list}");
    let table = command(&["usage"]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 2 && rows[1].starts_with("a ") && rows[1].ends_with('█'), "{table}");
    assert!(command(&["usage", "a"]).contains("allowed        3\n"));
    let all: Value = serde_json::from_str(&command(&["usage", "--json"])).unwrap();
    assert_eq!((&all["keys"][0]["allowed"], &all["keys"][1]), (&3.into(), &Value::Null), "{all:#}");
}

#[test]
fn a_restart_goes_on_counting() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = counting(&upstream, "", &key.entry("a", ""));
    for round in 1..=3 {
        for _ in 0..10 {
            assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
        }
        // Told to stop at once after the last of them.
        gateway.stop();
        assert_eq!(counted(&gateway, "a").0[0], round * 10);
        gateway = gateway.next();
        assert_eq!(counted(&gateway, "a").0[0], round * 10);
    }
}

#[test]
fn two_gateways_on_one_file_count_together() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut old = counting(&upstream, "", &key.entry("a", ""));
    let mut setup = Setup::with(&upstream, "", &key.entry("a", ""));
    let shared = old.dir.path().join("state.db");
    setup.config = format!("{}\n[server]\nstate = \"{}\"\n", setup.config, shared.display());
    let mut new = setup.start();
    thread::scope(|scope| {
        for gateway in [&old, &new] {
            scope.spawn(|| {
                let mut conn = gateway.connect();
                for _ in 0..300 {
                    assert_eq!(conn.send(&gateway.get("/").bearer(&key)).status, 200);
                }
            });
        }
    });
    new.stop();
    old.stop();
    assert_eq!(counted(&old, "a").0[0], 600);
}

#[test]
fn without_a_state_file_nothing_is_counted() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    gateway.get("/").bearer(&key).send();
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap().flatten();
    let names = threads.map(|thread| std::fs::read_to_string(thread.path().join("comm")).unwrap());
    assert!(names.into_iter().all(|name| name.trim() != "state"));
    let list = keyward(gateway.dir.path(), &["key", "list"]).ok().stdout;
    assert!(!list.contains("LAST USE"), "{list}");
    let ran = keyward(gateway.dir.path(), &["usage"]).exits(1);
    assert!(ran.stderr.contains("names no `state`"), "{ran:?}");
}
