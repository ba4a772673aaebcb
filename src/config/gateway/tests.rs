//! Tables of good and bad inputs, and the messages people read.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::config::diagnostics::{Report, Severity};
use crate::config::source::SourceFile;

const UPSTREAM: &str = "upstream.default.servers = [\"http://127.0.0.1:3000\"]\n";

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("keyward.toml", text))
}

/// `text` behind the smallest file.
fn with(text: &str) -> Result<(Gateway, Report), Report> {
    parse(&file(&format!("{UPSTREAM}{text}")))
}

fn good(text: &str) -> Gateway {
    let (gateway, report) = with(text).unwrap_or_else(|report| panic!("{text}\n{report:?}"));
    assert!(!report.has_errors());
    gateway
}

fn bad(text: &str) -> Vec<String> {
    let report = with(text)
        .err()
        .unwrap_or_else(|| panic!("accepted: {text}"));
    report
        .diagnostics()
        .iter()
        .map(|problem| problem.message.clone())
        .collect()
}

fn rendered(text: &str) -> String {
    parse(&file(text)).err().unwrap_or_default().render(false)
}

#[test]
fn smoke() {
    let g = good("");
    assert_eq!(g.keys.file.value, Path::new("keys.toml"));
    println!("{:#?}", g);
    println!(
        "{}",
        rendered(
            "[http]\nheader_timout = \"10s\"\nheaders_max = \"ü\" # é\n[[route]]\nmethods = [\"get\"]\nupstream = 'ordrs'\n[upstream.orders]\nservers = [\"https://x\"]\n[metrics]\nx = 1\n"
        )
    );
    println!(
        "{}",
        rendered(
            "upstream = {}\nkeys = { pepper = \"hunter2\", sources = [\"x\"] }\n[limits]\ntotal = \"ten/s\""
        )
    );
    println!(
        "{}",
        rendered("keys = { pepper = \"hunter2\nupstream = \"x\n[[listener]\nhunter3\n")
    );
    println!("{}", rendered(""));
    let _ = (bad("x = 1"), Severity::Error);
}
