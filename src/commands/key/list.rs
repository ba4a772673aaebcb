//! `keyward key list`, `show`: what the key file says, but for the hashes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::{Scene, entry, rules};
use crate::cli::{ListArgs, ShowArgs};
use crate::commands::console::{Console, Failure};
use crate::commands::state_file::{ShownCounts, Usage, Used, or_never};
use crate::commands::table::{self, Column};
use crate::config::keyfile::{self, KeyFile, KeySpec, KeyState, Quarantined};
use crate::config::source::SourceFile;

/// The state of an entry that cannot be trusted.
pub(super) const QUARANTINED: &str = "quarantined";

pub(super) fn list(args: &ListArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let file = read(&scene.keys_file()?)?;
    let used = scene.used(console);
    if args.json {
        let keys = file.keys.iter().map(|key| Shown::key(key, scene.now).with(used.as_ref()));
        let all: Vec<_> = keys.chain(file.quarantined.iter().map(Shown::quarantined)).collect();
        return print_json(&all, console);
    }
    let keys = file.keys.iter().map(|key| row(key, scene.now, used.as_ref()));
    let mut rows: Vec<_> = keys.chain(file.quarantined.iter().map(quarantined_row)).collect();
    if rows.is_empty() {
        console.tell("there are no keys yet: `keyward key new ID` makes one");
        return Ok(());
    }
    file.quarantined.iter().for_each(|bad| note(bad, console));
    let columns = columns(used.is_some());
    rows.iter_mut().for_each(|row| row.resize(columns.len(), String::new()));
    table::print(&columns, &rows, console)
}

pub(super) fn show(args: &ShowArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let file = read(&scene.keys_file()?)?;
    let used = scene.used(console);
    let id = args.id.as_str();
    let good = file.keys.iter().find(|key| *key.id == *id);
    let mut bad = file.quarantined.iter().filter(|bad| bad.id.as_deref() == Some(id));
    let shown = match (good, bad.next()) {
        (Some(key), _) => Shown::key(key, scene.now).with(used.as_ref()),
        (None, Some(bad)) => {
            note(bad, console);
            Shown::quarantined(bad)
        }
        (None, None) => {
            let good = file.keys.iter().map(|key| &*key.id);
            let bad = file.quarantined.iter().filter_map(|bad| bad.id.as_deref());
            return Err(entry::unknown(id, good.chain(bad)));
        }
    };
    if args.json {
        return print_json(&shown, console);
    }
    for (name, value) in shown.lines() {
        console.line(format_args!("{name:<18} {value}"))?;
    }
    Ok(())
}

/// `active`, or why it is refused: the words of the log's `reason`.
pub(super) fn standing(key: &KeySpec, now: Timestamp) -> &'static str {
    if key.state != KeyState::Active {
        key.state.as_str()
    } else if key.expires.is_some_and(|end| end <= now) {
        "expired"
    } else if key.not_before.is_some_and(|start| now < start) {
        "not_yet_valid"
    } else {
        "active"
    }
}

/// Text from a file, safe for a terminal: control characters are shown instead of obeyed.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// An entry as it may be shown: everything but the hashes.
#[derive(Default, Serialize)]
struct Shown<'a> {
    id: Option<&'a str>,
    state: &'static str,
    owner: &'a str,
    note: &'a str,
    plan: Option<&'a str>,
    created: Option<String>,
    expires: Option<String>,
    not_before: Option<String>,
    reason: &'a str,
    state_changed: Option<String>,
    limits: Option<Vec<&'a str>>,
    roles: &'a [Box<str>],
    #[serde(flatten)]
    rules: rules::Shown<'a>,
    previous: Vec<Grace>,
    meta: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage<'a>>,
}

#[derive(Serialize)]
struct Grace {
    until: String,
}

impl<'a> Shown<'a> {
    fn key(key: &'a KeySpec, now: Timestamp) -> Self {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let limits = key.limits.as_ref();
        let previous = key.previous.iter().map(|old| Grace { until: old.until.to_string() });
        Self {
            id: Some(&key.id),
            state: standing(key, now),
            owner: &key.owner,
            note: key.note(),
            plan: key.plan.as_deref(),
            created: time(key.created),
            expires: time(key.expires),
            not_before: time(key.not_before),
            reason: key.reason(),
            state_changed: time(key.state_changed()),
            limits: limits.map(|limits| limits.iter().map(|rate| &*rate.text).collect()),
            roles: &key.roles,
            rules: rules::Shown::of(key),
            previous: previous.collect(),
            meta: key.meta().collect(),
            usage: None,
        }
    }

