//! Probes: who is alive, who is ready, and what else is told to whoever asks; and that asking costs nobody anything.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::harness::{Conn, Fickle, Gateway, Key, Mood, Reply, Req, Setup, Upstream, curl, eventually, keyward};

const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";

fn start() -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ADMIN, &key.entry("a", "")).start();
    (upstream, key, gateway)
}

/// What `/readyz` says, with its status.
fn ready(gateway: &Gateway) -> (u16, Value) {
    let reply = gateway.ask("/readyz");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    (reply.status, reply.json())
}

fn over_unix(path: &Path, target: &str) -> Option<(u16, String)> {
    let url = format!("http://keyward{target}");
    let ran = curl(&["--unix-socket", &path.display().to_string(), "-w", "\n%{http_code}", &url]);
    let (body, status) = ran.stdout.rsplit_once('\n')?;
    Some((status.parse().ok()?, body.to_owned()))
}

#[test]
fn who_serves_is_alive_and_ready() {
    let (upstream, _, gateway) = start();
    let live = gateway.ask("/livez");
    assert_eq!((live.status, live.text().as_str()), (200, "ok\n"));
    let (status, page) = ready(&gateway);
    assert_eq!((status, &page["status"], &page["reason"]), (200, &"ready".into(), &Value::Null));
    assert_eq!(page["workers"]["alive"], true);
    assert_eq!((&page["config"]["generation"], &page["config"]["result"]), (&1.into(), &"applied".into()));
    assert_eq!(
        (&page["config"]["problems"], &page["config"]["warnings"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    let servers = serde_json::json!([{ "server": upstream.addr.to_string(), "state": "healthy" }]);
    assert_eq!(page["upstreams"]["default"], servers);
    assert_eq!(page["log"], serde_json::json!({ "state": "writing", "lost": 0, "stuck_s": 0 }));
}

#[test]
fn there_is_nothing_else_and_nothing_to_change() {
    let (_upstream, _, gateway) = start();
    let admin = gateway.admin();
    for target in ["/", "/healthz", "/livez/", "/readyz/x", "/LIVEZ", "/%6civez"] {
        assert_eq!(gateway.ask(target).status, 404, "{target}");
    }
    assert_eq!(gateway.ask("/livez?verbose").status, 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let refused = Req::new(admin, method, "/readyz").send();
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    let head = Req::new(admin, "HEAD", "/livez").send();
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3"), 0));
    let reply = gateway.ask("/livez");
    assert_eq!((reply.header("cache-control"), reply.header("connection")), (Some("no-store"), Some("close")));
}

#[test]
fn probes_are_no_decisions_and_the_gateway_knows_nothing_of_their_paths() {
    let (upstream, key, mut gateway) = start();
    for target in ["/livez", "/readyz", "/nothing"] {
        gateway.ask(target);
    }
    assert_eq!(gateway.get("/livez").send().status, 401, "a listener is no place for probes");
    assert_eq!(gateway.get("/readyz").bearer(&key).send().status, 200);
    assert_eq!(upstream.last_target(), "/readyz");
    gateway.stop();
    let mut paths: Vec<_> = gateway.decisions().iter().map(|line| line["url.path"].to_string()).collect();
    paths.sort();
    assert_eq!(paths, ["\"/livez\"", "\"/readyz\""]);
}

#[test]
fn from_the_begin_of_a_drain_nobody_is_ready() {
    let (upstream, key, mut gateway) = start();
    let admin = gateway.admin();
    let (addr, request) = (gateway.addr(), gateway.get("/gate").bearer(&key));
    let client = thread::spawn(move || Conn::open(addr).send(&request));
    upstream.request("/gate");
    gateway.signal("TERM");
    gateway.wait_event("drain", |_| true);
    eventually("a drain to be told of", || (gateway.ask("/readyz").status == 503).then_some(()));
    let (status, page) = ready(&gateway);
    assert_eq!((status, &page["status"], &page["reason"]), (503, &"not_ready".into(), &"draining".into()));
    assert_eq!(gateway.ask("/livez").status, 200, "it is not to be ended");
    let health = keyward(gateway.dir.path(), &["health", "--address", &admin.to_string()]).exits(1);
    assert_eq!(health.stderr, "error: not ready: draining\n");
    upstream.open_gate();
    assert_eq!(client.join().unwrap().status, 200);
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(Conn::try_open(admin).is_err());
}

#[test]
fn a_file_that_was_rejected_is_told_of_until_it_is_mended() {
    let (_upstream, key, gateway) = start();
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), format!("{config}[http]\nheaders_max = 0\n")).unwrap();
    gateway.wait_event("reload", |line| line["result"] == "rejected");
    let (status, page) = ready(&gateway);
    assert_eq!(status, 200, "the last good version serves");
    let told = &page["config"];
    assert_eq!((&told["result"], &told["generation"]), (&"rejected".into(), &1.into()));
    let problem = told["problems"][0].as_str().unwrap().to_owned();
    let line = config.lines().count() + 2;
    assert!(problem.contains(&format!("keyward.toml:{line}:15: ")), "{problem}");
    assert!(told["since"].as_str() > told["last_success"].as_str(), "{told}");

    // Another file is as good as ever.
    fs::write(gateway.keys_path(), key.entry("b", "")).unwrap();
    gateway.wait_event("reload", |line| line["result"] == "applied");
    let (_, page) = ready(&gateway);
    assert_eq!((&page["config"]["generation"], &page["config"]["since"]), (&2.into(), &told["since"]));
    assert_eq!(page["config"]["problems"][0], problem.as_str());

    // As it was before: nothing is applied, and yet it is mended.
    fs::write(gateway.config_path(), &config).unwrap();
    let mended =
        eventually("it to be mended", || Some(ready(&gateway).1).filter(|p| p["config"]["result"] == "applied"));
    assert_eq!(mended["config"]["problems"], Value::Array(vec![]));
    assert!(mended["config"]["last_success"].as_str() > told["since"].as_str());

    fs::write(gateway.keys_path(), "[[key]]\nid = \"c\"\nhash = \"md5:00\"\n").unwrap();
    let quarantined =
        eventually("a warning", || ready(&gateway).1["config"]["warnings"][0].as_str().map(str::to_owned));
    assert!(quarantined.contains("keys.toml:3:8: "), "{quarantined}");
}

#[test]
fn servers_are_told_of_as_they_are_doing() {
    let (good, bad, key) = (Fickle::start(), Fickle::start(), Key::new());
    let config = format!(
        "{ADMIN}[upstream.default]\nservers = [\"{}\", \"{}\"]\nhealth = {{ interval = \"50ms\", unhealthy = 1 }}\n",
        good.url(),
        bad.url()
    );
    bad.set(Mood::Sick);
    let gateway = Setup::before("", &config, &key.entry("a", "")).start();
    gateway.wait_event("upstream_health", |_| true);
    let (status, page) = ready(&gateway);
    assert_eq!(status, 200, "what all gateways share makes none of them unready");
    let states = serde_json::json!([
        { "server": good.addr.to_string(), "state": "healthy" },
        { "server": bad.addr.to_string(), "state": "unhealthy" },
    ]);
    assert_eq!(page["upstreams"]["default"], states);
}

#[test]
fn a_log_that_nobody_reads_is_stuck_and_the_workers_that_wait_for_it_stand_still() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[admin]\naddress = \"unix:admin.sock\"\n[server]\nworkers = 1\n";
    let mut gateway = Setup::with(&upstream, config, &key.entry("a", "")).unread().start();
    let admin = gateway.dir.path().join("admin.sock");
    let told = |target| over_unix(&admin, target).expect("an answer, whatever workers do");
    assert_eq!(told("/livez").0, 200);
    let (addr, request) = (gateway.addr(), gateway.get("/").bearer(&key).header("User-Agent", &"agent ".repeat(600)));
    let client = thread::spawn(move || {
        let mut conn = Conn::open(addr);
        while conn.try_send(&request).is_ok() {}
    });
    eventually("the worker to stand still", || (told("/livez").0 == 503).then_some(()));
    let (status, page) = told("/readyz");
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((status, &page["reason"]), (503, &"a worker stands still".into()));
    assert_eq!((&page["log"]["state"], &page["log"]["lost"]), (&"stuck".into(), &0.into()));
    assert!(page["log"]["stuck_s"].as_u64() >= Some(1), "{page}");
    gateway.read_on();
    eventually("it to go on", || (told("/readyz").0 == 200).then_some(()));
    gateway.stop();
    client.join().unwrap();
}

#[test]
fn a_unix_socket_is_its_owners_alone_and_goes_with_the_process() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut gateway = Setup::with(&upstream, "[admin]\naddress = \"unix:a.sock\"\n", &key.entry("a", "")).start();
    let path = gateway.dir.path().join("a.sock");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(over_unix(&path, "/livez"), Some((200, "ok\n".to_owned())));
    assert!(gateway.events("ready")[0]["admin"].as_str().unwrap().ends_with("/a.sock"));
    assert_eq!(keyward(gateway.dir.path(), &["health"]).ok().stdout, "ready\n");
    gateway.stop();
    assert!(!path.exists());
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_like_a_listeners() {
    let (_upstream, _, gateway) = start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    let config = config.replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"{address}\""));
    fs::write(gateway.dir.path().join("other.toml"), config).unwrap();
    let ran = keyward(gateway.dir.path(), &["run", "-c", "other.toml"]).exits(1);
    assert!(ran.stderr.contains(&format!("failed to listen on {address}")), "{ran:?}");
}

