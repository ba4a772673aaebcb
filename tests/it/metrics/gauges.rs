//! What is told beside requests: connections, upstreams, files, keys, lock-outs, the log.

use std::fs;
use std::time::Duration;

use super::{ADMIN, settled};
use crate::harness::{Conn, Fickle, Gateway, Key, Mood, Setup, Upstream, curl, eventually, tool, wait_within};

/// Waits until a series has this value.
fn has(gateway: &Gateway, name: &str, labels: &[(&str, &str)], value: f64) {
    let is_so = || (gateway.scrape().value(name, labels) == Some(value)).then_some(());
    eventually(&format!("{name}{labels:?} to be {value}"), is_so);
}

#[test]
fn handshakes_and_connections_are_counted_by_what_became_of_them() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let tls = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"a.pem\", key = \"a.key\" }]\n\
        [[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n[http]\nconnections_per_ip_max = 2\n\
        header_timeout = \"500ms\"\n";
    let setup = Setup::with(&upstream, &format!("{ADMIN}{tls}"), &key.entry("a", "")).certificate("a", "a.test");
    let gateway = setup.start();
    let url = format!("https://{}/", gateway.addr());
    curl(&["-k", "--tlsv1.3", &url]).ok();
    curl(&["-k", "--tls-max", "1.2", &url]).ok();
    let handshakes = "keyward_tls_handshakes_total";
    has(&gateway, handshakes, &[("version", "1.3"), ("resumed", "false")], 1.0);
    has(&gateway, handshakes, &[("version", "1.2"), ("resumed", "false")], 1.0);
    let session = gateway.dir.path().join("session").display().to_string();
    let address = gateway.addr().to_string();
    for how in ["-sess_out", "-sess_in"] {
        let mut shell = tool("sh");
        let ask = "printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -tls1_3 -ign_eof \"$@\"";
        shell.args(["-c", ask, "sh", "-connect", &address, how, &session]);
        wait_within(shell, Duration::from_secs(20));
    }
    has(&gateway, handshakes, &[("version", "1.3"), ("resumed", "true")], 1.0);

    let failures = "keyward_tls_handshake_failures_total";
    let mut plain = Conn::open(gateway.addr());
    plain.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(plain.is_closed_by_peer());
    has(&gateway, failures, &[("reason", "protocol")], 1.0);
    drop(Conn::open(gateway.addr()));
    has(&gateway, failures, &[("reason", "closed")], 1.0);
    let mut silent = Conn::open(gateway.addr());
    assert!(silent.is_closed_by_peer());
    has(&gateway, failures, &[("reason", "timeout")], 1.0);

    let refused = "keyward_connections_refused_total";
    let mut unproxied = Conn::open(gateway.listener(1));
    unproxied.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(unproxied.is_closed_by_peer());
    has(&gateway, refused, &[("reason", "proxy_protocol")], 1.0);
    has(&gateway, "keyward_connections_open", &[], 0.0);
    let held = [gateway.connect(), gateway.connect()];
    has(&gateway, "keyward_connections_open", &[], 2.0);
    assert!(gateway.connect().is_closed_by_peer());
    has(&gateway, refused, &[("reason", "connections_per_ip_max")], 1.0);
    drop(held);
}

#[test]
fn a_gateway_that_is_full_counts_who_finds_no_place() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = format!("{ADMIN}[http]\nconnections_max = 1\n");
    let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).start();
    let held = gateway.connect();
    has(&gateway, "keyward_connections_open", &[], 1.0);
    assert!(gateway.connect().is_closed_by_peer());
    has(&gateway, "keyward_connections_refused_total", &[("reason", "connections_max")], 1.0);
    has(&gateway, "keyward_connections_accepted_total", &[], 1.0);
    drop(held);
}

#[test]
fn servers_are_healthy_or_not_and_ejections_are_counted() {
    let (good, bad, key) = (Fickle::start(), Fickle::start(), Key::new());
    let config = format!(
        "{ADMIN}[upstream.default]\nservers = [\"{}\", \"{}\"]\neject = {{ failures = 1, for = \"10m\" }}\n",
        good.url(),
        bad.url()
    );
    let gateway = Setup::before("", &config, &key.entry("a", "")).start();
    let server = |fickle: &Fickle| fickle.addr.to_string();
    let healthy = "keyward_upstream_healthy";
    has(&gateway, healthy, &[("upstream", "default"), ("server", &server(&bad))], 1.0);
    bad.set(Mood::Resetting);
    // Those that are safe to repeat are: two attempts for one of them.
    let replies = (0..2).map(|_| gateway.get("/").bearer(&key).send().status);
    assert_eq!(replies.collect::<Vec<_>>(), [200, 200]);
    has(&gateway, healthy, &[("upstream", "default"), ("server", &server(&bad))], 0.0);
    has(&gateway, healthy, &[("upstream", "default"), ("server", &server(&good))], 1.0);
    has(&gateway, "keyward_upstream_ejections_total", &[("upstream", "default")], 1.0);
    let scrape = settled(&gateway, 2);
    assert_eq!(scrape.get("keyward_upstream_attempts_total", &[("upstream", "default")]), 3.0);
    assert_eq!(scrape.get("keyward_upstream_retries_total", &[("upstream", "default")]), 1.0);
    assert!(
        scrape.get("keyward_upstream_connections_open", &[("upstream", "default"), ("server", &server(&good))]) >= 1.0
    );
}

