//! An explanation as people read it, or as JSON.

use super::{Checked, Explanation, Limit};
use crate::commands::console::{Console, Failure};

pub(super) fn tell(it: &Explanation, json: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    if json {
        let text = serde_json::to_string_pretty(it).map_err(Failure::because("failed to write JSON"))?;
        return console.line(text);
    }
    let key = it.key.as_deref().map_or_else(String::new, |key| format!(" with key {key}"));
    console.line(format_args!("{} {} from {}{key} at {}", it.method, it.url, it.client, it.at))?;
    console.line("")?;
    console.line("routes, the most exact first")?;
    for tried in &it.routes {
        console.line(format_args!("  {:<24} {}", tried.route, tried.fit))?;
    }
    console.line("checks, in order")?;
    for checked in &it.checks {
        check(checked, console)?;
    }
    if !it.limits.is_empty() {
        console.line("limits")?;
        for one in &it.limits {
            limit(one, console)?;
        }
    }
    verdict(it, console)
}

fn check(it: &Checked, console: &mut Console<'_>) -> Result<(), Failure> {
    let colour = match it.result {
        "passed" => "\x1b[32m",
        "refused" => "\x1b[31m",
        "refused in shadow" => "\x1b[33m",
        _ => "\x1b[2m",
    };
    let (on, off) = if console.colour { (colour, "\x1b[0m") } else { ("", "") };
    let reason = it.reason.map_or_else(String::new, |reason| format!(": {reason}"));
    console.line(format_args!("  {:<24} {on}{}{reason}{off}", it.check, it.result))
}

fn limit(it: &Limit, console: &mut Console<'_>) -> Result<(), Failure> {
    let left = match it.remaining {
        Some(remaining) => format!("{remaining} of {} left", it.limit),
        None => format!("{}; what is left only the running gateway knows", it.limit),
    };
    console.line(format_args!("  {:<24} of the {}: {left}", it.policy, it.of))
}

fn verdict(it: &Explanation, console: &mut Console<'_>) -> Result<(), Failure> {
    console.line("")?;
    match (it.answer.status, &it.answer.upstream) {
        (Some(status), _) => {
            let code = it.answer.code.unwrap_or_default();
            console.line(format_args!("{}: {status} {code} ({})", it.decision, it.reason))?;
        }
        (None, Some(upstream)) => {
            let target = &upstream.target;
            console.line(format_args!("{} ({}): to upstream {} as {target}", it.decision, it.reason, upstream.name))?;
            for (name, value) in &upstream.headers {
                console.line(format_args!("  > {name}: {value}"))?;
            }
        }
        (None, None) => console.line(format_args!("{} ({})", it.decision, it.reason))?,
    }
    for (name, value) in &it.answer.response_headers {
        console.line(format_args!("  < {name}: {value}"))?;
    }
    Ok(())
}
