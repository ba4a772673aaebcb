//! How much: buckets on governor, quotas, requests underway, and what keeps them across reloads. `admit` charges them.
//! And who is locked out, for keys that are not good.

pub mod account;
pub mod address;
pub mod bucket;
pub mod ledger;
pub mod lockout;
pub mod policy;
pub mod quota;
pub mod report;

pub use bucket::Bucket;
pub use ledger::Ledger;
pub use report::Reading;