#[test]
fn reloads_are_counted_by_their_result_as_the_lines_are() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ADMIN, &key.entry("a", "")).start();
    let reloads = |result: &str| gateway.scrape().get("keyward_config_reloads_total", &[("result", result)]);
    assert_eq!(["applied", "rejected", "unchanged"].map(reloads), [0.0; 3]);
    let first = gateway.scrape().get("keyward_config_last_reload_success_timestamp_seconds", &[]);
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), format!("{config}x = 1\n")).unwrap();
    has(&gateway, "keyward_config_last_reload_successful", &[], 0.0);
    assert_eq!(reloads("rejected"), gateway.reloads().len() as f64);
    let still = gateway.scrape().get("keyward_config_last_reload_success_timestamp_seconds", &[]);
    assert_eq!(still, first);
    fs::write(gateway.config_path(), format!("{config}[http]\nheaders_max = 50\n")).unwrap();
    has(&gateway, "keyward_config_last_reload_successful", &[], 1.0);
    has(&gateway, "keyward_config_reloads_total", &[("result", "applied")], 1.0);
    has(&gateway, "keyward_config_generation", &[], 2.0);
    assert!(gateway.scrape().get("keyward_config_last_reload_success_timestamp_seconds", &[]) > first);
    gateway.signal("HUP");
    has(&gateway, "keyward_config_reloads_total", &[("result", "unchanged")], 1.0);
}

#[test]
fn keys_are_told_of_by_their_states() {
    let (upstream, keys) = (Upstream::start(), [Key::new(), Key::new(), Key::new(), Key::new()]);
    let states = ["", "state = \"revoked\"", "expires = 2020-01-01T00:00:00Z", "expires = \"soon\""];
    let entry = |n: usize| keys[n].entry(&format!("key-{n}"), states[n]);
    let gateway = Setup::with(&upstream, ADMIN, &(0..4).map(entry).collect::<String>()).start();
    let counts = |gateway: &Gateway| gateway.scrape().by("keyward_keys", &["state"]);
    let expected =
        |states: &[(&str, u64)]| states.iter().map(|(state, count)| (vec![(*state).to_owned()], *count)).collect();
    assert_eq!(counts(&gateway), expected(&[("active", 1), ("revoked", 1), ("expired", 1), ("quarantined", 1)]));
    fs::write(gateway.keys_path(), (0..3).map(entry).collect::<String>()).unwrap();
    gateway.reload_after(0);
    assert_eq!(counts(&gateway), expected(&[("active", 1), ("revoked", 1), ("expired", 1)]));
    assert_eq!(gateway.scrape().get("keyward_keys", &[("state", "honey")]), 0.0);
}

#[test]
fn lock_outs_are_counted_and_end() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = format!("{ADMIN}[limits]\nfailures_per_ip = \"2/h\"\nlockout = \"6s\"\n");
    let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).start();
    has(&gateway, "keyward_lockouts_total", &[], 0.0);
    for _ in 0..2 {
        gateway.get("/").bearer(&Key::new()).send();
    }
    assert_eq!(gateway.scrape().get("keyward_lockouts_active", &[]), 1.0);
    has(&gateway, "keyward_lockouts_total", &[], 1.0);
    has(&gateway, "keyward_lockouts_active", &[], 0.0);
}

#[test]
fn lines_that_are_written_and_lost_are_counted() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ADMIN, &key.entry("a", "")).start();
    for _ in 0..20 {
        gateway.get("/").bearer(&key).send();
    }
    settled(&gateway, 20);
    has(&gateway, "keyward_log_lines_total", &[], gateway.lines().len() as f64);
    assert_eq!(gateway.scrape().sum("keyward_log_dropped_total"), 0.0);

    let config = "[admin]\naddress = \"unix:a.sock\"\n[log]\noutput = \"file:/dev/full\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).blind().start();
    for _ in 0..20 {
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    }
    let socket = gateway.dir.path().join("a.sock").display().to_string();
    // And the two of the start.
    eventually("their number", || {
        let page = curl(&["--unix-socket", &socket, "http://keyward/metrics"]).ok().stdout;
        page.contains("\nkeyward_log_dropped_total{reason=\"failed\"} 22\n").then_some(())
    });
}

#[test]
fn the_state_file_is_told_of_where_there_is_one() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let without = Setup::with(&upstream, ADMIN, &key.entry("a", "")).start();
    assert!(!without.scrape().text.contains("keyward_state"));
    assert!(without.ask("/readyz").json()["state"].is_null());
    let config = format!("{ADMIN}[server]\nstate = \"state.db\"\n");
    let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    has(&gateway, "keyward_state_writes_total", &[], 1.0);
    has(&gateway, "keyward_state_write_failures_total", &[], 0.0);
    let state = &gateway.ask("/readyz").json()["state"];
    assert_eq!(*state, serde_json::json!({ "state": "writing", "failures": 0, "lost": 0 }));
    let page = gateway.scrape();
    assert_eq!(page.by("keyward_build_info", &["version"]), [(vec![env!("CARGO_PKG_VERSION").to_owned()], 1)].into());
}
