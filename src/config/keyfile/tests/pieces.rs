//! A file read in pieces, or again after a change, is what it is as a whole.

use proptest::collection::vec;
use proptest::sample::{Index, select};

use super::*;
use crate::config::keyfile::interner::Interner;
use crate::config::keyfile::parse::parse_whole;
use crate::config::keyfile::plain::plain;

/// What files are made of here: entries, and whatever may deceive somebody who cuts at `[[key]]`.
const PARTS: [&str; 44] = [
    "[[key]]\n",
    "[[key]]\n",
    "[[key]]\n",
    "[[key]] # one\r\n",
    " [[key]]\n",
    "[[ key ]]\n",
    "[[\"key\"]]\n",
    "[[key]]x\n",
    "[[key]",
    "[key]\n",
    "[[keys]]\n",
    "[[key.previous]]\n",
    "[key.meta]\n",
    "[key.meta]\ntenant = \"acme\"\n",
    "[other]\n",
    "key = []\n",
    "key = [{ id = \"inline\", hash = \"sha256:00000000000000000000000000000000000000000000000000000000000000ff\" }]\n",
    "id = \"a\"\n",
    "id = \"b\"\r\n",
    "id = 'c'\n",
    "id = \"B\"\n",
    "\"id\" = \"\\u0064\"\n",
    "id = 7\n",
    "hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000001\"\n",
    "hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000002\" # two\n",
    "hash = \"hmac-sha256:0000000000000000000000000000000000000000000000000000000000000001\"\n",
    "previous = [{ hash = \"sha256:0000000000000000000000000000000000000000000000000000000000000002\", until = 2027-01-01T00:00:00Z }]\n",
    "until = 2027-01-01T00:00:00Z\n",
    "owner = \"payments team\"\n",
    "owner = \"überall\"\n",
    "onwer = \"x\"\n",
    "plan = \"gold\"\nlimits = [\"100/s burst 200\", \"5/m\"]\n",
    "limits = [\n  \"1/s\", # [[key]]\n",
    "]\n",
    "roles = [\"a\", \"b\"]\n",
    "note = \"\"\"\n",
    "note = '''\n",
    "\"\"\"\n",
    "'''\n",
    "expires = 2027-01-01T00:00:00Z\nnot_before = 2028-02-30T00:00:00Z\n",
    "not_before = 2028-01-01T00:00:00Z\nexpires = 2027-01-01T00:00:00Z\n",
    "state = \"revoked\"\nstate_changed = 2026-01-01T00:00:00+01:00\n",
    "# [[key]]\n\n",
    "\u{feff}",
];

/// All that can be known of a file that was read.
fn known((keys, report): &(KeyFile, Report)) -> impl PartialEq + std::fmt::Debug + use<> {
    let specs: Vec<String> = keys.keys.iter().map(|key| shown(key)).collect();
    let bad: Vec<_> = keys
        .quarantined
        .iter()
        .map(|bad| (bad.id.clone(), bad.hashes.iter().map(hex).collect::<Vec<_>>(), bad.problem.clone()))
        .collect();
    (specs, keys.places.clone(), bad, told(report))
}

fn told(report: &Report) -> (String, String, Vec<Option<std::ops::Range<usize>>>) {
    let spans = report.diagnostics().iter().map(|it| it.span.clone()).collect();
    (report.render(false), report.to_json().to_string(), spans)
}

/// The digest and its scheme. Only here may they be shown: these are nobody's.
fn hex(hash: &StoredHash) -> (bool, [u8; 32]) {
    match hash {
        StoredHash::Sha256(digest) => (false, *digest.as_bytes()),
        StoredHash::HmacSha256(digest) => (true, *digest.as_bytes()),
    }
}

fn shown(key: &KeySpec) -> String {
    let KeySpec { id, hash, owner, created, expires, not_before, state, plan, limits, roles, previous, .. } = key;
    let previous: Vec<_> = previous.iter().map(|old| (hex(&old.hash), old.until)).collect();
    let remarks = (key.note(), key.reason(), key.state_changed(), key.meta().collect::<Vec<_>>());
    let hash = hex(hash);
    format!(
        "{id} {hash:?} {owner} {created:?} {expires:?} {not_before:?} {state:?} {plan:?} {limits:?} {roles:?} \
         {previous:?} {remarks:?}"
    )
}

