//! Tests of bringing keys over: what is decided of them, and how it is told. What each format is, is tested below this.

mod apisix;
mod envoy;
mod fastapi;
mod kong;
mod lists;
mod nginx;

use std::fmt::Write as _;

use serde_json::Value;

use super::{Answer, DAY, Desk};
use crate::credential::format::generate;
use crate::vocab::digest::Digest;

/// A key of another make than ours.
fn fresh() -> String {
    let key = generate("old").expect("the system has randomness");
    String::from_utf8(key.expose().to_vec()).expect("ASCII")
}

fn hash(key: &str) -> String {
    format!("sha256:{}", Digest::sha256(key.as_bytes()).to_hex())
}

/// A sample with these keys where it says `@1@`.
fn fill(sample: &str, keys: &[String]) -> String {
    let put = |text: String, (n, key): (usize, &String)| text.replace(&format!("@{}@", n + 1), key);
    keys.iter().enumerate().fold(sample.to_owned(), put)
}

impl Desk {
    /// Imports a file with this text. The keys that are named may stand nowhere but there.
    fn import(&self, format: &str, text: &str, flags: &[&str], secrets: &[&str]) -> Answer {
        self.write("old", text);
        self.import_file(format, flags, secrets)
    }

    fn import_file(&self, format: &str, flags: &[&str], secrets: &[&str]) -> Answer {
        let file = self.folder.path().join("old");
        let mut args = vec!["import", format, file.to_str().expect("UTF-8")];
        args.extend(flags);
        let mut answer = self.run(&args);
        let mut said = answer.out.clone() + &answer.err;
        for entry in std::fs::read_dir(self.folder.path()).expect("a folder").flatten() {
            if entry.file_name() != "old" {
                said += &std::fs::read_to_string(entry.path()).expect("a text");
            }
        }
        for secret in secrets {
            assert!(!said.to_lowercase().contains(&secret.to_lowercase()), "a key was written: {said}");
        }
        // Shorter to compare.
        answer.err = answer.err.replace(&format!("{}:", file.display()), "old:");
        answer
    }

    /// Imports what has to go well.
    fn imported(&self, format: &str, text: &str, secrets: &[&str]) -> Answer {
        let answer = self.import(format, text, &[], secrets);
        assert_eq!(answer.code, 0, "{}", answer.err);
        answer
    }
}

#[test]
fn an_import_is_added_to_what_is_there() {
    let before = "# Ours.\n[[key]]\nid = \"mine\" # ann\nhash = \"sha256:00\"\n\n# the end\n";
    let desk = Desk::with_keys(before);
    let (a, b) = (fresh(), fresh());
    let text = format!("id,key,owner,expires\nbilling,{a},payments team,2027-02-03\nweb,{b},,\n");
    let answer = desk.imported("csv", &text, &[&a, &b]);
    assert_eq!((answer.out.as_str(), answer.err.as_str()), ("imported 2 keys\n", ""));
    assert_eq!(
        desk.keys(),
        format!(
            "{before}\n[[key]]\nid = \"billing\"\nhash = \"{}\"\nowner = \"payments team\"\ncreated = 2026-11-21T10:00:00Z\n\
             expires = 2027-02-03T00:00:00Z\n\n[[key]]\nid = \"web\"\nhash = \"{}\"\ncreated = 2026-11-21T10:00:00Z\n",
            hash(&a),
            hash(&b)
        )
    );
    assert_eq!(desk.identify(&a).out, "billing active\n");
}

