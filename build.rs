//! Tells the program which compiler and which commit made it, for `keyward version`.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=KEYWARD_COMMIT");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    if let Some(version) = line_of(&rustc, &["-V"]) {
        println!("cargo::rustc-env=KEYWARD_RUSTC={version}");
    }
    // An image is built from files without their history: whoever builds it says which commit it is.
    if std::env::var_os("KEYWARD_COMMIT").is_some() {
        return;
    }
    if let Some(commit) = line_of("git", &["rev-parse", "--short=12", "HEAD"]) {
        println!("cargo::rustc-env=KEYWARD_COMMIT={commit}");
        // Every commit and checkout adds a line here.
        if let Some(log) = line_of("git", &["rev-parse", "--git-path", "logs/HEAD"])
            && Path::new(&log).exists()
        {
            println!("cargo::rerun-if-changed={log}");
        }
    }
}

fn line_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
