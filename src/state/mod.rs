//! The state file: what was counted of every key, for as long as anybody asks. SQLite, written by a thread of its own.
//!
//! ```text
//! worker ─ Delta per key and hour, every 100 ms ─▶ Outlet ─▶ thread ─ Pending ─▶ waits for the log ─▶ Store
//!                                                                     `usage`, `key list` read beside it ─ History
//! ```
//!
//! Workers count by themselves and hand over what they have, after the lines that tell of it. A commit waits until those
//! lines are written: whenever the process is killed, the file is at most a second behind what the lines say, and never
//! ahead. Whatever fails here (a full disk, a damaged file) is told, and no request waits for it: counts are kept and
//! added later.

pub mod aside;
pub mod count;
pub mod history;
pub mod outbox;
pub mod outlet;
pub mod pending;
pub mod schema;
pub mod store;
pub mod writer;

pub use count::{Counted, Counts, Delta, Used};
pub use history::History;
pub use outbox::{Outbox, Waiting};
pub use outlet::{Keeping, Outlet};
pub use store::{Store, Units};
pub use writer::State;

#[cfg(test)]
mod tests;
