//! What holds of every configuration file: it is read or refused, and what is wrong with it has a place in it.

use std::sync::Arc;

use keyward::config::gateway;
use keyward::config::source::SourceFile;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Arc::new(SourceFile::new("keyward.toml", text));
    let report = match gateway::parse(&source) {
        Ok((_, warnings)) => warnings,
        Err(report) => {
            assert!(report.has_errors());
            report
        }
    };
    let lines = text.lines().count() + 1;
    for diagnostic in report.diagnostics() {
        assert!(diagnostic.position().is_none_or(|place| (1..=lines).contains(&place.line)));
    }
    let _ = (report.render(false), report.render(true), report.to_json());
}
