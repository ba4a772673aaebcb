//! The keys file.

#![no_main]

#[path = "../checks/keys.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::check(data));
