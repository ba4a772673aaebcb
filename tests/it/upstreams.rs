//! Several servers behind one upstream.

use std::fs;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually};

const ONE_WORKER: &str = "[server]\nworkers = 1\n";

fn servers(list: &[&Upstream]) -> String {
    let urls: Vec<String> = list.iter().map(|upstream| format!("\"{}\"", upstream.url())).collect();
    format!("[upstream.default]\nservers = [{}]\n", urls.join(", "))
}

fn send(gateway: &Gateway, key: &Key, times: usize) {
    let mut conn = gateway.connect();
    for _ in 0..times {
        assert_eq!(conn.send(&gateway.get("/x").bearer(key)).status, 200);
    }
}

#[test]
fn servers_take_turns_in_the_proportion_of_their_weights() {
    let (a, b, c, key) = (Upstream::start(), Upstream::start(), Upstream::start(), Key::new());
    let config = format!(
        "[upstream.default]\nservers = [{{ url = \"{}\", weight = 3 }}, {{ url = \"{}\", weight = 2 }}, \"{}\"]\n",
        a.url(),
        b.url(),
        c.url()
    );
    let gateway = Setup::with(&a, &config, &key.entry("a", "")).start();
    send(&gateway, &key, 60);
    assert_eq!([a.count("/x"), b.count("/x"), c.count("/x")], [30, 20, 10]);
    eventually("the lines", || (gateway.decided() == 60).then_some(()));
    let mut addresses: Vec<String> = gateway.decisions().iter().map(|l| l["upstream.address"].to_string()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 3, "each line has the address of the server that answered");
}

#[test]
fn a_reload_that_changes_a_server_leaves_the_connections_of_the_others() {
    let (a, b, c, key) = (Upstream::start(), Upstream::start(), Upstream::start(), Key::new());
    let gateway = Setup::with(&a, &(servers(&[&a, &b]) + ONE_WORKER), &key.entry("a", "")).start();
    send(&gateway, &key, 10);
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), config.replace(&b.url(), &c.url())).unwrap();
    assert_eq!(gateway.reload_after(0)["result"], "applied");
    send(&gateway, &key, 10);
    assert_eq!([a.count("/x"), b.count("/x"), c.count("/x")], [10, 5, 5]);
    let mut ports: Vec<u16> = a.seen().iter().map(|seen| seen.peer_port).collect();
    ports.dedup();
    assert_eq!(ports.len(), 1, "one connection before and after");
}

#[test]
fn servers_get_the_host_that_the_upstream_says() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let own = upstream.addr.to_string();
    for (setting, host) in [("preserve", "api.example"), ("upstream", &own), ("app.internal:81", "app.internal:81")] {
        let config = format!("{}host = \"{setting}\"\n", servers(&[&upstream]));
        let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).start();
        let path = format!("/{}", setting.len());
        assert_eq!(gateway.get(&path).header("Host", "api.example").bearer(&key).send().status, 200);
        let seen = upstream.request(&path);
        assert_eq!(seen.all("host"), [host], "{setting}");
        assert_eq!(seen.all("x-forwarded-host"), ["api.example"], "{setting}");
    }
}
