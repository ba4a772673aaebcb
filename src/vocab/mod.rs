//! The words of the house: plain data, no I/O, no async, no HTTP services.

pub mod build;
pub mod clock;
pub mod denial;
pub mod digest;
pub mod fields;
pub mod former;
pub mod header;
pub mod lines;
pub mod network;
pub mod period;
pub mod secret;
pub mod units;
