//! Keyward: an API-key gateway.

pub mod config;
pub mod credential;
pub mod gate;
pub mod edge;
pub mod reload;
pub mod keys;
pub mod limits;
pub mod observe;
pub mod record;
pub mod request;
pub mod route;
pub mod snapshot;
pub mod timer;
pub mod upstream;
pub mod vocab;
