//! `[server]` and `[http]`.

use std::path::Path;
use std::time::Duration;

use super::{Http, Server, TrustedProxies};
use crate::config::problems::{Problems, Wrong};
use crate::config::reader::{Item, Table, located};
use crate::vocab::network::{NetworkError, parse_network};
use crate::vocab::units;

pub(super) fn server(file: &mut Table<'_>) -> Server {
    let mut server = Server {
        workers: 0,
        shutdown_grace: Duration::from_secs(30),
        state: None,
        trusted_proxies: TrustedProxies::default(),
    };
    if let Some(mut table) = file.table("server") {
        server.workers = table.integer("workers", 0..=1024, 0) as usize;
        server.shutdown_grace = table.parsed("shutdown_grace", units::parse_duration).unwrap_or(server.shutdown_grace);
        server.state = table.get("state").and_then(|item| file_path(&item));
        server.trusted_proxies = trusted_proxies(&mut table);
        table.finish();
    }
    server
}

/// What is no state file gives way to one: none of these must stand there.
pub(super) fn state_stands_alone<'p>(server: &Server, others: impl IntoIterator<Item = &'p Path>, problems: &Problems) {
    if let Some(state) = &server.state
        && others.into_iter().any(|other| other == state.value)
    {
        problems.add(state.span.clone(), Wrong::value("this file is used for something else"));
    }
}

/// How many networks may be trusted: every request is held against each.
const PROXIES_MAX: usize = 256;

fn trusted_proxies(table: &mut Table<'_>) -> TrustedProxies {
    let mut proxies = TrustedProxies::default();
    for (at, item) in table.list("trusted_proxies").into_iter().enumerate() {
        if at == PROXIES_MAX {
            item.wrong(Wrong::value(format!("more than {PROXIES_MAX} networks")));
            break;
        }
        let read = |text: &str| match text {
            "unix:" => Ok(None),
            text => parse_network(text).map(Some),
        };
        match item.parsed(|text| read(text).map_err(network)) {
            Some(Some(network)) if network.prefix_len() == 0 => {
                let wrong = Wrong::new("everybody-trusted", "every client is trusted to say which address it has")
                    .hint("name the networks of your proxies alone");
                table.problems().warn(item.span.clone(), wrong);
                proxies.networks.push(network);
            }
            Some(Some(network)) => proxies.networks.push(network),
            Some(None) => proxies.unix = true,
            None => {}
        }
    }
    proxies
}

pub(in crate::config) fn network(error: NetworkError) -> Wrong {
    match error {
        NetworkError::Form => Wrong::value(error.to_string()),
        NetworkError::HostBits(network) => {
            Wrong::value("the address has bits behind its prefix").hint(format!("did you mean \"{network}\"?"))
        }
    }
}

/// The path of a file, joined to the folder of the config file.
pub(super) fn file_path(item: &Item<'_>) -> Option<super::Located<std::path::PathBuf>> {
    let source = item.source();
    let path = item.parsed(|text| match text {
        "" => Err(Wrong::value("expected the path of a file")),
        // Whoever pastes a PEM block here must not find it in a message about a missing file.
        text if text.contains("-----") || text.contains(char::is_control) => {
            Err(Wrong::new("inline-secret", "expected the path of a file, not what is in it"))
        }
        text => Ok(source.resolve(text)),
    })?;
    Some(located(path, item.span.clone()))
}

pub(super) fn http(file: &mut Table<'_>) -> Http {
    let seconds = Duration::from_secs;
    let mut http = Http {
        header_timeout: seconds(10),
        body_idle_timeout: seconds(60),
        idle_timeout: seconds(75),
        header_bytes_max: 32 << 10,
        headers_max: 100,
        connections_max: 10_000,
        connections_per_ip_max: None,
        h2_streams_max: 128,
        body_bytes_max: None,
    };
    if let Some(mut table) = file.table("http") {
        http.header_timeout = table.duration("header_timeout", http.header_timeout);
        http.body_idle_timeout = table.duration("body_idle_timeout", http.body_idle_timeout);
        http.idle_timeout = table.duration("idle_timeout", http.idle_timeout);
        http.header_bytes_max = table.parsed("header_bytes_max", header_bytes).unwrap_or(http.header_bytes_max);
        http.headers_max = table.integer("headers_max", 1..=10_000, 100) as usize;
        http.connections_max = table.integer("connections_max", 1..=10_000_000, 10_000) as usize;
        let per_ip = table.integer("connections_per_ip_max", 0..=10_000_000, 0);
        http.connections_per_ip_max = (per_ip > 0).then_some(per_ip as usize);
        http.h2_streams_max = table.integer("h2_streams_max", 1..=10_000, 128);
        http.body_bytes_max = table.parsed("body_bytes_max", body_bytes).flatten();
        table.finish();
    }
    http
}

/// A size, or `none`.
pub(super) fn body_bytes(text: &str) -> Result<Option<u64>, Wrong> {
    match text {
        "none" => Ok(None),
        text => Ok(Some(units::parse_size(text)?)),
    }
}

/// Clients expect to be heard out to 8 KiB at least; more than 1 MiB is no head.
fn header_bytes(text: &str) -> Result<u32, Wrong> {
    let bytes = units::parse_size(text)?;
    u32::try_from(bytes)
        .ok()
        .filter(|bytes| (8 << 10..=1 << 20).contains(bytes))
        .ok_or_else(|| Wrong::value("expected a size from `8KiB` to `1MiB`"))
}
