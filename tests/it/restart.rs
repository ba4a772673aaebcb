//! A new process takes over from the old one, and no client notices.

use crate::harness::{Gateway, Key, Setup, Upstream, Wrk, eventually};

fn setup(upstream: &Upstream, key: &Key, address: &str) -> Setup {
    let config = format!("[server]\nworkers = 2\n[[listener]]\naddress = \"{address}\"\n");
    Setup::with(upstream, &config, &key.entry("a", ""))
}

/// Load of both kinds on one address: kept-alive connections, and a new one for every request.
fn load(address: &str, key: &Key) -> [Wrk; 2] {
    let url = format!("http://{address}/");
    let auth = format!("authorization: Bearer {}", key.text);
    let kept = Wrk::start(&url, 16, std::slice::from_ref(&auth));
    [kept, Wrk::start(&url, 16, &[auth, "connection: close".to_owned()])]
}

/// Waits until it has decided a few hundred more.
fn serves(gateway: &Gateway, what: &str) {
    let before = gateway.decided();
    eventually(what, || (gateway.decided() > before + 300).then_some(()));
}

#[test]
fn a_second_process_takes_over_without_a_failed_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let mut old = setup(&upstream, &key, "127.0.0.1:0").start();
    let address = old.addr().to_string();
    let mut clients = load(&address, &key);
    let mut next;
    // Twice, so that a successor is also a predecessor.
    for _ in 0..2 {
        serves(&old, "the old one to serve");
        next = setup(&upstream, &key, &address).start();
        serves(&next, "both to serve");
        old.signal("TERM");
        assert_eq!(old.wait_exit().code(), Some(0), "{}", old.text());
        assert_eq!(old.events("stop")[0]["result"], "clean");
        serves(&next, "the new one to serve alone");
        old = next;
    }
    clients.iter_mut().for_each(Wrk::stop_without_a_failure);
}
