//! The record of one exchange: opened with its first byte, closed exactly once, whatever happens in between.

pub mod open;
pub mod redact;

pub use open::{Closer, Open, Outcome, Record, Trail, Transfer, Verdict};
