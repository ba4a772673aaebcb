//! The ways in which files come to change: partial writes, Kubernetes volumes, symlinks, other folders.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually, poll};

#[test]
fn a_partial_write_takes_nothing_away_and_the_rest_completes_it() {
    let (upstream, old, new) = (Upstream::start(), Key::new(), Key::new());
    let gateway = Setup::with(&upstream, "", &old.entry("old", "")).start();
    let whole = new.entry("new", "owner = \"somebody\"") + &old.entry("old", "note = \"still here\"");
    // Cut inside the second entry's hash: neither valid TOML nor a file without that entry.
    let cut = whole.rfind("sha256:").unwrap() + 20;
    let mut file = OpenOptions::new().write(true).truncate(true).open(gateway.keys_path()).unwrap();
    file.write_all(&whole.as_bytes()[..cut]).unwrap();
    file.sync_all().unwrap();
    let mut conn = gateway.connect();
    // The gateway meets the half file now, and says so.
    gateway.wait_event("reload", |l| l["result"] == "rejected");
    for _ in 0..5 {
        assert_eq!(conn.send(&gateway.get("/").bearer(&old)).status, 200, "half a file revokes nobody");
    }
    file.write_all(&whole.as_bytes()[cut..]).unwrap();
    drop(file);
    eventually("the rest", || (conn.send(&gateway.get("/").bearer(&new)).status == 200).then_some(()));
    assert_eq!(conn.send(&gateway.get("/").bearer(&old)).status, 200);
}

#[test]
fn a_write_in_many_small_pieces_ends_well() {
    let (upstream, old, new) = (Upstream::start(), Key::new(), Key::new());
    let gateway = Setup::with(&upstream, "", &old.entry("old", "")).start();
    let mut file = OpenOptions::new().append(true).open(gateway.keys_path()).unwrap();
    for byte in new.entry("new", "").as_bytes() {
        file.write_all(&[*byte]).unwrap();
        assert_eq!(gateway.get("/").bearer(&old).send().status, 200);
    }
    drop(file);
    eventually("the new key", || (gateway.get("/").bearer(&new).send().status == 200).then_some(()));
}

#[test]
fn half_a_key_file_gives_a_revoked_key_nothing_back() {
    let (upstream, good, bad) = (Upstream::start(), Key::new(), Key::new());
    let whole = good.entry("good", "") + &bad.entry("bad", "state = \"revoked\"");
    let gateway = Setup::with(&upstream, "limits.failures_per_ip = \"none\"\n", &whole).start();
    let mut file = OpenOptions::new().write(true).truncate(true).open(gateway.keys_path()).unwrap();
    // Good TOML with both ids, and without the line that matters.
    let cut = whole.rfind("state").unwrap();
    file.write_all(&whole.as_bytes()[..cut]).unwrap();
    file.sync_all().unwrap();
    let mut conn = gateway.connect();
    let freed = poll(Duration::from_millis(600), || {
        assert_eq!(conn.send(&gateway.get("/").bearer(&good)).status, 200);
        (conn.send(&gateway.get("/").bearer(&bad)).status == 200).then_some(())
    });
    assert!(freed.is_none(), "a revoked key was let in");
    file.write_all(&whole.as_bytes()[cut..]).unwrap();
    file.write_all(b"note = \"whole\"\n").unwrap();
    drop(file);
    gateway.wait_event("reload", |l| l["keys.changed"][0] == "bad");
    assert_eq!(conn.send(&gateway.get("/").bearer(&bad)).status, 401);
}

#[test]
fn another_file_that_is_being_written_holds_up_no_revocation() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut config = OpenOptions::new().append(true).open(gateway.config_path()).unwrap();
    config.write_all(b"# begun\n").unwrap();
    let beside = gateway.keys_path().with_extension("new");
    fs::write(&beside, "").unwrap();
    fs::rename(&beside, gateway.keys_path()).unwrap();
    let refused = poll(Duration::from_millis(1500), || {
        config.write_all(b"# and not closed\n").unwrap();
        (gateway.get("/").bearer(&key).send().status == 401).then_some(())
    });
    assert!(refused.is_some(), "a removed key is still let in");
}