fn assert_same(text: &str, before: &KeyFile) {
    let source = file(text);
    let pieces = parse_again(&source, before).as_ref().map(known).map_err(told);
    let whole = parse_whole(&source).as_ref().map(known).map_err(told);
    assert_eq!(pieces, whole, "{text}");
}

#[test]
fn a_plain_file_is_read_in_pieces() {
    let texts = [
        "# keys\n\n[[key]]\nid = \"a\"\n".to_owned(),
        format!("{}{}", entry("a", 1, ""), entry("b", 2, "[key.meta]\na = \"b\"")),
        entry("a", 1, "limits = [\n  \"1/s\",\n]\nnote = '''\nx\n'''"),
    ];
    for text in texts {
        let (keys, _) = read(&text);
        assert_eq!(keys.keys.len(), keys.texts.iter().flatten().count(), "{text}");
        assert_same(&text, &KeyFile::default());
    }
}

/// The settings that are read without a tree, as people write them.
const SETTINGS: &str = "owner = \"team, 1\"\nplan = \"gold\"\n\tcreated=2026-11-21T10:00:00Z \nexpires = 2027-02-19T00:00:00Z\n\
     # until\tthen\nnot_before = 2026-12-01T00:00:00Z\nstate = \"disabled\"\r\nlimits = [ \"100/s burst 200\" , \"5/m\" ]\nroles = []\n";

fn is_plain(text: &str) -> bool {
    plain(text, &mut Interner::default()).is_some()
}

#[test]
fn plain_entries_are_read_without_a_tree_and_no_others() {
    assert!(is_plain(&entry("a", 1, "")) && is_plain(&entry("a", 1, SETTINGS)));
    assert_same(&entry("a", 1, SETTINGS), &KeyFile::default());
    for more in [
        "id = \"b\"",
        "note = \"n\"",
        "owner = 'o'",
        "owner = \"\\u0041\"",
        "owner = \"ü\"",
        "owner = \"o\" # o",
        "owner = \"\"\"\"\"\"",
        "\"owner\" = \"o\"",
        "owner.x = \"o\"",
        "owner = ",
        "owner = \"a\tb\"",
        "# \u{1}",
        "# \rx",
        "\u{c}",
        "limits = [\"1/s\", \"1/s\"]",
        "limits = [\"1/s\",]",
        "limits = [\"1/s\" \"2/s\"]",
        "limits = [\"1/s\", , \"2/s\"]",
        "limits = \"1/s\"",
        "limits = [\"x\"]",
        "roles = [\"a\\,b\"]",
        "roles = [\"\"]",
        "plan = \"\"",
        "state = \"on\"",
        "expires = 2027-02-30T00:00:00Z",
        "expires = 2027-02-19T24:00:00Z",
        "expires = 2027-02-19T00:00:00+01:00",
        "expires = 2020-01-01T00:00:00Z\nnot_before = 2020-01-01T00:00:00Z",
        "[key.meta]",
    ] {
        let text = entry("a", 1, more);
        assert!(!is_plain(&text), "{more}");
        assert_same(&text, &KeyFile::default());
    }
    let seventeen: Vec<String> = (1..18).map(|n| format!("\"{n}/s\"")).collect();
    assert!(!is_plain(&entry("a", 1, &format!("limits = [{}]", seventeen.join(", ")))));
}

#[test]
fn what_only_the_whole_file_tells_is_told() {
    let two = format!("{}{}", entry("a", 1, ""), entry("b", 2, ""));
    for text in [
        // The header stands inside a string.
        entry("a", 1, &format!("note = \"\"\"\n{}\"\"\"", entry("x", 3, ""))),
        entry("a", 1, &format!("note = '''\n{}'''", entry("x", 3, ""))),
        // The header stands inside an array: of numbers, were it not for its name.
        entry("a", 1, "limits = [\n[[key]]\n]"),
        format!("key = []\n{two}"),
        format!("{two}[other]\nx = 1\n"),
        format!("{two}[key]\n"),
        format!("x = 1\n{two}"),
        format!("\u{feff}{two}"),
        format!("{two}[[key]]\nid = \"c"),
        format!("{two} [[key]]\nid = \"c\"\n"),
    ] {
        assert_same(&text, &KeyFile::default());
        assert_same(&text, &read(&two).0);
    }
}

