//! Readers of records: the log line, the buffers it goes through, the one writer. Nothing here decides.

pub mod decision;
pub mod events;
pub mod exposed;
pub mod leaks;
pub mod line;
pub mod lockouts;
pub mod log;
pub mod metrics;
pub mod operational;
pub mod service;
pub mod sink;
pub mod usage;
