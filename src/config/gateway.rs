//! `keyward.toml`, understood: every default filled in, every value in its own type, every reference resolved.

mod admin;
mod alerts;
mod keys;
mod limits;
mod listener;
mod log;
mod metrics;
mod parse;
mod pattern;
mod preset;
mod rewrite;
mod route;
mod sense;
mod server;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use ipnet::IpNet;

pub use self::alerts::{Alerts, LeakAction, LeakInResponse, Webhook, WebhookFormat, WebhookUrl};
pub(super) use self::limits::{MODES, QUOTA_HINT, QUOTA_IN_MEMORY, RATES_MAX, concurrency, rates};
pub use self::listener::{CertificatePaths, ClientAuth, Insecure, ListenAddress, Listener};
pub use self::parse::parse;
pub(crate) use self::parse::read;
pub(super) use self::pattern::methods_meet;
pub use self::pattern::{is_never_taken, takes};
pub(super) use self::route::{method, path};
pub(super) use self::server::network;
pub use self::upstream::{
    Balance, Eject, Endpoint, Health, HostHeader, Protocol, Scheme, Upstream, UpstreamServer, UpstreamTlsPaths,
};
use crate::vocab::period::Quota;
use crate::vocab::units::Rate;

/// A value and the byte range of the file that it was read from, so that a problem found later still has its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// What was read.
    pub value: T,
    /// Where: byte offsets into the file's text.
    pub span: Range<usize>,
}

/// Where something stands in the file, for what is said of it once the other file is known. It is no part of what the file
/// means: any two places are equal.
#[derive(Clone, Debug, Default)]
pub struct Place(pub(in crate::config) Range<usize>);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// `[server]`
    pub server: Server,
    /// `[[listener]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[http]`
    pub http: Http,
    /// `[keys]`
    pub keys: Keys,
    /// `[plan.NAME]`
    pub plans: BTreeMap<String, Plan>,
    /// `[limits]`
    pub limits: Limits,
    /// `[[route]]` in file order, at least one.
    pub routes: Vec<Route>,
    /// `[upstream.NAME]`
    pub upstreams: BTreeMap<String, Upstream>,
    /// `[log]`
    pub log: Log,
    /// `[admin]`
    pub admin: Admin,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[alerts]`
    pub alerts: Alerts,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; 0 = one per core.
    pub workers: usize,
    /// How long a drain may take.
    pub shutdown_grace: Duration,
    /// Where counters and history outlive a restart, joined to the folder of the config file; `None` = in memory.
    pub state: Option<Located<PathBuf>>,
    /// Who is believed about the client.
    pub trusted_proxies: TrustedProxies,
}

/// `server.trusted_proxies`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Addresses of proxies; IPv4 as IPv4.
    pub networks: Vec<IpNet>,
    /// `unix:`: whoever comes over a Unix socket.
    pub unix: bool,
}

impl TrustedProxies {
    /// Whether a proxy has this address, which is canonical.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// From accept, or from the first byte of a request, to the end of its head.
    pub header_timeout: Duration,
    /// Longest silence inside a body, either way.
    pub body_idle_timeout: Duration,
    /// Longest silence between requests.
    pub idle_timeout: Duration,
    /// Bytes of a request head, at least 8 KiB.
    pub header_bytes_max: u32,
    /// Header lines of a request head.
    pub headers_max: usize,
    /// Open connections over all listeners.
    pub connections_max: usize,
    /// Open connections from one address; `None` = no limit (`0` in the file).
    pub connections_per_ip_max: Option<usize>,
    /// Concurrent HTTP/2 streams of one connection.
    pub h2_streams_max: u32,
    /// Bytes of a request body on routes that do not say otherwise; `None` = any number (`none` in the file).
    pub body_bytes_max: Option<u64>,
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// The key file, joined to the folder of the config file.
    pub file: Located<PathBuf>,
    /// Where a key may stand in a request; at least one.
    pub sources: Vec<Source>,
    /// Of keys made here.
    pub prefix: String,
    /// Where the pepper is, if any.
    pub pepper: Option<Located<SecretRef>>,
    /// Leave the credential in the forwarded request.
    pub forward: bool,
    /// Expiry of keys made here; `None` = never.
    pub expires_default: Option<Duration>,
    /// The realm of the challenge.
    pub realm: String,
    /// 401 or 403.
    pub status_missing: u16,
    /// 401 or 403.
    pub status_invalid: u16,
    /// `X-Request-ID` and `X-API-Key-Fingerprint` on responses.
    pub audit_headers: bool,
    /// Headers that tell the upstream who calls.
    pub identity: Identity,
    /// A good key that came over plaintext is written to the key file as `compromised`
    /// (draft-ietf-httpapi-privacy).
    pub compromise_on_plaintext: bool,
}

/// `[keys.identity]`; an empty string in the file turns one off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Key id, default `X-Consumer-ID`.
    pub id: Option<HeaderName>,
    /// Owner, default `X-Consumer-Username`.
    pub owner: Option<HeaderName>,
    /// Roles joined by `,`, default `X-Consumer-Groups`.
    pub roles: Option<HeaderName>,
    /// Plan, default `X-Consumer-Plan`.
    pub plan: Option<HeaderName>,
    /// Key id once more, as what Kong tells apart from the consumer; off by default, `X-Credential-Identifier` in its preset.
    pub credential: Option<HeaderName>,
}

impl Identity {
    /// Every header of them that is on.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        let Self { id, owner, roles, plan, credential } = self;
        [id, owner, roles, plan, credential].into_iter().flatten()
    }
}

/// One entry of `keys.sources`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `bearer`: `Authorization: Bearer KEY` (RFC 6750).
    Bearer,
    /// `basic`: the password of `Authorization: Basic` (RFC 7617).
    Basic,
    /// `header:NAME`
    Header(HeaderName),
    /// `query:NAME`
    Query(String),
    /// `cookie:NAME`
    Cookie(String),
    /// `websocket-protocol`: `Sec-WebSocket-Protocol: keyward.KEY`
    WebSocketProtocol,
}

/// `env:NAME` or `file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// The value of an environment variable.
    Env(String),
    /// The contents of a file, without one trailing line end; joined to the folder of the config file.
    File(PathBuf),
}

