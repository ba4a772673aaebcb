//! The commands around serving: `init`, `version`, usage, and a sidecar from flags alone.

use std::fs;
use std::process::Command;

use crate::harness::{Gateway, Key, Setup, Upstream, free_port, keyward};

#[test]
fn init_writes_two_files_that_check_and_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    keyward(dir.path(), &["init", "gate"]).ok();
    let (config, keys) = (dir.path().join("gate/keyward.toml"), dir.path().join("gate/keys.toml"));
    let text = fs::read_to_string(&config).unwrap();
    assert!(text.lines().any(|l| l.trim_start().starts_with('#')), "commented:\n{text}");
    keyward(dir.path(), &["check", "-c", "gate/keyward.toml"]).ok();
    fs::write(&keys, "# mine\n").unwrap();
    let again = keyward(dir.path(), &["init", "gate"]);
    assert_ne!(again.code, 0, "{again:?}");
    assert_eq!(fs::read_to_string(&keys).unwrap(), "# mine\n");
    let here = tempfile::tempdir().unwrap();
    keyward(here.path(), &["init"]).ok();
    assert!(here.path().join("keyward.toml").is_file() && here.path().join("keys.toml").is_file());
}

#[test]
fn version_says_what_this_is() {
    let dir = tempfile::tempdir().unwrap();
    let printed = keyward(dir.path(), &["version"]).ok().stdout;
    assert!(printed.contains(env!("CARGO_PKG_VERSION")) && printed.contains("rustc"), "{printed}");
    let json = keyward(dir.path(), &["version", "--json"]).ok().stdout;
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(parsed["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn wrong_usage_exits_2() {
    let dir = tempfile::tempdir().unwrap();
    for args in
        [vec!["runn"], vec!["run", "--nonsense"], vec!["key"], vec!["key", "new"], vec!["key", "nwe", "x"], vec![]]
    {
        let ran = keyward(dir.path(), &args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
    }
    keyward(dir.path(), &["--help"]).ok();
}

#[test]
fn outputs_have_no_colour_where_there_is_no_terminal() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keyward.toml"), "[htpp]\n").unwrap();
    for args in [vec!["check"], vec!["--help"], vec!["key", "nwe"]] {
        let ran = keyward(dir.path(), &args);
        assert!(!ran.all().contains('\u{1b}'), "{args:?}: {ran:?}");
    }
}

/// A gateway started with flags or variables, and no config file.
fn sidecar(upstream: &Upstream, key: &Key, by_flags: bool) -> Gateway {
    let mut setup = Setup::new();
    setup.keys = key.entry("a", "");
    fs::write(setup.dir.path().join("my-keys.toml"), &setup.keys).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("run");
    let url = upstream.url();
    if by_flags {
        command.args(["--upstream", &url, "--keys", "my-keys.toml", "--listen", "127.0.0.1:0"]);
    } else {
        setup = setup
            .env("KEYWARD_UPSTREAM", &url)
            .env("KEYWARD_KEYS", "my-keys.toml")
            .env("KEYWARD_LISTEN", "127.0.0.1:0");
    }
    Gateway::spawn(command, setup, None)
}

#[test]
fn a_sidecar_needs_no_config_file() {
    for by_flags in [true, false] {
        let (upstream, key) = (Upstream::start(), Key::new());
        let gateway = sidecar(&upstream, &key, by_flags);
        assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
        assert_eq!(gateway.get("/").send().status, 401);
        fs::write(gateway.dir.path().join("my-keys.toml"), key.entry("a", "state = \"disabled\"")).unwrap();
        crate::harness::eventually("the edit", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
    }
}

#[test]
fn a_config_without_a_file_to_find_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // Where /etc/keyward exists on this machine the gateway would rightly find that.
    if !std::path::Path::new("/etc/keyward/keyward.toml").exists() {
        keyward(dir.path(), &["run"]).exits(78);
    }
}

#[test]
fn a_port_that_is_taken_is_an_error_and_no_hang() {
    let addr = free_port();
    let taken = std::net::TcpListener::bind(addr).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.toml"), "").unwrap();
    let config = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n[[listener]]\naddress = \"{addr}\"\n");
    fs::write(dir.path().join("keyward.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(["run", "-c", "keyward.toml"]).current_dir(dir.path());
    let ran = crate::harness::wait_within(command, crate::harness::PATIENCE);
    assert!(ran.code > 0 && ran.all().contains(&addr.port().to_string()), "{ran:?}");
    drop(taken);
}
