//! One key, with its days and why it was refused.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{DayJson, Span, bars, date, sum};
use crate::commands::console::{Console, Failure};
use crate::commands::state_file::{Moment, Usage, or_never, size};
use crate::commands::table::{self, Column};
use crate::config::mask::quoted;
use crate::state::History;
use crate::state::count::Counts;
use crate::state::history::{DayHistory, HistoryError, KeyHistory};

/// What is shown of it.
pub(super) struct One<'a> {
    id: &'a str,
    key: Option<KeyHistory>,
    counts: Counts,
    days: Vec<DayHistory>,
    reasons: Vec<(String, u64)>,
}

#[derive(Serialize)]
pub(super) struct Json<'a> {
    since: Moment,
    id: &'a str,
    #[serde(flatten)]
    usage: Usage<'a>,
    reasons: Map<String, Value>,
    days: Vec<DayJson>,
}

impl<'a> One<'a> {
    pub(super) fn read(history: &History, id: &'a str, span: &Span) -> Result<Self, HistoryError> {
        let key = history.key(id)?;
        let days = history.days(span.hours(), Some(id))?;
        let reasons = history.reasons(span.hours(), id)?;
        Ok(Self { id, key, counts: sum(&days), days, reasons })
    }

    pub(super) fn json(&self, span: &Span) -> Json<'_> {
        Json {
            since: span.since,
            id: self.id,
            usage: Usage::new(&self.counts, self.key.as_ref()),
            reasons: self.reasons.iter().map(|(reason, count)| (reason.clone(), (*count).into())).collect(),
            days: self.days.iter().map(DayJson::from).collect(),
        }
    }

    pub(super) fn print(&self, span: &Span, console: &mut Console<'_>) -> Result<(), Failure> {
        let Some(key) = &self.key else {
            console.tell(format_args!("note: no key with the id {} was ever used", quoted(self.id)));
            return Ok(());
        };
        let Counts { allowed, refused, throttled, shadow_denied, units, bytes_in, bytes_out } = self.counts;
        for (name, value) in [
            ("id", self.id.to_owned()),
            ("first use", or_never(key.first_us.map(Moment))),
            ("last use", or_never(key.last_us.map(Moment))),
            ("last client", key.client.clone().unwrap_or_default()),
            ("since", span.since.to_string()),
            ("allowed", allowed.to_string()),
            ("refused", refused.to_string()),
            ("throttled", throttled.to_string()),
            ("shadow denied", if shadow_denied > 0 { shadow_denied.to_string() } else { String::new() }),
            ("units", units.to_string()),
            ("bytes in", size(bytes_in)),
            ("bytes out", size(bytes_out)),
        ] {
            if !value.is_empty() {
                console.line(format_args!("{name:<14} {value}"))?;
            }
        }
        self.print_days(span, console)?;
        self.print_reasons(console)
    }

    fn print_days(&self, span: &Span, console: &mut Console<'_>) -> Result<(), Failure> {
        console.line("")?;
        let most = self.days.iter().map(|day| day.counts.requests()).max().unwrap_or_default();
        let row = |day: u32| {
            let counts = self.days.iter().find(|it| it.day == day).map(|it| it.counts).unwrap_or_default();
            vec![
                date(day),
                counts.allowed.to_string(),
                counts.refused.to_string(),
                counts.throttled.to_string(),
                size(counts.bytes_in),
                size(counts.bytes_out),
                bars::lying(counts.requests(), most),
            ]
        };
        let columns = [
            Column::text("DAY"),
            Column::number("ALLOWED"),
            Column::number("REFUSED"),
            Column::number("THROTTLED"),
            Column::number("IN"),
            Column::number("OUT"),
            Column::text("REQUESTS"),
        ];
        table::print(&columns, &span.days().map(row).collect::<Vec<_>>(), console)
    }

    fn print_reasons(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        if self.reasons.is_empty() {
            return Ok(());
        }
        console.line("")?;
        let most = self.reasons.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let row = |(reason, count): &(String, u64)| vec![reason.clone(), count.to_string(), bars::lying(*count, most)];
        let columns = [Column::text("REASON"), Column::number("REFUSED"), Column::text("")];
        table::print(&columns, &self.reasons.iter().map(row).collect::<Vec<_>>(), console)
    }
}
