//! Reads `[upstream.NAME]`.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use http::HeaderValue;
use http::uri::Authority;
use rustls_pki_types::ServerName;
use toml::de::DeValue;

use super::super::server::file_path;
use super::{
    Balance, Eject, Endpoint, Health, HostHeader, Protocol, Scheme, Upstream, UpstreamServer, UpstreamTlsPaths,
};
use crate::config::gateway::CertificatePaths;
use crate::config::problems::Wrong;
use crate::config::reader::{Item, Table};
use crate::config::source::SourceFile;

/// More servers than this are a mistake, or a job for DNS.
const SERVERS_MAX: usize = 256;
/// What fits into a socket's address (unix(7): 108 bytes with the zero at the end).
const SOCKET_PATH_MAX: usize = 107;

const BALANCES: [(&str, Balance); 3] = [
    ("round_robin", Balance::RoundRobin),
    ("least_requests", Balance::LeastRequests),
    ("consistent_key", Balance::ConsistentKey),
];
const PROTOCOLS: [(&str, Protocol); 3] =
    [("auto", Protocol::Auto), ("http/1.1", Protocol::Http1), ("h2", Protocol::H2)];

pub(in crate::config::gateway) fn upstream(mut table: Table<'_>) -> Upstream {
    let protocol = table.one_of("protocol", &PROTOCOLS, Protocol::Auto);
    let (mut tls, server_name) = tls(&mut table);
    let spoken = Spoken { protocol, server_name };
    let servers = match table.get("servers") {
        Some(item) => servers(&item, &spoken, &mut tls),
        None => {
            let wrong = Wrong::new("missing-key", "an upstream needs `servers`")
                .hint("`servers = [\"http://127.0.0.1:3000\"]`");
            table.problems().add(table.span(), wrong);
            Vec::new()
        }
    };
    let balance = table.one_of("balance", &BALANCES, Balance::RoundRobin);
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(2));
    let retries = table.integer("retries", 0..=10, 1);
    let host = table.parsed("host", host_header).unwrap_or(HostHeader::Preserve);
    let connections_max = table.integer("connections_max", 1..=1_000_000, 1024) as usize;
    let queue_max = table.integer("queue_max", 0..=1_000_000, 1024) as usize;
    let health = table.table("health").map(health);
    let eject = table.table("eject").map(eject);
    let unused = !servers.is_empty() && tls.needed_at.is_none();
    if let Some(item) = table.get("tls").filter(|item| unused && !item.is_empty_table()) {
        let wrong = Wrong::new("unused-tls", "no server of this upstream is spoken to over TLS");
        table.problems().warn(item.span, wrong.hint("a server over TLS begins with `https://`"));
    }
    table.finish();
    Upstream { servers, balance, connect_timeout, retries, host, connections_max, queue_max, tls, health, eject }
}

/// What holds for every server of an upstream.
struct Spoken {
    protocol: Protocol,
    server_name: Option<ServerName<'static>>,
}

fn servers(item: &Item<'_>, spoken: &Spoken, tls: &mut UpstreamTlsPaths) -> Vec<UpstreamServer> {
    let Some(items) = item.list("an array of servers") else { return Vec::new() };
    if items.is_empty() || items.len() > SERVERS_MAX {
        item.wrong(Wrong::value(format!("expected 1 to {SERVERS_MAX} servers")));
        return Vec::new();
    }
    let mut servers: Vec<UpstreamServer> = Vec::with_capacity(items.len());
    for item in &items {
        let Some(server) = server(item, spoken) else { continue };
        if servers.iter().any(|other| other.endpoint == server.endpoint) {
            let wrong = Wrong::new("duplicate-server", "this server stands here twice");
            item.wrong(wrong.hint("`{ url = \"…\", weight = 2 }` gives one server the share of two"));
        }
        if server.endpoint.has_tls() && tls.needed_at.is_none() {
            tls.needed_at = Some(item.span.clone());
        }
        servers.push(server);
    }
    servers
}

/// `"http://…"` or `{ url = "http://…", weight = 1 }`.
fn server(item: &Item<'_>, spoken: &Spoken) -> Option<UpstreamServer> {
    let source = item.source();
    let (url, weight) = if matches!(item.value(), DeValue::Table(_)) {
        let mut table = item.clone().table()?;
        let weight = table.integer("weight", 1..=u32::from(u16::MAX), 1);
        let url = table.get("url");
        if url.is_none() {
            item.wrong(Wrong::new("missing-key", "a server needs `url`"));
        }
        table.finish();
        (url?, u16::try_from(weight).unwrap_or(1))
    } else {
        (item.clone(), 1)
    };
    url.parsed(|text| {
        let endpoint = endpoint(text, source)?;
        let protocol = protocol(&endpoint, spoken.protocol)?;
        let server_name = match &endpoint {
            Endpoint::Tcp { scheme: Scheme::Https, host, .. } => Some(tls_name(host, spoken)?),
            Endpoint::Tcp { .. } | Endpoint::Unix(_) => None,
        };
        Ok::<_, Wrong>(UpstreamServer { endpoint, weight, protocol, server_name })
    })
}

fn protocol(endpoint: &Endpoint, wanted: Protocol) -> Result<Protocol, Wrong> {
    match (endpoint, wanted) {
        (Endpoint::Tcp { scheme: Scheme::Https, .. }, wanted) => Ok(wanted),
        (Endpoint::Tcp { scheme: Scheme::H2c, .. }, Protocol::Http1) => {
            Err(Wrong::value("`h2c://` is HTTP/2, and `protocol` says \"http/1.1\"")
                .hint("leave out `protocol`, or write `http://`"))
        }
        (Endpoint::Tcp { scheme: Scheme::H2c, .. }, Protocol::Auto | Protocol::H2) | (_, Protocol::H2) => {
            Ok(Protocol::H2)
        }
        (_, Protocol::Auto | Protocol::Http1) => Ok(Protocol::Http1),
    }
}