#[test]
fn an_entry_whose_text_has_not_changed_is_the_same_one() {
    let lines = |numbers: &mut dyn Iterator<Item = usize>| -> String {
        numbers.map(|n| entry(&format!("key-{n}"), n, "limits = [\"1/s\"]")).collect()
    };
    let (before, _) = read(&lines(&mut (0..400)));
    let same = |text: &str| {
        let (after, _) = parse_again(&file(text), &before).unwrap_or_else(|report| panic!("{report:?}"));
        assert_same(text, &before);
        after.keys.iter().filter(|key| before.keys.iter().any(|old| Arc::ptr_eq(old, key))).count()
    };
    assert_eq!(same(&lines(&mut (0..400))), 400);
    assert_eq!(same(&lines(&mut (1..400))), 399, "one is gone");
    assert_eq!(same(&lines(&mut (0..401))), 400, "one is new");
    assert_eq!(same(&lines(&mut (0..400)).replace("\"key-7\"", "\"key-seven\"")), 399, "one has changed");
    assert_eq!(same(&lines(&mut (0..400)).replace("\"1/s\"", "\"2/s\"")), 0, "all have");
    assert!(same(&lines(&mut (0..400).rev())) > 300, "they have changed places");
    assert_eq!(same(&format!("{}{}", lines(&mut (0..400)), entry("twin", 7, ""))), 399, "one has a twin");
    // Of one there is something to say: it is read again, and it is said again.
    let odd = entry("odd", 999, "not_before = 2027-01-01T00:00:00Z\nexpires = 2026-01-01T00:00:00Z");
    let (before, _) = read(&odd);
    let (_, report) = parse_again(&file(&odd), &before).unwrap_or_else(|report| panic!("{report:?}"));
    assert_eq!(codes(&report), ["never-valid"]);
}

#[test]
fn equal_files_and_only_they_have_one_digest() {
    let text = format!("# keys\n{}{}", entry("a", 1, ""), entry("b", 2, ""));
    let digest = |text: &str| read(text).0.digest;
    assert!(digest(&text) == digest(&text));
    let (before, _) = read(&text);
    assert!(parse_again(&file(&text), &before).is_ok_and(|(keys, _)| keys.digest == before.digest));
    for other in [text.replace("# keys", "# key"), format!("{text}\n"), text.replace("\"b\"", "\"c\""), String::new()] {
        assert!(digest(&other) != before.digest, "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn pieces_are_the_whole(
        parts in vec(select(PARTS.as_slice()), 0..14),
        others in vec(select(PARTS.as_slice()), 0..8),
        edits in vec((any::<Index>(), 0usize..6, "[\\[\\]{}=\"'\n\r#.,a-z0-9 é-]{0,4}"), 0..3),
    ) {
        let mut text = parts.concat();
        let (before, _) = parse(&file(&(parts[..parts.len() / 2].concat() + &others.concat()))).unwrap_or_default();
        for (at, len, insert) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((start + len).min(text.len()));
            text.replace_range(start..end.max(start), &insert);
        }
        assert_same(&text, &KeyFile::default());
        assert_same(&text, &before);
    }

    #[test]
    fn what_is_nearly_plain_is_the_whole(
        edits in vec((any::<Index>(), 0usize..3, "[\\[\\]=\"'\\\\\n\r\t\u{c}\u{7f}#,.:TZtz0-9ae é-]{0,2}"), 1..4),
    ) {
        let mut text = entry("a", 1, SETTINGS);
        for (at, len, insert) in edits {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((start + len).min(text.len()));
            text.replace_range(start..end.max(start), &insert);
        }
        assert_same(&text, &KeyFile::default());
    }

    #[test]
    fn entries_side_by_side_are_the_whole(
        entries in vec((0usize..6, 0usize..9, vec(select(&PARTS[26..]), 0..3)), 0..7),
        changed in any::<Index>(),
    ) {
        let mut texts: Vec<String> =
            entries.iter().map(|(id, n, more)| entry(&format!("key-{id}"), *n, &more.concat())).collect();
        let (before, _) = parse(&file(&texts.concat())).unwrap_or_default();
        assert_same(&texts.concat(), &before);
        if !texts.is_empty() {
            let at = changed.index(texts.len());
            texts[at] = texts[at].replace("owner", "note");
        }
        assert_same(&texts.concat(), &before);
    }
}
