//! What one request is, read once: who sent it, to which host, for which path.

pub mod facts;
pub mod forwarded;
pub mod peer;
pub mod received;
pub mod target;

pub use facts::{Activity, Busy, ConnFacts, Facts, RequestId, Transport};
pub use forwarded::Forwarded;
pub use peer::Peer;
pub use received::{BrokenBody, ClientBody, Received};
