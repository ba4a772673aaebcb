//! `keyward key revoke`, `disable`, `compromised`, `enable`, `renew`: the state of a key. Entries stay as tombstones, so
//! that whoever still sends the key is told apart from a stranger.

use jiff::Timestamp;
use toml_edit::TableLike;

use super::{Scene, entry, make};
use crate::cli::{ChangeArgs, EnableArgs, RenewArgs};
use crate::commands::console::{Console, Failure};
use crate::config::edit;
use crate::config::keyfile::KeyState;

/// The states that a person puts a key into so that it is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Disabled,
    Revoked,
    Compromised,
}

impl Refused {
    const fn state(self) -> KeyState {
        match self {
            Self::Disabled => KeyState::Disabled,
            Self::Revoked => KeyState::Revoked,
            Self::Compromised => KeyState::Compromised,
        }
    }

    /// Whether leaving `from` for this state would forget what must not be forgotten: what is final stays final, and a trap
    /// that was laid out never becomes a key that can be enabled.
    fn forgets(self, from: &str) -> bool {
        match self {
            Self::Disabled => matches!(from, "revoked" | "compromised" | "honey"),
            Self::Revoked => from == "compromised",
            Self::Compromised => false,
        }
    }
}

/// Puts a key into a state in which it is refused.
pub(super) fn refuse(
    args: &ChangeArgs,
    to: Refused,
    scene: &Scene<'_>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let news = edit::edit(&scene.keys_file()?, |document| {
        let mut news = String::new();
        // An id that is there twice is a mistake, and refusing both is what was meant.
        for entry in entry::named(document, &args.id)? {
            news = close(entry, to, args, scene.now)?;
        }
        Ok::<_, Failure>(news)
    })?;
    console.line(format_args!("{} {news}", args.id))
}

/// Does [`refuse`] for one entry, and says how it went.
fn close(entry: &mut dyn TableLike, to: Refused, args: &ChangeArgs, now: Timestamp) -> Result<String, Failure> {
    let from = entry::text(entry, "state").unwrap_or("active").to_owned();
    if to.forgets(&from) && to == Refused::Disabled {
        return Err(final_state("disable", &args.id, &from));
    }
    if to.forgets(&from) {
        return Ok(format!("is already {from}"));
    }
    if let Some(reason) = &args.reason {
        entry::set(entry, "reason", reason);
    }
    let state = to.state().as_str();
    if from == state {
        return Ok(format!("is already {state}"));
    }
    if args.reason.is_none() {
        forget_reason(entry);
    }
    entry::set(entry, "state", state);
    entry::set(entry, "state_changed", entry::moment(now)?);
    Ok(format!("is {state}"))
}

/// Takes a disabled key again.
pub(super) fn enable(args: &EnableArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let (news, expired) = edit::edit(&scene.keys_file()?, |document| {
        let entry = entry::only(document, &args.id)?;
        let news = match entry::text(entry, "state").unwrap_or("active") {
            "active" => "is already active",
            "disabled" => {
                activate(entry, scene.now)?;
                "is active"
            }
            other => return Err(final_state("enable", &args.id, other)),
        };
        let expired = entry::time(entry, "expires").is_some_and(|end| end <= scene.now);
        Ok((news, expired))
    })?;
    if expired {
        console.tell("note: the key has expired: `keyward key renew` gives it a new expiry");
    }
    console.line(format_args!("{} {news}", args.id))
}

/// Gives a key a new expiry, and takes it again if it was disabled.
pub(super) fn renew(args: &RenewArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let settings = scene.settings()?;
    let expires = make::expiry(args.expires, scene.now, settings.expires_default)?;
    edit::edit(&settings.keys_file, |document| {
        let entry = entry::only(document, &args.id)?;
        match entry::text(entry, "state").unwrap_or("active") {
            "active" | "honey" => {}
            "disabled" => activate(entry, scene.now)?,
            other => return Err(final_state("renew", &args.id, other)),
        }
        match expires {
            Some(end) => entry::set(entry, "expires", entry::moment(end)?),
            None => drop(entry.remove("expires")),
        }
        Ok(())
    })?;
    match expires {
        Some(end) => console.line(format_args!("{} expires at {end}", args.id)),
        None => console.line(format_args!("{} never expires", args.id)),
    }
}

fn activate(entry: &mut dyn TableLike, now: Timestamp) -> Result<(), Failure> {
    entry::set(entry, "state", KeyState::Active.as_str());
    entry::set(entry, "state_changed", entry::moment(now)?);
    forget_reason(entry);
    Ok(())
}

/// It told why the key was in its former state.
fn forget_reason(entry: &mut dyn TableLike) {
    if entry.contains_key("reason") {
        entry::set(entry, "reason", "");
    }
}

fn final_state(verb: &str, id: &str, state: &str) -> Failure {
    Failure::No(format!("failed to {verb} {id:?}: it is {state}, and stays so"))
}