    /// The same with what was counted, if anything is.
    fn with(self, used: Option<&'a Used>) -> Self {
        Self { usage: used.map(|used| used.of(self.id.unwrap_or_default())), ..self }
    }

    fn quarantined(bad: &'a Quarantined) -> Self {
        Self { id: bad.id.as_deref(), state: QUARANTINED, ..Self::default() }
    }

    /// The facts that there are, in the order of the file.
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let text = |text: Option<&str>| text.map(printable).unwrap_or_default();
        let graces = self.previous.iter().map(|grace| grace.until.as_str());
        let never = (self.state != QUARANTINED).then_some("never");
        let usage = self.usage.as_ref();
        let meta = self.meta.iter().map(|(k, v)| format!("{k}={v}"));
        let [quota, concurrency, reach @ .., mode] = self.rules.lines().map(|(name, value)| (name, printable(&value)));
        let [routes, methods, paths, networks] = reach;
        [
            ("id", text(self.id)),
            ("state", self.state.into()),
            ("reason", text(Some(self.reason))),
            ("state changed", text(self.state_changed.as_deref())),
            ("owner", text(Some(self.owner))),
            ("note", text(Some(self.note))),
            ("created", text(self.created.as_deref())),
            ("expires", text(self.expires.as_deref().or(never))),
            ("not before", text(self.not_before.as_deref())),
            ("plan", text(self.plan)),
            ("limits", text(self.limits.as_ref().map(|all| all.join(", ")).as_deref())),
            quota,
            concurrency,
            ("roles", text(Some(&self.roles.join(", ")))),
            routes,
            methods,
            paths,
            networks,
            mode,
            ("old secrets until", text(Some(&graces.collect::<Vec<_>>().join(", ")))),
            ("meta", text(Some(&meta.collect::<Vec<_>>().join(", ")))),
            ("requests", usage.map(requests).unwrap_or_default()),
            ("last use", usage.map(|usage| or_never(usage.last_use)).unwrap_or_default()),
            ("last client", text(usage.and_then(|usage| usage.last_client))),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }
}

fn print_json(value: &impl Serialize, console: &mut Console<'_>) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::because("failed to write JSON"))?;
    console.line(text)
}

/// Says why an entry cannot be trusted.
fn note(bad: &Quarantined, console: &mut Console<'_>) {
    let name = bad.id.as_deref().map_or_else(|| "an entry without an id".into(), printable);
    console.tell(format_args!("note: {name} is quarantined: {}", printable(&bad.problem)));
}

fn columns(with_usage: bool) -> Vec<Column> {
    let mut columns = vec![Column::text("ID"), Column::text("STATE").coloured(colour)];
    columns.extend(["OWNER", "PLAN", "CREATED", "EXPIRES", "LIMITS"].map(Column::text));
    if with_usage {
        columns.extend(["ALLOWED", "REFUSED", "THROTTLED"].map(Column::number));
        columns.push(Column::text("LAST USE"));
    }
    columns
}

fn row(key: &KeySpec, now: Timestamp, used: Option<&Used>) -> Vec<String> {
    let day = |time: Option<Timestamp>| time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d").to_string());
    let mut row = vec![
        printable(&key.id),
        standing(key, now).into(),
        printable(&key.owner),
        key.plan.as_deref().map(printable).unwrap_or_default(),
        day(key.created),
        key.expires.map_or_else(|| "never".into(), |time| day(Some(time))),
        printable(&rules::budget(key)),
    ];
    if let Some(used) = used {
        let Usage { counts, last_use, .. } = used.of(&key.id);
        row.extend([counts.allowed, counts.refused, counts.throttled].map(|count| count.to_string()));
        row.push(or_never(last_use));
    }
    row
}

fn requests(usage: &Usage<'_>) -> String {
    let ShownCounts { allowed, refused, throttled, .. } = usage.counts;
    format!("{allowed} allowed, {refused} refused, {throttled} throttled")
}

fn quarantined_row(bad: &Quarantined) -> Vec<String> {
    vec![bad.id.as_deref().map_or_else(|| "?".into(), printable), QUARANTINED.into()]
}

fn colour(state: &str) -> &'static str {
    match state {
        "active" => "\x1b[32m",
        "disabled" | "expired" | "not_yet_valid" => "\x1b[33m",
        _ => "\x1b[31m",
    }
}

/// The whole file, understood. A key file that does not exist is a mistake and not an empty list.
pub(super) fn read(path: &Path) -> Result<KeyFile, Failure> {
    let doing = format!("failed to read the key file {}", path.display());
    let text = std::fs::read_to_string(path).map_err(Failure::because(doing))?;
    let (file, _) = keyfile::parse(&Arc::new(SourceFile::new(path, text)))?;
    Ok(file)
}
