//! What commands read of the state file, while a gateway writes it or when none does.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::console::{Console, Failure};
use crate::cli::Files;
use crate::config::diagnostics::Report;
use crate::config::gateway;
use crate::config::load::{find_config, read_gateway};
use crate::state::History;
use crate::state::count::Counts;
use crate::state::history::{HistoryError, KeyHistory};

/// The state file of the configuration that is named, or else of the first of `places` that is there: nothing where it
/// names none. Mistakes elsewhere in it are not looked at.
///
/// # Errors
/// There is no configuration, or it cannot be read.
pub(super) fn path(files: &Files, places: &[PathBuf]) -> Result<Option<PathBuf>, Report> {
    let found = files.config.as_ref().or_else(|| places.iter().find(|path| path.exists()));
    let config = found.map_or_else(|| find_config(None), |path| Ok(path.clone()))?;
    let (gateway, report) = gateway::read(&read_gateway(&config)?);
    match gateway {
        Some(gateway) => Ok(gateway.server.state.map(|path| path.value)),
        None => Err(report),
    }
}

/// What was counted of each key, for a command that has something to say without it.
pub(super) struct Used(HashMap<String, KeyHistory>);

impl Used {
    /// Nothing where nobody counts; where it cannot be read, that is told. With `--keys` alone there is no configuration
    /// whose keys they are.
    pub(super) fn read(files: &Files, places: &[PathBuf], console: &mut Console<'_>) -> Option<Self> {
        if files.keys.is_some() && files.config.is_none() {
            return None;
        }
        let path = path(files, places).ok().flatten()?;
        let read = History::open(&path).and_then(|history| history.map_or_else(|| Ok(Vec::new()), |it| it.keys()));
        if let Err(error) = &read {
            console.tell(format_args!("note: failed to read the state file {}: {error}", path.display()));
        }
        Some(Self(read.ok()?.into_iter().map(|key| (key.id.clone(), key)).collect()))
    }

    /// Of one key, since there is a state file; all of it is 0 where it was never used.
    pub(super) fn of(&self, id: &str) -> Usage<'_> {
        let key = self.0.get(id);
        Usage::new(&key.map(|key| key.counts).unwrap_or_default(), key)
    }
}

/// What was counted of a key, as it is shown.
#[derive(Serialize)]
pub(super) struct Usage<'a> {
    #[serde(flatten)]
    pub(super) counts: ShownCounts,
    pub(super) first_use: Option<Moment>,
    pub(super) last_use: Option<Moment>,
    pub(super) last_client: Option<&'a str>,
}

/// Counts, as they are shown.
#[derive(Serialize)]
pub(super) struct ShownCounts {
    pub(super) allowed: u64,
    pub(super) refused: u64,
    pub(super) throttled: u64,
    pub(super) shadow_denied: u64,
    pub(super) units: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl<'a> Usage<'a> {
    /// These counts, and when `key` was used and by whom, if it ever was.
    pub(super) fn new(counts: &Counts, key: Option<&'a KeyHistory>) -> Self {
        Self {
            counts: counts.into(),
            first_use: key.and_then(|key| key.first_us).map(Moment),
            last_use: key.and_then(|key| key.last_us).map(Moment),
            last_client: key.and_then(|key| key.client.as_deref()),
        }
    }
}

impl From<&Counts> for ShownCounts {
    fn from(counts: &Counts) -> Self {
        let Counts { allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out } = *counts;
        Self { allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out }
    }
}

/// A wall time, microseconds since the epoch: to the second for people, whole in JSON.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Timestamp::from_second(self.0.div_euclid(1_000_000)).unwrap_or_default().fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Timestamp::from_microsecond(self.0).unwrap_or_default())
    }
}

/// A time or, where there is none, `never`.
pub(super) fn or_never(time: Option<Moment>) -> String {
    time.map_or_else(|| "never".to_owned(), |time| time.to_string())
}

/// Bytes for people: `512B`, `1.5KiB`, `20MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut unit = "B";
    let (mut whole, mut tenths) = (bytes, 0);
    for larger in UNITS {
        if whole < 1_024 {
            break;
        }
        (unit, tenths, whole) = (larger, whole % 1_024 * 10 / 1_024, whole / 1_024);
    }
    if unit == "B" || whole >= 10 { format!("{whole}{unit}") } else { format!("{whole}.{tenths}{unit}") }
}

/// For `map_err`: the state file at `path` could not be read.
pub(super) fn unreadable(path: &Path) -> impl FnOnce(HistoryError) -> Failure {
    Failure::because(format!("failed to read the state file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [
            (0, "0B"),
            (1_023, "1023B"),
            (1_024, "1.0KiB"),
            (1_536, "1.5KiB"),
            (10_240, "10KiB"),
            (10 << 20, "10MiB"),
            (5 << 40, "5.0TiB"),
            (u64::MAX, "16777215TiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
