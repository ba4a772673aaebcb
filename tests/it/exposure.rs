//! A good key that is sent over plaintext where that is refused: the same answer as for a bad one, and where it is wanted, the
//! end of the key.

use std::fs;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually};

const CONFIG: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"allow\"\n";

fn start(upstream: &Upstream, keys: &str, more: &str) -> Gateway {
    Setup::with(upstream, &format!("{more}{CONFIG}"), keys).start()
}

/// As it would be over TLS.
fn elsewhere(gateway: &Gateway, key: &Key) -> u16 {
    crate::harness::Req::new(gateway.listener(1), "GET", "/").bearer(key).send().status
}

#[test]
fn an_exposed_key_becomes_compromised_and_no_other() {
    let (upstream, exposed, other, old) = (Upstream::start(), Key::new(), Key::new(), Key::new());
    let grace = format!("previous = [{{ hash = \"{}\", until = 2999-01-01T00:00:00Z }}]", old.hash());
    let keys = format!("# ours\n{}{}", exposed.entry("exposed", "owner = \"o\" # hers"), other.entry("other", &grace));
    let gateway = start(&upstream, &keys, "[keys]\ncompromise_on_plaintext = true\n");
    let plain = |key: &Key| gateway.get("/").bearer(key).send();
    let (good, bad, in_grace) = (plain(&exposed), plain(&Key::new()), plain(&old));
    for reply in [&good, &bad, &in_grace] {
        assert_eq!((reply.status, reply.json()["code"].as_str()), (403, Some("insecure_transport")));
    }
    assert_eq!(good.json()["detail"], bad.json()["detail"], "nobody learns which one is good");
    eventually("the key to end", || (elsewhere(&gateway, &exposed) == 401).then_some(()));
    let line = gateway.wait_decision("its reason", |line| line["reason"] == "compromised");
    assert_eq!(line["key.id"], "exposed");
    let reload = gateway.wait_event("reload", |line| line["keys.changed"][0] == "exposed");
    assert_eq!(reload["keys.changed"].as_array().unwrap().len(), 1);
    let text = fs::read_to_string(gateway.keys_path()).unwrap();
    assert!(text.starts_with("# ours\n") && text.contains("owner = \"o\" # hers"), "{text}");
    assert!(text.contains("state = \"compromised\"") && text.contains("reason = \"it was sent"), "{text}");
    assert_eq!((elsewhere(&gateway, &other), elsewhere(&gateway, &old)), (200, 200));
}

#[test]
fn unless_it_is_wanted_an_exposed_key_is_only_told_of() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = start(&upstream, &key.entry("exposed", ""), "");
    let before = fs::read_to_string(gateway.keys_path()).unwrap();
    let reply = gateway.get("/").bearer(&key).send();
    let line = gateway.line_of(&reply);
    assert_eq!((line["reason"].as_str(), line["key.id"].as_str()), (Some("insecure_transport"), Some("exposed")));
    assert_eq!(elsewhere(&gateway, &key), 200);
    assert_eq!(fs::read_to_string(gateway.keys_path()).unwrap(), before);
}
