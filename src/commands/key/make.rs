//! `keyward key new`, `rotate`: a secret is made, its hash is stored, and it is shown once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use toml_edit::{DocumentMut, Table, Value};

use super::settings::Settings;
use super::{Scene, entry};
use crate::cli::when::{When, later};
use crate::cli::{NewArgs, RotateArgs};
use crate::commands::console::{Console, Failure};
use crate::config::diagnostics::Diagnostic;
use crate::config::source::SourceFile;
use crate::config::{edit, keyfile};
use crate::credential::format;
use crate::vocab::secret::Secret;

/// How long a rotated-out hash is remembered after its end, so that a late user is told apart from a stranger.
const PREVIOUS_KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn new(args: &NewArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let settings = scene.settings()?;
    refuse_unknown_plan(args, &settings)?;
    let key = fresh(&settings)?;
    let table = described(args, scene.now, &settings, settings.hash_text(key.expose())?)?;
    let warnings = refuse_what_would_be_quarantined(&table, &settings)?;
    edit::edit(&settings.keys_file, |document| {
        let taken = entry::all(document)?.iter().any(|entry| entry::text(*entry, "id") == Some(&args.id));
        if taken {
            return Err(Failure::No(format!(
                "failed to make a key: there is one with the id {:?}; `keyward key rotate` gives it a new secret",
                args.id
            )));
        }
        entry::append(document, table)
    })?;
    for warning in warnings {
        console.tell(format_args!("note: {warning}"));
    }
    show_once(&args.id, &key, &settings, console)
}

pub(super) fn rotate(args: &RotateArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let settings = scene.settings()?;
    let key = fresh(&settings)?;
    let hash = settings.hash_text(key.expose())?;
    let until = later(scene.now, args.grace)?;
    let forget = scene.now.checked_sub(PREVIOUS_KEPT).unwrap_or(Timestamp::MIN);
    let state = edit::edit(&settings.keys_file, |document| {
        let entry = entry::only(document, &args.id)?;
        let state = entry::text(entry, "state").unwrap_or("active").to_owned();
        if !matches!(state.as_str(), "active" | "disabled") {
            return Err(Failure::No(format!(
                "failed to rotate {:?}: it is {state}, and a new secret would be refused as well; make a new key",
                args.id
            )));
        }
        let Some(old) = entry::text(entry, "hash").map(str::to_owned) else {
            return Err(Failure::No(format!("failed to rotate {:?}: it has no hash", args.id)));
        };
        entry::set(entry, "hash", hash);
        entry::push_previous(entry, old, until, forget)?;
        let expired = entry::time(entry, "expires").is_some_and(|t| t <= scene.now);
        Ok::<_, Failure>(if expired { "expired".into() } else { state })
    })?;
    if state != "active" {
        console.tell(format_args!("note: the key is {state}: `keyward key renew` would mend that"));
    }
    show_once(&args.id, &key, &settings, console)
}

/// The gateway's own reader has the last word on the new entry. Gives what it would warn of.
fn refuse_what_would_be_quarantined(table: &Table, settings: &Settings) -> Result<Vec<String>, Failure> {
    let mut alone = DocumentMut::new();
    entry::append(&mut alone, table.clone())?;
    let source = Arc::new(SourceFile::new("new entry", alone.to_string()));
    let (keys, report) = keyfile::parse(&source)?;
    if let Some(problem) = report.diagnostics().first() {
        // Not as a report: its places are in a file that nobody has.
        return Err(Failure::No(format!("the gateway would not take this key: {}", problem.message)));
    }
    let Some((gateway, gateway_source)) = &settings.gateway else { return Ok(Vec::new()) };
    let crossed = keyfile::cross_check((gateway, gateway_source), (&keys, &source));
    // What is said of the gateway's file depends on the other keys.
    let of_this = crossed.diagnostics().iter().filter(|warning| Arc::ptr_eq(&warning.file, &source));
    let text = |warning: &Diagnostic| {
        let hint = warning.hint.iter().map(|hint| format!("; {hint}"));
        format!("{}{}", warning.message, hint.collect::<String>())
    };
    Ok(of_this.map(text).collect())
}

