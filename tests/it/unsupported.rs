//! Options of the public face that are not built yet are refused, by `check` and by `run`, and never ignored.

use std::fs;

use crate::harness::keyward;

/// Options in `keyward.toml`. Where one of them gets built, its line goes and its tests come.
const CONFIG: &[&str] = &[
    "[[route]]\nsensitive = true\n",
    "[log]\noutput = \"file:x.log\"\nrotate = { size = \"100MiB\", keep = 10 }\n",
    "[log]\nskip = [\"/healthz\"]\n",
    "[tracing]\nendpoint = \"http://127.0.0.1:4317\"\n",
    "[alerts]\ngeoip = \"city.mmdb\"\n",
    "[alerts.rule.guessing]\nfingerprints = 10\n",
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
