//! `keyward key …`: keys made, listed, turned off and rotated, in a file that people also edit.

use std::fs;
use std::path::Path;
use std::thread;

use serde_json::Value;

use crate::harness::{Key, Ran, Setup, Upstream, base62_crc, eventually, keyward, keyward_with};

fn folder(keys: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.toml"), keys).unwrap();
    dir
}

fn key(dir: &Path, args: &[&str]) -> Ran {
    let mut all = vec!["key"];
    all.extend(args);
    all.extend(["--keys", "keys.toml"]);
    keyward(dir, &all)
}

fn text(dir: &Path) -> String {
    fs::read_to_string(dir.join("keys.toml")).unwrap()
}

/// Makes a key by the command, known from then on as a secret that nothing may print.
fn new(dir: &Path, args: &[&str]) -> Key {
    let mut all = vec!["new"];
    all.extend(args);
    Key::from_text(key(dir, &all).ok().stdout.trim_end())
}

#[test]
fn new_prints_the_key_once_and_stores_only_its_hash() {
    let dir = folder("");
    let ran = key(dir.path(), &["new", "billing"]).ok();
    assert_eq!(ran.stdout.lines().count(), 1, "nothing else on stdout: {ran:?}");
    let printed = ran.stdout.strip_suffix('\n').unwrap();
    let random = printed.strip_prefix("kw_").unwrap_or_else(|| panic!("{printed}"));
    assert!(random.len() == 49 && random.bytes().all(|b| b.is_ascii_alphanumeric()), "{printed}");
    assert_eq!(&random[43..], base62_crc(&random[..43]), "the checksum");
    let made = Key::from_text(printed);
    let file = text(dir.path());
    assert!(file.contains(&made.hash()) && !file.contains(made.secret().unwrap()), "{file}");
    assert!(!ran.stderr.contains(made.secret().unwrap()));
    assert!(file.contains("created = "), "{file}");
    assert_ne!(new(dir.path(), &["second"]).text, made.text);
}

#[test]
fn an_id_is_used_once_and_has_a_form() {
    let dir = folder("");
    new(dir.path(), &["billing"]);
    let before = text(dir.path());
    assert_ne!(key(dir.path(), &["new", "billing"]).code, 0);
    for id in ["Billing", "-x", "a b", "", &"x".repeat(64)] {
        let ran = key(dir.path(), &["new", id]);
        assert!(ran.code == 1 || ran.code == 2, "{id}: {ran:?}");
        assert_eq!(ran.stdout, "", "{id}");
    }
    assert_eq!(text(dir.path()), before);
}

#[test]
fn flags_mirror_the_fields() {
    let dir = folder("");
    let flags = [
        "full",
        "--owner",
        "payments team",
        "--note",
        "n \"quoted\"",
        "--limit",
        "100/s burst 200",
        "--limit",
        "5000/h",
        "--expires",
        "2097-01-01",
        "--not-before",
        "2026-01-01",
        "--meta",
        "tenant=acme",
    ];
    new(dir.path(), &flags);
    let shown: Value = serde_json::from_str(&key(dir.path(), &["show", "full", "--json"]).ok().stdout).unwrap();
    let flat = shown.to_string();
    for value in ["payments team", "n \\\"quoted\\\"", "100/s burst 200", "5000/h", "2097-01-01", "2026-01-01", "acme"]
    {
        assert!(flat.contains(value), "{value} in {flat}");
    }
    new(dir.path(), &["ninety", "--expires", "90d"]);
    let day = (jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 90)).to_string();
    assert!(text(dir.path()).contains(&day[..10]), "90 days from now:\n{}", text(dir.path()));
    new(dir.path(), &["never", "--expires", "never"]);
    for bad in [["--limit", "lots"], ["--expires", "soon"], ["--meta", "novalue"]] {
        let ran = key(dir.path(), &["new", "bad", bad[0], bad[1]]);
        assert!(ran.code == 1 || ran.code == 2, "{bad:?}: {ran:?}");
    }
    assert!(!text(dir.path()).contains("\"bad\""));
}

