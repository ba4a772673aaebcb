//! The way to the service behind: a pool of connections per worker, behind a seam that knows nothing of keys.

pub mod body;
pub mod forward;
pub mod headers;
pub mod pool;
mod wire;

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::config::gateway;

/// What may pass to an upstream, and how long it may take.
#[derive(Debug)]
pub struct Passing {
    /// Headers that only we may set: a client's own copies never pass.
    pub identity: Box<[HeaderName]>,
    /// Header fields in which keys are looked for.
    pub credential_headers: Box<[HeaderName]>,
    /// `http.body_idle_timeout`
    pub body_idle: Duration,
}

/// One `[upstream.NAME]`, ready to serve.
#[derive(Debug)]
pub struct Upstream {
    /// `upstream.name` in the log.
    pub name: Box<str>,
    /// Name or address of the server.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// Both, for a client that names no host.
    pub authority: HeaderValue,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Which pool of a worker is its; the same for the same server in every generation.
    pub pool: usize,
}

impl Upstream {
    /// An upstream of the file.
    pub fn new(name: &str, upstream: &gateway::Upstream, pool: usize) -> Self {
        Self {
            name: name.into(),
            host: upstream.server.host.as_str().into(),
            port: upstream.server.port,
            authority: HeaderValue::try_from(upstream.server.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            connect_timeout: upstream.connect_timeout,
            pool,
        }
    }
}
