//! One server of an upstream: where it is, how it is spoken to, and how it is doing. It lives as long as the configuration
//! says the same of it, over any number of reloads, and so do its connections and its health.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use http::HeaderValue;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Notify;

use super::balance::digest;
use super::health::{Health, State};
use super::resolve::Addresses;
use crate::config::gateway::{self, Eject, Endpoint, Protocol, UpstreamServer};
use crate::config::load::UpstreamTls;

/// A server. Workers share it; everything that changes is an atomic.
pub struct Server {
    /// Which pool of a worker is its. Unique among the servers that live.
    pub pool: usize,
    /// Where it is.
    pub endpoint: Endpoint,
    /// What is spoken to it; `Auto` only where TLS chooses (ALPN).
    pub protocol: Protocol,
    /// Its own name, for `host = "upstream"`.
    pub authority: HeaderValue,
    /// Present exactly where it is spoken to over TLS.
    pub tls: Option<ServerTls>,
    /// Of its scores under `consistent_key`: the same in every process.
    pub(super) seed: u64,
    upstream: Box<str>,
    made_from: Option<[u8; 32]>,
    policy: ArcSwap<Policy>,
    has_name: bool,
    addresses: ArcSwap<Addresses>,
    answered: Notify,
    next_address: AtomicUsize,
    counts_requests: AtomicBool,
    in_flight: AtomicUsize,
    opened: AtomicUsize,
    waiting: AtomicUsize,
    released: Notify,
    pub(super) health: Health,
}

/// How a server is spoken to over TLS.
#[derive(Clone)]
pub struct ServerTls {
    /// Roots, client certificate, ALPN.
    pub config: Arc<ClientConfig>,
    /// Whom its certificate must name.
    pub name: ServerName<'static>,
}

/// The settings that may change under a server that stays.
#[derive(Clone, Debug)]
struct Policy {
    connections_max: usize,
    eject: Option<Eject>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.endpoint, self.upstream)
    }
}

impl Server {
    /// A server of the upstream `name`. `pool` must be no other living server's.
    pub fn new(
        name: &str,
        upstream: &gateway::Upstream,
        server: &UpstreamServer,
        tls: Option<&UpstreamTls>,
        pool: usize,
    ) -> Self {
        let authority = HeaderValue::try_from(server.endpoint.authority());
        let over_tls = tls.zip(server.server_name.clone());
        Self {
            pool,
            endpoint: server.endpoint.clone(),
            protocol: server.protocol,
            // Names were checked to be such when they were read.
            authority: authority.unwrap_or_else(|_| HeaderValue::from_static("localhost")),
            tls: over_tls.map(|(tls, name)| ServerTls { config: Arc::clone(&tls.config), name }),
            seed: digest(&[server.endpoint.to_string().as_bytes()]),
            upstream: name.into(),
            made_from: made_from(server, tls),
            policy: ArcSwap::from_pointee(policy(upstream)),
            has_name: matches!(fixed_addresses(&server.endpoint), Addresses::Unasked),
            addresses: ArcSwap::from_pointee(fixed_addresses(&server.endpoint)),
            answered: Notify::new(),
            next_address: AtomicUsize::new(0),
            counts_requests: AtomicBool::new(counts_requests(upstream)),
            in_flight: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            released: Notify::new(),
            health: Health::default(),
        }
    }

    /// Whether the configuration still means this server. An upstream has its servers to itself: their limits and their
    /// health are its settings.
    pub fn is(&self, name: &str, server: &UpstreamServer, tls: Option<&UpstreamTls>) -> bool {
        *self.upstream == *name
            && self.endpoint == server.endpoint
            && self.protocol == server.protocol
            && self.tls.as_ref().map(|tls| &tls.name) == server.server_name.as_ref()
            && self.made_from == made_from(server, tls)
    }

    /// Takes over the settings of a new generation.
    pub fn follow(&self, upstream: &gateway::Upstream) {
        self.policy.store(Arc::new(policy(upstream)));
        self.counts_requests.store(counts_requests(upstream), Relaxed);
    }

