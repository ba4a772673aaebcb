//! Users of fastapi_simple_security lose nothing: each thing that its own suite tests, done here (CONVENTIONS.md §4).

use std::path::Path;

use serde_json::Value;

use crate::harness::{Gateway, Key, Ran, Setup, Upstream, eventually, keyward};

const CONFIG: &str = "[server]\nstate = \"state.db\"\n[keys]\npreset = \"fastapi_simple_security\"\nexpires_default = \"15d\"\n\
    [[route]]\nname = \"unsecured\"\npath = \"/unsecured\"\nauth = \"open\"\n[[route]]\nname = \"secured\"\n";

fn start(upstream: &Upstream) -> Gateway {
    Setup::with(upstream, CONFIG, "").start()
}

fn key(dir: &Path, args: &[&str]) -> Ran {
    let mut all = vec!["key"];
    all.extend(args);
    all.extend(["-c", "keyward.toml"]);
    keyward(dir, &all)
}

/// Makes a key and waits until the gateway knows it.
fn create(gateway: &Gateway, args: &[&str]) -> Key {
    let mut all = vec!["new"];
    all.extend(args);
    let made = Key::from_text(key(gateway.dir.path(), &all).ok().stdout.trim_end());
    becomes(gateway, &made, 200);
    made
}

fn status(gateway: &Gateway, key: &Key) -> u16 {
    gateway.get("/").header("api-key", &key.text).send().status
}

fn becomes(gateway: &Gateway, key: &Key, wanted: u16) {
    eventually("the change to be taken over", || (status(gateway, key) == wanted).then_some(()));
}

fn shown(gateway: &Gateway, id: &str) -> Value {
    let ran = key(gateway.dir.path(), &["show", id, "--json"]).ok();
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}"))
}

#[test]
fn without_a_key_it_is_403_and_what_is_not_secured_is_open() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    assert_eq!(gateway.get("/").send().status, 403);
    assert_eq!(gateway.get("/unsecured").send().status, 200);
    assert_eq!(gateway.get("/").header("api-key", "nobody's").send().status, 403);
    assert_eq!(gateway.get("/").header("x-api-key", "nobody's").send().status, 403, "another header is none");
}

#[test]
fn a_key_is_used_by_header_and_by_query() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    let made = create(&gateway, &["alice"]);
    assert_eq!(gateway.get("/").header("api-key", &made.text).send().status, 200);
    assert_eq!(gateway.get(&format!("/?a=1&api-key={}&b=2", made.text)).send().status, 200);
    assert!(upstream.seen().iter().all(|seen| !seen.raw().contains(&made.text)), "the upstream gets neither");
}

#[test]
fn names_expiry_and_never_are_shown() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    create(&gateway, &["alice", "--owner", "Alice of Accounts"]);
    create(&gateway, &["bob", "--expires", "never"]);
    assert_eq!(shown(&gateway, "alice")["owner"], "Alice of Accounts");
    let (created, expires) = (shown(&gateway, "alice")["created"].clone(), shown(&gateway, "alice")["expires"].clone());
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    assert_eq!(time(&expires) - time(&created), 15 * 86_400, "by default 15 days");
    assert_eq!(shown(&gateway, "bob")["expires"], Value::Null);
}

#[test]
fn revoked_is_revoked_and_disabled_comes_back_by_renewal() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    let (alice, bob) = (create(&gateway, &["alice"]), create(&gateway, &["bob"]));
    key(gateway.dir.path(), &["revoke", "alice"]).ok();
    becomes(&gateway, &alice, 403);
    key(gateway.dir.path(), &["renew", "alice"]).exits(1);
    // What it calls revoked and reactivates is what is disabled here.
    key(gateway.dir.path(), &["disable", "bob"]).ok();
    becomes(&gateway, &bob, 403);
    key(gateway.dir.path(), &["renew", "bob"]).ok();
    becomes(&gateway, &bob, 200);
}

#[test]
fn renewal_takes_the_default_or_a_date_with_a_zone() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    let made = create(&gateway, &["alice", "--expires", "1d"]);
    let before = shown(&gateway, "alice")["expires"].clone();
    key(gateway.dir.path(), &["renew", "alice"]).ok();
    assert_ne!(shown(&gateway, "alice")["expires"], before);
    key(gateway.dir.path(), &["renew", "alice", "--expires", "2222-01-01T00:00:00+00:00"]).ok();
    assert_eq!(shown(&gateway, "alice")["expires"], "2222-01-01T00:00:00Z");
    // There every use of such a key is answered with 500.
    assert_eq!(status(&gateway, &made), 200);
    // A date that is over would only be a slip: `disable` says what is meant.
    key(gateway.dir.path(), &["renew", "alice", "--expires", "2020-01-01"]).exits(1);
    key(gateway.dir.path(), &["renew", "alice", "--expires", "not a date"]).exits(2);
    key(gateway.dir.path(), &["renew", "nobody"]).exits(1);
}

#[test]
fn uses_are_counted() {
    let upstream = Upstream::start();
    let gateway = start(&upstream);
    let made = create(&gateway, &["alice", "--expires", "never"]);
    let uses = |gateway: &Gateway| {
        let ran = keyward(gateway.dir.path(), &["usage", "alice", "--json", "-c", "keyward.toml"]).ok();
        serde_json::from_str::<Value>(&ran.stdout).unwrap()["allowed"].as_u64().unwrap()
    };
    let so_far = gateway.decisions().iter().filter(|line| line["key.id"] == "alice").count() as u64;
    for _ in 0..5 {
        assert_eq!(status(&gateway, &made), 200);
    }
    eventually("five more uses", || (uses(&gateway) >= so_far + 5).then_some(()));
    let lines = gateway.decisions().iter().filter(|line| line["key.id"] == "alice").count() as u64;
    assert_eq!(uses(&gateway), lines, "as many as there are lines");
}
