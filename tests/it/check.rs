//! `keyward check`, and `run` that refuses what `check` refuses.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Key, Ran, Setup, Upstream, keyward, write_certificate};

const UP: &str = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n";

fn folder(config: &str, keys: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keyward.toml"), config).unwrap();
    fs::write(dir.path().join("keys.toml"), keys).unwrap();
    dir
}

fn check(dir: &Path) -> Ran {
    keyward(dir, &["check", "-c", "keyward.toml"])
}

#[test]
fn the_smallest_file_is_one_line() {
    let dir = folder(UP, "");
    check(dir.path()).exits(0);
    // Found without -c as well, in the folder and by the environment.
    keyward(dir.path(), &["check"]).exits(0);
    let elsewhere = tempfile::tempdir().unwrap();
    let config = dir.path().join("keyward.toml").display().to_string();
    crate::harness::keyward_with(elsewhere.path(), &["check"], "", &[("KEYWARD_CONFIG", &config)]).exits(0);
}

#[test]
fn every_default_of_the_manual_is_accepted() {
    let config = format!(
        "{UP}{}",
        r#"
[server]
workers = 0
shutdown_grace = "30s"
[http]
header_timeout = "10s"
body_idle_timeout = "60s"
idle_timeout = "75s"
header_bytes_max = "32KiB"
headers_max = 100
body_bytes_max = "none"
connections_max = 10000
connections_per_ip_max = 0
h2_streams_max = 128
[keys]
file = "keys.toml"
sources = ["bearer", "header:x-api-key"]
prefix = "kw"
forward = false
expires_default = "never"
realm = "api"
status_missing = 401
status_invalid = 401
audit_headers = true
[keys.identity]
id = "X-Consumer-ID"
owner = "X-Consumer-Username"
plan = "X-Consumer-Plan"
[limits]
headers = ["ratelimit"]
total = "none"
per_ip = "none"
open = "none"
[log]
level = "info"
output = "stdout"
on_full = "wait"
"#
    );
    let dir = folder(&config, "");
    check(dir.path()).exits(0);
}

#[test]
fn the_files_that_come_with_the_gateway_are_good() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let dir = tempfile::tempdir().unwrap();
    for name in ["keyward.toml", "keys.toml"] {
        fs::copy(shipped.join(name), dir.path().join(name)).unwrap_or_else(|e| panic!("config/{name}: {e}"));
    }
    check(dir.path()).exits(0);
}

/// A mistake, and what `check` has to say about it.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("[htpp]\nheaders_max = 1\n", "keyward.toml:2:2", "did you mean"),
    ("[http]\nheader_timeot = \"1s\"\n", "keyward.toml:3:1", "header_timeout"),
    ("[http]\nheader_timeout = \"1 sec\"\n", "keyward.toml:3:18", ""),
    ("[http]\nheader_timeout = 10\n", "keyward.toml:3:18", ""),
    ("[http]\nheaders_max = \"100\"\n", "keyward.toml:3:15", ""),
    ("[http]\nheader_bytes_max = \"32kb\"\n", "keyward.toml:3:20", ""),
    ("[limits]\ntotal = \"100\"\n", "keyward.toml:3:9", ""),
    ("[limits]\ntotal = \"0/s\"\n", "keyward.toml:3:9", ""),
    ("[limits]\nheaders = [\"x-rate-limit\"]\n", "keyward.toml:3:12", "x-ratelimit"),
    ("[keys]\nsources = [\"baerer\"]\n", "keyward.toml:3:12", "bearer"),
    ("[keys]\nsources = [\"header:bad name\"]\n", "keyward.toml:3:12", ""),
    ("[keys]\nstatus_missing = 404\n", "keyward.toml:3:18", ""),
    ("[keys]\nprefix = \"k w\"\n", "keyward.toml:3:10", ""),
    ("[keys]\npepper = \"hunter2\"\n", "keyward.toml:3:10", "env:"),
    ("[[route]]\nauth = \"opne\"\n", "keyward.toml:3:8", "open"),
    ("[[route]]\npath = \"v1/*\"\n", "keyward.toml:3:8", ""),
    ("[[route]]\npath = \"/v1/*/x\"\n", "keyward.toml:3:8", ""),
    ("[[route]]\nupstream = \"orders\"\n", "keyward.toml:3:12", ""),
    ("[[listener]]\naddress = \"localhost\"\n", "keyward.toml:3:11", ""),
    ("[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"perhaps\"\n", "keyward.toml:4:12", ""),
    (
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"no.pem\", key = \"no.key\" }]\n",
        "keyward.toml:4:",
        "no.pem",
    ),
    ("[upstream.other]\nservers = [\"ftp://127.0.0.1\"]\n", "keyward.toml:3:12", ""),
    ("[upstream.other]\nservers = []\n", "keyward.toml:3:11", ""),
    ("[log]\nlevel = \"loud\"\n", "keyward.toml:3:9", ""),
    ("this is not toml\n", "keyward.toml:2:", ""),
];

