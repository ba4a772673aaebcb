//! The fuzz targets' checks over their committed corpora, so that what was once found stays found.

use std::fs;
use std::path::PathBuf;

#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/keys.rs"]
mod keys;
#[path = "../fuzz/checks/path.rs"]
mod path;
#[path = "../fuzz/checks/proxy_protocol.rs"]
mod proxy_protocol;
#[path = "../fuzz/checks/request.rs"]
mod request;

type Check = fn(&[u8]);

#[test]
fn every_input_of_the_corpora_passes_its_checks() {
    let checks: [(&str, Check); 5] = [
        ("config", config::check),
        ("keys", keys::check),
        ("path", path::check),
        ("proxy_protocol", proxy_protocol::check),
        ("request", request::check),
    ];
    for (name, check) in checks {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let inputs: Vec<Vec<u8>> =
            fs::read_dir(&folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
        assert!(!inputs.is_empty(), "{name} has a corpus");
        // Each input, and each of its beginnings.
        inputs.iter().for_each(|input| (0..=input.len()).for_each(|end| check(&input[..end])));
    }
}
