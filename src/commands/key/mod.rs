//! `keyward key …`: one file per concern.

mod change;
mod entry;
mod import;
mod list;
mod make;
mod rules;
mod secret;
mod settings;

use std::path::PathBuf;

use jiff::Timestamp;

use self::change::Refused;
pub(super) use self::secret::from_stdin;
use self::settings::Settings;
use super::console::{Console, Failure};
use super::state_file::Used;
use crate::cli::{Files, KeyCommand};
use crate::config::load::PLACES;
use crate::vocab::clock::Clock;

/// Does it, and gives the exit code.
pub fn run(command: &KeyCommand, files: &Files, console: &mut Console<'_>, clock: &Clock) -> u8 {
    run_in(command, files, console, clock, &PLACES.map(PathBuf::from))
}

/// [`run`] with other places to look for a configuration in.
fn run_in(command: &KeyCommand, files: &Files, console: &mut Console<'_>, clock: &Clock, places: &[PathBuf]) -> u8 {
    let now = crate::cli::when::now(clock);
    let scene = &Scene { files, places, now };
    let outcome = match command {
        KeyCommand::New(args) => make::new(args, scene, console),
        KeyCommand::Rotate(args) => make::rotate(args, scene, console),
        KeyCommand::List(args) => list::list(args, scene, console),
        KeyCommand::Show(args) => list::show(args, scene, console),
        KeyCommand::Revoke(args) => change::refuse(args, Refused::Revoked, scene, console),
        KeyCommand::Disable(args) => change::refuse(args, Refused::Disabled, scene, console),
        KeyCommand::Compromised(args) => change::refuse(args, Refused::Compromised, scene, console),
        KeyCommand::Enable(args) => change::enable(args, scene, console),
        KeyCommand::Renew(args) => change::renew(args, scene, console),
        KeyCommand::Hash(args) => secret::hash(args, scene, console),
        KeyCommand::Identify(args) => secret::identify(args, scene, console),
        KeyCommand::Import(args) => import::import(args, scene, console),
    };
    console.finish(outcome)
}

/// What every one of these commands is told besides its own arguments.
struct Scene<'a> {
    files: &'a Files,
    places: &'a [PathBuf],
    now: Timestamp,
}

impl Scene<'_> {
    fn settings(&self) -> Result<Settings, Failure> {
        Settings::load(self.files, self.places)
    }

    fn keys_file(&self) -> Result<PathBuf, Failure> {
        settings::keys_file(self.files, self.places)
    }

    /// What was counted of keys, if anything is.
    fn used(&self, console: &mut Console<'_>) -> Option<Used> {
        Used::read(self.files, self.places, console)
    }
}

#[cfg(test)]
mod tests;
