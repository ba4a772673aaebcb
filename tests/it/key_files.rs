//! What a `keys.toml` may hold, and what happens to an entry that is wrong on its own.

use crate::harness::{Key, Setup, Upstream};

#[test]
fn every_field_of_an_entry_is_understood() {
    let (upstream, key, old) = (Upstream::start(), Key::new(), Key::new());
    let fields = format!(
        "owner = \"payments team\"\nnote = \"n\"\ncreated = 2026-11-21T10:00:00Z\nexpires = 2097-02-19T00:00:00Z\n\
         not_before = 2020-12-01T00:00:00Z\nstate = \"active\"\nreason = \"\"\nplan = \"gold\"\nlimits = [\"100/s burst 200\"]\n\
         previous = [{{ hash = \"{}\", until = 2020-11-22T10:00:00Z }}]\nmeta = {{ tenant = \"acme\" }}",
        old.hash()
    );
    let gateway = Setup::with(&upstream, "[plan.gold]\nlimits = [\"1/h\"]\n", &key.entry("billing", &fields)).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "a key's own limits win over its plan's");
}

#[test]
fn an_entry_that_is_wrong_on_its_own_is_quarantined_and_no_reason_not_to_start() {
    let upstream = Upstream::start();
    let (good, last) = (Key::new(), Key::new());
    for fields in [
        "state = \"sleeping\"",
        "expires = \"tomorrow\"",
        "expires = 2027-02-19",
        "limits = [\"many\"]",
        "limits = [\"0/s\"]",
        "plan = \"no-such-plan\"",
        "ownre = \"typo\"",
        "owner = 7",
        "not_before = 2099-01-01T00:00:00Z\nexpires = \"x\"",
        "previous = [{ hash = \"md5:1\", until = 2020-11-22T10:00:00Z }]",
    ] {
        let bad = Key::new();
        let entries = good.entry("good", "") + &bad.entry("bad", fields) + &last.entry("last", "");
        let gateway = Setup::with(&upstream, "", &entries).start();
        let refused = gateway.get("/").bearer(&bad).send();
        assert_eq!(refused.status, 401, "{fields}");
        assert_eq!(gateway.line_of(&refused)["reason"], "quarantined", "{fields}");
        for key in [&good, &last] {
            assert_eq!(gateway.get("/").bearer(key).send().status, 200, "beside {fields}");
        }
        assert!(gateway.text().contains("keys.toml:"), "{fields}: not a word about it:\n{}", gateway.text());
    }
}

#[test]
fn an_entry_without_a_usable_id_or_hash_harms_nobody_else() {
    let upstream = Upstream::start();
    let good = Key::new();
    let spare = Key::new();
    for bad in [
        "[[key]]\nid = \"no-hash\"\n\n".to_owned(),
        format!("[[key]]\nhash = \"{}\"\n\n", spare.hash()),
        "[[key]]\nid = \"short\"\nhash = \"sha256:abc\"\n\n".to_owned(),
        spare.entry("Upper Case", ""),
        spare.entry(&"x".repeat(64), ""),
    ] {
        let gateway = Setup::with(&upstream, "", &(bad.clone() + &good.entry("good", ""))).start();
        assert_eq!(gateway.get("/").bearer(&good).send().status, 200, "{bad}");
        assert_eq!(gateway.get("/").bearer(&spare).send().status, 401, "{bad}");
    }
}

#[test]
fn two_entries_with_one_id_do_not_both_pass_for_it() {
    let upstream = Upstream::start();
    let (one, two, good) = (Key::new(), Key::new(), Key::new());
    let entries = one.entry("same", "") + &two.entry("same", "") + &good.entry("good", "");
    let gateway = Setup::with(&upstream, "", &entries).start();
    assert_eq!(gateway.get("/").bearer(&good).send().status, 200);
    let sent: Vec<u16> = [&one, &two].iter().map(|k| gateway.get("/").bearer(k).send().status).collect();
    assert!(sent.contains(&401), "ids are unique: {sent:?}");
}

#[test]
fn a_previous_hash_that_is_anothers_key_is_no_way_in() {
    let upstream = Upstream::start();
    let (victim, thief) = (Key::new(), Key::new());
    let previous = format!("previous = [{{ hash = \"{}\", until = 2099-01-01T00:00:00Z }}]", victim.hash());
    let entries = victim.entry("victim", "") + &thief.entry("thief", &previous);
    let gateway = Setup::with(&upstream, "", &entries).start();
    let line = gateway.line_of(&gateway.get("/").bearer(&victim).send());
    assert_eq!(line["reason"], "quarantined", "one hash in two entries: {line}");
}

#[test]
fn comments_and_either_order_are_fine() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let text = format!("# ours\n\n[[key]] # first\nowner = 'o' # who\nhash = '{}'\nid = 'a'\n# end\n", key.hash());
    let gateway = Setup::with(&upstream, "", &text).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn a_file_from_another_system_is_fine() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let text = key.entry("a", "owner = \"o\"").replace('\n', "\r\n");
    let gateway = Setup::with(&upstream, "", &text).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    crate::harness::keyward(gateway.dir.path(), &["key", "disable", "a", "--keys", "keys.toml"]).ok();
    crate::harness::eventually("the edit", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
    assert_eq!(std::fs::read_to_string(gateway.keys_path()).unwrap().matches("owner").count(), 1);
}

#[test]
fn an_entry_inside_a_string_is_none() {
    let upstream = Upstream::start();
    let (first, quoted, last) = (Key::new(), Key::new(), Key::new());
    for quotes in ["\"\"\"", "'''"] {
        let note =
            format!("note = {quotes}\n{}{quotes}", quoted.entry("quoted", "").replace('"', "'").replace("'''", ""));
        let entries = first.entry("first", &note) + &last.entry("last", "");
        let gateway = Setup::with(&upstream, "", &entries).start();
        for (key, status) in [(&first, 200), (&quoted, 401), (&last, 200)] {
            assert_eq!(gateway.get("/").bearer(key).send().status, status, "{entries}");
        }
        assert_eq!(gateway.wait_event("ready", |_| true)["keys"], 2);
    }
}
