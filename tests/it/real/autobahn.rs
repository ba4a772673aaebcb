//! Autobahn's fuzzing client against an echo server, directly and through the gateway: the same results case by case.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::front;
use crate::harness::{Key, Program, test_tools};

/// Behaviour and closing behaviour by case.
type Results = BTreeMap<String, (String, String)>;

/// What wstest is started with: its cases are many, so each of 12 and 13 sends fewer of its 1000 messages.
/// `KEYWARD_AUTOBAHN_MESSAGES=1000` runs them whole, which takes most of an hour.
fn messages() -> String {
    std::env::var("KEYWARD_AUTOBAHN_MESSAGES").unwrap_or_else(|_| "10".to_owned())
}

fn fuzz(dir: &Path, agent: &str, url: &str, cases: &[&str]) -> Program {
    let spec = json!({
        "outdir": dir.join(agent),
        "servers": [{ "agent": agent, "url": url }],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    });
    let file = dir.join(format!("{agent}.json"));
    fs::write(&file, spec.to_string()).unwrap();
    let tools = test_tools().join("autobahn");
    let mut wstest = Command::new(tools.join("python"));
    wstest.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/wstest.py"));
    wstest.arg(tools.join("packages")).arg(messages()).args(["-m", "fuzzingclient", "-s"]).arg(&file);
    wstest.current_dir(dir);
    Program::start(wstest)
}

fn results(dir: &Path, agent: &str) -> Results {
    let file = dir.join(agent).join("index.json");
    let index: Value = serde_json::from_slice(&fs::read(&file).expect("wstest's report")).unwrap();
    let cases = index[agent].as_object().expect("an agent").iter();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    cases.map(|(case, r)| (case.clone(), (text(&r["behavior"]), text(&r["behaviorClose"])))).collect()
}

#[track_caller]
fn same_results(cases: &[&str], at_least: usize) {
    let (mut echo, key) = (Program::python::<&str>("ws_echo.py", &[]), Key::new());
    let server = format!("127.0.0.1:{}", echo.port());
    // Autobahn's client sends no header of ours, so that the key goes by query.
    let sources = "[keys]\nsources = [\"query:k\"]\n";
    let gateway = front(&format!("http://{server}"), sources, &key.entry("a", ""));
    let dir = gateway.dir.path();
    let runs = [
        fuzz(dir, "direct", &format!("ws://{server}/"), cases),
        fuzz(dir, "gateway", &format!("ws://{}/?k={}", gateway.addr(), key.text), cases),
    ];
    for run in runs {
        run.finish(Duration::from_secs(3600)).ok();
    }
    let (direct, through) = (results(dir, "direct"), results(dir, "gateway"));
    assert!(direct.len() >= at_least, "{} cases", direct.len());
    let good = direct.values().filter(|(b, c)| b != "FAILED" && c != "FAILED" && b != "UNIMPLEMENTED").count();
    assert_eq!(good, direct.len(), "the echo server itself is sound: {direct:#?}");
    let different: Vec<String> = direct
        .iter()
        .filter(|(case, result)| through.get(*case) != Some(result))
        .map(|(case, result)| format!("{case}: {result:?}, through the gateway {:?}", through.get(case)))
        .collect();
    assert!(different.is_empty() && through.len() == direct.len(), "{}", different.join("\n"));
    assert_eq!(gateway.decided(), direct.len(), "one decision a case");
}

#[test]
fn framing_control_frames_texts_closing_and_sizes() {
    same_results(&["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"], 301);
}

#[test]
fn compression() {
    same_results(&["12.*", "13.*"], 216);
}
