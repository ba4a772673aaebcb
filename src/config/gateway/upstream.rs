//! `[upstream.NAME]`: what it may say, and how it is read.

mod read;

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::ServerName;

pub(super) use self::read::upstream;
use super::{CertificatePaths, Located};

/// `[upstream.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// At least one, each endpoint once.
    pub servers: Vec<UpstreamServer>,
    /// Which server takes the next request.
    pub balance: Balance,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// How often a request that is safe to repeat is sent again.
    pub retries: u32,
    /// The `Host` that servers get.
    pub host: HostHeader,
    /// Open connections to one server, over all workers.
    pub connections_max: usize,
    /// Requests that may wait for a connection.
    pub queue_max: usize,
    /// For servers with `https`.
    pub tls: UpstreamTlsPaths,
    /// Active checks, if any.
    pub health: Option<Health>,
    /// Passive checks, if any.
    pub eject: Option<Eject>,
}

/// One entry of `upstream.servers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamServer {
    /// Where it is.
    pub endpoint: Endpoint,
    /// How much of the requests it gets, beside the others'; 1 to 65535.
    pub weight: u16,
    /// What is spoken to it: `upstream.protocol` and the scheme together. `Auto` only where TLS chooses (ALPN).
    pub protocol: Protocol,
    /// Whom its certificate must name; present exactly where the scheme is `https`.
    pub server_name: Option<ServerName<'static>>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `http://`, `https://` or `h2c://`
    Tcp {
        /// What is written before `://`.
        scheme: Scheme,
        /// Name or address, without brackets.
        host: String,
        /// Default 80, or 443 for `https`.
        port: u16,
    },
    /// `unix:PATH`, joined to the folder of the config file.
    Unix(PathBuf),
}

/// Of a server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plaintext; HTTP/1.1 unless `protocol` says otherwise.
    Http,
    /// TLS.
    Https,
    /// HTTP/2 in plaintext by prior knowledge (RFC 9113 §3.3).
    H2c,
}

/// `upstream.protocol`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/2 where ALPN agrees on it, else HTTP/1.1.
    Auto,
    /// `http/1.1`
    Http1,
    /// `h2`, without TLS by prior knowledge.
    H2,
}

/// `upstream.balance`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// By turns, in the proportion of the weights.
    RoundRobin,
    /// Of two servers by chance, the one with fewer requests underway.
    LeastRequests,
    /// Requests of one key go to one server.
    ConsistentKey,
}

/// `upstream.host`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostHeader {
    /// What the client asked for.
    Preserve,
    /// The server's own name.
    Upstream,
    /// Always this.
    Literal(HeaderValue),
}

/// `upstream.tls`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTlsPaths {
    /// PEM certificates to trust; `None` = those that the system trusts.
    pub ca: Option<Located<PathBuf>>,
    /// The certificate shown to servers.
    pub client: Option<CertificatePaths>,
    /// Where the first server over TLS stands; `None` = there is none, and nothing of this is read.
    pub needed_at: Option<Range<usize>>,
}

/// `upstream.health`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Of the request, with its query.
    pub path: String,
    /// From one check to the next.
    pub interval: Duration,
    /// Until the answer.
    pub timeout: Duration,
    /// Good answers in a row that make a server healthy.
    pub healthy: u32,
    /// Bad ones that make it unhealthy.
    pub unhealthy: u32,
}

/// `upstream.eject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row.
    pub failures: u32,
    /// How long the server then gets nothing.
    pub duration: Duration,
}

impl UpstreamTlsPaths {
    /// Every file that is read.
    pub fn files(&self) -> Vec<PathBuf> {
        let client = self.client.iter().flat_map(|paths| [&paths.cert, &paths.key]);
        let files = self.ca.iter().chain(client).map(|file| file.value.clone());
        files.filter(|_| self.needed_at.is_some()).collect()
    }

    /// Whether both read the same files.
    pub fn names_the_files_of(&self, other: &Self) -> bool {
        self.needed_at.is_some() == other.needed_at.is_some() && self.files() == other.files()
    }
}

impl Scheme {
    /// The port that need not be written.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

impl Endpoint {
    /// As an authority (RFC 3986 §3.2): an IPv6 address in brackets, no port where it is the scheme's. A socket has no name;
    /// its servers are told `localhost`, as curl and nginx tell them.
    pub fn authority(&self) -> String {
        let Self::Tcp { scheme, host, port } = self else { return "localhost".to_owned() };
        let host = bracketed(host);
        if *port == scheme.default_port() { host } else { format!("{host}:{port}") }
    }

    /// Over TLS?
    pub const fn has_tls(&self) -> bool {
        matches!(self, Self::Tcp { scheme: Scheme::Https, .. })
    }
}

impl fmt::Display for Endpoint {
    /// As the log has it before an address is known: `HOST:PORT` or `unix:PATH`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{}:{port}", bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