/// `[plan.NAME]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Each key that names the plan has its own budget of these.
    pub limits: Vec<Rate>,
    /// Likewise.
    pub quota: Option<Quota>,
    /// Likewise: requests at the same time.
    pub concurrency: Option<NonZeroU32>,
    /// Where it begins.
    pub place: Place,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Send IETF `RateLimit` and `RateLimit-Policy`.
    pub ratelimit_headers: bool,
    /// Send `X-RateLimit-Limit`, `-Remaining`, `-Reset` (delta seconds).
    pub x_ratelimit_headers: bool,
    /// One limit for the whole gateway.
    pub total: Option<Rate>,
    /// Per client address, before any key is looked at.
    pub per_ip: Option<Rate>,
    /// Refused credentials per client address; beyond it the address is locked out.
    pub failures_per_ip: Option<Rate>,
    /// How long the first time.
    pub lockout: Duration,
    /// Per client address, for requests without a key.
    pub open: Option<Rate>,
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; absent in the file: the host and path as written, or `default` for the implied one.
    pub name: String,
    /// Which hosts.
    pub host: HostPattern,
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty = all.
    pub methods: Vec<Method>,
    /// Name of an entry of [`Gateway::upstreams`].
    pub upstream: String,
    /// Whether a key is needed.
    pub auth: Auth,
    /// Whether CORS preflights pass without a key.
    pub preflight: Preflight,
    /// A key needs all of them.
    pub roles: Vec<Box<str>>,
    /// Where they stand, if they are written.
    pub roles_place: Place,
    /// Per key on this route, on top of the key's own.
    pub limits: Vec<Rate>,
    /// Units that one request takes from every limit and quota.
    pub cost: NonZeroU32,
    /// Whether its refusals are meant.
    pub mode: Mode,
    /// Until the response head.
    pub timeout: Duration,
    /// Bytes of a request body; `None` = any number. Absent in the file: that of `[http]`.
    pub body_bytes_max: Option<u64>,
    /// Look for keys in text bodies of responses.
    pub scan_response: bool,
    /// Taken from the path, in whole segments; empty = nothing.
    pub strip_prefix: String,
    /// Put before what is left of the path; empty = nothing.
    pub add_prefix: String,
    /// `[route.request_headers]`
    pub request_headers: HeaderEdits,
    /// `[route.response_headers]`
    pub response_headers: HeaderEdits,
}

/// `[route.request_headers]`, `[route.response_headers]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Set, after the others were removed.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// `route.host`, lower-cased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// No `host`.
    Any,
    /// `api.example.com`
    Exact(String),
    /// `*.example.com`; holds `.example.com`.
    Suffix(String),
}

/// `route.path`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// No `path`, or `/*`.
    Any,
    /// `/v1/orders`
    Exact(String),
    /// `/v1/orders/*`; holds `/v1/orders/`. It also covers `/v1/orders` itself.
    Prefix(String),
}

/// `route.auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A key is needed.
    Key,
    /// Without a key it passes; with one, the key must be good.
    Optional,
    /// No key is looked at.
    Open,
}

/// `mode` of a route or a key
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// What is refused is refused.
    #[default]
    Enforce,
    /// It is decided and logged; nothing is refused.
    Shadow,
}

/// `route.preflight`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preflight {
    /// A CORS preflight needs no key.
    Pass,
    /// It is a request like any other.
    Check,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Of operational lines.
    pub level: Level,
    /// Where every line goes.
    pub output: Output,
    /// What happens when the writer cannot keep up.
    pub on_full: OnFull,
}

/// `log.level`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `error`
    Error,
    /// `warn`
    Warn,
    /// `info`
    Info,
    /// `debug`
    Debug,
    /// `trace`
    Trace,
}

/// `log.output`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// `stdout`
    Stdout,
    /// `stderr`
    Stderr,
    /// `file:PATH`, joined to the folder of the config file.
    File(PathBuf),
}

/// `log.on_full`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Requests wait for the log.
    Wait,
    /// Lines are dropped and counted.
    Drop,
}

/// A method as lists of them have it, or what is wrong with it.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn check_method(text: &str) -> Result<Method, String> {
    method(text).map_err(|wrong| wrong.to_string())
}

/// A path as routes and keys have it, or what is wrong with it.
///
/// # Errors
/// What is wrong, and what to do about it.
pub fn check_path(text: &str) -> Result<String, String> {
    path(text).map(|_| text.to_owned()).map_err(|wrong| wrong.to_string())
}

/// `[admin]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admin {
    /// Where probes and scrapes are answered; `None` = nowhere (`off` in the file). The file of a Unix socket is its
    /// owner's alone.
    pub address: Option<ListenAddress>,
}

/// `[metrics]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Some have the ids of keys in their labels.
    pub per_key: bool,
    /// Series of one metric; what is beyond them is counted together.
    pub series_max: usize,
}

impl std::fmt::Display for Source {
    /// As written in `keys.sources`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bearer => f.write_str("bearer"),
            Self::Basic => f.write_str("basic"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::WebSocketProtocol => f.write_str("websocket-protocol"),
        }
    }
}
