//! Tests of what changes the state of a key.

use super::{DAY, Desk};

#[test]
fn a_mistake_elsewhere_in_the_configuration_holds_no_revocation_up() {
    let desk = Desk::with_config("[keys]\nfile = \"keys.toml\"\n[serverr]\nx = 1\n");
    desk.write("keys.toml", "[[key]]\nid = \"a\"\n");
    desk.good(&["revoke", "a"]);
    desk.write("keyward.toml", "[keys\n");
    let message = desk.refused(&["disable", "a"], 1);
    assert!(message.contains("keyward.toml:1:"), "{message}");
    let keys = desk.folder.path().join("keys.toml");
    desk.good(&["compromised", "a", "--keys", keys.to_str().expect("UTF-8")]);
    for bad in
        ["keys = 1", "keys.prefix = 1", "keys.prefix = \"a b\"", "keys.pepper = \"x\"", "keys.expires_default = \"x\""]
    {
        desk.write("keyward.toml", bad);
        desk.refused(&["new", "x"], 1);
    }
}

#[test]
fn states_go_where_they_may_and_repeat_without_harm() {
    let desk = Desk::with_keys("[[key]]\nid = \"a\"\n");
    let state = |n| desk.field(n, "state");
    assert_eq!(desk.good(&["disable", "a", "--reason", "late"]), "a is disabled");
    assert_eq!(desk.good(&["enable", "a"]), "a is active");
    assert_eq!((state(0), desk.field(0, "reason")), ("active".into(), String::new()));
    desk.good(&["enable", "a"]);
    desk.good(&["disable", "a"]);
    desk.good(&["renew", "a", "--expires", "2027-01-01"]);
    assert_eq!((state(0), desk.field(0, "expires")), ("active".into(), "2027-01-01T00:00:00Z".into()));

    desk.good(&["revoke", "a", "--reason", "left"]);
    let once = desk.keys();
    desk.clock.advance(DAY);
    assert_eq!(desk.good(&["revoke", "a"]), "a is already revoked");
    assert_eq!(desk.keys(), once);
    for args in [["enable", "a"], ["disable", "a"], ["renew", "a"], ["rotate", "a"]] {
        assert!(desk.refused(&args, 1).contains("revoked"));
    }
    desk.good(&["compromised", "a"]);
    assert_eq!(desk.field(0, "state_changed"), "2026-11-22T10:00:00Z");
    assert_eq!(desk.good(&["revoke", "a"]), "a is already compromised");
    assert_eq!(state(0), "compromised");
    for args in [["enable", "a"], ["disable", "a"], ["renew", "a"], ["rotate", "a"]] {
        assert!(desk.refused(&args, 1).contains("compromised"));
    }
}

#[test]
fn an_entry_with_tables_of_its_own_is_changed_before_them() {
    let text = "[[key]]\nid = \"a\"\n[key.meta]\n# whose\nx = \"1\"\n\n[[key]]\nid = \"b\"\nmeta.y = \"2\"\n";
    let desk = Desk::with_keys(text);
    desk.good(&["revoke", "a"]);
    desk.good(&["revoke", "b"]);
    let change = "state = \"revoked\"\nstate_changed = 2026-11-21T10:00:00Z\n";
    let expected = text.replace("\"a\"\n", &format!("\"a\"\n{change}")).replace("\"2\"\n", &format!("\"2\"\n{change}"));
    assert_eq!(desk.keys(), expected);
}

#[test]
fn a_honey_key_never_becomes_a_key() {
    let desk = Desk::with_keys("[[key]]\nid = \"a\"\nhash = \"sha256:00\"\nstate = \"honey\"\n");
    for args in [["enable", "a"], ["disable", "a"], ["rotate", "a"]] {
        assert!(desk.refused(&args, 1).contains("honey"));
    }
    desk.good(&["renew", "a"]);
    assert_eq!(desk.field(0, "state"), "honey");
}

#[test]
fn renew_without_a_time_is_as_new() {
    let desk = Desk::with_keys("[[key]]\nid = \"a\"\nexpires = 2026-01-01T00:00:00Z\n");
    assert_eq!(desk.good(&["renew", "a"]), "a never expires");
    assert!(!desk.keys().contains("expires"));
    desk.refused(&["renew", "a", "--expires", "2020-01-01"], 1);
}

#[test]
fn an_unknown_id_changes_nothing_and_gets_a_hint() {
    let desk = Desk::with_keys("[[key]]\nid = \"billing\"\n[[key]]\nid = \"orders\"\n");
    for command in ["revoke", "disable", "enable", "compromised", "renew", "rotate", "show"] {
        let message = desk.refused(&[command, "biling"], 1);
        assert!(message.contains("no key has the id `biling`"), "{message}");
        assert!(message.contains("did you mean \"billing\"?"), "{message}");
        assert!(!desk.refused(&[command, "zzz"], 1).contains("did you mean"));
    }
    let desk = Desk::with_keys("[[key]]\nid = \"a\"\n[[key]]\nid = \"a\"\n");
    desk.refused(&["rotate", "a"], 1);
    desk.good(&["revoke", "a"]);
    assert_eq!(desk.keys().matches("revoked").count(), 2);
}
