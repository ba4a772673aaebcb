//! The canonical path.

#![no_main]

#[path = "../checks/path.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