#[test]
fn a_mistake_is_named_with_its_place_and_a_hint() {
    for (text, place, hint) in MISTAKES {
        let dir = folder(&format!("{UP}{text}"), "");
        let ran = check(dir.path()).exits(1);
        let said = ran.all();
        assert!(said.contains(place), "{text} is not at {place}:\n{said}");
        assert!(said.contains(hint), "{text}: no word of {hint}:\n{said}");
        assert!(!said.contains("hunter2") || text.contains("hunter2"), "{said}");
        keyward(dir.path(), &["run", "-c", "keyward.toml"]).exits(78);
    }
}

/// What can be served and is hardly meant, in either file, and where it stands.
const WARNINGS: &[(&str, &str, &str, &str)] = &[
    ("[plan.gold]\nquota = \"5/month\"\n", "plan = \"gold\"", "quota-in-memory", "keyward.toml:3:9"),
    ("", "quota = \"5/month\"", "quota-in-memory", "keys.toml:4:9"),
    ("", "plan = \"gold\"", "unknown-plan", "keys.toml:4:8"),
    ("", "routes = [\"orders\"]", "unknown-route", "keys.toml:4:11"),
    ("[[route]]\npath = \"/v1/*\"\n", "paths = [\"/v2/*\"]", "unusable-key", "keys.toml:4:9"),
    ("[[route]]\nroles = [\"r\"]\n", "", "unknown-role", "keyward.toml:3:9"),
    ("[[route]]\nauth = \"open\"\nlimits = [\"5/s\"]\n", "", "unused-limits", "keyward.toml:4:10"),
    ("[[route]]\ncost = 5\n", "limits = [\"4/s\"]", "cost-over-burst", "keys.toml:4:10"),
    ("[limits]\nfailures_per_ip = \"none\"\nlockout = \"9m\"\n", "", "unused-lockout", "keyward.toml:4:11"),
];

#[test]
fn a_warning_is_printed_and_fails_only_a_strict_check() {
    for (config, fields, code, place) in WARNINGS {
        let dir = folder(&format!("{UP}{config}"), &Key::new().entry("a", fields));
        let said = check(dir.path()).exits(0).all();
        assert!(
            said.contains(&format!("warning[{code}]")) && said.contains(place),
            "{code} is not at {place}:\n{said}"
        );
        assert!(said.contains("help: "), "{code} has no hint:\n{said}");
        let strict = keyward(dir.path(), &["check", "-c", "keyward.toml", "--strict"]).exits(1).all();
        assert!(strict.contains(&format!("error[{code}]")), "{strict}");
        for (flags, code, severity) in [(&["--json"][..], 0, "warning"), (&["--json", "--strict"], 1, "error")] {
            let args = [&["check", "-c", "keyward.toml"], flags].concat();
            let object: Value = serde_json::from_str(&keyward(dir.path(), &args).exits(code).stdout).expect("JSON");
            assert_eq!((&object["ok"], &object["problems"][0]["severity"]), (&(code == 0).into(), &severity.into()));
        }
    }
    // Without any there is nothing to be strict about.
    let good = folder(UP, &Key::new().entry("a", ""));
    keyward(good.path(), &["check", "-c", "keyward.toml", "--strict"]).exits(0);
}

#[test]
fn a_gateway_serves_in_spite_of_warnings_and_tells_them() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway =
        Setup::with(&upstream, "", &key.entry("a", "quota = \"5/month\"\nroutes = [\"default\", \"x\"]")).start();
    let told = gateway.text();
    assert!(told.contains("keys.toml:5:22") && told.contains("keys.toml:4:9"), "{told}");
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn the_offending_line_is_shown() {
    let dir = folder(&format!("{UP}[http]\nheaders_mxa = 5\n"), "");
    let said = check(dir.path()).exits(1).all();
    assert!(said.contains("headers_mxa = 5") && said.contains("headers_max"), "{said}");
}

