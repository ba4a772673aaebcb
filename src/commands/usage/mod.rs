//! `keyward usage`: what was counted of keys, day by day.

mod all;
mod bars;
mod one;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use self::all::All;
use self::one::One;
use super::console::{Console, Failure};
use super::state_file::{Moment, ShownCounts, path, unreadable};
use crate::cli::when::When;
use crate::cli::{Files, UsageArgs};
use crate::config::load::PLACES;
use crate::state::History;
use crate::state::count::{Counts, DAY_HOURS, hour_of};
use crate::state::history::DayHistory;
use crate::state::store::DAYS_KEPT;
use crate::vocab::clock::Clock;

/// Prints it, and gives the exit code.
pub fn run(args: &UsageArgs, files: &Files, console: &mut Console<'_>, clock: &Clock) -> u8 {
    let outcome = run_in(args, files, console, clock, &PLACES.map(PathBuf::from));
    console.finish(outcome)
}

/// [`run`] with other places to look for a configuration in.
fn run_in(
    args: &UsageArgs,
    files: &Files,
    console: &mut Console<'_>,
    clock: &Clock,
    places: &[PathBuf],
) -> Result<(), Failure> {
    let span = Span::since(args.since, clock.now().wall_us)?;
    let Some(path) = path(files, places)? else {
        return Err(Failure::No("nothing is counted: the configuration names no `state` under [server]".into()));
    };
    let Some(history) = History::open(&path).map_err(unreadable(&path))? else {
        return Err(Failure::No(format!("nothing was counted yet: there is no state file {}", path.display())));
    };
    match &args.id {
        Some(id) => {
            let one = One::read(&history, id, &span).map_err(unreadable(&path))?;
            if args.json { print_json(&one.json(&span), console) } else { one.print(&span, console) }
        }
        None => {
            let all = All::read(&history, &span).map_err(unreadable(&path))?;
            if args.json { print_json(&all.json(&span), console) } else { all.print(&span, console) }
        }
    }
}

/// The hours that are asked for.
struct Span {
    since: Moment,
    first: u32,
    last: u32,
}

impl Span {
    fn since(since: When, now_us: i64) -> Result<Self, Failure> {
        let since_us = match since {
            When::In(ago) => now_us.saturating_sub_unsigned(u64::try_from(ago.as_micros()).unwrap_or(u64::MAX)),
            When::At(time) => time.as_microsecond(),
            When::Never => i64::MIN,
        };
        if since_us > now_us {
            return Err(Failure::Usage("--since lies in the future".into()));
        }
        let last = hour_of(now_us);
        // Nothing is older, and who asks for all has no need to know that.
        let oldest = last.saturating_sub(DAYS_KEPT * DAY_HOURS);
        let first = hour_of(since_us).max(oldest);
        Ok(Self { since: Moment(i64::from(first) * 3_600_000_000), first, last })
    }

    const fn hours(&self) -> RangeInclusive<u32> {
        self.first..=self.last
    }

    fn days(&self) -> RangeInclusive<u32> {
        self.first / DAY_HOURS..=self.last / DAY_HOURS
    }
}

/// A day as JSON has it.
#[derive(Serialize)]
struct DayJson {
    day: String,
    #[serde(flatten)]
    counts: ShownCounts,
}

impl From<&DayHistory> for DayJson {
    fn from(day: &DayHistory) -> Self {
        Self { day: date(day.day), counts: (&day.counts).into() }
    }
}

/// `2026-11-28`, from days since the epoch.
fn date(day: u32) -> String {
    Timestamp::from_second(i64::from(day) * 86_400).unwrap_or_default().strftime("%Y-%m-%d").to_string()
}

fn sum<'d>(days: impl IntoIterator<Item = &'d DayHistory>) -> Counts {
    let mut sum = Counts::default();
    days.into_iter().for_each(|day| sum.add(&day.counts));
    sum
}

fn print_json(value: &impl Serialize, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::because("failed to write JSON"))?;
    console.line(text)
}
