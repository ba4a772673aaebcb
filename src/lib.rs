//! Keyward: an API-key gateway.

pub mod config;
pub mod keys;
pub mod vocab;
