//! `[upstream.NAME]`

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::{Endpoint, Upstream};
use crate::config::problems::Wrong;
use crate::config::reader::{Item, Neutral, Table};
use toml::de::DeValue;

pub(super) fn upstream(mut table: Table<'_>) -> Upstream {
    let server = match table.get("servers") {
        Some(item) => servers(&item),
        None => {
            let wrong = Wrong::new("missing-key", "an upstream needs `servers`")
                .hint("`servers = [\"http://127.0.0.1:3000\"]`");
            table.problems().add(table.span(), wrong);
            None
        }
    };
    let connect_timeout = table.duration("connect_timeout", Duration::from_secs(2));
    table.later("balance", &[Neutral::Text("round_robin")]);
    let protocols = [Neutral::Text("auto"), Neutral::Text("http/1.1")];
    table.later("protocol", &protocols);
    table.later("retries", &[Neutral::Number(0)]);
    table.later("host", &[Neutral::Text("preserve")]);
    table.later("connections_max", &[]);
    table.later("queue_max", &[]);
    for option in ["tls", "health", "eject"] {
        table.later(option, &[Neutral::EmptyTable]);
    }
    table.finish();
    Upstream {
        // What stands in for a wrong one is never used: a file with a problem is not served from.
        server: server.unwrap_or_else(|| Endpoint { host: String::new(), port: 0 }),
        connect_timeout,
    }
}

fn servers(item: &Item<'_>) -> Option<Endpoint> {
    let items = item.list("an array of servers")?;
    match items.as_slice() {
        [] => {
            item.wrong(Wrong::value("at least one server is needed"));
            None
        }
        [only] => server(only),
        several => {
            for item in several {
                server(item);
            }
            item.wrong(Wrong::later("several servers are not supported yet"));
            None
        }
    }
}

/// `"http://…"` or `{ url = "http://…", weight = 1 }`.
fn server(item: &Item<'_>) -> Option<Endpoint> {
    if !matches!(item.value(), DeValue::Table(_)) {
        return item.parsed(endpoint);
    }
    let mut table = item.clone().table()?;
    table.integer("weight", 1..=65_535, 1);
    let endpoint = match table.get("url") {
        Some(url) => url.parsed(endpoint),
        None => {
            item.wrong(Wrong::new("missing-key", "a server needs `url`"));
            None
        }
    };
    table.finish();
    endpoint
}

/// `http://host[:port]`. A URL may hold a password, so no message repeats it.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, Wrong> {
    let wrong = || Wrong::value("expected `http://HOST` or `http://HOST:PORT`");
    for scheme in ["https:", "h2c:", "unix:"] {
        if text.starts_with(scheme) {
            let message = format!("a server with `{scheme}` is not supported yet");
            return Err(Wrong::later(message));
        }
    }
    let rest = text.strip_prefix("http://").ok_or_else(|| wrong().hint("a server's address begins with `http://`"))?;
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
        _ => (authority, 80),
    };
    let host = self::host(host).ok_or_else(wrong)?;
    Ok(Endpoint { host, port })
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// A name or address, without brackets.
fn host(text: &str) -> Option<String> {
    if let Some(address) = text.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(IpAddr::V6(address).to_string());
    }
    super::route::is_dns_name(text).then(|| text.to_owned())
}
