//! The state file: it outlives a kill, and when it fails it takes nothing down.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually, tool};
use crate::usage::usage;

const IDS: [&str; 3] = ["a", "b", "c"];
/// A kill may cost so much.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// What is known of a key: requests that passed, and units of its quota that are used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Known {
    allowed: u64,
    units: u64,
}

const QUOTA: u64 = 1_000_000;

fn known(gateway: &Gateway, key: &Key, id: &str) -> Known {
    let allowed = usage(gateway, id)["allowed"].as_u64().unwrap();
    let reply = gateway.get("/asked").bearer(key).send();
    let limit = reply.header("ratelimit").unwrap_or_else(|| panic!("{:?}", reply.head.headers));
    let remaining = limit.split_once(";r=").and_then(|(_, rest)| rest.split(';').next()?.parse::<u64>().ok());
    // This one has just been charged, too.
    Known { allowed, units: QUOTA - remaining.unwrap_or_else(|| panic!("{limit}")) - 1 }
}

/// Sends requests with all keys until `until` says so, then kills the gateway; gives the time just before that.
fn kill_under_load(gateway: &mut Gateway, keys: &[Key], until: Duration) -> Timestamp {
    let killed = AtomicBool::new(false);
    let request = |key: &Key| gateway.get("/").bearer(key);
    let requests: Vec<_> = keys.iter().map(request).collect();
    let address = gateway.addr();
    thread::scope(|scope| {
        for n in 0..6 {
            let (requests, killed) = (&requests, &killed);
            scope.spawn(move || {
                let Ok(mut conn) = crate::harness::Conn::try_open(address) else { return };
                // A connection that breaks is the end of it.
                for request in requests.iter().cycle().skip(n) {
                    if killed.load(Ordering::Relaxed) || conn.try_send(request).is_err() {
                        return;
                    }
                }
            });
        }
        let began = Instant::now();
        eventually("the load to go on for long enough", || (began.elapsed() >= until).then_some(()));
        let now = Timestamp::now();
        gateway.signal("KILL");
        killed.store(true, Ordering::Relaxed);
        now
    })
}

/// Requests of a key that passed, by the lines that were written up to a time.
fn said(lines: &[Value], id: &str, until: Timestamp) -> u64 {
    let passed = lines.iter().filter(|line| line["key.id"] == id && line["decision"] == "allow");
    let time = |line: &&Value| line["time"].as_str().unwrap().parse::<Timestamp>().unwrap() <= until;
    passed.filter(time).count() as u64
}

#[test]
fn a_kill_costs_a_second_at_the_most_and_invents_nothing() {
    let (upstream, keys) = (Upstream::start(), IDS.map(|_| Key::new()));
    let quota = format!("quota = \"{QUOTA}/month\"");
    let entries: String = keys.iter().zip(IDS).map(|(key, id)| key.entry(id, &quota)).collect();
    let config = "[server]\nstate = \"state.db\"\nworkers = 2\n[log]\noutput = \"file:gateway.log\"\n";
    let mut gateway = Setup::with(&upstream, config, &entries).log_to("gateway.log").start();
    let mut before = BTreeMap::from(IDS.map(|id| (id, Known::default())));
    for round in 0..20 {
        let until = Duration::from_millis(200 + round * 7_919 % 1_400);
        let killed_at = kill_under_load(&mut gateway, &keys, until);
        gateway.wait_exit();
        let lines = gateway.decisions();
        // The next one's lines are counted alone.
        fs::remove_file(gateway.dir.path().join("gateway.log")).unwrap();
        gateway = gateway.next();
        for (id, key) in IDS.into_iter().zip(&keys) {
            let (was, is) = (before[id], known(&gateway, key, id));
            let (all, old) = (said(&lines, id, Timestamp::MAX), said(&lines, id, killed_at - BEHIND_MAX));
            for (what, counted) in [("usage", is.allowed - was.allowed), ("quota", is.units - was.units)] {
                assert!(counted <= all, "round {round}, {id}, {what}: {counted} counted, {all} said");
                assert!(counted >= old, "round {round}, {id}, {what}: {counted} counted, {old} said a second before");
            }
            before.insert(id, is);
        }
    }
}

#[test]
fn a_quota_goes_on_where_it_was() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[server]\nstate = \"state.db\"\n[[route]]\ncost = 2\n";
    let mut gateway = Setup::with(&upstream, config, &key.entry("a", "quota = \"10/month\"")).start();
    let ask = |gateway: &Gateway| gateway.get("/").bearer(&key).send();
    for _ in 0..2 {
        assert_eq!(ask(&gateway).status, 200);
    }
    gateway.stop();
    gateway = gateway.next();
    for _ in 0..3 {
        assert_eq!(ask(&gateway).status, 200);
    }
    let refused = ask(&gateway);
    assert_eq!((refused.status, &refused.json()["code"]), (429, &"quota_exceeded".into()));
    // What was refused costs nothing, then or later.
    gateway.stop();
    let known = usage(&gateway, "a");
    assert_eq!((&known["units"], &known["reasons"]["quota_exceeded"]), (&10.into(), &1.into()), "{known:#}");
    gateway = gateway.next();
    assert_eq!(ask(&gateway).status, 429);
}

