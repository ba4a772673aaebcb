//! Names of servers and their addresses, kept true on the monitor's thread: asked again when the time to live is over, never
//! by a worker. The system's configuration is followed (resolv.conf with its search list, and the hosts file), and read again
//! when it changes.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

use super::server::Server;
use crate::config::gateway::Endpoint;

/// A name is asked for no more often, however short its time to live.
const ASK_AFTER_MIN: Duration = Duration::from_secs(1);
/// And no less often, so that a change of the hosts file is seen; an answer that still lives comes from the cache.
const ASK_AFTER_MAX: Duration = Duration::from_secs(30);
/// A name that does not resolve is asked for again after one second, then two, up to this.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// More addresses of one name than this are not used.
const ADDRESSES_MAX: usize = 256;

const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// Asks for names.
pub(super) struct Names {
    /// A name server for tests, `ADDRESS:PORT`, instead of those of resolv.conf, which knows no ports.
    name_server: Option<SocketAddr>,
    current: RefCell<Option<(TokioResolver, Stamps)>>,
}

type Stamps = [Option<SystemTime>; FILES.len()];

impl Names {
    pub(super) fn new() -> Self {
        let name_server = std::env::var("KEYWARD_NAME_SERVER").ok().and_then(|text| text.parse().ok());
        Self { name_server, current: RefCell::new(None) }
    }

    /// Every address of a name, IPv4 first, and when to ask again.
    async fn ask(&self, host: &str, port: u16) -> Result<(Vec<SocketAddr>, Instant), NetError> {
        let resolver = self.resolver()?;
        let found = resolver.lookup_ip(host).await?;
        let mut addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        // Name servers turn them around; the order is ours to choose.
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        Ok((addresses, found.valid_until()))
    }

    /// The resolver of the system's configuration as it is now.
    fn resolver(&self) -> Result<TokioResolver, NetError> {
        let stamps = FILES.map(|file| Path::new(file).metadata().and_then(|found| found.modified()).ok());
        let mut current = self.current.borrow_mut();
        if let Some((resolver, made_at)) = &*current
            && *made_at == stamps
        {
            return Ok(resolver.clone());
        }
        let resolver = self.make()?;
        *current = Some((resolver.clone(), stamps));
        Ok(resolver)
    }

    fn make(&self) -> Result<TokioResolver, NetError> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = match self.name_server {
            Some(address) => TokioResolver::builder_with_config(only(address), provider),
            // Without a resolv.conf there is still the hosts file.
            None => TokioResolver::builder_tokio().unwrap_or_else(|_| {
                TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), Vec::new()), provider)
            }),
        };
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // A name that is missing may be about to come: a container that starts. Our own pace is slow enough.
        options.negative_max_ttl = Some(ASK_AFTER_MIN);
        builder.build()
    }
}

fn only(address: SocketAddr) -> ResolverConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// Keeps the addresses of a server with a name true, for ever. What was last known is used while the name does not resolve.
pub(super) async fn keep_resolved(server: Arc<Server>, names: &Names) {
    let Endpoint::Tcp { host, port, .. } = &server.endpoint else { return };
    let mut retry_after = ASK_AFTER_MIN;
    let mut failing = false;
    loop {
        let pause = match names.ask(host, *port).await {
            Ok((addresses, _)) if addresses.is_empty() => Err("no addresses".to_owned()),
            Ok((addresses, until)) => {
                server.resolved(addresses);
                Ok(until.saturating_duration_since(Instant::now()).clamp(ASK_AFTER_MIN, ASK_AFTER_MAX))
            }
            Err(error) => Err(error.to_string()),
        };
        let pause = match pause {
            Ok(pause) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(
                        event = "upstream_resolved",
                        upstream.name = server.upstream(),
                        host = host.as_str()
                    );
                }
                retry_after = ASK_AFTER_MIN;
                pause
            }
            Err(why) => {
                // Said once, not every few seconds.
                if !std::mem::replace(&mut failing, true) {
                    let (name, why) = (server.upstream(), why.as_str());
                    tracing::warn!(
                        event = "upstream_unresolved",
                        upstream.name = name,
                        host = host.as_str(),
                        error = why
                    );
                }
                server.unresolved();
                let pause = retry_after;
                retry_after = (retry_after * 2).min(RETRY_AFTER_MAX);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// What the addresses of a server are.
#[derive(Debug)]
pub(super) enum Addresses {
    /// Nobody has answered yet.
    Unasked,
    /// The name does not resolve, and never has.
    Unresolved,
    /// At least one, IPv4 first; none of a Unix socket.
    Known(Vec<SocketAddr>),
}

impl Addresses {
    /// What to try, in this order: another address first in each `turn`, so that all are used; but those of IPv6 only behind
    /// those of IPv4, which is less often broken where both exist. `None` while nobody has answered.
    pub(super) fn in_turn(&self, turn: usize) -> Option<io::Result<Vec<SocketAddr>>> {
        let known = match self {
            Self::Unasked => return None,
            Self::Unresolved => {
                return Some(Err(io::Error::new(io::ErrorKind::NotFound, "the name of the server does not resolve")));
            }
            Self::Known(known) => known,
        };
        let mut addresses = known.clone();
        let (v4, v6) = addresses.split_at_mut(known.partition_point(SocketAddr::is_ipv4));
        for family in [v4, v6] {
            if family.len() > 1 {
                family.rotate_left(turn % family.len());
            }
        }
        Some(Ok(addresses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(addresses: &[&str]) -> Addresses {
        Addresses::Known(addresses.iter().map(|text| text.parse().expect("an address")).collect())
    }

    #[test]
    fn every_address_has_its_turn_and_ipv4_comes_first() {
        let addresses = known(&["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"]);
        let turn = |turn| -> Vec<String> {
            let list = addresses.in_turn(turn).expect("an answer").expect("addresses");
            list.iter().map(ToString::to_string).collect()
        };
        assert_eq!(turn(0), ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(turn(1), ["10.0.0.2:1", "10.0.0.3:1", "10.0.0.1:1", "[::2]:1", "[::1]:1"]);
        assert_eq!(turn(5), ["10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1", "[::2]:1", "[::1]:1"]);
    }

    #[test]
    fn what_is_not_known_is_waited_for_and_what_does_not_resolve_is_not() {
        assert!(Addresses::Unasked.in_turn(0).is_none());
        let error = Addresses::Unresolved.in_turn(0).expect("an answer").expect_err("no address");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(known(&[]).in_turn(7).expect("an answer").expect("a Unix socket").is_empty());
    }
}
