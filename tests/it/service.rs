//! What a service manager is told, over a socket of the test's own.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::harness::{Gateway, Key, PATIENCE, Setup, Upstream, eventually};

struct Manager(UnixDatagram);

impl Manager {
    /// The next message, as its assignments.
    fn told(&self) -> HashMap<String, String> {
        let mut bytes = [0; 4096];
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = self.0.recv(&mut bytes).expect("a message in time");
        let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
        text.lines()
            .map(|l| l.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).expect("an assignment"))
            .collect()
    }

    /// The first message with such an assignment; watchdogs may come at any time.
    fn told_of(&self, name: &str) -> HashMap<String, String> {
        eventually(name, || Some(self.told()).filter(|told| told.contains_key(name)))
    }
}

fn managed(environment: &[(&str, &str)]) -> (Upstream, Key, Gateway, Manager) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut setup = Setup::with(&upstream, "", &key.entry("a", ""));
    let path = setup.dir.path().join("notify.sock");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    for (name, value) in environment {
        setup = setup.env(name, value);
    }
    let gateway = setup.env("NOTIFY_SOCKET", path.to_str().unwrap()).start();
    (upstream, key, gateway, manager)
}

#[test]
fn a_service_manager_is_told_of_the_start_of_reloads_and_of_the_end() {
    let (_upstream, key, mut gateway, manager) = managed(&[]);
    let ready = manager.told();
    assert_eq!((ready["READY"].as_str(), ready["STATUS"].as_str()), ("1", "serving, configuration 1"));
    // Also where nothing has changed: the manager waits for the answer.
    gateway.signal("HUP");
    let reloading = manager.told();
    assert_eq!(reloading["RELOADING"], "1");
    let asked_us: u64 = reloading["MONOTONIC_USEC"].parse().unwrap();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((asked_us as f64 / 1e6 - uptime).abs() < 60.0, "{asked_us} {uptime}");
    assert_eq!(manager.told()["READY"], "1");

    std::fs::write(gateway.keys_path(), key.entry("a", "") + &Key::new().entry("b", "")).unwrap();
    assert_eq!(manager.told()["RELOADING"], "1");
    assert_eq!(manager.told_of("STATUS")["STATUS"], "serving, configuration 2");
    gateway.signal("TERM");
    let stopping = manager.told();
    assert_eq!((stopping["STOPPING"].as_str(), stopping["STATUS"].as_str()), ("1", "draining"));
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn the_watchdog_is_fed_while_all_is_well() {
    let (_upstream, _key, mut gateway, manager) = managed(&[("WATCHDOG_USEC", "500000")]);
    assert_eq!(manager.told()["READY"], "1");
    for _ in 0..3 {
        assert_eq!(manager.told()["WATCHDOG"], "1");
    }
    gateway.stop();

    // For another process: none of ours to feed.
    let (_upstream, _key, _gateway, manager) = managed(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(manager.told()["READY"], "1");
    manager.0.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    assert!(manager.0.recv(&mut [0; 100]).is_err());
}

#[test]
fn a_manager_that_is_gone_stops_nothing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let setup = Setup::with(&upstream, "", &key.entry("a", "")).env("NOTIFY_SOCKET", "/nowhere/notify.sock");
    let mut gateway = setup.start();
    gateway.wait_event("notify_failed", |_| true);
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    gateway.stop();
}
