//! Tests of what shows keys.

use std::io::{self, Write};

use super::{DAY, Desk, START};
use crate::cli::{Files, KeyCommand, ListArgs};
use crate::commands::console::Console;
use crate::commands::key::run_in;
use crate::state::count::{Counts, hour_of};
use crate::state::pending::Pending;
use crate::state::{Delta, Store, Used};
use crate::vocab::digest::Digest;

/// One key of each kind.
fn full_desk() -> Desk {
    let desk = Desk::new();
    for line in [
        "new a --owner ann --limit 5/s --expires 2d",
        "new b --not-before 2d --plan gold --meta k=v --note evil\u{1b}[2J",
        "new c",
        "rotate b",
        "revoke c --reason left",
    ] {
        desk.good(&line.split(' ').collect::<Vec<_>>());
    }
    let odd = "\n[[key]]\nid = \"d\"\nstate = \"odd\"\n";
    desk.write("keys.toml", &(desk.keys() + odd));
    desk
}

fn json(desk: &Desk, args: &[&str]) -> serde_json::Value {
    serde_json::from_str(&desk.good(args)).expect("JSON")
}

#[test]
fn list_shows_every_entry_and_its_state() {
    let desk = full_desk();
    assert_eq!(
        desk.good(&["list"]),
        "ID  STATE          OWNER  PLAN  CREATED     EXPIRES     LIMITS\n\
         a   active         ann          2026-11-21  2026-11-23  5/s\n\
         b   not_yet_valid         gold  2026-11-21  never\n\
         c   revoked                     2026-11-21  never\n\
         d   quarantined"
    );
    desk.clock.advance(DAY * 2);
    let all = json(&desk, &["list", "--json"]);
    let states: Vec<_> = (0..4).map(|n| &all[n]["state"]).collect();
    assert_eq!(states, ["expired", "active", "revoked", "quarantined"]);
    assert_eq!(all[1]["previous"][0]["until"], "2026-11-22T10:00:00Z");
    assert_eq!(all[2]["reason"], "left");
    assert_eq!(json(&desk, &["show", "b", "--json"]), all[1]);
}

#[test]
fn show_tells_what_there_is_and_obeys_no_control_character() {
    let desk = full_desk();
    assert_eq!(
        desk.good(&["show", "b"]),
        "id                 b\n\
         state              not_yet_valid\n\
         note               evil\\u{1b}[2J\n\
         created            2026-11-21T10:00:00Z\n\
         expires            never\n\
         not before         2026-11-23T10:00:00Z\n\
         plan               gold\n\
         old secrets until  2026-11-22T10:00:00Z\n\
         meta               k=v"
    );
    let bad = desk.run(&["show", "d"]);
    assert_eq!(bad.out, "id                 d\nstate              quarantined\n");
    assert!(bad.err.contains("keys.toml:"), "{}", bad.err);
}

/// Writes what was counted of `a`: nine requests, the last of them just now.
fn count(desk: &Desk) {
    let at = i64::try_from(START).expect("after 1970") * 1_000_000;
    let counts = Counts { allowed: 5, refused: 3, throttled: 1, bytes_out: 2_048, ..Counts::default() };
    let used = Some(Used { first_us: at, last_us: at, client: Some([192, 0, 2, 9].into()) });
    let mut pending = Pending::new(10);
    let delta = Delta { counts, used, ..Delta::default() };
    pending.add("a", hour_of(at), &delta).expect("room");
    let store = Store::open(&desk.folder.path().join("state.db"));
    store.and_then(|mut store| store.write(&pending)).expect("a commit");
}

const COUNTED: &str = "upstream.default.servers = [\"http://127.0.0.1\"]\n[server]\nstate = \"state.db\"\n";

