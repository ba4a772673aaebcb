//! `[limits]` and `[plan.NAME]`.

use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use super::{Limits, Mode, Place, Plan};
use crate::config::problems::Wrong;
use crate::config::reader::Table;
use crate::vocab::period::parse_quota;
use crate::vocab::units::{self, Rate};

/// How `mode` is written.
pub(in crate::config) const MODES: [(&str, Mode); 2] = [("enforce", Mode::Enforce), ("shadow", Mode::Shadow)];

/// The code of a quota without `server.state`.
pub(in crate::config) const QUOTA_IN_MEMORY: &str = "quota-in-memory";
pub(in crate::config) const QUOTA_HINT: &str = "`server.state` names the file that keeps what was used";

/// How many policies one list may hold: each is checked at every request.
pub(in crate::config) const RATES_MAX: usize = 16;

/// The limits, and where `open` stands if it limits anything.
pub(super) fn limits(file: &mut Table<'_>) -> (Limits, Option<Range<usize>>) {
    let mut open_place = None;
    let mut limits = Limits {
        ratelimit_headers: true,
        x_ratelimit_headers: false,
        total: None,
        per_ip: None,
        failures_per_ip: units::parse_rate("20/m").ok(),
        lockout: Duration::from_secs(300),
        open: None,
    };
    if let Some(mut table) = file.table("limits") {
        headers(&mut table, &mut limits);
        limits.total = table.parsed("total", optional_rate).flatten();
        limits.per_ip = table.parsed("per_ip", optional_rate).flatten();
        limits.failures_per_ip = table.parsed("failures_per_ip", optional_rate).unwrap_or(limits.failures_per_ip);
        limits.lockout = table.duration("lockout", limits.lockout);
        if let Some(item) = table.get("lockout").filter(|_| limits.failures_per_ip.is_none()) {
            let wrong = Wrong::new("unused-lockout", "with `failures_per_ip = \"none\"` nobody is ever locked out")
                .hint("leave `lockout` out, or say how many failures are too many, as in \"20/m\"");
            table.problems().warn(item.span, wrong);
        }
        let open = table.get("open");
        limits.open = open.as_ref().and_then(|item| item.parsed(optional_rate)).flatten();
        open_place = open.map(|item| item.span).filter(|_| limits.open.is_some());
        table.finish();
    }
    (limits, open_place)
}

fn headers(table: &mut Table<'_>, limits: &mut Limits) {
    let Some(items) = table.get("headers").and_then(|item| item.list("an array")) else {
        return;
    };
    (limits.ratelimit_headers, limits.x_ratelimit_headers) = (false, false);
    for item in items {
        let Some(word) = item.string() else { continue };
        let header = match word.value {
            "ratelimit" => &mut limits.ratelimit_headers,
            "x-ratelimit" => &mut limits.x_ratelimit_headers,
            _ => {
                item.wrong(Wrong::value("not one of \"ratelimit\", \"x-ratelimit\""));
                continue;
            }
        };
        if std::mem::replace(header, true) {
            item.wrong(Wrong::value("listed twice"));
        }
    }
}

/// A rate, or `none`.
fn optional_rate(text: &str) -> Result<Option<Rate>, Wrong> {
    match text {
        "none" => Ok(None),
        text => Ok(Some(units::parse_rate(text)?)),
    }
}

/// The rates of `limits`; `None` when it is absent.
pub(in crate::config) fn rates(table: &mut Table<'_>) -> Option<Vec<Rate>> {
    let item = table.get("limits")?;
    let items = item.list("an array of rates")?;
    if items.len() > RATES_MAX {
        item.wrong(Wrong::value(format!("more than {RATES_MAX} limits")));
    }
    let mut rates: Vec<Rate> = Vec::with_capacity(items.len().min(RATES_MAX));
    for item in items.iter().take(RATES_MAX) {
        let Some(rate) = item.parsed(units::parse_rate) else {
            continue;
        };
        // The text is the policy's name, so it must be unique.
        if rates.iter().any(|other| other.text == rate.text) {
            item.wrong(Wrong::value("this limit is listed twice"));
        }
        rates.push(rate);
    }
    Some(rates)
}

/// `has_state` if what is used of quotas outlives a restart.
pub(super) fn plan(mut table: Table<'_>, has_state: bool) -> Plan {
    let place = Place(table.span());
    let limits = rates(&mut table).unwrap_or_default();
    let item = table.get("quota");
    let quota = item.as_ref().and_then(|item| item.parsed(parse_quota));
    if let Some(item) = item.filter(|_| quota.is_some() && !has_state) {
        let wrong = Wrong::new(QUOTA_IN_MEMORY, "a quota that is counted in memory starts anew at every restart");
        table.problems().warn(item.span, wrong.hint(QUOTA_HINT));
    }
    let concurrency = concurrency(&mut table);
    table.finish();
    Plan { limits, quota, concurrency, place }
}

/// Requests at the same time, at least one.
pub(in crate::config) fn concurrency(table: &mut Table<'_>) -> Option<NonZeroU32> {
    table.get("concurrency")?.integer(1..=1_000_000).and_then(NonZeroU32::new)
}
