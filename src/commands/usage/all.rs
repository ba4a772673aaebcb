//! All keys that were used, a row each.

use std::collections::HashMap;

use serde::Serialize;

use super::{DayJson, Span, bars, date, sum};
use crate::commands::console::{Console, Failure};
use crate::commands::state_file::{Moment, Usage, or_never, size};
use crate::commands::table::{self, Column};
use crate::state::History;
use crate::state::count::Counts;
use crate::state::history::{DayHistory, HistoryError, KeyHistory};

/// What is shown of them.
pub(super) struct All {
    keys: HashMap<String, KeyHistory>,
    /// By id, then by day.
    days: Vec<DayHistory>,
}

#[derive(Serialize)]
pub(super) struct Json<'a> {
    since: Moment,
    keys: Vec<KeyJson<'a>>,
}

#[derive(Serialize)]
struct KeyJson<'a> {
    id: &'a str,
    #[serde(flatten)]
    usage: Usage<'a>,
    days: Vec<DayJson>,
}

impl All {
    pub(super) fn read(history: &History, span: &Span) -> Result<Self, HistoryError> {
        let keys = history.keys()?.into_iter().map(|key| (key.id.clone(), key)).collect();
        Ok(Self { keys, days: history.days(span.hours(), None)? })
    }

    /// Every key that was used, with its days.
    fn used(&self) -> impl Iterator<Item = (&str, &[DayHistory])> {
        self.days.chunk_by(|one, next| one.id == next.id).map(|days| (days[0].id.as_str(), days))
    }

    pub(super) fn json(&self, span: &Span) -> Json<'_> {
        let keys = self.used().map(|(id, days)| KeyJson {
            id,
            usage: Usage::new(&sum(days), self.keys.get(id)),
            days: days.iter().map(DayJson::from).collect(),
        });
        Json { since: span.since, keys: keys.collect() }
    }

    pub(super) fn print(&self, span: &Span, console: &mut Console<'_>) -> Result<(), Failure> {
        if self.days.is_empty() {
            console.tell(format_args!("note: no key was used since {}", span.since));
            return Ok(());
        }
        let is_shadowed = self.days.iter().any(|day| day.counts.shadow_denied > 0);
        let mut columns = vec![
            Column::text("ID"),
            Column::number("ALLOWED"),
            Column::number("REFUSED"),
            Column::number("THROTTLED"),
            Column::number("IN"),
            Column::number("OUT"),
            Column::text("LAST USE"),
            Column::text("LAST CLIENT"),
            Column::text(format!("DAYS FROM {}", date(*span.days().start()))),
        ];
        if is_shadowed {
            columns.insert(SHADOW_COLUMN, Column::number("SHADOW DENIED"));
        }
        let row = |(id, days): (&str, &[DayHistory])| {
            let counts = sum(days);
            let mut row = self.row(id, &counts);
            row.push(bars::standing(&requests_by_day(days, span)));
            if is_shadowed {
                row.insert(SHADOW_COLUMN, counts.shadow_denied.to_string());
            }
            row
        };
        table::print(&columns, &self.used().map(row).collect::<Vec<_>>(), console)
    }

    fn row(&self, id: &str, counts: &Counts) -> Vec<String> {
        let key = self.keys.get(id);
        vec![
            id.to_owned(),
            counts.allowed.to_string(),
            counts.refused.to_string(),
            counts.throttled.to_string(),
            size(counts.bytes_in),
            size(counts.bytes_out),
            or_never(key.and_then(|key| key.last_us).map(Moment)),
            key.and_then(|key| key.client.clone()).unwrap_or_default(),
        ]
    }
}

/// After those that are always there.
const SHADOW_COLUMN: usize = 4;

fn requests_by_day(days: &[DayHistory], span: &Span) -> Vec<u64> {
    let of = |day| days.iter().find(|it| it.day == day).map_or(0, |it| it.counts.requests());
    span.days().map(of).collect()
}
