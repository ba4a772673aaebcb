//! `keyward demo` does what it prints.

use std::path::Path;
use std::process::{Command, Stdio};

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
    command
        .arg("demo")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let pipes: [Box<dyn std::io::Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for mut pipe in pipes {
        let output = std::sync::Arc::clone(&output);
        std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(got @ 1..) = pipe.read(&mut part) {
                output
                    .lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(&part[..got]));
            }
        });
    }
    Demo { child, output }
}

/// Runs one printed line in a shell, with this build's `keyward` in its path, and gives what it said.
fn run(line: &str, dir: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_keyward")).parent().unwrap();
    let path = format!(
        "{}:{}",
        bin.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = tool("bash");
    shell.arg("-c").arg(line).current_dir(dir).env("PATH", path);
    wait_within(shell, std::time::Duration::from_secs(30)).all()
}

#[test]
fn the_printed_lines_do_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let demo = start(dir.path());
    let text = || demo.output.lock().unwrap().clone();
    let lines: Vec<String> = eventually("four curl lines", || {
        let said = text();
        let lines: Vec<String> = said
            .lines()
            .map(|l| l.trim().trim_start_matches("$ ").to_owned())
            .filter(|l| !l.starts_with('{') && !l.starts_with('#') && l.contains("curl "))
            .collect();
        (lines.len() >= 4).then_some(lines)
    });
    let answers: Vec<String> = lines.iter().map(|l| run(l, dir.path())).collect();
    for (n, status) in ["200", "401", "429", "401"].iter().enumerate() {
        assert!(
            answers[n].contains(status),
            "line {n} was to say {status}:\n{}\n{}",
            lines[n],
            answers[n]
        );
    }
    assert!(
        lines.iter().any(|l| l.contains("https://")),
        "over its TLS port: {lines:?}"
    );
    for reason in ["allowed", "rate_limited", "revoked"] {
        eventually(&format!("the decision {reason}"), || {
            text().contains(reason).then_some(())
        });
    }
}
