//! What holds of every keys file: it is read or refused, and no message about it has a hash in it.

use std::sync::Arc;

use keyward::config::diagnostics::Report;
use keyward::config::keyfile::{self, KeyFile};
use keyward::config::source::SourceFile;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Arc::new(SourceFile::new("keys.toml", text));
    let report = match keyfile::parse(&source) {
        Ok((keys, warnings)) => {
            assert_nothing_is_lost_by_reading_again(&source, &keys, &warnings);
            warnings
        }
        Err(report) => {
            assert!(report.has_errors());
            report
        }
    };
    let told = [report.render(false), report.render(true), report.to_json().to_string()];
    for hash in hashes(text) {
        assert!(!told.iter().any(|told| told.contains(hash)), "a message has a hash in it");
    }
}

fn assert_nothing_is_lost_by_reading_again(source: &Arc<SourceFile>, keys: &KeyFile, warnings: &Report) {
    let Ok((again, repeated)) = keyfile::parse_again(source, keys) else { panic!("it was read before") };
    assert!(again.keys == keys.keys && again.digest == keys.digest);
    assert_eq!(again.quarantined.len(), keys.quarantined.len());
    assert_eq!(repeated.to_json(), warnings.to_json());
}

/// What stands behind `sha256:`, where it is as long as a hash.
fn hashes(text: &str) -> impl Iterator<Item = &str> {
    text.split("sha256:").skip(1).filter_map(|after| {
        let hash = after.get(..64)?;
        hash.bytes().all(|b| b.is_ascii_hexdigit()).then_some(hash)
    })
}
