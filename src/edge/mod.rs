//! From socket to request: listeners, TLS, and the connections of one worker.

pub mod accept;
pub mod beats;
pub mod bindings;
mod buffers;
pub mod conn;
pub mod h1;
pub mod inherited;
pub mod listener;
mod protocol;
pub mod proxy_protocol;
pub mod slots;
pub mod socket;
pub mod stream;
pub mod tls;
pub mod unix;
pub mod worker;