#[test]
fn an_upstream_is_the_one_thing_that_has_no_default() {
    let dir = folder("[http]\nheaders_max = 50\n", "");
    assert!(check(dir.path()).exits(1).all().contains("upstream"));
}

#[test]
fn all_problems_of_all_files_come_in_one_pass() {
    let dir = folder(
        &format!("{UP}[http]\nheaders_max = \"x\"\n[log]\nlevel = \"loud\"\n[[route]]\nauth = 1\n"),
        "[[key]]\nid = \"a\"\nhash = \"sha256:zz\"\n\n[[key]]\nid = \"B A D\"\nhash = 1\n",
    );
    let said = check(dir.path()).exits(1).all();
    for place in ["keyward.toml:3:", "keyward.toml:5:", "keyward.toml:7:", "keys.toml:3:", "keys.toml:6:"] {
        assert!(said.contains(place), "{place} is missing:\n{said}");
    }
}

#[test]
fn a_quarantined_entry_is_a_problem_for_check_and_none_for_run() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "state = \"sleeping\"")).start();
    let ran = check(gateway.dir.path()).exits(1);
    assert!(ran.all().contains("keys.toml:4:9"), "{ran:?}");
}

#[test]
fn check_answers_programs_too() {
    let dir = folder(&format!("{UP}[http]\nheaders_max = \"x\"\n"), "");
    let ran = keyward(dir.path(), &["check", "-c", "keyward.toml", "--json"]).exits(1);
    let parsed: Vec<Value> =
        serde_json::Deserializer::from_str(&ran.stdout).into_iter().map(|v| v.expect("JSON")).collect();
    assert!(!parsed.is_empty());
    let text = ran.stdout.replace(char::is_whitespace, "");
    assert!(text.contains("\"line\":3") && (text.contains("\"col\":15") || text.contains("\"column\":15")), "{text}");
    assert!(text.contains("keyward.toml"), "{text}");
    let good = folder(UP, "");
    let ran = keyward(good.path(), &["check", "-c", "keyward.toml", "--json"]).exits(0);
    assert!(serde_json::from_str::<Value>(&ran.stdout).is_ok(), "{ran:?}");
}

#[test]
fn a_file_that_is_not_there_is_a_problem_and_no_crash() {
    let dir = tempfile::tempdir().unwrap();
    let ran = keyward(dir.path(), &["check", "-c", "nowhere.toml"]).exits(1);
    assert!(ran.all().contains("nowhere.toml"), "{ran:?}");
    keyward(dir.path(), &["run", "-c", "nowhere.toml"]).exits(78);
    let no_keys = folder(&format!("{UP}[keys]\nfile = \"elsewhere.toml\"\n"), "");
    assert!(check(no_keys.path()).exits(1).all().contains("elsewhere.toml"));
}

#[test]
fn a_pepper_that_is_not_set_is_a_problem() {
    let dir = folder(&format!("{UP}[keys]\npepper = \"env:NO_SUCH_VARIABLE\"\n"), "");
    assert!(check(dir.path()).exits(1).all().contains("NO_SUCH_VARIABLE"));
}

#[test]
fn a_certificate_and_a_key_that_do_not_belong_together_are_a_problem() {
    let config =
        format!("{UP}[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = \"a.pem\", key = \"b.key\" }}]\n");
    let dir = folder(&config, "");
    write_certificate(dir.path(), "a", "a.test");
    write_certificate(dir.path(), "b", "b.test");
    check(dir.path()).exits(1);
    fs::copy(dir.path().join("a.key"), dir.path().join("b.key")).unwrap();
    check(dir.path()).exits(0);
}

#[test]
fn hostile_files_are_refused_calmly() {
    let deep = format!("a = {}{}\n", "[".repeat(5000), "]".repeat(5000));
    for text in [
        deep.as_str(),
        "\u{feff}\u{0}",
        "[[[[",
        "x = \"\\u{110000}\"",
        "a.b = 1\na = 2\n",
        "x = 99999999999999999999\n",
    ] {
        let dir = folder(text, text);
        let ran = check(dir.path()).exits(1);
        assert!(!ran.all().contains("panicked"), "{ran:?}");
    }
    let dir = folder("", "");
    fs::write(dir.path().join("keyward.toml"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    check(dir.path()).exits(1);
}
