use std::io::{self, Write};

use super::{DAY, Desk};
use crate::vocab::digest::Digest;

#[test]
fn list_and_show_tell_everything_but_the_hashes() {
    let desk = Desk::new();
    desk.good(&[
        "new",
        "a",
        "--owner",
        "ann",
        "--limit",
        "5/s",
        "--expires",
        "2d",
    ]);
    desk.good(&[
        "new",
        "b",
        "--not-before",
        "2d",
        "--plan",
        "gold",
        "--meta",
        "k=v",
        "--note",
        "evil\u{1b}[2J",
    ]);
    desk.good(&["new", "c"]);
    desk.good(&["rotate", "b"]);
    desk.good(&["revoke", "c", "--reason", "left"]);
    desk.write(
        "keys.toml",
        &(desk.keys() + "\n[[key]]\nid = \"d\"\nstate = \"odd\"\n"),
    );
    assert_eq!(
        desk.good(&["list"]),
        "ID  STATE          OWNER  PLAN  CREATED     EXPIRES     LIMITS\n\
         a   active         ann          2026-11-21  2026-11-23  5/s\n\
         b   not_yet_valid         gold  2026-11-21  never\n\
         c   revoked                     2026-11-21  never\n\
         d   quarantined"
    );
    desk.clock.advance(DAY * 2);
    let json: serde_json::Value =
        serde_json::from_str(&desk.good(&["list", "--json"])).expect("JSON");
    let states: Vec<_> = json
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["expired", "active", "revoked", "quarantined"]);
    assert_eq!(json[1]["previous"][0]["until"], "2026-11-22T10:00:00Z");
    assert_eq!(json[2]["reason"], "left");
    let shown = desk.good(&["show", "b"]);
    assert!(
        shown.contains("old secrets until  2026-11-22T10:00:00Z\nmeta               k=v"),
        "{shown}"
    );
    let one: serde_json::Value =
        serde_json::from_str(&desk.good(&["show", "b", "--json"])).expect("JSON");
    assert_eq!(one, json[1]);
    assert!(
        shown.contains("note               evil\\u{1b}[2J\n"),
        "{shown}"
    );
    let bad = desk.run(&["show", "d"]);
    assert!(bad.out.ends_with("quarantined\n"), "{}", bad.out);
    assert!(bad.err.contains("keys.toml:"), "{}", bad.err);
    for args in [
        &["list"][..],
        &["list", "--json"],
        &["show", "b"],
        &["show", "b", "--json"],
    ] {
        let answer = desk.run(args);
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
    assert_eq!(
        desk.run_with(&["hash"], &("x".repeat(512) + "\r\n")).code,
        0
    );
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
    assert_eq!(
        desk.run_with(&["identify", "--json"], &key).out,
        "{\"id\":\"a\",\"state\":\"active\"}\n"
    );
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
    assert_eq!(
        desk.run_on(&["new", "a"], "", &mut Gone, &mut err, false),
        1
    );
    assert!(String::from_utf8_lossy(&err).contains("rotate"));
    assert_eq!(
        desk.run_on(&["list"], "", &mut Gone, &mut io::sink(), false),
        0
    );
    assert_eq!(desk.run_on(&["list"], "", &mut Gone, &mut Gone, false), 0);
}
