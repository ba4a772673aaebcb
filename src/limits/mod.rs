//! How much: buckets on governor, the ledger that keeps them across reloads, and the one place that charges them.

pub mod address;
pub mod admit;
pub mod bucket;
pub mod ledger;
pub mod report;

pub use admit::{Admitted, Limited, Passage, WideLimits};
pub use bucket::Bucket;
pub use ledger::Ledger;
pub use report::Reading;