/// Lays out a folder as kubelet mounts a ConfigMap or Secret: files are links through `..data`.
fn mount(folder: &Path, version: &str, keys: &str) {
    let data = folder.join(format!("..{version}"));
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("keys.toml"), keys).unwrap();
    let swap = folder.join("..data_tmp");
    symlink(format!("..{version}"), &swap).unwrap();
    fs::rename(&swap, folder.join("..data")).unwrap();
    if !folder.join("keys.toml").exists() {
        symlink("..data/keys.toml", folder.join("keys.toml")).unwrap();
    }
}

fn mounted(upstream: &Upstream, keys: &str) -> Gateway {
    let setup = Setup::with(upstream, "[keys]\nfile = \"mnt/keys.toml\"\n", "");
    fs::create_dir(setup.dir.path().join("mnt")).unwrap();
    mount(&setup.dir.path().join("mnt"), "v1", keys);
    setup.start()
}

#[test]
fn a_kubernetes_swap_is_seen() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = mounted(&upstream, &key.entry("a", ""));
    let folder = gateway.dir.path().join("mnt");
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    for round in 0..4 {
        let (state, status) = if round % 2 == 0 { ("revoked", 401) } else { ("active", 200) };
        mount(&folder, &format!("v{}", round + 2), &key.entry("a", &format!("state = \"{state}\"")));
        fs::remove_dir_all(folder.join(format!("..v{}", round + 1))).unwrap();
        eventually("the swap", || (conn.send(&request).status == status).then_some(()));
    }
}

#[test]
fn a_link_to_a_file_elsewhere_is_followed() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let elsewhere = tempfile::tempdir().unwrap();
    let target = elsewhere.path().join("real-keys.toml");
    fs::write(&target, key.entry("a", "")).unwrap();
    let setup = Setup::with(&upstream, "[keys]\nfile = \"link.toml\"\n", "");
    symlink(&target, setup.dir.path().join("link.toml")).unwrap();
    let gateway = setup.start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
    fs::write(&target, key.entry("a", "state = \"disabled\"")).unwrap();
    eventually("the edit behind the link", || (gateway.get("/").bearer(&key).send().status == 401).then_some(()));
    let second = elsewhere.path().join("second.toml");
    fs::write(&second, key.entry("a", "")).unwrap();
    let beside = gateway.dir.path().join("link.new");
    symlink(&second, &beside).unwrap();
    fs::rename(&beside, gateway.dir.path().join("link.toml")).unwrap();
    eventually("the link that points elsewhere", || (gateway.get("/").bearer(&key).send().status == 200).then_some(()));
}

#[test]
fn a_file_renamed_away_and_back_is_read_again() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let away = gateway.dir.path().join("keys.toml.bak");
    for (state, status) in [("disabled", 401), ("active", 200)] {
        fs::rename(gateway.keys_path(), &away).unwrap();
        fs::write(gateway.keys_path(), key.entry("a", &format!("state = \"{state}\""))).unwrap();
        eventually("the new file", || (gateway.get("/").bearer(&key).send().status == status).then_some(()));
    }
}

#[test]
fn a_key_that_expires_needs_no_reload() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let soon = jiff::Timestamp::from_millisecond(jiff::Timestamp::now().as_millisecond() + 4000).unwrap();
    let gateway = Setup::with(&upstream, "", &key.entry("a", &format!("expires = {soon:.3}"))).start();
    let mut conn = gateway.connect();
    let request = gateway.get("/").bearer(&key);
    assert_eq!(conn.send(&request).status, 200);
    let refused = eventually("the key to expire", || Some(conn.send(&request)).filter(|r| r.status == 401));
    assert!(jiff::Timestamp::now() >= soon, "not before its time");
    assert_eq!(gateway.line_of(&refused)["reason"], "expired");
}