/// A gateway on a state file that is as the test has made it.
fn on(upstream: &Upstream, key: &Key, make: impl FnOnce(&std::path::Path)) -> Gateway {
    let setup = Setup::with(upstream, "[server]\nstate = \"state.db\"\n", &key.entry("a", ""));
    make(&setup.dir.path().join("state.db"));
    setup.start()
}

#[test]
fn a_state_file_of_no_use_is_moved_aside_and_a_new_one_counts() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let not_ours = |path: &std::path::Path| {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (7)").unwrap();
    };
    let nonsense = |path: &std::path::Path| fs::write(path, "no database").unwrap();
    for make in [&not_ours as &dyn Fn(&std::path::Path), &nonsense] {
        let mut found = Vec::new();
        let gateway = on(&upstream, &key, |path| {
            make(path);
            found = fs::read(path).unwrap();
        });
        let told = gateway.wait_event("state_moved_aside", |line| line["level"] == "error");
        let moved = told["to"].as_str().unwrap();
        assert!(moved.contains("/state.db.corrupt-") && !told["reason"].as_str().unwrap().is_empty(), "{told:#}");
        assert_eq!(fs::read(moved).unwrap(), found);
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
        eventually("the use to be counted", || (usage(&gateway, "a")["allowed"] == 1).then_some(()));
    }
}

#[test]
fn without_a_file_to_be_had_it_serves_and_says_so() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = on(&upstream, &key, |path| fs::create_dir(path).unwrap());
    let told = gateway.wait_event("state_unavailable", |line| line["level"] == "error");
    assert!(told["path"].as_str().unwrap().ends_with("/state.db"), "{told:#}");
    for _ in 0..5 {
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    }
    // As soon as there can be a file, everything is in it.
    fs::remove_dir(gateway.dir.path().join("state.db")).unwrap();
    gateway.wait_event("state_available", |_| true);
    eventually("the uses to be counted", || (usage(&gateway, "a")["allowed"] == 5).then_some(()));
    assert_eq!(gateway.events("state_unavailable").len(), 1);
    gateway.stop();
}

/// A gateway whose files may not grow beyond so many blocks of 512 bytes.
fn cramped(upstream: &Upstream, key: &Key, blocks: u32) -> Gateway {
    let setup = Setup::with(upstream, "[server]\nstate = \"state.db\"\n", &key.entry("a", ""));
    setup.write();
    let mut command = tool("sh");
    let limited = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run -c keyward.toml");
    command.args(["-c", &limited, env!("CARGO_BIN_EXE_keyward")]);
    Gateway::spawn(command, setup, None)
}

/// Asks until the file has no more room, and for a while after that.
fn fill(gateway: &Gateway, key: &Key) {
    let mut conn = gateway.connect();
    let mut ask = || assert_eq!(conn.send(&gateway.get("/").bearer(key)).status, 200);
    let told = eventually("the disk to be full", || {
        ask();
        gateway.events("state_unavailable").pop()
    });
    assert!(!told["error"].as_str().unwrap().is_empty(), "{told:#}");
    (0..1_000).for_each(|_| ask());
    assert_eq!(gateway.events("state_unavailable").len(), 1, "it is told of once a minute");
}

#[test]
fn a_full_disk_stops_no_request_and_what_it_cost_is_told() {
    let (upstream, key) = (Upstream::start(), Key::new());
    // Not even the tables have room.
    let mut gateway = cramped(&upstream, &key, 40);
    fill(&gateway, &key);
    gateway.stop();
    assert_eq!(gateway.events("state_counts_lost")[0]["requests"], gateway.decided());
}

#[test]
fn what_a_full_disk_has_held_up_is_written_when_there_is_room() {
    let (upstream, key) = (Upstream::start(), Key::new());
    // The second commit has no room beside the first, until that has left SQLite's log for the file itself.
    let mut gateway = cramped(&upstream, &key, 80);
    fill(&gateway, &key);
    gateway.wait_event("state_available", |_| true);
    gateway.stop();
    assert_eq!(usage(&gateway, "a")["allowed"], gateway.decided());
    assert!(gateway.events("state_counts_lost").is_empty());
}

#[test]
fn another_path_waits_for_a_restart() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = on(&upstream, &key, |_| {});
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), config.replace("state.db", "other.db")).unwrap();
    let line = gateway.reload_after(0);
    assert_eq!(line["problems"][0], "a change of server.state takes effect after a restart", "{line:#}");
    gateway.get("/").bearer(&key).send();
    eventually("the use to be in the old file", || {
        fs::write(gateway.config_path(), &config).ok()?;
        (usage(&gateway, "a")["allowed"] == 1).then_some(())
    });
    assert!(!gateway.dir.path().join("other.db").exists());
}
