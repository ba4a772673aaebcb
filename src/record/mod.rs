//! The record of one exchange: opened with its first byte, closed exactly once, whatever happens in between.

pub mod open;
pub mod readers;
pub mod tunnel;

pub use open::{Closer, Open, Outcome, Reader, Record, Trail, Transfer, Verdict};
pub use tunnel::{OpenTunnel, TunnelRecord};