#[test]
fn a_second_import_finds_nothing_new() {
    let desk = Desk::new();
    let (a, b, c) = (fresh(), fresh(), fresh());
    let text = format!("Ann:{a}\nann:{b}\n");
    assert_eq!(desk.imported("htpasswd", &text, &[&a, &b]).out, "imported 2 keys\n");
    let once = desk.keys();
    let again = desk.imported("htpasswd", &text, &[&a, &b]);
    assert_eq!(again.out, "nothing to import, 2 are there already\n");
    assert_eq!(
        again.err,
        "old:1: `Ann`: it is there already, as \"ann\"\nold:2: `ann`: it is there already, as \"ann-2\"\n"
    );
    assert_eq!(desk.keys(), once);
    // What is new in it is one more of a name that the file calls its own.
    let more = desk.imported("htpasswd", &format!("ANN:{c}\n{text}"), &[&a, &b, &c]);
    assert_eq!(more.out, "imported 1 key, 2 are there already\n");
    assert_eq!(desk.identify(&c).out, "ann-3 active\n");
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_be() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let text = format!("id,key,owner,expires\nA,{a},Ann,2027-01-01\nb,{b}\n");
    let answer = desk.import("csv", &text, &["--dry-run"], &[&a, &b]);
    assert_eq!(answer.code, 0);
    assert_eq!(answer.out, "a, owner `Ann`, expires 2027-01-01T00:00:00Z\nb\nwould import 2 keys\n");
    assert_eq!(answer.err, "old:2: `A`: its id is \"a\" here\n");
    let left: Vec<_> = std::fs::read_dir(desk.folder.path()).expect("a folder").flatten().collect();
    assert_eq!(left.len(), 1, "a dry run leaves nothing behind");
    // It tells what is there already, as the import would.
    desk.imported("csv", &text, &[&a, &b]);
    let before = desk.keys();
    let answer = desk.import("csv", &text, &["--dry-run"], &[&a, &b]);
    assert_eq!((answer.code, answer.out.as_str()), (0, "nothing to import, 2 are there already\n"));
    assert_eq!(desk.keys(), before);
}

#[test]
fn ids_of_others_are_not_taken_and_the_rest_is_imported() {
    let desk = Desk::with_keys("[[key]]\nid = \"taken\"\nhash = \"sha256:00\"\n");
    let (a, b) = (fresh(), fresh());
    let answer = desk.import("htpasswd", &format!("Taken:{a}\nfree:{b}\n"), &[], &[&a, &b]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 1 key, 1 could not be imported\n"));
    assert!(
        answer
            .err
            .starts_with("old:1: `Taken` is not imported: there is a key with the id \"taken\" and another secret"),
        "{}",
        answer.err
    );
    assert!(answer.err.ends_with("error: 1 key could not be imported\n"), "{}", answer.err);
    assert_eq!(desk.identify(&b).out, "free active\n");
    assert_eq!(desk.identify(&a).code, 1);
}

#[test]
fn one_key_under_two_names_is_imported_once() {
    let desk = Desk::new();
    let key = fresh();
    let answer = desk.import("htpasswd", &format!("ann:{key}\nann:{key}\nbob:{key}\n"), &[], &[&key]);
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (1, "imported 1 key, 1 is there already, 1 could not be imported\n")
    );
    assert!(answer.err.contains("old:2: `ann`: it is the same as the one of line 1\n"), "{}", answer.err);
    assert!(answer.err.contains("`bob` is not imported: it has the same key as the one of line 1"), "{}", answer.err);
    assert_eq!(desk.keys().matches("[[key]]").count(), 1);
}

#[test]
fn a_key_that_was_rotated_out_does_not_come_back() {
    let desk = Desk::new();
    let key = fresh();
    desk.imported("htpasswd", &format!("a:{key}\n"), &[&key]);
    desk.good(&["rotate", "a", "--grace", "0"]);
    let answer = desk.imported("htpasswd", &format!("a:{key}\nb:{key}\n"), &[&key]);
    assert_eq!(answer.out, "nothing to import, 2 are there already\n");
    assert!(answer.err.contains("`a`: its key was rotated out of \"a\", and is not brought back"), "{}", answer.err);
    assert_eq!(desk.identify(&key).out, "a rotated_out\n");
}

#[test]
fn what_no_gateway_takes_is_refused() {
    let desk = Desk::new();
    let (long, good, ours) = ("x".repeat(513), fresh(), fresh().replace("old_", "kw_"));
    let broken = format!("{}!", &ours[..ours.len() - 1]);
    for (key, why) in [
        ("", "it is empty"),
        (long.as_str(), "longer than 512 bytes"),
        ("clé-de-la-maison-0123", "not printable ASCII"),
        ("tab\there-0123456789", "not printable ASCII"),
        (broken.as_str(), "the prefix of our keys and not their form"),
    ] {
        let answer = desk.import("htpasswd", &format!("a:{key}\n"), &[], &[]);
        assert_eq!((answer.code, answer.out.as_str()), (1, "nothing to import, 1 could not be imported\n"), "{why}");
        assert!(answer.err.contains(why), "{why}: {}", answer.err);
        assert!(key.is_empty() || !answer.err.contains(key), "{}", answer.err);
    }
    // A key that Keyward made elsewhere is one.
    let answer = desk.imported("htpasswd", &format!("a:{ours}\nb:{good}\nc:{}\n", "y".repeat(512)), &[&ours, &good]);
    assert_eq!(answer.out, "imported 3 keys\n");
    let weak = desk.imported("htpasswd", "short:0123456789abcde\nspaced: 0123456789abcdef\n", &["0123456789abcde"]);
    assert!(weak.err.contains("`short`: warning: its key has fewer than 16 characters"), "{}", weak.err);
    assert_eq!(weak.err.lines().count(), 1, "{}", weak.err);
}

