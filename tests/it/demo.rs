//! `keyward demo` does what it prints.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{eventually, tool, wait_within};

/// The demo as a process, ended by its id.
struct Demo {
    child: std::process::Child,
    output: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Drop for Demo {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn start(dir: &Path) -> Demo {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.arg("demo").current_dir(dir).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let pipes: [Box<dyn std::io::Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for mut pipe in pipes {
        let output = std::sync::Arc::clone(&output);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(got @ 1..) = pipe.read(&mut part) {
                output.lock().unwrap().push_str(&String::from_utf8_lossy(&part[..got]));
            }
        });
    }
    Demo { child, output }
}

/// Runs one printed line in a shell, with this build's `keyward` in its path, and gives what it said.
fn run(line: &str, dir: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_keyward")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = tool("bash");
    shell.arg("-c").arg(line).current_dir(dir).env("PATH", path);
    wait_within(shell, std::time::Duration::from_secs(30)).all()
}

/// The demo's `decision` and `throttle` lines so far.
fn decisions(demo: &Demo) -> Vec<Value> {
    let said = demo.output.lock().unwrap().clone();
    let lines = said.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
    lines.filter(|l| l["event"] == "decision" || l["event"] == "throttle").collect()
}

#[test]
fn the_printed_lines_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut demo = start(dir.path());
    let lines: Vec<String> = eventually("four curl lines", || {
        let said = demo.output.lock().unwrap().clone();
        let commands = said.lines().map(|l| l.trim().trim_start_matches("$ ").to_owned());
        let lines: Vec<String> =
            commands.filter(|l| !l.starts_with('{') && !l.starts_with('#') && l.contains("curl ")).collect();
        (lines.len() >= 4).then_some(lines)
    });
    assert!(lines.iter().all(|l| l.contains("https://")), "over its TLS port: {lines:?}");
    for (line, expected) in
        lines.iter().zip([("allowed", 200), ("unknown_key", 401), ("rate_limited", 429), ("revoked", 401)])
    {
        let before = decisions(&demo).len();
        let answer = run(line, dir.path());
        eventually(&format!("the decision {expected:?} after {line}, which said {answer}"), || {
            let mut new = decisions(&demo).into_iter().skip(before);
            new.find(|l| (l["reason"].as_str().unwrap(), l["http.response.status_code"].as_i64().unwrap()) == expected)
        });
    }
    let id = demo.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = eventually("the demo to end", || demo.child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    let scratch = lines[0].split_whitespace().find_map(|w| w.strip_suffix("/cert.pem")).expect("a certificate");
    assert!(!Path::new(scratch).exists(), "the scratch folder is gone");
}