#[test]
fn list_and_show_never_show_a_hash() {
    let dir = folder("");
    let made = new(dir.path(), &["one", "--owner", "o"]);
    new(dir.path(), &["two"]);
    for args in [vec!["list"], vec!["list", "--json"], vec!["show", "one"], vec!["show", "one", "--json"]] {
        let ran = key(dir.path(), &args).ok();
        assert!(ran.stdout.contains("one"), "{args:?}: {ran:?}");
        assert!(!ran.all().contains(&made.digest_hex()) && !ran.all().contains("sha256:"), "{args:?}: {ran:?}");
    }
    let listed: Value = serde_json::from_str(&key(dir.path(), &["list", "--json"]).ok().stdout).unwrap();
    assert!(listed.to_string().contains("\"two\""));
    key(dir.path(), &["show", "nobody"]).exits(1);
}

#[test]
fn states_are_changed_and_kept_as_tombstones() {
    let dir = folder("");
    new(dir.path(), &["k"]);
    key(dir.path(), &["disable", "k"]).ok();
    assert!(text(dir.path()).contains("state = \"disabled\""));
    key(dir.path(), &["enable", "k"]).ok();
    assert!(!text(dir.path()).contains("state = \"disabled\""));
    key(dir.path(), &["revoke", "k", "--reason", "left the team"]).ok();
    let file = text(dir.path());
    for piece in ["id = \"k\"", "state = \"revoked\"", "reason = \"left the team\"", "state_changed = "] {
        assert!(file.contains(piece), "{piece} in\n{file}");
    }
    for forbidden in [vec!["enable", "k"], vec!["renew", "k", "--expires", "90d"]] {
        assert_eq!(key(dir.path(), &forbidden).code, 1, "{forbidden:?}: a revoked key stays revoked");
    }
    new(dir.path(), &["leaked"]);
    key(dir.path(), &["compromised", "leaked"]).ok();
    assert!(text(dir.path()).contains("state = \"compromised\""));
    assert_eq!(key(dir.path(), &["renew", "leaked", "--expires", "90d"]).code, 1);
    for verb in ["revoke", "disable", "enable", "compromised", "renew", "rotate"] {
        key(dir.path(), &[verb, "nobody"]).exits(1);
    }
}

#[test]
fn renew_gives_a_new_expiry_and_wakes_a_disabled_key() {
    let dir = folder("");
    new(dir.path(), &["k", "--expires", "2027-01-01"]);
    key(dir.path(), &["disable", "k"]).ok();
    key(dir.path(), &["renew", "k", "--expires", "2098-05-06"]).ok();
    let file = text(dir.path());
    assert!(file.contains("2098-05-06") && !file.contains("2027-01-01") && !file.contains("\"disabled\""), "{file}");
}

#[test]
fn rotate_makes_a_new_secret_and_gives_the_old_one_grace() {
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, "", "").start();
    let dir = gateway.dir.path();
    let old = new(dir, &["k", "--owner", "o"]);
    eventually("the key", || (gateway.get("/").bearer(&old).send().status == 200).then_some(()));
    let second = Key::from_text(key(dir, &["rotate", "k", "--grace", "24h"]).ok().stdout.trim_end());
    eventually("the second key", || (gateway.get("/").bearer(&second).send().status == 200).then_some(()));
    assert_eq!(gateway.line_of(&gateway.get("/").bearer(&old).send())["key.state"], "grace");
    let third = Key::from_text(key(dir, &["rotate", "k", "--grace", "0"]).ok().stdout.trim_end());
    eventually("the third key", || (gateway.get("/").bearer(&third).send().status == 200).then_some(()));
    let refused = gateway.get("/").bearer(&second).send();
    assert_eq!((refused.status, &gateway.line_of(&refused)["reason"]), (401, &"rotated_out".into()));
    assert!(text(dir).contains("owner = \"o\""));
}

