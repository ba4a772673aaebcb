//! Servers that have names.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use crate::harness::{Gateway, Key, NameServer, Setup, Upstream, eventually};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NAME: &str = "app.test";

/// A gateway in front of the server `app.test`, on one worker.
fn gateway(names: &NameServer, port: u16, settings: &str, key: &Key) -> Gateway {
    let config =
        format!("[upstream.default]\nservers = [\"http://{NAME}:{port}\"]\n{settings}\n[server]\nworkers = 1\n");
    let setup = Setup::before("", &config, &key.entry("a", ""));
    setup.env("KEYWARD_NAME_SERVER", &names.addr.to_string()).start()
}

/// A request that has a connection to itself.
fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.get("/close").bearer(key).send().status
}

#[test]
fn every_address_of_a_name_is_used() {
    let (names, key, one) = (NameServer::start(), Key::new(), Upstream::start());
    let two = Upstream::at(SocketAddr::from((TWO, one.addr.port())));
    names.set(NAME, &[ONE, TWO], 60);
    let gateway = gateway(&names, one.addr.port(), "", &key);
    for _ in 0..10 {
        assert_eq!(status(&gateway, &key), 200);
    }
    assert_eq!((one.count("/close"), two.count("/close")), (5, 5));
    assert_eq!(names.asked(NAME), 1, "asked once for its time to live, not once for each request");
}

#[test]
fn an_address_where_nobody_listens_costs_nobody_a_request() {
    let (names, key, upstream) = (NameServer::start(), Key::new(), Upstream::start());
    names.set(NAME, &[ONE, TWO], 60);
    let gateway = gateway(&names, upstream.addr.port(), "", &key);
    for _ in 0..6 {
        assert_eq!(status(&gateway, &key), 200);
    }
    assert_eq!(upstream.count("/close"), 6);
}

#[test]
fn a_name_that_moves_is_followed_when_its_time_is_over() {
    let (names, key, one) = (NameServer::start(), Key::new(), Upstream::start());
    let two = Upstream::at(SocketAddr::from((TWO, one.addr.port())));
    names.set(NAME, &[ONE], 1);
    let gateway = gateway(&names, one.addr.port(), "", &key);
    assert_eq!(status(&gateway, &key), 200);
    assert_eq!((one.count("/close"), two.count("/close")), (1, 0));
    names.set(NAME, &[TWO], 60);
    eventually("the new address", || {
        assert_eq!(status(&gateway, &key), 200, "no request is lost on the way");
        (two.count("/close") > 0).then_some(())
    });
}

#[test]
fn connections_in_use_follow_a_name_that_moves() {
    let (names, key, one) = (NameServer::start(), Key::new(), Upstream::start());
    let two = Upstream::at(SocketAddr::from((TWO, one.addr.port())));
    names.set(NAME, &[ONE], 1);
    let gateway = gateway(&names, one.addr.port(), "", &key);
    let mut conn = gateway.connect();
    let mut send = || assert_eq!(conn.send(&gateway.get("/x").bearer(&key)).status, 200);
    send();
    names.set(NAME, &[TWO], 60);
    eventually("a connection to the new address", || {
        send();
        (two.count("/x") > 0).then_some(())
    });
    let before = one.count("/x");
    (0..20).for_each(|_| send());
    assert_eq!(one.count("/x"), before);
}

#[test]
fn a_name_server_that_fails_leaves_the_last_good_addresses() {
    let (names, key, upstream) = (NameServer::start(), Key::new(), Upstream::start());
    names.set(NAME, &[ONE], 1);
    let gateway = gateway(&names, upstream.addr.port(), "", &key);
    assert_eq!(status(&gateway, &key), 200);
    names.fail(true);
    let line = gateway.wait_event("upstream_unresolved", |_| true);
    assert_eq!(
        (&line["level"], &line["upstream.name"], &line["host"]),
        (&"warn".into(), &"default".into(), &NAME.into())
    );
    let asked = names.asked(NAME);
    eventually("another try", || (names.asked(NAME) > asked + 1).then_some(()));
    assert_eq!(status(&gateway, &key), 200);
    names.fail(false);
    gateway.wait_event("upstream_resolved", |_| true);
    assert_eq!(gateway.events("upstream_unresolved").len(), 1, "said once");
}

#[test]
fn a_name_that_is_missing_is_no_connection_until_it_is_there() {
    let (names, key, upstream) = (NameServer::start(), Key::new(), Upstream::start());
    let gateway = gateway(&names, upstream.addr.port(), "connect_timeout = \"60s\"", &key);
    let reply = gateway.get("/close").bearer(&key).send();
    assert_eq!(reply.status, 502, "at once, not after connect_timeout");
    let line = gateway.line_of(&reply);
    assert_eq!(line["reason"], "upstream_unavailable");
    names.set(NAME, &[ONE], 60);
    eventually("the name", || (status(&gateway, &key) == 200).then_some(()));
}

#[test]
fn a_name_server_that_is_silent_is_waited_for_no_longer_than_for_a_connection() {
    let (names, key) = (NameServer::start(), Key::new());
    names.be_silent();
    let gateway = gateway(&names, 1, "connect_timeout = \"300ms\"", &key);
    let started = Instant::now();
    let reply = gateway.get("/").bearer(&key).send();
    assert_eq!(reply.status, 502);
    assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    assert_eq!(gateway.line_of(&reply)["reason"], "upstream_unavailable");
}

#[test]
fn names_of_the_hosts_file_are_known() {
    let (names, key, upstream) = (NameServer::start(), Key::new(), Upstream::start());
    let config = format!("upstream.default.servers = [\"http://localhost:{}\"]\n", upstream.addr.port());
    let setup = Setup::before("", &config, &key.entry("a", ""));
    let gateway = setup.env("KEYWARD_NAME_SERVER", &names.addr.to_string()).start();
    for _ in 0..4 {
        assert_eq!(status(&gateway, &key), 200);
    }
    assert_eq!(names.asked("localhost"), 0);
}
