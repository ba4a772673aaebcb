//! The way to the services behind: several servers, a pool of connections to each per worker, behind a seam that knows
//! nothing of keys.

pub mod answer;
pub mod balance;
pub mod body;
mod check;
mod connect;
pub mod failure;
pub mod forward;
pub mod h1;
pub mod headers;
pub mod health;
pub mod http2;
pub mod message;
pub mod monitor;
pub mod pool;
mod resolve;
pub mod server;
pub mod stream;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use self::balance::{Turns, Weighted, by_rendezvous, by_two_choices, digest};
use self::check::Check;
use self::server::Server;
use crate::admit::Admitted;
use crate::config::gateway::{self, Balance, HostHeader};
use crate::limits::address::Client;

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
    /// At least one, in the order of the file.
    pub servers: Box<[Weighted]>,
    /// `upstream.balance`
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
    check: Option<Check>,
    turns: Turns,
}

impl Upstream {
    /// An upstream of the file over its servers.
    pub fn new(name: &str, upstream: &gateway::Upstream, servers: Box<[Weighted]>) -> Self {
        Self {
            name: name.into(),
            turns: Turns::new(&servers),
            servers,
            balance: upstream.balance,
            connect_timeout: upstream.connect_timeout,
            retries: upstream.retries,
            host: upstream.host.clone(),
            connections_max: upstream.connections_max,
            queue_max: upstream.queue_max,
            check: upstream.health.clone().map(|health| Check { health, host: upstream.host.clone() }),
        }
    }

    /// How its servers are checked, if they are.
    fn check(&self) -> Option<Check> {
        self.check.clone()
    }

    /// The server for a request: by `balance` among those that are available and not yet `tried` (as
    /// [`Server::pool`] numbers); else any that is available; else any at all. `None` only without servers.
    pub fn pick(&self, affinity: Option<u64>, tried: &[usize], now_ms: u64) -> Option<&Arc<Server>> {
        if let [only] = &*self.servers {
            return Some(&only.server);
        }
        let is_new = |server: &Server| !tried.contains(&server.pool);
        let is_available = |server: &Server| server.is_available(now_ms);
        let choose = |first, may: &dyn Fn(&Server) -> bool| self.choose(first, affinity, may);
        choose(true, &|server| is_new(server) && is_available(server))
            .or_else(|| choose(false, &is_available))
            .or_else(|| choose(false, &is_new))
            .or_else(|| choose(false, &|_| true))
            .map(|it| &it.server)
    }

    /// `first` unless a choice for this request has already found nobody.
    fn choose(&self, first: bool, affinity: Option<u64>, may: &dyn Fn(&Server) -> bool) -> Option<&Weighted> {
        match (self.balance, affinity) {
            (Balance::RoundRobin, _) if first => self.turns.pick(&self.servers, may),
            (Balance::RoundRobin, _) => self.turns.pick_instead(&self.servers, may),
            (Balance::ConsistentKey, Some(affinity)) => by_rendezvous(&self.servers, affinity, may),
            (Balance::LeastRequests | Balance::ConsistentKey, _) => {
                by_two_choices(&self.servers, self.turns.random(), may)
            }
        }
    }

    /// What ties a request to a server under `consistent_key`: its key, or where it comes from where it has none. The same
    /// in every process, so that gateways beside each other agree. `None` under other balances.
    pub fn affinity(&self, admitted: &Admitted) -> Option<u64> {
        (self.balance == Balance::ConsistentKey).then(|| match (admitted.key(), admitted.client()) {
            (Some(key), _) => digest(&[b"key", key.id().as_bytes()]),
            (None, Client::V4(address)) => digest(&[b"v4", &address]),
            (None, Client::V6(address)) => digest(&[b"v6", &address]),
            (None, Client::Unix) => digest(&[b"unix"]),
        })
    }

    /// The name of its first server, for a client that names no host.
    pub fn authority(&self) -> HeaderValue {
        let first = self.servers.first().map(|it| it.server.authority.clone());
        first.unwrap_or_else(|| HeaderValue::from_static("localhost"))
    }
}
