//! `[metrics]`

use super::Metrics;
use crate::config::problems::Wrong;
use crate::config::reader::Table;

/// Beyond this, who scrapes suffers first.
const SERIES_MAX: u32 = 1_000_000;

pub(super) fn metrics(file: &mut Table<'_>, is_served: bool) -> Metrics {
    let mut metrics = Metrics { per_key: false, series_max: 2_000 };
    if let Some(mut table) = file.table("metrics") {
        metrics.per_key = table.boolean("per_key", metrics.per_key);
        metrics.series_max = table.integer("series_max", 1..=SERIES_MAX, 2_000) as usize;
        if metrics.per_key && !is_served {
            let wrong = Wrong::new("unused-metrics", "`metrics` does nothing: `admin.address` is \"off\"")
                .hint("add `[admin]` with an `address`; metrics are there at /metrics");
            table.problems().warn(table.span(), wrong);
        }
        table.finish();
    }
    metrics
}
