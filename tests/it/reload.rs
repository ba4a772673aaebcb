//! Files change while traffic flows.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{Conn, Gateway, Key, Setup, Upstream, eventually, filler_entries};

fn start(config: &str, keys: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, config, keys).start();
    (upstream, gateway)
}

/// Replaces a file as editors do: a new one beside it, then a rename over it.
fn replace(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn a_revocation_reaches_an_open_connection_at_once() {
    let key = Key::new();
    let filler = filler_entries(999);
    let (_upstream, gateway) = start("", &format!("{filler}{}", key.entry("a", "")));
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(conn.send(&request).status, 200);
    let revoked = format!("{filler}{}", key.entry("a", "state = \"revoked\"\nreason = \"left\""));
    fs::write(gateway.keys_path(), revoked).unwrap();
    let written = Instant::now();
    let reply = eventually("the refusal", || Some(conn.send(&request)).filter(|r| r.status == 401));
    // The promise is 250 ms; a loaded machine and a debug build get some more before a test calls it broken.
    assert!(written.elapsed() < Duration::from_secs(1), "{:?}", written.elapsed());
    assert_eq!(gateway.line_of(&reply)["reason"], "revoked");
    let line = gateway.wait_event("reload", |l| l["result"] == "applied");
    assert_eq!(line["keys.revoked"], serde_json::json!(["a"]), "{line}");
}

#[test]
fn a_reload_line_says_which_keys_came_changed_and_went() {
    let (stays, changes, goes) = (Key::new(), Key::new(), Key::new());
    let (_upstream, gateway) =
        start("", &(stays.entry("stays", "") + &changes.entry("changes", "") + &goes.entry("goes", "")));
    let (comes, before) = (Key::new(), gateway.get("/").bearer(&stays).send());
    let old_generation = gateway.line_of(&before)["generation"].as_u64().unwrap();
    let text = stays.entry("stays", "") + &changes.entry("changes", "note = \"new\"") + &comes.entry("comes", "");
    replace(&gateway.keys_path(), &text);
    let line = gateway.reload_after(0);
    assert_eq!(line["result"], "applied", "{line}");
    assert_eq!(line["keys.added"], serde_json::json!(["comes"]), "{line}");
    assert_eq!(line["keys.changed"], serde_json::json!(["changes"]), "{line}");
    assert_eq!(line["keys.removed"], serde_json::json!(["goes"]), "{line}");
    assert!(line["generation"].as_u64().unwrap() > old_generation, "{line}");
    let after = gateway.get("/").bearer(&comes).send();
    assert_eq!(after.status, 200);
    assert_eq!(gateway.line_of(&after)["generation"], line["generation"]);
    assert_eq!(gateway.get("/").bearer(&goes).send().status, 401);
}

#[test]
fn a_new_configuration_applies_to_open_connections() {
    let key = Key::new();
    let (_upstream, gateway) = start("", &key.entry("a", ""));
    let mut conn = gateway.connect();
    assert_eq!(conn.send(&gateway.get("/gone").bearer(&key)).status, 200);
    let text = fs::read_to_string(gateway.config_path()).unwrap() + "\n[[route]]\npath = \"/kept/*\"\n";
    replace(&gateway.config_path(), &text);
    eventually("the new routes", || (conn.send(&gateway.get("/gone").bearer(&key)).status == 404).then_some(()));
    assert_eq!(conn.send(&gateway.get("/kept/x").bearer(&key)).status, 200);
}

#[test]
fn hangup_reloads() {
    let key = Key::new();
    let (_upstream, gateway) = start("", "");
    fs::write(gateway.keys_path(), key.entry("a", "")).unwrap();
    gateway.signal("HUP");
    eventually("the key", || (gateway.get("/").bearer(&key).send().status == 200).then_some(()));
    // Its line comes after it.
    gateway.reload_after(0);
    let before = gateway.events("reload").len();
    gateway.signal("HUP");
    let line = eventually("a line for a reload of nothing new", || gateway.events("reload").into_iter().nth(before));
    assert_eq!(line["result"], "unchanged", "{line}");
}

#[test]
fn an_invalid_edit_changes_nothing_and_is_reported_with_its_place() {
    let key = Key::new();
    let good = key.entry("a", "");
    for (what, text, place) in [
        ("broken TOML", format!("{good}[[key]]\nid = \"b\nhash = 1\n"), "keys.toml:7:"),
        ("an unknown table", format!("{good}[kye]\nx = 1\n"), "keys.toml:6:"),
    ] {
        let (_upstream, gateway) = start("", &good);
        let generation = gateway.line_of(&gateway.get("/").bearer(&key).send())["generation"].clone();
        replace(&gateway.keys_path(), &text);
        let line = gateway.reload_after(0);
        assert_eq!(line["result"], "rejected", "{what}: {line}");
        assert!(line["problems"].to_string().contains(place), "{what}: {line}");
        let after = gateway.get("/").bearer(&key).send();
        assert_eq!(after.status, 200, "{what}");
        assert_eq!(gateway.line_of(&after)["generation"], generation, "{what}");
        let mended = Key::new();
        replace(&gateway.keys_path(), &(good.clone() + &mended.entry("b", "")));
        eventually("the mended file", || (gateway.get("/").bearer(&mended).send().status == 200).then_some(()));
    }
}

#[test]
fn an_invalid_configuration_changes_nothing_and_holds_up_no_revocation() {
    let key = Key::new();
    let (_upstream, gateway) = start("", &key.entry("a", ""));
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    replace(
        &gateway.config_path(),
        &format!("{config}\n[htpp]\nheader_timeout = \"1s\"\n[limits]\nper_ip = \"1/h\"\n"),
    );
    let line = gateway.wait_event("reload", |l| l["result"] == "rejected");
    assert!(line["problems"].to_string().contains("keyward.toml:"), "{line}");
    for _ in 0..3 {
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "nothing of a broken file applies");
    }
    replace(&gateway.keys_path(), &key.entry("a", "state = \"revoked\""));
    eventually("the revocation", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
}

#[test]
fn an_entry_that_becomes_invalid_is_quarantined_while_the_others_load() {
    let (one, two, three) = (Key::new(), Key::new(), Key::new());
    let (_upstream, gateway) = start("", &(one.entry("one", "") + &two.entry("two", "")));
    replace(
        &gateway.keys_path(),
        &(one.entry("one", "expires = \"soon\"") + &two.entry("two", "") + &three.entry("three", "")),
    );
    eventually("the new key", || (gateway.get("/").bearer(&three).send().status == 200).then_some(()));
    assert_eq!(gateway.get("/").bearer(&two).send().status, 200);
    let refused = gateway.get("/").bearer(&one).send();
    assert_eq!(refused.status, 401);
    let line = gateway.line_of(&refused);
    assert_eq!(line["reason"], "quarantined", "{line}");
    let line = gateway.reload_after(0);
    assert!(line["problems"].to_string().contains("keys.toml:4:"), "loudly: {line}");
}

#[test]
fn two_entries_with_one_hash_are_both_quarantined() {
    let (twice, other) = (Key::new(), Key::new());
    let (_upstream, gateway) = start("", &twice.entry("one", ""));
    assert_eq!(gateway.get("/").bearer(&twice).send().status, 200);
    replace(&gateway.keys_path(), &(twice.entry("one", "") + &twice.entry("two", "") + &other.entry("other", "")));
    eventually("the other key", || (gateway.get("/").bearer(&other).send().status == 200).then_some(()));
    assert_eq!(gateway.line_of(&gateway.get("/").bearer(&twice).send())["reason"], "quarantined");
}

#[test]
fn what_needs_a_restart_is_said_so_and_the_rest_applies() {
    let (key, new) = (Key::new(), Key::new());
    let (_upstream, gateway) = start("", &key.entry("a", ""));
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    let changed = format!("[server]\nworkers = 5\n[keys]\nrealm = \"changed\"\n{}", "");
    let text = config.replace("[[listener]]", &format!("{changed}[[listener]]"));
    replace(&gateway.config_path(), &text);
    eventually("the new realm", || {
        let reply = gateway.get("/").send();
        (reply.header("www-authenticate") == Some("Bearer realm=\"changed\"")).then_some(())
    });
    let line = gateway.reload_after(0);
    assert_eq!(line["result"], "applied", "{line}");
    assert!(gateway.text().contains("restart"), "{line}");
    assert_eq!(gateway.get("/").bearer(&new).send().status, 401);
}

#[test]
fn a_key_file_that_vanishes_changes_nothing() {
    let key = Key::new();
    let (_upstream, gateway) = start("", &key.entry("a", ""));
    fs::remove_file(gateway.keys_path()).unwrap();
    gateway.signal("HUP");
    gateway.wait_event("reload", |l| l["result"] == "rejected");
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    fs::write(gateway.keys_path(), key.entry("a", "state = \"disabled\"")).unwrap();
    eventually("the file to be found again", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
}

#[test]
fn fifty_reloads_under_load_fail_no_request() {
    let key = Key::new();
    let filler = filler_entries(200);
    let (_upstream, gateway) = start("[server]\nworkers = 2\n", &format!("{filler}{}", key.entry("a", "")));
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|n| {
            let (over, addr, request) = (Arc::clone(&over), gateway.addr(), gateway.get("/").bearer(&key));
            thread::spawn(move || {
                let (mut conn, mut sent) = (Conn::open(addr), 0_u64);
                while !over.load(Ordering::Relaxed) {
                    // One of the clients opens a connection for every request, the others keep theirs.
                    if n == 0 {
                        conn = Conn::open(addr);
                    }
                    let reply = conn.send(&request);
                    assert_eq!(reply.status, 200, "{}", reply.everything());
                    sent += 1;
                }
                sent
            })
        })
        .collect();
    for round in 0..50 {
        let before = gateway.reloads().len();
        let text = format!("{filler}{}", key.entry("a", &format!("note = \"round {round}\"")));
        if round % 2 == 0 {
            replace(&gateway.keys_path(), &text);
        } else {
            fs::write(gateway.keys_path(), &text).unwrap();
        }
        gateway.reload_after(before);
    }
    over.store(true, Ordering::Relaxed);
    let sent: u64 = clients.into_iter().map(|c| c.join().unwrap()).sum();
    assert!(sent > 100, "only {sent} requests: this was no load");
    eventually("every line", || (gateway.decided() as u64 >= sent).then_some(()));
    assert!(gateway.decisions().iter().all(|l| l["reason"] == "allowed"));
}
