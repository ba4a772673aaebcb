//! Several servers behind one upstream.

use std::fs;

use crate::harness::{Fickle, Gateway, Key, Setup, Upstream, eventually};

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

#[test]
fn a_keys_requests_go_to_one_server_and_move_only_when_it_is_out() {
    let servers = [Fickle::start(), Fickle::start(), Fickle::start()];
    let keys: Vec<Key> = (0..12).map(|_| Key::new()).collect();
    let entries: String = keys.iter().enumerate().map(|(n, key)| key.entry(&format!("key-{n}"), "")).collect();
    let urls: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    let config = format!(
        "[upstream.default]\nservers = [{}]\nbalance = \"consistent_key\"\neject = {{ failures = 1, for = \"10m\" }}\n",
        urls.join(", ")
    );
    let gateway = Setup::before("", &config, &entries).start();
    let home = |key: &Key| -> String {
        let line = gateway.line_of(&gateway.get("/").bearer(key).send());
        line["upstream.address"].as_str().unwrap().to_owned()
    };
    let before: Vec<String> = keys.iter().map(home).collect();
    assert_eq!(keys.iter().map(home).collect::<Vec<_>>(), before, "each where it was");
    let used: std::collections::HashSet<&String> = before.iter().collect();
    assert!(used.len() > 1, "and not all at one");
    let gone = servers.iter().find(|server| before[0] == server.addr.to_string()).unwrap();
    gone.kill();
    eventually("its ejection", || {
        assert_eq!(gateway.get("/").bearer(&keys[0]).send().status, 200, "repeated elsewhere");
        gateway.events("upstream_health").pop()
    });
    for (before, now) in before.iter().zip(keys.iter().map(home)) {
        assert_eq!(*before == now, *before != gone.addr.to_string(), "only the keys of the server that is out move");
    }
}

#[test]
fn the_server_with_fewer_requests_underway_gets_the_next() {
    let (a, b, key) = (Upstream::start(), Upstream::start(), Key::new());
    let config = servers(&[&a, &b]) + "balance = \"least_requests\"\n";
    let gateway = Setup::with(&a, &config, &key.entry("a", "")).start();
    let request = gateway.get("/gate").bearer(&key);
    let waiting = std::thread::spawn(move || request.send());
    let busy = eventually("a server to be busy", || [&a, &b].into_iter().find(|server| server.count("/gate") == 1));
    let idle = if busy.addr == a.addr { &b } else { &a };
    send(&gateway, &key, 20);
    assert_eq!((busy.count("/x"), idle.count("/x")), (0, 20));
    busy.open_gate();
    assert_eq!(waiting.join().unwrap().status, 200);
    eventually("the other's turn", || {
        send(&gateway, &key, 1);
        (busy.count("/x") > 0).then_some(())
    });
}