#[test]
fn hash_and_identify_read_the_secret_from_stdin() {
    let dir = folder("");
    let made = new(dir.path(), &["k"]);
    let stdin = format!("{}\n", made.text);
    let hashed = keyward_with(dir.path(), &["key", "hash"], &stdin, &[]).ok();
    assert!(
        hashed.stdout.trim_end().ends_with(&made.digest_hex()) || hashed.stdout.contains(&made.hash()),
        "{hashed:?}"
    );
    let who = keyward_with(dir.path(), &["key", "identify", "--keys", "keys.toml"], &stdin, &[]).ok();
    assert!(who.stdout.contains('k') && !who.stdout.contains(made.secret().unwrap()), "{who:?}");
    let unknown = format!("{}\n", Key::new().text);
    keyward_with(dir.path(), &["key", "identify", "--keys", "keys.toml"], &unknown, &[]).exits(1);
    keyward_with(dir.path(), &["key", "hash"], "", &[]);
    // A secret is never taken from the arguments.
    let ran = keyward(dir.path(), &["key", "identify", &made.text, "--keys", "keys.toml"]);
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn comments_order_and_formatting_are_kept() {
    let (first, last) = (Key::new(), Key::new());
    let before = format!(
        "# Keys of the shop. Ask Ada before you add one.\n\n[[key]]   # the oldest\nid    = 'first'\nhash  = '{}'\n\
         limits = [ \"5/s\",  # slow on purpose\n  \"100/d\" ]\n\n# Bob's\n[[key]]\nid = \"last\"\nhash = \"{}\"\n# the end\n",
        first.hash(),
        last.hash()
    );
    let dir = folder(&before);
    new(dir.path(), &["added"]);
    key(dir.path(), &["disable", "last"]).ok();
    key(dir.path(), &["enable", "last"]).ok();
    key(dir.path(), &["revoke", "first"]).ok();
    let after = text(dir.path());
    let kept: Vec<&str> = before.lines().filter(|l| !l.is_empty()).collect();
    let mut rest = after.lines();
    for line in kept {
        assert!(rest.any(|l| l == line), "{line:?} is gone or moved:\n{after}");
    }
}

#[test]
fn a_file_that_is_broken_is_not_made_worse() {
    let broken = "[[key]]\nid = \"a\nhash = 1\n";
    let dir = folder(broken);
    let ran = key(dir.path(), &["new", "b"]).exits(1);
    assert!(ran.stdout.is_empty() && ran.stderr.contains("keys.toml:2:"), "{ran:?}");
    assert_eq!(text(dir.path()), broken);
}

#[test]
fn writers_at_the_same_time_lose_nothing() {
    let dir = folder("# kept\n");
    thread::scope(|scope| {
        for writer in 0..6 {
            let here = dir.path();
            scope.spawn(move || {
                for n in 0..4 {
                    let id = format!("w{writer}-{n}");
                    new(here, &[&id]);
                    if n % 2 == 0 {
                        key(here, &["disable", &id]).ok();
                    }
                }
            });
        }
    });
    let file = text(dir.path());
    assert_eq!(file.matches("[[key]]").count(), 24, "{file}");
    assert_eq!(file.matches("state = \"disabled\"").count(), 12, "{file}");
    assert!(file.starts_with("# kept\n"));
    let left: Vec<String> =
        fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|n| n == "keys.toml" || n.contains("lock")), "nothing is left behind: {left:?}");
}

#[test]
fn the_key_file_keeps_its_mode_and_links_stay_links() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let dir = folder("");
    let path = dir.path().join("keys.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    new(dir.path(), &["a"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    fs::rename(&path, dir.path().join("real.toml")).unwrap();
    symlink("real.toml", &path).unwrap();
    new(dir.path(), &["b"]);
    assert!(fs::symlink_metadata(&path).unwrap().is_symlink(), "a link was replaced by a file");
    assert!(fs::read_to_string(dir.path().join("real.toml")).unwrap().contains("\"b\""));
}

#[test]
fn the_configuration_says_where_the_keys_are_and_how_they_are_made() {
    let upstream = Upstream::start();
    let config = "[keys]\nprefix = \"acme\"\nfile = \"secret/our-keys.toml\"\npepper = \"env:PEPPER\"\nexpires_default = \"90d\"\n";
    let setup = Setup::with(&upstream, config, "").env("PEPPER", "a pepper of thirty-two bytes or so");
    fs::create_dir(setup.dir.path().join("secret")).unwrap();
    fs::write(setup.dir.path().join("secret/our-keys.toml"), "").unwrap();
    let gateway = setup.start();
    let env = [("PEPPER", "a pepper of thirty-two bytes or so")];
    let ran = keyward_with(gateway.dir.path(), &["key", "new", "k", "-c", "keyward.toml"], "", &env).ok();
    let made = Key::from_text(ran.stdout.trim_end());
    let file = fs::read_to_string(gateway.dir.path().join("secret/our-keys.toml")).unwrap();
    assert!(made.text.starts_with("acme_") && file.contains("hmac-sha256:") && file.contains("expires = "), "{file}");
    eventually("the key", || (gateway.get("/").bearer(&made).send().status == 200).then_some(()));
}