/// Whom the certificate must name: `tls.server_name`, else the host.
fn tls_name(host: &str, spoken: &Spoken) -> Result<ServerName<'static>, Wrong> {
    if let Some(name) = &spoken.server_name {
        return Ok(name.clone());
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| Wrong::value("no certificate can name this host").hint("say whom it names in `tls.server_name`"))
}

/// `http://host[:port]`, `https://…`, `h2c://…` or `unix:path`. A URL may hold a password, so no message repeats it.
fn endpoint(text: &str, source: &SourceFile) -> Result<Endpoint, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return socket(path, source);
    }
    let wrong = || Wrong::value("expected `http://HOST` or `http://HOST:PORT`");
    let schemes = [("http://", Scheme::Http), ("https://", Scheme::Https), ("h2c://", Scheme::H2c)];
    let (scheme, rest) = schemes
        .iter()
        .find_map(|(prefix, scheme)| Some((*scheme, text.strip_prefix(prefix)?)))
        .ok_or_else(|| wrong().hint("a server's address begins with `http://`, `https://`, `h2c://` or `unix:`"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(wrong().hint("a server is an address without a path; the request's own path is used"));
    }
    if authority.contains('@') {
        return Err(wrong().hint("a server is an address without a user name or password"));
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an address in brackets may stand inside them.
        Some((host, port)) if !port.ends_with(']') => (host, self::port(port).ok_or_else(wrong)?),
        _ => (authority, scheme.default_port()),
    };
    let host = self::host(host).ok_or_else(wrong)?;
    Ok(Endpoint::Tcp { scheme, host, port })
}

fn socket(path: &str, source: &SourceFile) -> Result<Endpoint, Wrong> {
    if path.is_empty() || path.starts_with("//") || path.contains(char::is_control) {
        return Err(Wrong::value("expected the path of a socket").hint("as in \"unix:/run/app.sock\""));
    }
    let path = source.resolve(path);
    if path.as_os_str().len() > SOCKET_PATH_MAX {
        return Err(Wrong::value(format!("the path of a socket has at most {SOCKET_PATH_MAX} bytes")));
    }
    Ok(Endpoint::Unix(path))
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// A name in lower case, or an address, without brackets.
fn host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(IpAddr::V6(address).to_string());
    }
    super::super::route::is_dns_name(text).then(|| text.to_ascii_lowercase())
}

/// `preserve`, `upstream`, or a `HOST` or `HOST:PORT`.
fn host_header(text: &str) -> Result<HostHeader, Wrong> {
    match text {
        "preserve" => return Ok(HostHeader::Preserve),
        "upstream" => return Ok(HostHeader::Upstream),
        _ => {}
    }
    let wrong = || Wrong::value("expected \"preserve\", \"upstream\", or a host").hint("as in \"app.internal\"");
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    if text.contains('@') || authority.host().is_empty() || (text.ends_with(':')) {
        return Err(wrong());
    }
    HeaderValue::try_from(text).map(HostHeader::Literal).map_err(|_| wrong())
}

fn tls(upstream: &mut Table<'_>) -> (UpstreamTlsPaths, Option<ServerName<'static>>) {
    let Some(mut table) = upstream.table("tls") else {
        return (UpstreamTlsPaths::default(), None);
    };
    let ca = table.get("ca").and_then(|item| file_path(&item));
    let server_name = table.parsed("server_name", |text| {
        ServerName::try_from(text.to_owned()).map_err(|_| Wrong::value("expected a name or an address"))
    });
    let (cert, key) = (table.get("cert"), table.get("key"));
    match (&cert, &key) {
        (Some(item), None) => item.wrong(Wrong::new("missing-key", "a certificate needs its `key`")),
        (None, Some(item)) => item.wrong(Wrong::new("missing-key", "a private key needs its `cert`")),
        (Some(_), Some(_)) | (None, None) => {}
    }
    let cert = cert.and_then(|item| file_path(&item));
    let key = key.and_then(|item| file_path(&item));
    let client = cert.zip(key).map(|(cert, key)| CertificatePaths { cert, key });
    table.finish();
    (UpstreamTlsPaths { ca, client, needed_at: None }, server_name)
}

fn health(mut table: Table<'_>) -> Health {
    let health = Health {
        path: table.parsed("path", health_path).unwrap_or_else(|| "/healthz".to_owned()),
        interval: table.duration("interval", Duration::from_secs(5)),
        timeout: table.duration("timeout", Duration::from_secs(2)),
        healthy: table.integer("healthy", 1..=1_000, 2),
        unhealthy: table.integer("unhealthy", 1..=1_000, 3),
    };
    table.finish();
    health
}

fn health_path(text: &str) -> Result<String, Wrong> {
    let is_target = text.starts_with('/') && text.bytes().all(|c| c.is_ascii_graphic() && c != b'#');
    if is_target && text.parse::<http::uri::PathAndQuery>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(Wrong::value("expected a path").hint("as in \"/healthz\""))
}

fn eject(mut table: Table<'_>) -> Eject {
    let eject = Eject {
        failures: table.integer("failures", 1..=1_000, 5),
        duration: table.duration("for", Duration::from_secs(30)),
    };
    table.finish();
    eject
}
