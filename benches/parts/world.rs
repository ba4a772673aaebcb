//! A gateway's configuration and keys in memory, and a request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{HOST, HeaderValue, USER_AGENT};
use http::{Method, Uri, Version};
use keyward::config::gateway::{self, Gateway, Insecure};
use keyward::config::keyfile::{self, KeyFile};
use keyward::config::source::SourceFile;
use keyward::request::{ConnFacts, Facts, RequestId, Transport};
use keyward::snapshot::{Builder, Parts, Snapshot};
use keyward::vocab::clock::Clock;
use keyward::vocab::denial::Denial;
use keyward::vocab::digest::Digest;
use keyward::vocab::fields::Fields;

/// What makes snapshots, and the two files.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) keys: KeyFile,
    builder: Builder,
    gateway: Gateway,
}

impl World {
    /// The defaults, with these keys.
    pub(crate) fn new(keys: &str) -> Self {
        Self::with("", keys)
    }

    /// With more in the configuration.
    pub(crate) fn with(config: &str, keys: &str) -> Self {
        let clock = Clock::system();
        let config = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n{config}");
        let source = Arc::new(SourceFile::new("keyward.toml", config));
        let Ok((gateway, _)) = gateway::parse(&source) else { panic!("the configuration is good") };
        let Ok((keys, _)) = keyfile::parse(&source_of(keys)) else { panic!("the keys are good") };
        Self { builder: Builder::new(clock.clone(), &[9; 64]), clock, keys, gateway }
    }

    /// The next generation.
    pub(crate) fn build(&mut self) -> Snapshot {
        let upstream_tls = &BTreeMap::new();
        let Self { builder, gateway, keys, .. } = self;
        builder.build(Parts { gateway, keys, pepper: None, upstream_tls, entrances: Vec::new() })
    }
}

/// A key file.
pub(crate) fn source_of(keys: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("keys.toml", keys))
}

/// A key that somebody brought along.
pub(crate) fn secret(number: usize) -> String {
    format!("a-key-that-somebody-brought-along-{number:016}")
}

/// Its entry, with a limit that is never reached.
pub(crate) fn entry(number: usize, owner: &str) -> String {
    let hash = Digest::sha256(secret(number).as_bytes()).to_hex();
    format!(
        "[[key]]\nid = \"key-{number}\"\nhash = \"sha256:{hash}\"\nowner = \"{owner}\"\nlimits = [\"1000000/s\"]\n\n"
    )
}

/// A connection over TLS.
pub(crate) fn conn() -> ConnFacts {
    conn_from([192, 0, 2, 1])
}

/// One from that address.
pub(crate) fn conn_from(address: [u8; 4]) -> ConnFacts {
    let peer = SocketAddr::from((address, 5000));
    ConnFacts::new(peer.into(), Transport::Tls("1.3"), Insecure::Refuse)
}

/// What every request has.
pub(crate) fn plain_headers() -> Fields {
    let mut headers = Fields::new();
    headers.set(HOST, HeaderValue::from_static("api.example.com"));
    headers.set(USER_AGENT, HeaderValue::from_static("bench/1"));
    headers
}

/// What is read of a request's head.
pub(crate) fn facts(clock: &Clock, headers: &Fields) -> (Facts, Result<(), Denial>) {
    let uri = Uri::from_static("/v1/orders?page=2");
    Facts::read(clock.now(), RequestId::new(7), Method::GET, uri, Version::HTTP_11, headers)
}