#[test]
fn what_was_counted_is_shown_where_it_is_counted() {
    let desk = Desk::with_config(COUNTED);
    desk.good(&["new", "a"]);
    desk.good(&["new", "b", "--limit", "5/s"]);
    let unused = "ID  STATE   OWNER  PLAN  CREATED     EXPIRES  LIMITS  ALLOWED  REFUSED  THROTTLED  LAST USE\n\
                  a   active               2026-11-21  never                  0        0          0  never\n\
                  b   active               2026-11-21  never    5/s           0        0          0  never";
    assert_eq!(desk.good(&["list"]), unused);
    count(&desk);
    let used = unused.replacen("0        0          0  never", "5        3          1  2026-11-21T10:00:00Z", 1);
    assert_eq!(desk.good(&["list"]), used);
    let shown = desk.good(&["show", "a"]);
    let end = "requests           5 allowed, 3 refused, 1 throttled\n\
               last use           2026-11-21T10:00:00Z\n\
               last client        192.0.2.9";
    assert!(shown.ends_with(end), "{shown}");
    let all = json(&desk, &["list", "--json"]);
    assert_eq!(all[0], json(&desk, &["show", "a", "--json"]));
    assert_eq!((&all[0]["usage"]["refused"], &all[0]["usage"]["bytes_out"]), (&3.into(), &2_048.into()));
    assert_eq!((&all[1]["usage"]["allowed"], &all[1]["usage"]["last_use"]), (&0.into(), &serde_json::Value::Null));
}

#[test]
fn where_nothing_is_counted_nothing_is_shown_of_it() {
    let desk = Desk::with_config(COUNTED);
    desk.good(&["new", "a"]);
    count(&desk);
    let keys = desk.folder.path().join("keys.toml").display().to_string();
    let config = desk.folder.path().join("keyward.toml");
    // Nobody says whose keys these are.
    let mut out = Vec::new();
    let files = Files { config: None, keys: Some(keys.clone().into()) };
    let mut console = Console {
        input: &mut io::empty(),
        out: &mut out,
        err: &mut io::sink(),
        colour: false,
        colour_err: false,
        attended: false,
    };
    let list = KeyCommand::List(ListArgs { json: false });
    assert_eq!(run_in(&list, &files, &mut console, &desk.clock, &[config]), 0);
    assert!(!String::from_utf8_lossy(&out).contains("LAST USE"));
    // With a configuration it is known.
    assert!(desk.good(&["list", "--keys", &keys]).contains("2026-11-21T10:00:00Z"));
    desk.write("keyward.toml", "upstream.default.servers = [\"http://127.0.0.1\"]\n");
    assert!(!desk.good(&["list"]).contains("LAST USE"));
    assert_eq!(json(&desk, &["show", "a", "--json"])["usage"], serde_json::Value::Null);
}

#[test]
fn a_state_file_that_cannot_be_read_is_told_of_and_keys_are_shown_without_it() {
    let desk = Desk::with_config(COUNTED);
    desk.good(&["new", "a"]);
    desk.write("state.db", "not a database");
    for args in [&["list"][..], &["show", "a"]] {
        let answer = desk.run(args);
        assert_eq!(answer.code, 0);
        assert!(answer.out.contains("active") && !answer.out.to_lowercase().contains("last use"), "{}", answer.out);
        assert!(answer.err.starts_with("note: failed to read the state file "), "{}", answer.err);
    }
}

#[test]
fn what_a_key_may_reach_and_how_much_is_shown() {
    let desk = Desk::new();
    let flags = "new a --limit 5/s --quota 1000/month --concurrency 8 --role r --route orders --route carts --method GET \
                 --method PURGE --path /v1/orders/* --path /v1/x --network 10.0.0.0/8 --network 192.0.2.1";
    desk.good(&flags.split_whitespace().collect::<Vec<_>>());
    desk.good(&["new", "b"]);
    desk.write("keys.toml", &desk.keys().replacen("networks =", "mode = \"shadow\"\nnetworks =", 1));
    let shown = desk.good(&["show", "a"]);
    let end = "limits             5/s\n\
               quota              1000/month\n\
               concurrency        8\n\
               roles              r\n\
               routes             orders, carts\n\
               methods            GET, PURGE\n\
               paths              /v1/orders/*, /v1/x\n\
               networks           10.0.0.0/8, 192.0.2.1/32\n\
               mode               shadow";
    assert!(shown.ends_with(end), "{shown}");
    let all = json(&desk, &["list", "--json"]);
    assert_eq!(json(&desk, &["show", "a", "--json"]), all[0]);
    let expected = serde_json::json!({
        "quota": "1000/month", "concurrency": 8, "routes": ["orders", "carts"], "methods": ["GET", "PURGE"],
        "paths": ["/v1/orders/*", "/v1/x"], "networks": ["10.0.0.0/8", "192.0.2.1/32"], "mode": "shadow",
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&all[0][name], value, "{name}");
        let nothing = if name == "mode" { "enforce".into() } else { serde_json::Value::Null };
        assert_eq!(all[1][name], nothing, "{name}");
    }
    assert!(desk.good(&["list"]).contains("  5/s, 1000/month, 8 at once (shadow)\n"), "{}", desk.good(&["list"]));
}

