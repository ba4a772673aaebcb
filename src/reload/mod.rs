//! Files that change while traffic flows: noticed by `watch`, read by `sources`, put to use by `apply`, told of by `status`.

pub mod apply;
pub mod compromise;
pub mod diff;
pub mod sources;
pub mod status;
pub mod watch;
