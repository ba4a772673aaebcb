//! Good files, entries quarantined on their own, files refused as a whole.

mod cross;
mod pieces;

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostics::{Report, Severity};
use crate::config::source::SourceFile;

const PLAIN: &str = "kw_4fTq0zXhJ2Lr8vWbNc6YdKmPs9GuEaRoTi1xQ7BnHfZ0aB3dE";
const EXAMPLE: &str = include_str!("../../../config/keys.toml");

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("keys.toml", text))
}

fn read(text: &str) -> (KeyFile, Report) {
    parse(&file(text)).unwrap_or_else(|report| panic!("{report:?}\n{text}"))
}

fn hash(n: usize) -> String {
    format!("sha256:{n:064x}")
}

fn entry(id: &str, n: usize, more: &str) -> String {
    format!("[[key]]\nid = \"{id}\"\nhash = \"{}\"\n{more}\n", hash(n))
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.diagnostics().iter().map(|it| it.code).collect()
}

/// `more` makes an entry bad on its own, with this code, and leaves the one beside it alone.
#[track_caller]
fn quarantined(more: &[&str], code: &str) {
    for more in more {
        let (keys, report) = read(&format!("{}{}", entry("a", 1, more), entry("b", 2, "")));
        assert_eq!(codes(&report), [code], "{more}");
        assert!(!report.has_errors());
        assert_eq!(keys.keys.len(), 1, "{more}");
        let [bad] = keys.quarantined.as_slice() else {
            panic!("{more}");
        };
        assert_eq!(bad.id.as_deref(), Some("a"));
        assert!(bad.hashes.contains(&StoredHash::parse(&hash(1)).expect("a hash")));
        assert!(bad.problem.starts_with("keys.toml:"), "{}", bad.problem);
    }
}

#[test]
fn all_fields() {
    let (keys, report) = read(&entry(
        "billing",
        1,
        &format!(
            "owner = \"payments team\"\nnote = \"n\"\ncreated = 2026-11-21T10:00:00Z\nexpires = 2027-02-19T00:00:00+01:00\n\
             not_before = 2026-12-01 00:00:00.5Z\nstate = \"honey\"\nreason = \"r\"\nstate_changed = 2026-11-21T10:00:00Z\n\
             plan = \"gold\"\nlimits = [\"100/s burst 200\"]\nroles = [\"orders:read\", \"b\"]\nmode = \"enforce\"\n\
             previous = [{{ hash = \"{}\", until = 2026-11-22T10:00:00Z }}]\nmeta = {{ tenant = \"acme\" }}\n",
            hash(2).to_uppercase().replace("SHA", "sha")
        ),
    ));
    assert!(report.is_empty(), "{report:?}");
    let key = &keys.keys[0];
    assert_eq!(&*key.id, "billing");
    assert!(key.hash == StoredHash::parse(&hash(1)).expect("a hash"));
    assert_eq!(&*key.owner, "payments team");
    assert_eq!(key.created.map(|at| at.to_string()).as_deref(), Some("2026-11-21T10:00:00Z"));
    assert_eq!(key.expires.map(|at| at.to_string()).as_deref(), Some("2027-02-18T23:00:00Z"));
    assert_eq!(key.not_before.map(|at| at.to_string()).as_deref(), Some("2026-12-01T00:00:00.5Z"));
    assert_eq!(key.state, KeyState::Honey);
    assert_eq!(key.plan.as_deref(), Some("gold"));
    assert_eq!(key.limits.as_ref().map(|limits| limits.len()), Some(1));
    assert_eq!(key.roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["orders:read", "b"]);
    assert_eq!(key.previous.len(), 1);
    assert_eq!(key.meta().collect::<Vec<_>>(), [("tenant", "acme")]);
    assert_eq!((key.note(), key.reason()), ("n", "r"));
}

#[test]
fn empty_files_are_good() {
    for text in ["", "# nothing\n", "key = []\n", EXAMPLE] {
        let (keys, report) = read(text);
        assert!(keys.keys.is_empty() && keys.quarantined.is_empty() && report.is_empty());
    }
}