#[test]
fn no_hash_is_ever_shown() {
    let desk = full_desk();
    for line in ["list", "list --json", "show b", "show b --json", "show d"] {
        let answer = desk.run(&line.split(' ').collect::<Vec<_>>());
        assert!(!answer.out.contains("sha256") && !answer.err.contains("sha256"));
    }
}

#[test]
fn colour_only_where_it_is_asked_for() {
    let desk = Desk::with_keys("");
    desk.good(&["new", "a"]);
    assert!(!desk.good(&["list"]).contains('\u{1b}'));
    let mut out = Vec::new();
    desk.run_on(&["list"], "", &mut out, &mut io::sink(), true);
    assert!(String::from_utf8_lossy(&out).contains("\u{1b}[32mactive\u{1b}[0m"));
}

#[test]
fn a_file_that_is_not_there_is_no_empty_list() {
    let desk = Desk::new();
    assert!(desk.refused(&["list"], 1).contains("failed to read"));
    desk.refused(&["revoke", "a"], 1);
    assert!(!desk.folder.path().join("keys.toml").exists());
}

#[test]
fn hash_reads_stdin_alone_and_strips_one_line_end() {
    let desk = Desk::new();
    let expected = format!("sha256:{}\n", Digest::sha256(b"my old key").to_hex());
    for stdin in ["my old key", "my old key\n", "my old key\r\n"] {
        assert_eq!(desk.run_with(&["hash"], stdin).out, expected);
    }
    let json = desk.run_with(&["hash", "--json"], "my old key").out;
    assert_eq!(json, format!("{{\"hash\":\"{}\"}}\n", expected.trim_end()));
    assert_eq!(desk.run_with(&["hash"], "").code, 2);
    assert_eq!(desk.run_with(&["hash"], "\n").code, 2);
    for hopeless in ["my old key\n\n", "kw_short", "clé", &"x".repeat(513)] {
        assert_eq!(desk.run_with(&["hash"], hopeless).code, 1, "{hopeless}");
    }
    assert_eq!(desk.run_with(&["hash"], &("x".repeat(512) + "\r\n")).code, 0);
    for command in ["hash", "identify"] {
        let answer = desk.run(&[command, "kw_sEcReT"]);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""));
        assert!(!answer.err.contains("sEcReT"), "{}", answer.err);
    }
}

#[test]
fn identify_knows_ours_and_nobody_elses() {
    let desk = Desk::new();
    let key = desk.good(&["new", "a"]);
    assert_eq!(desk.identify(&key).out, "a active\n");
    assert_eq!(desk.run_with(&["identify", "--json"], &key).out, "{\"id\":\"a\",\"state\":\"active\"}\n");
    let stranger = desk.identify("somebody else's");
    assert_eq!((stranger.code, stranger.out.as_str()), (1, ""));
    let mut mistyped = key.clone();
    mistyped.replace_range(5..6, if &key[5..6] == "x" { "y" } else { "x" });
    let answer = desk.identify(&mistyped);
    assert_eq!(answer.code, 1);
    assert!(answer.err.contains("checksum") && !answer.err.contains(&mistyped));
}

#[test]
fn a_reader_that_leaves_is_no_error_but_a_key_nobody_saw_is() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let desk = Desk::new();
    let mut err = Vec::new();
    assert_eq!(desk.run_on(&["new", "a"], "", &mut Gone, &mut err, false), 1);
    assert!(String::from_utf8_lossy(&err).contains("rotate"));
    assert_eq!(desk.run_on(&["list"], "", &mut Gone, &mut io::sink(), false), 0);
    assert_eq!(desk.run_on(&["list"], "", &mut Gone, &mut Gone, false), 0);
}
