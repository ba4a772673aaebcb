//! Options of the public face that are not built yet are refused, by `check` and by `run`, and never ignored.

use std::fs;

use crate::harness::{Key, keyward};

/// Options in `keyward.toml`. Where one of them gets built, its line goes and its tests come.
const CONFIG: &[&str] = &[
    "[server]\nstate = \"state.db\"\n",
    "[plan.gold]\nquota = \"3000000/month\"\n",
    "[plan.gold]\nconcurrency = 50\n",
    "[limits]\nfailures_per_ip = \"5/m\"\n",
    "[limits]\nlockout = \"1m\"\n",
    "[limits]\nopen = \"10/s\"\n",
    "[[route]]\nroles = [\"orders:read\"]\n",
    "[[route]]\nlimits = [\"1/s\"]\n",
    "[[route]]\ncost = 5\n",
    "[[route]]\nmode = \"shadow\"\n",
    "[[route]]\nsensitive = true\n",
    "[log]\noutput = \"file:x.log\"\nrotate = { size = \"100MiB\", keep = 10 }\n",
    "[log]\nskip = [\"/healthz\"]\n",
    "[admin]\naddress = \"127.0.0.1:0\"\n",
    "[metrics]\naddress = \"127.0.0.1:0\"\n",
    "[tracing]\nendpoint = \"http://127.0.0.1:4317\"\n",
    "[alerts]\nurl = \"http://127.0.0.1:1\"\n",
    "[audit]\nfile = \"audit.log\"\n",
];

#[test]
fn an_option_of_a_later_issue_is_refused_and_not_ignored() {
    let dir = tempfile::tempdir().unwrap();
    crate::harness::write_certificate(dir.path(), "t", "localhost");
    fs::write(dir.path().join("keys.toml"), "").unwrap();
    for option in CONFIG {
        let text = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n{option}");
        fs::write(dir.path().join("keyward.toml"), &text).unwrap();
        for (command, code) in [("check", 1), ("run", 78)] {
            let ran = keyward(dir.path(), &[command, "-c", "keyward.toml"]).exits(code);
            assert!(ran.all().contains("not supported yet"), "{command}: {option}\n{ran:?}");
            assert!(ran.all().contains("keyward.toml:"), "{command} says where: {option}\n{ran:?}");
        }
    }
}

/// Fields of a key entry: such an entry is quarantined, so that a key is never less restricted than its file says.
const FIELDS: &[&str] = &[
    "quota = \"1000000/month\"",
    "concurrency = 20",
    "routes = [\"orders\"]",
    "methods = [\"GET\"]",
    "paths = [\"/v1/*\"]",
    "networks = [\"10.0.0.0/8\"]",
    "mode = \"shadow\"",
];

#[test]
fn a_key_with_a_field_of_a_later_issue_is_refused() {
    let (upstream, good) = (crate::harness::Upstream::start(), Key::new());
    for field in FIELDS {
        let key = Key::new();
        let entries = good.entry("good", "") + &key.entry("restricted", field);
        let gateway = crate::harness::Setup::with(&upstream, "", &entries).start();
        assert_eq!(gateway.get("/").bearer(&key).send().status, 401, "{field} is ignored");
        assert_eq!(gateway.get("/").bearer(&good).send().status, 200, "{field} takes others along");
        let ran = keyward(gateway.dir.path(), &["check", "-c", "keyward.toml"]).exits(1);
        assert!(ran.all().contains("not supported yet"), "{field}: {ran:?}");
    }
}