#[test]
fn the_example_entry_is_good() {
    let mut text: String = EXAMPLE
        .lines()
        .skip_while(|line| *line != "# [[key]]")
        .filter_map(|line| line.strip_prefix("# "))
        .map(|line| format!("{line}\n"))
        .collect();
    for n in 1..=2 {
        text = text.replacen("sha256:<64 hex>\"", &format!("{}\"", hash(n)), 1);
        // The first line names the other scheme in its comment.
        text = text.replacen("\"hmac-sha256:<64 hex>\"", "", 1);
    }
    let (keys, report) = read(&text);
    assert!(report.is_empty(), "{report:?}");
    assert_eq!(keys.keys[0].previous.len(), 1);
    assert_eq!(keys.keys[0].reason(), "");
}

#[test]
fn what_is_no_list_of_keys_is_refused_as_a_whole() {
    for (text, code) in [
        ("[[key]\nid = 1", "syntax"),
        ("[[key]]\nid = \"a", "syntax"),
        ("keys = []", "unknown-key"),
        ("[[keys]]\nid = \"a\"", "unknown-key"),
        ("[key]\nid = \"a\"", "wrong-type"),
        ("key = [1]", "wrong-type"),
        ("key = \"a\"", "wrong-type"),
    ] {
        let report = parse(&file(text)).err().expect(text);
        assert_eq!(codes(&report), [code], "{text}");
        assert!(report.has_errors());
    }
}

#[test]
fn an_entry_that_is_wrong_on_its_own_is_quarantined() {
    quarantined(&["onwer = \"x\""], "unknown-key");
    quarantined(&["owner = 1", "roles = \"a\"", "meta = { a = 1 }", "expires = 5"], "wrong-type");
    quarantined(
        &[
            "owner = \"a\\nb\"",
            "roles = [\"a,b\"]",
            "roles = [\"\"]",
            "state = \"on\"",
            "limits = [\"x\"]",
            "plan = \"\"",
        ],
        "invalid-value",
    );
    quarantined(
        &[
            "expires = 2027-01-01",
            "expires = 2027-01-01T00:00:00",
            "expires = 07:32:00",
            "expires = \"2027-01-01T00:00:00Z\"",
        ],
        "invalid-time",
    );
    quarantined(&["previous = [{ until = 2027-01-01T00:00:00Z }]"], "missing-key");
    quarantined(&[&format!("previous = [{{ hash = \"{}\" }}]", hash(9))], "missing-key");
    quarantined(&["previous = [{ hash = \"x\", until = 2027-01-01T00:00:00Z }]"], "invalid-hash");
    quarantined(
        &[
            "quota = \"1/year\"",
            "quota = \"0/day\"",
            "concurrency = 0",
            "routes = []",
            "methods = [\"get\"]",
            "paths = [\"v1\"]",
            "networks = []",
            "networks = [\"10.0.0.1/8\"]",
            "mode = \"off\"",
        ],
        "invalid-value",
    );
}

#[test]
fn ids_and_hashes() {
    let long = "a".repeat(64);
    for id in ["", "A", "-a", ".a", "a b", "ä", long.as_str()] {
        let (keys, report) = read(&entry(id, 1, ""));
        assert_eq!(codes(&report), ["invalid-value"], "{id}");
        assert_eq!(keys.quarantined[0].id, None);
        assert_eq!(keys.quarantined[0].hashes.len(), 1);
    }
    for id in ["a", "0", "a.b_c-d", &long[..63]] {
        assert_eq!(read(&entry(id, 1, "")).0.keys.len(), 1, "{id}");
    }
    let hex = "0".repeat(64);
    for text in ["", "x", &hex, &format!("md5:{hex}"), &format!("sha256:{hex}0"), PLAIN] {
        let (keys, report) = read(&format!("[[key]]\nid = \"a\"\nhash = \"{text}\"\n"));
        assert_eq!(codes(&report), ["invalid-hash"]);
        assert!(keys.quarantined[0].hashes.is_empty());
    }
    assert_eq!(codes(&read("[[key]]\n").1), ["missing-key", "missing-key"]);
}