#[test]
fn a_key_in_another_place_is_not_stored_as_a_text() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let told = format!("id,key,owner\n{a},{a},\nb,{b},the key is {}\nc,short,short\nd,{b},{a}\n", b.to_uppercase());
    let answer = desk.import("csv", &told, &[], &[&a, &b]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "nothing to import, 4 could not be imported\n"));
    assert_eq!(answer.err.matches("its key stands in its name or in another text").count(), 3, "{}", answer.err);
    assert!(
        answer.err.contains("`d` is not imported: its name or another text is a key of this file"),
        "{}",
        answer.err
    );
    // Columns the other way round.
    let answer = desk.import("htpasswd", &format!("{a}:billing-team-of-acme\n"), &[], &[&a]);
    assert!(answer.err.contains("are they the right way round?"), "{}", answer.err);
}

#[test]
fn a_pepper_is_used_as_for_new_keys() {
    let desk = Desk::with_config("[keys]\nfile = \"keys.toml\"\npepper = \"file:pepper\"\n");
    desk.write("pepper", "Jefe\n");
    let (old, key) = (fresh(), fresh());
    desk.write("keys.toml", &format!("[[key]]\nid = \"old\"\nhash = \"{}\"\n", hash(&old)));
    let text = format!("a:{key}\nb:{old}\n");
    let answer = desk.imported("htpasswd", &text, &[&old, &key]);
    assert_eq!(answer.out, "imported 1 key, 1 is there already\n");
    assert!(desk.field(1, "hash").starts_with("hmac-sha256:"));
    assert_eq!(desk.identify(&key).out, "a active\n");
    assert_eq!(desk.imported("htpasswd", &text, &[&key]).out, "nothing to import, 2 are there already\n");
    std::fs::remove_file(desk.folder.path().join("pepper")).expect("it is there");
    assert!(desk.import("htpasswd", &text, &[], &[&key]).err.contains("pepper"));
}

#[test]
fn programs_read_json() {
    let desk = Desk::new();
    let (a, b) = (fresh(), fresh());
    let text = format!("id,key,owner,expires,team\nA,{a},Ann,2027-01-01,x\nb,{b},,soon,\nb,,,,\n");
    let answer = desk.import("csv", &text, &["--json", "--dry-run"], &[&a, &b]);
    assert_eq!((answer.code, answer.err.as_str()), (1, "error: 2 keys could not be imported\n"));
    let report: Value = serde_json::from_str(&answer.out).expect("JSON");
    let file = desk.folder.path().join("old").display().to_string();
    assert_eq!(
        report,
        serde_json::json!({
            "format": "csv", "file": file, "dry_run": true, "imported": 1, "present": 0, "refused": 2,
            "keys": [
                {
                    "place": "line 2", "name": "`A`", "result": "imported", "id": "a", "owner": "Ann",
                    "expires": "2027-01-01T00:00:00Z", "notes": ["its id is \"a\" here"],
                },
                {
                    "place": "line 3", "name": "`b`", "result": "refused", "notes": [],
                    "reason": "its expiry is no time, as 2027-01-01 or 2027-01-01T12:00:00Z",
                },
                {
                    "place": "line 4", "name": "`b`", "result": "refused", "notes": [],
                    "reason": "no gateway takes its key: it is empty",
                },
            ],
            "notes": [{ "place": "line 1", "text": "the column `team` is not carried over" }],
        })
    );
}

