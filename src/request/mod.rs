//! What one request is, read once: who sent it, to which host, for which path.

pub mod facts;
pub mod forwarded;
pub mod peer;
pub mod target;

pub use facts::{Activity, Busy, ConnFacts, Facts, MalformedBody, RequestId, Transport};
pub use forwarded::Forwarded;
pub use peer::Peer;