    /// Name of the upstream that it belongs to.
    pub fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Counts a request while it is underway. Where nobody asks for the number, nothing is counted.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        if !self.counts_requests.load(Relaxed) {
            return InFlight(None);
        }
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(Some(Arc::clone(self)))
    }

    /// Requests underway, over all workers.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Counts a connection while it is open; `None` at `connections_max`.
    pub fn open(self: &Arc<Self>) -> Option<Opened> {
        let max = self.policy.load().connections_max;
        let counted = self.opened.fetch_update(Relaxed, Relaxed, |open| (open < max).then_some(open + 1));
        counted.ok().map(|_| Opened(Arc::clone(self)))
    }

    /// Open connections, over all workers.
    pub fn opened(&self) -> usize {
        self.opened.load(Relaxed)
    }

    /// One more waits for a connection, if fewer than `max` do, over all workers.
    pub(super) fn wait(&self, max: usize) -> bool {
        self.waiting.fetch_update(Relaxed, Relaxed, |waiting| (waiting < max).then_some(waiting + 1)).is_ok()
    }

    /// One has waited long enough.
    pub(super) fn wait_no_more(&self) {
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// How many wait, over all workers.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Tells those that wait of a connection that was closed, so that another may be opened.
    pub(super) const fn released(&self) -> &Notify {
        &self.released
    }

    /// Healthy, and not ejected.
    pub fn is_available(&self, now_ms: u64) -> bool {
        self.health.is_available(now_ms)
    }

    /// How it is doing.
    pub fn state(&self, now_ms: u64) -> State {
        self.health.state(now_ms)
    }

    /// A request got an answer that says nothing against the server.
    pub fn succeeded(&self) {
        self.health.succeeded();
    }

    /// A request could not connect, was reset, had no answer in time, or got 502, 503 or 504.
    pub fn failed(&self, now_ms: u64) {
        if let Some(eject) = self.policy.load().eject {
            self.health.failed(eject, now_ms);
        }
    }

    /// Its addresses, in the order in which to try them; none of a Unix socket. Waits for the first answer to its name.
    ///
    /// # Errors
    /// The name does not resolve.
    pub async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let turn = self.next_address.fetch_add(1, Relaxed);
        loop {
            // Before the look, so that an answer in between is not missed.
            let answered = self.answered.notified();
            if let Some(addresses) = self.addresses.load().in_turn(turn) {
                return addresses;
            }
            answered.await;
        }
    }

    /// Whether it has a name, whose addresses change.
    pub(super) const fn has_name(&self) -> bool {
        self.has_name
    }

    /// Whether a connection to this address is one that might be made now; not so where the name has moved away.
    pub(super) fn is_at(&self, address: &str) -> bool {
        if !self.has_name {
            return true;
        }
        match (&**self.addresses.load(), address.parse::<SocketAddr>()) {
            // They are sorted.
            (Addresses::Known(known), Ok(address)) => known.binary_search(&address).is_ok(),
            (Addresses::Unasked | Addresses::Unresolved | Addresses::Known(_), _) => true,
        }
    }

    /// Its name has these addresses, at least one, sorted.
    pub(super) fn resolved(&self, addresses: Vec<SocketAddr>) {
        let is_news = !matches!(&**self.addresses.load(), Addresses::Known(known) if *known == addresses);
        if is_news {
            self.addresses.store(Arc::new(Addresses::Known(addresses)));
            self.answered.notify_waiters();
        }
    }

    /// Its name does not resolve. Addresses that were good stay good.
    pub(super) fn unresolved(&self) {
        let was_unasked = matches!(&**self.addresses.load(), Addresses::Unasked);
        if was_unasked {
            self.addresses.store(Arc::new(Addresses::Unresolved));
            self.answered.notify_waiters();
        }
    }
}

/// A request underway.
#[derive(Debug)]
pub struct InFlight(Option<Arc<Server>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(server) = &self.0 {
            server.in_flight.fetch_sub(1, Relaxed);
        }
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Opened(Arc<Server>);

impl Opened {
    /// Whose it is.
    pub const fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.opened.fetch_sub(1, Relaxed);
        if self.0.waiting() > 0 {
            self.0.released.notify_one();
        }
    }
}

fn policy(upstream: &gateway::Upstream) -> Policy {
    // Nothing is won by turning away from the only server.
    let eject = upstream.eject.filter(|_| upstream.servers.len() > 1);
    Policy { connections_max: upstream.connections_max, eject }
}

fn counts_requests(upstream: &gateway::Upstream) -> bool {
    upstream.balance == gateway::Balance::LeastRequests && upstream.servers.len() > 1
}

fn made_from(server: &UpstreamServer, tls: Option<&UpstreamTls>) -> Option<[u8; 32]> {
    tls.filter(|_| server.endpoint.has_tls()).map(|tls| tls.made_from)
}

fn fixed_addresses(endpoint: &Endpoint) -> Addresses {
    match endpoint {
        Endpoint::Unix(_) => Addresses::Known(Vec::new()),
        Endpoint::Tcp { host, port, .. } => match host.parse::<IpAddr>() {
            Ok(ip) => Addresses::Known(vec![SocketAddr::new(ip, *port)]),
            Err(_) => Addresses::Unasked,
        },
    }
}

#[cfg(test)]
mod tests;
