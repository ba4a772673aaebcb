//! Keyward: an API-key gateway.

pub mod cli;
pub mod commands;
pub mod config;
pub mod keys;
pub mod vocab;
