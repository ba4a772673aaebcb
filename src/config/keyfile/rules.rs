//! What a key may reach, how much of it, and whether that is meant: the settings of an entry that most keys do without.

use std::net::IpAddr;
use std::num::NonZeroU32;

use http::Method;
use ipnet::IpNet;

use crate::config::gateway::{MODES, Mode, PathPattern, concurrency, method, network, path};
use crate::config::problems::Wrong;
use crate::config::reader::Table;
use crate::vocab::network::parse_network;
use crate::vocab::period::{Quota, parse_quota};

/// How many patterns one list of a key may hold: each is checked at every request.
const PATTERNS_MAX: usize = 256;

/// What an entry says beyond its life and its rates. `None` is no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    /// Names of routes.
    pub routes: Option<Box<[Box<str>]>>,
    /// Methods; GET is good for HEAD.
    pub methods: Option<Box<[Method]>>,
    /// Paths, as a route has them.
    pub paths: Option<Box<[PathPattern]>>,
    /// Where the client must be; IPv4 as IPv4.
    pub networks: Option<Box<[IpNet]>>,
    /// Units of a calendar period; `None` = that of the plan.
    pub quota: Option<Quota>,
    /// Requests at the same time; `None` = that of the plan.
    pub concurrency: Option<NonZeroU32>,
    /// Whether its limits are meant.
    pub mode: Mode,
}

impl Rules {
    /// Whether `networks` is there and has this address in it. IPv4 within IPv6 (`::ffff:192.0.2.1`) is IPv4.
    pub fn names(&self, client: Option<IpAddr>) -> bool {
        let (Some(networks), Some(client)) = (&self.networks, client) else { return false };
        let client = client.to_canonical();
        networks.iter().any(|network| network.contains(&client))
    }
}

pub(super) fn rules(table: &mut Table<'_>) -> Option<Rules> {
    let rules = Rules {
        routes: patterns(table, "routes", |text| Ok(text.into())),
        methods: patterns(table, "methods", method),
        paths: patterns(table, "paths", path),
        networks: patterns(table, "networks", |text| parse_network(text).map_err(network)),
        quota: table.parsed("quota", parse_quota),
        concurrency: concurrency(table),
        mode: table.one_of("mode", &MODES, Mode::Enforce),
    };
    (rules != Rules::default()).then_some(rules)
}

/// A list of what is let through. Absent it lets everything through; an empty one would let nothing through, and that is
/// hardly meant.
fn patterns<T>(table: &mut Table<'_>, key: &'static str, read: impl Fn(&str) -> Result<T, Wrong>) -> Option<Box<[T]>> {
    let item = table.get(key)?;
    let items = item.list("an array of strings")?;
    if items.is_empty() {
        item.wrong(
            Wrong::value("an empty list lets nothing through").hint(format!("to let all through leave `{key}` out")),
        );
    }
    if items.len() > PATTERNS_MAX {
        item.wrong(Wrong::value(format!("more than {PATTERNS_MAX} entries")));
    }
    Some(items.iter().take(PATTERNS_MAX).filter_map(|item| item.parsed(&read)).collect())
}