fn refuse_unknown_plan(args: &NewArgs, settings: &Settings) -> Result<(), Failure> {
    let (Some(plan), Some(plans)) = (&args.plan, &settings.plans) else {
        return Ok(());
    };
    if plans.contains(plan) {
        return Ok(());
    }
    let hint = entry::hint(plan, plans.iter().map(String::as_str));
    Err(Failure::No(format!("there is no plan {plan:?}{hint}")))
}

fn fresh(settings: &Settings) -> Result<Secret, Failure> {
    format::generate(&settings.prefix).map_err(Failure::because("failed to get random bytes from the system"))
}

/// The new entry, with the fields in the order of the documentation.
fn described(args: &NewArgs, now: Timestamp, settings: &Settings, hash: String) -> Result<Table, Failure> {
    let expires = expiry(args.expires, now, settings.expires_default)?;
    let not_before = args.not_before.map_or(Ok(None), |when| when.resolve(now))?;
    if let (Some(start), Some(end)) = (not_before, expires)
        && end <= start
    {
        return Err(Failure::No(format!("the key would expire at {end}, before it is valid at {start}")));
    }
    let texts = |texts: &[String]| (!texts.is_empty()).then(|| entry::array(texts));
    let limits = args.limits.iter().map(|rate| &rate.text);
    let fields = [
        ("id", Some(Value::from(&args.id))),
        ("hash", Some(Value::from(hash))),
        ("owner", args.owner.as_ref().map(Value::from)),
        ("note", args.note.as_ref().map(Value::from)),
        ("created", Some(entry::moment(now)?)),
        ("expires", expires.map(entry::moment).transpose()?),
        ("not_before", not_before.map(entry::moment).transpose()?),
        ("plan", args.plan.as_ref().map(Value::from)),
        ("limits", (!args.limits.is_empty()).then(|| entry::array(limits))),
        ("quota", args.quota.as_ref().map(|quota| Value::from(&*quota.text))),
        ("concurrency", args.concurrency.map(|most| Value::from(i64::from(most)))),
        ("roles", texts(&args.roles)),
        ("routes", texts(&args.routes)),
        ("methods", (!args.methods.is_empty()).then(|| entry::array(&args.methods))),
        ("paths", texts(&args.paths)),
        ("networks", texts(&args.networks)),
        ("meta", (!args.meta.is_empty()).then(|| entry::pairs(&args.meta))),
    ];
    let mut table = Table::new();
    for (name, value) in fields {
        if let Some(value) = value {
            entry::set(&mut table, name, value);
        }
    }
    Ok(table)
}

/// When a key made or renewed `now` ends; `None` = never.
pub(super) fn expiry(
    asked: Option<When>,
    now: Timestamp,
    default: Option<Duration>,
) -> Result<Option<Timestamp>, Failure> {
    let when = asked.unwrap_or(default.map_or(When::Never, When::In));
    let expires = when.resolve(now)?;
    match expires {
        Some(end) if end <= now => Err(Failure::No(format!("the expiry {end} is in the past"))),
        _ => Ok(expires),
    }
}

/// The key, and nothing else, on stdout.
fn show_once(id: &str, key: &Secret, settings: &Settings, console: &mut Console<'_>) -> Result<(), Failure> {
    let shown = console
        .out
        .write_all(key.expose())
        .and_then(|()| console.out.write_all(b"\n"))
        .and_then(|()| console.out.flush());
    if let Err(error) = shown {
        // It is stored, and nobody will ever know it.
        return Err(Failure::No(format!(
            "failed to show the key {id:?}, whose hash is stored: {error}; `keyward key rotate --grace 0` makes another"
        )));
    }
    if console.attended {
        console.tell(format_args!(
            "{id:?} is stored in {}; the key above is not shown again",
            settings.keys_file.display()
        ));
    }
    Ok(())
}