#[test]
fn a_change_of_the_address_waits_for_a_restart() {
    let (_upstream, _, gateway) = start();
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), config.replace(ADMIN, "")).unwrap();
    let reload = gateway.wait_event("reload", |line| line["result"] == "applied");
    assert_eq!(reload["problems"][0], "a change of admin.address takes effect after a restart");
    assert_eq!(ready(&gateway).1["config"]["warnings"], reload["problems"]);
}

#[test]
fn who_is_slow_or_sends_too_much_is_let_go() {
    let (_upstream, _, gateway) = start();
    let admin = gateway.admin();
    let mut slow = Conn::open(admin);
    slow.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n").unwrap();
    let large = Req::new(admin, "GET", "/livez").header("X-Large", &"x".repeat(20_000)).send();
    assert_eq!(large.status, 431);
    let mut broken = Conn::open(admin);
    broken.write(b"\x16\x03\x01 not HTTP\r\n\r\n").unwrap();
    assert!(broken.is_closed_by_peer());
    // As many as there is room for: whoever comes then is turned away, and has room once they are gone.
    let held: Vec<Conn> = (0..64).map(|_| Conn::open(admin)).collect();
    let ask = || Conn::try_open(admin)?.try_send(&Req::new(admin, "GET", "/livez"));
    eventually("somebody to be turned away", || ask().is_err().then_some(()));
    assert!(slow.is_closed_by_peer());
    drop(held);
    eventually("room", || ask().ok().filter(|reply: &Reply| reply.status == 200));
}

