//! `keyward key import`: the keys of other products are good here, for whom they were good there, and stand nowhere.
//! The samples are as each product documents its file, with the keys of the test where it says `@1@`.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::Value;

use crate::harness::{Gateway, Key, Ran, Reply, Setup, Upstream, eventually, keyward, keyward_with};

/// Keys of another make, known as secrets that nothing may print.
fn keys() -> Vec<Key> {
    (0..3).map(|_| Key::with_prefix("old")).collect()
}

fn fill(sample: &str, keys: &[Key]) -> String {
    let put = |text: String, (n, key): (usize, &Key)| text.replace(&format!("@{}@", n + 1), &key.text);
    keys.iter().enumerate().fold(sample.to_owned(), put)
}

/// Imports into the key file of a gateway that runs, and looks for the keys in everything that was written.
fn import(gateway: &Gateway, format: &str, file: &str, keys: &[Key]) -> Ran {
    let dir = gateway.dir.path();
    let ran = keyward(dir, &["key", "import", format, file, "--keys", "keys.toml"]);
    let mut said = ran.all();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.file_name() != file {
            said += &fs::read_to_string(entry.path()).unwrap();
        }
    }
    for key in keys {
        for piece in [key.text.as_str(), key.secret().unwrap(), &key.secret().unwrap()[..16]] {
            assert!(!said.to_lowercase().contains(&piece.to_lowercase()), "a key was written:\n{said}");
        }
    }
    ran
}

/// A gateway without keys, and a sample beside it.
fn start(upstream: &Upstream, file: &str, text: &str) -> Gateway {
    let setup = Setup::with(upstream, "", "");
    fs::write(setup.dir.path().join(file), text).unwrap();
    setup.start()
}

/// What a key gets once the import is in use.
fn ask(gateway: &Gateway, key: &Key, path: &str) -> Reply {
    eventually("the imported key", || {
        let reply = gateway.get(path).api_key(&key.text).send();
        // An answer to nobody is one of the time before the reload.
        (gateway.line_of(&reply)["reason"] != "unknown_key").then_some(reply)
    })
}

/// Lets a key through, and gives what the upstream was told: id, owner, groups.
fn let_through(gateway: &Gateway, upstream: &Upstream, key: &Key, path: &str) -> [String; 3] {
    assert_eq!(ask(gateway, key, path).status, 200, "{path}");
    let seen = upstream.request(path);
    ["x-consumer-id", "x-consumer-username", "x-consumer-groups"].map(|name| seen.get(name).unwrap_or("").to_owned())
}

#[test]
fn csv() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "keys.csv", &fill(include_str!("samples/keys.csv"), &keys));
    let ran = import(&gateway, "csv", "keys.csv", &keys).ok();
    assert_eq!(ran.stdout, "imported 3 keys\n");
    assert_eq!(ran.stderr, "keys.csv:1: the column `team` is not carried over\n");
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["billing", "payments, and more", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["web", "", ""]);
    let late = ask(&gateway, &keys[2], "/3");
    assert_eq!((late.status, &gateway.line_of(&late)["reason"]), (401, &"expired".into()));
    let stored = fs::read_to_string(gateway.keys_path()).unwrap();
    assert!(stored.contains("expires = 2097-02-19T00:00:00Z"), "{stored}");
}

#[test]
fn htpasswd() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "users", &fill(include_str!("samples/keys.htpasswd"), &keys));
    import(&gateway, "htpasswd", "users", &keys).ok();
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["mobile-app", "Mobile App", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["partner", "partner", ""]);
}

#[test]
fn kong() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "kong.yaml", &fill(include_str!("samples/kong.yaml"), &keys));
    let ran = import(&gateway, "kong", "kong.yaml", &keys).ok();
    assert!(ran.stderr.contains("the plugin `key-auth` is not of a consumer"), "{ran:?}");
    let groups = "readers,writers,gold";
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["mobile-app", "mobile-app", groups]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["mobile-app-2", "mobile-app", groups]);
    assert_eq!(let_through(&gateway, &upstream, &keys[2], "/3"), ["web-app", "web-app", "readers"]);
    let policies = ask(&gateway, &keys[0], "/4");
    let policies = policies.header("ratelimit-policy").unwrap();
    assert!(policies.contains("\"1000/h\";q=1000;w=3600"), "{policies}");
    assert!(policies.contains("\"month\";q=100000"), "{policies}");
    let shown = keyward(gateway.dir.path(), &["key", "show", "mobile-app-2", "--json", "--keys", "keys.toml"]).ok();
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    let end: jiff::Timestamp = shown["expires"].as_str().unwrap().parse().unwrap();
    let left = end.as_second() - jiff::Timestamp::now().as_second();
    assert!((1..=3600).contains(&left), "an hour from the import: {shown}");
    assert_eq!(shown["meta"]["custom_id"], "4711");
}

#[test]
fn apisix() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "apisix.yaml", &fill(include_str!("samples/apisix.yaml"), &keys));
    let ran = import(&gateway, "apisix", "apisix.yaml", &keys).ok();
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["rose", "rose", "gold"]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["jack", "jack", ""]);
    let policies = ask(&gateway, &keys[0], "/3");
    assert_eq!(policies.header("ratelimit-policy"), Some("\"1000/h\";q=1000;w=3600"), "{ran:?}");
}