#[test]
fn stdin_is_a_file_too() {
    let desk = Desk::new();
    let key = fresh();
    let answer = desk.run_with(&["import", "htpasswd", "-"], &format!("a:{key}\nb\n"));
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 1 key, 1 could not be imported\n"));
    assert!(answer.err.starts_with("stdin:2: "), "{}", answer.err);
    assert_eq!(desk.identify(&key).out, "a active\n");
    assert_eq!(desk.run_with(&["import", "fastapi-simple-security", "-"], "SQLite format 3\0...").code, 2);
}

#[test]
fn a_file_of_something_else_is_refused_as_a_whole() {
    let desk = Desk::new();
    for (format, text, why) in [
        ("csv", "", "no columns `id` and `key`"),
        ("csv", "id,key\n", "there is no key in it"),
        ("csv", "SQLite format 3\0", "it is a SQLite file, and not csv"),
        ("htpasswd", "\n# nobody\n", "there is no key in it"),
        ("kong", "consumers: [", "it is not YAML"),
        ("kong", "_format_version: \"3.0\"\n", "there is no key in it"),
        ("apisix", "routes: []\n#END\n", "there is no key in it"),
        ("envoy", "static_resources: {}\n", "there is no key in it"),
        ("nginx-map", "map $http_x_key $id {\n \"a", "old:2: a quote is not closed"),
        ("fastapi-simple-security", "", "there is no key in it"),
    ] {
        let answer = desk.import(format, text, &[], &[]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""), "{format}");
        assert!(answer.err.contains(why), "{format}: {}", answer.err);
    }
    desk.refused(&["import", "csv", "/no/such/file"], 1);
    desk.write("old", "a:b");
    std::fs::write(desk.folder.path().join("old"), [0xff, 0xfe, b'a', 0]).expect("a scratch file");
    assert!(desk.import_file("csv", &[], &[]).err.contains("UTF-16"));
    // What is not UTF-8 stands in nobody's way.
    let key = fresh();
    let mut bytes = format!("good:{key}\n").into_bytes();
    bytes.extend(b"\xef\xbb\xbf# no mark here\nbad:0123456789\xff0123456789\nBj\xf6rn:0123456789abcdef\n");
    std::fs::write(desk.folder.path().join("old"), bytes).expect("a scratch file");
    let answer = desk.import_file("htpasswd", &[], &[&key]);
    assert_eq!((answer.code, answer.out.as_str()), (1, "imported 2 keys, 2 could not be imported\n"), "{}", answer.err);
    assert_eq!(desk.field(1, "id"), "bj-rn");
}

#[test]
fn a_file_that_is_broken_is_not_made_worse() {
    let desk = Desk::with_keys("[[key]]\nid = \"a\n");
    let key = fresh();
    for flags in [&[][..], &["--dry-run"]] {
        let answer = desk.import("htpasswd", &format!("a:{key}\n"), flags, &[&key]);
        assert_eq!((answer.code, answer.out.as_str()), (1, ""));
        assert!(answer.err.contains("keys.toml:2:"), "{}", answer.err);
    }
    assert_eq!(desk.keys(), "[[key]]\nid = \"a\n");
}

#[test]
fn many_keys_are_one_edit() {
    let desk = Desk::with_keys("# ours\n");
    let mut text = String::from("id,key\n");
    let keys: Vec<_> = (0..5_000).map(|_| fresh()).collect();
    for key in &keys {
        writeln!(text, "same name,{key}").expect("a String");
    }
    assert_eq!(desk.imported("csv", &text, &[&keys[17]]).out, "imported 5000 keys\n");
    assert_eq!(desk.keys().matches("[[key]]").count(), 5_000);
    assert_eq!(desk.identify(&keys[4_999]).out, "same-name-5000 active\n");
    desk.clock.advance(DAY);
    assert_eq!(desk.imported("csv", &text, &[]).out, "nothing to import, 5000 are there already\n");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_panics(text in "([a-z\"':;,#{}\\[\\]~ -]|\n|consumers:\n- |credentials:\n- |key: |map \\$key \\$x \\{|é){0,40}") {
        let desk = Desk::new();
        for format in ["csv", "htpasswd", "kong", "apisix", "envoy", "nginx-map", "fastapi-simple-security"] {
            let answer = desk.run_with(&["import", format, "-", "--dry-run"], &text);
            proptest::prop_assert!(answer.code <= 1, "{}", answer.err);
        }
    }
}