#[test]
fn twins_are_both_quarantined() {
    let text = format!("{}{}{}{}", entry("a", 1, ""), entry("b", 1, ""), entry("a", 2, ""), entry("c", 3, ""));
    let (keys, report) = read(&text);
    assert_eq!(keys.keys.len(), 1);
    assert_eq!(keys.quarantined.len(), 3);
    assert_eq!(report.count(Severity::Warning), 4);

    let previous = |n| format!("previous = [{{ hash = \"{}\", until = 2027-01-01T00:00:00Z }}]", hash(n));
    let (keys, report) = read(&format!("{}{}", entry("a", 1, &previous(2)), entry("b", 2, "")));
    assert_eq!(keys.quarantined.len(), 2);
    assert_eq!(codes(&report), ["duplicate-hash", "duplicate-hash"]);

    let (keys, _) = read(&entry("a", 1, &previous(1)));
    assert_eq!(keys.quarantined.len(), 1);

    let (keys, _) = read(&format!("{}{}", entry("a", 1, "state = 1"), entry("b", 1, "")));
    assert_eq!(keys.quarantined.len(), 2, "the twin of a bad entry is no better");

    let hmac = entry("b", 1, "").replace("sha256", "hmac-sha256");
    let (keys, _) = read(&format!("{}{hmac}", entry("a", 1, "")));
    assert_eq!(keys.keys.len(), 2, "different schemes, different hashes");
}

#[test]
fn a_key_that_is_never_good_is_only_warned_of() {
    let more = "not_before = 2027-01-01T00:00:00Z\nexpires = 2026-01-01T00:00:00Z";
    let (keys, report) = read(&entry("a", 1, more));
    assert_eq!((keys.keys.len(), codes(&report)), (1, vec!["never-valid"]));
}

#[test]
fn a_pasted_key_is_not_repeated() {
    let text = format!(
        "[[key]]\nid = \"a\"\nhash = \"{PLAIN}\"\n[[key]]\nid = \"b\"\nkey = \"hunter2\"\nhash = \"{}\"\n",
        &hash(1)[7..]
    );
    let (keys, report) = read(&text);
    let out = report.render(false);
    let all = format!("{out}{report:?}{}{}", report.to_json(), keys.quarantined[0].problem);
    for secret in [&PLAIN[..8], &PLAIN[20..28], "hunter2", "00000000"] {
        assert!(!all.contains(secret), "{all}");
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_duplicate_hash() {
    let (_, report) = read(&format!("{}{}", entry("a", 1, ""), entry("b", 1, "")));
    insta::assert_snapshot!(report.render(false));
}

#[test]
fn a_local_time() {
    let (_, report) = read(&entry("a", 1, "expires = 2027-01-01\n"));
    insta::assert_snapshot!(report.render(false));
}

#[test]
fn a_hundred_thousand_twins_are_found_without_comparing_each_with_all() {
    let text: String =
        (0..50_000).map(|n| entry(&format!("key-{n}"), n, "owner = \"o\"\ncreated = 2026-11-21T10:00:00Z")).collect();
    let twins = text.replace("key-", "twin-");
    let source = file(&format!("{text}{twins}"));
    let (keys, report) = parse(&source).expect("a good file");
    assert_eq!((keys.keys.len(), keys.quarantined.len()), (0, 100_000));
    assert_eq!(report.count(Severity::Warning), 100_000);
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = parse(&file(&text));
    }

    #[test]
    fn no_mutation_panics_or_shows_the_canary(
        cut in 0usize..400,
        len in 0usize..40,
        insert in "[\\[\\]{}=\"'\n#.,a-z0-9 é-]{0,12}",
    ) {
        let text = format!(
            "{}[[key]]\nid = \"b\"\nhash = \"{PLAIN}\"\nprevious = [{{ hash = \"{PLAIN}\", until = 2027-01-01T00:00:00Z }}]\n\
             meta = {{ a = \"b\" }}\nexpires = 2027-01-01T00:00:00Z\nlimits = [\"1/s\"]\n# {PLAIN}\n",
            entry("a", 1, ""),
        );
        let cut = cut.min(text.len());
        let end = (cut + len).min(text.len());
        let text = format!("{}{insert}{}", &text[..cut], &text[end..]);
        let (out, problems) = match parse(&file(&text)) {
            Ok((keys, report)) => (report, keys.quarantined.into_iter().map(|it| it.problem).collect()),
            Err(report) => (report, String::new()),
        };
        let out = format!("{}{}{out:?}{problems}", out.render(false), out.to_json());
        // Any eight characters of the key would do harm, unless the cut left no more than a few.
        for at in (3..PLAIN.len() - 16).step_by(4) {
            prop_assert!(!out.contains(&PLAIN[at..at + 16]), "{}", out);
        }
    }
}
