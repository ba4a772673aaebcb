//! `keyward key hash`, `identify`: a secret comes in on stdin, and what is known of it goes out.

use std::io::{self, Read};

use jiff::Timestamp;
use serde_json::json;
use zeroize::Zeroizing;

use super::settings::Settings;
use super::{Scene, list};
use crate::cli::SecretArgs;
use crate::commands::console::{Console, Failure};
use crate::config::keyfile::{KeyFile, KeySpec, KeyState, StoredHash};
use crate::credential::format::{self, PRESENTED_BYTES_MAX, Shape};
use crate::vocab::digest::Digest;
use crate::vocab::secret::Secret;

pub(super) fn hash(args: &SecretArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let key = sent(args, console)?;
    let settings = scene.settings()?;
    refuse_hopeless(&key, &settings)?;
    let hash = settings.hash_text(key.expose())?;
    if args.json { console.line(json!({ "hash": hash })) } else { console.line(hash) }
}

pub(super) fn identify(args: &SecretArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let key = sent(args, console)?;
    let settings = scene.settings()?;
    refuse_hopeless(&key, &settings)?;
    let file = list::read(&settings.keys_file)?;
    let plain = StoredHash::Sha256(Digest::sha256(key.expose()));
    let mut found = find(&file, &plain, scene.now);
    if found.is_none()
        && let Some(pepper) = settings.pepper()?
    {
        let peppered = StoredHash::HmacSha256(pepper.digest(key.expose()));
        found = find(&file, &peppered, scene.now);
    }
    let Some((id, state)) = found else {
        return Err(Failure::No("no key has this secret".into()));
    };
    if args.json {
        console.line(json!({ "id": id, "state": state }))
    } else {
        let id = id.map_or_else(|| "?".into(), list::printable);
        console.line(format_args!("{id} {state}"))
    }
}

/// Whose hash it is, and what the gateway would make of it. The comparison of hashes takes the same time for all.
fn find<'f>(file: &'f KeyFile, hash: &StoredHash, now: Timestamp) -> Option<(Option<&'f str>, &'static str)> {
    let quarantined = file.quarantined.iter();
    quarantined
        .filter(|entry| entry.hashes.contains(hash))
        .map(|entry| (entry.id.as_deref(), list::QUARANTINED))
        .chain(file.keys.iter().filter_map(|key| {
            let state = state_by(key, hash, now)?;
            Some((Some(&*key.id), state))
        }))
        .next()
}

fn state_by(key: &KeySpec, hash: &StoredHash, now: Timestamp) -> Option<&'static str> {
    if key.hash == *hash {
        return Some(list::standing(key, now));
    }
    let previous = key.previous.iter().find(|old| old.hash == *hash)?;
    Some(match list::standing(key, now) {
        "active" if now < previous.until => "grace",
        _ if key.state == KeyState::Active && previous.until <= now => "rotated_out",
        other => other,
    })
}

/// A hash of what the gateway refuses before it looks at any hash would be of no use to anybody.
fn refuse_hopeless(key: &Secret, settings: &Settings) -> Result<(), Failure> {
    match hopeless(&settings.prefix, key.expose()) {
        None => Ok(()),
        Some(why) => Err(Failure::No(format!("no gateway takes this key: {why}"))),
    }
}

/// Why the gateway refuses `key` whatever the key file says.
pub(super) fn hopeless(prefix: &str, key: &[u8]) -> Option<&'static str> {
    match format::inspect(prefix, key) {
        Shape::Ours | Shape::Foreign => None,
        Shape::BadChecksum => Some("its checksum is wrong: a letter of it has changed"),
        Shape::Malformed if key.is_empty() => Some("it is empty"),
        Shape::Malformed if key.len() > PRESENTED_BYTES_MAX => Some("it is longer than 512 bytes"),
        Shape::Malformed => Some("it has the prefix of our keys and not their form, or is not printable ASCII"),
    }
}

fn sent(args: &SecretArgs, console: &mut Console<'_>) -> Result<Secret, Failure> {
    if !args.misplaced.is_empty() {
        return Err(Failure::Usage(
            "a secret is read from stdin, never from the arguments, which others on this machine can see".into(),
        ));
    }
    from_stdin(console)
}

/// The key on stdin.
pub(crate) fn from_stdin(console: &mut Console<'_>) -> Result<Secret, Failure> {
    // Two more than the longest for the line end, and one to see that there is more.
    let limit = PRESENTED_BYTES_MAX as u64 + 3;
    let key = read(console.input, limit).map_err(Failure::because("failed to read the key from stdin"))?;
    if key.expose().is_empty() {
        return Err(Failure::Usage("there is no key on stdin".into()));
    }
    Ok(key)
}

/// At most `limit` bytes, without one line end after them.
pub(super) fn read(input: &mut dyn Read, limit: u64) -> io::Result<Secret> {
    // All of it at once: a growing buffer would leave copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(limit).unwrap_or(usize::MAX) + 32));
    input.take(limit).read_to_end(&mut bytes)?;
    let end = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line).len());
    if let Some(end) = end {
        bytes.truncate(end);
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}
