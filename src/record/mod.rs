//! The record of one exchange: opened with its first byte, closed exactly once, whatever happens in between.

mod leak;
pub mod open;
pub mod readers;
pub mod tunnel;

pub use leak::{Leak, Leaked, Place};
pub use open::{Closer, Open, Outcome, Reader, Record, Trail, Transfer, Verdict};
pub use tunnel::{OpenTunnel, TunnelRecord};