#[test]
fn envoy() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "envoy.yaml", &fill(include_str!("samples/envoy.yaml"), &keys));
    import(&gateway, "envoy", "envoy.yaml", &keys).ok();
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["one-client", "One Client", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["another_client", "another_client", ""]);
}

#[test]
fn nginx_map() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "nginx.conf", &fill(include_str!("samples/nginx.conf"), &keys));
    let ran = import(&gateway, "nginx-map", "nginx.conf", &keys).exits(1);
    assert!(ran.stderr.contains("nginx.conf:8: `test` is not imported: it is a regular expression"), "{ran:?}");
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["client_one", "client_one", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["client_two", "client_two", ""]);
}

/// A file as the library makes it.
fn library(path: &Path, keys: &[Key]) {
    let database = Connection::open(path).unwrap();
    let make = "CREATE TABLE fastapi_simple_security (api_key TEXT PRIMARY KEY, is_active INTEGER, never_expire INTEGER, \
                expiration_date TEXT, latest_query_date TEXT, total_queries INTEGER)";
    database.execute(make, []).unwrap();
    database.execute("ALTER TABLE fastapi_simple_security ADD COLUMN name TEXT", []).unwrap();
    let insert = "INSERT INTO fastapi_simple_security VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let soon = "2097-01-02T03:04:05";
    let past = "2023-01-02T03:04:05";
    database.execute(insert, params![keys[0].text, 1, 0, soon, past, 42, "Alice's app"]).unwrap();
    database.execute(insert, params![keys[1].text, 1, 1, past, None::<&str>, 0, "forever"]).unwrap();
    database.execute(insert, params![keys[2].text, 0, 0, soon, None::<&str>, 0, "revoked"]).unwrap();
}

#[test]
fn the_file_of_fastapi_simple_security() {
    let (upstream, keys) = (Upstream::start(), keys());
    let setup = Setup::with(&upstream, "", "");
    library(&setup.dir.path().join("sqlite.db"), &keys);
    let gateway = setup.start();
    import(&gateway, "fastapi-simple-security", "sqlite.db", &keys).ok();
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["alice-s-app", "Alice's app", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["forever", "forever", ""]);
    let off = ask(&gateway, &keys[2], "/3");
    assert_eq!((off.status, &gateway.line_of(&off)["reason"]), (401, &"disabled".into()));
    let dir = gateway.dir.path();
    let shown = keyward(dir, &["key", "show", "alice-s-app", "--keys", "keys.toml"]).ok().stdout;
    for kept in ["2097-01-02T03:04:05Z", "total_queries=42", "latest_query_date=2023-01-02T03:04:05Z"] {
        assert!(shown.contains(kept), "{shown}");
    }
    // As its `/renew` does, which takes a revoked key again.
    keyward(dir, &["key", "renew", "revoked", "--expires", "never", "--keys", "keys.toml"]).ok();
    eventually("the renewed key", || (gateway.get("/4").api_key(&keys[2].text).send().status == 200).then_some(()));
}

#[test]
fn the_lines_of_its_fork() {
    let (upstream, keys) = (Upstream::start(), keys());
    let gateway = start(&upstream, "keys.txt", &fill(include_str!("samples/fastapi.txt"), &keys));
    import(&gateway, "fastapi-simple-security", "keys.txt", &keys).ok();
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1"), ["test-key", "Test Key", ""]);
    assert_eq!(let_through(&gateway, &upstream, &keys[1], "/2"), ["second", "second", ""]);
    let late = ask(&gateway, &keys[2], "/3");
    assert_eq!((late.status, &gateway.line_of(&late)["reason"]), (401, &"expired".into()));
}

#[test]
fn stdin_a_dry_run_and_a_second_time() {
    let (upstream, keys) = (Upstream::start(), keys());
    let mine = Key::new();
    let gateway = Setup::with(&upstream, "", &format!("# ours\n{}", mine.entry("mine", ""))).start();
    let dir = gateway.dir.path();
    let before = fs::read_to_string(gateway.keys_path()).unwrap();
    let text = fill(include_str!("samples/keys.csv"), &keys);
    let run = |flags: &[&str]| {
        let mut args = vec!["key", "import", "csv", "-", "--keys", "keys.toml"];
        args.extend(flags);
        keyward_with(dir, &args, &text, &[]).ok()
    };
    assert!(run(&["--dry-run"]).stdout.ends_with("\nwould import 3 keys\n"));
    assert_eq!(fs::read_to_string(gateway.keys_path()).unwrap(), before);
    assert!(!dir.join(".keys.toml.lock").exists(), "a dry run leaves nothing behind");
    assert_eq!(run(&[]).stdout, "imported 3 keys\n");
    let after = fs::read_to_string(gateway.keys_path()).unwrap();
    assert!(after.starts_with(&before), "{after}");
    let report: Value = serde_json::from_str(&run(&["--json"]).stdout).unwrap();
    assert_eq!((&report["imported"], &report["present"], &report["refused"]), (&0.into(), &3.into(), &0.into()));
    assert_eq!(fs::read_to_string(gateway.keys_path()).unwrap(), after);
    assert_eq!(gateway.get("/").bearer(&mine).send().status, 200);
    assert_eq!(let_through(&gateway, &upstream, &keys[0], "/1")[0], "billing");
}
