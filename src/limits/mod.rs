//! How much: buckets on governor, and the ledger that keeps them across reloads. `admit` charges them.

pub mod address;
pub mod bucket;
pub mod ledger;
pub mod policy;
pub mod report;

pub use bucket::Bucket;
pub use ledger::Ledger;
pub use report::Reading;