#[test]
fn without_an_address_there_is_no_thread_for_it() {
    let (_upstream, _, with) = start();
    let (upstream, key) = (Upstream::start(), Key::new());
    let without = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let threads = |gateway: &Gateway| -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.id())).unwrap().flatten();
        tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect()
    };
    assert!(threads(&with).iter().any(|name| name == "admin\n"), "{:?}", threads(&with));
    assert!(threads(&without).iter().all(|name| name != "admin\n"), "{:?}", threads(&without));
    assert_eq!(without.events("ready")[0]["admin"], Value::Null);
}

#[test]
fn health_answers_by_its_exit_code() {
    let (_upstream, _, mut gateway) = start();
    let dir = gateway.dir.path().to_owned();
    let address = gateway.admin().to_string();
    assert_eq!(keyward(&dir, &["health", "--address", &address]).ok().stdout, "ready\n");
    let json = keyward(&dir, &["health", "--address", &address, "--json"]).ok().stdout;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["status"], "ready");

    // As the file says; also one with a mistake that the gateway has not taken.
    let admin = format!("[admin]\naddress = \"{address}\"\n");
    let config = fs::read_to_string(gateway.config_path()).unwrap().replace(ADMIN, &admin);
    fs::write(dir.join("known.toml"), format!("{config}[http]\nheaders_max = 0\n")).unwrap();
    assert_eq!(keyward(&dir, &["health", "-c", "known.toml"]).ok().stdout, "ready\n");
    fs::write(dir.join("off.toml"), config.replace(&admin, "")).unwrap();
    let off = keyward(&dir, &["health", "-c", "off.toml"]).exits(1);
    assert!(off.stderr.contains("off.toml has no `admin.address`"), "{off:?}");
    keyward(&dir, &["health", "--address", "nowhere"]).exits(2);

    // A listener is no place to ask.
    let listener = gateway.addr().to_string();
    let other = keyward(&dir, &["health", "--address", &listener]).exits(1);
    assert!(other.stderr.starts_with("error: "), "{other:?}");
    gateway.stop();
    let gone = keyward(&dir, &["health", "-c", "known.toml"]).exits(1);
    assert!(gone.stderr.contains(&format!("failed to ask {address}")), "{gone:?}");
}

#[test]
fn an_address_that_others_can_reach_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.toml"), "").unwrap();
    let text = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n[admin]\naddress = \"0.0.0.0:9901\"\n";
    fs::write(dir.path().join("keyward.toml"), text).unwrap();
    let checked = keyward(dir.path(), &["check", "-c", "keyward.toml"]).ok();
    assert!(checked.stdout.contains("exposed-admin") && checked.stdout.contains("keyward.toml:3:11"), "{checked:?}");
}
