//! Reads the key file until `config::keyfile::parse` is here.

use std::path::Path;

use toml_edit::{Item, TableLike, Value};

use super::entry;
use crate::commands::console::Failure;
use crate::config::edit;
use crate::config::keyfile::{KeyFile, KeySpec, KeyState, PreviousSecret, Quarantined, StoredHash};
use crate::vocab::digest::Digest;
use crate::vocab::units::parse_rate;

pub(super) fn read(path: &Path) -> Result<KeyFile, Failure> {
    let doing = format!("failed to read {}", path.display());
    let text = std::fs::read_to_string(path).map_err(Failure::because(doing))?;
    let mut document = edit::parse(path, &text)?;
    let mut file = KeyFile::default();
    for entry in entry::all(&mut document)? {
        match spec(entry) {
            Some(key) => file.keys.push(key),
            None => file.quarantined.push(Quarantined {
                id: entry::text(entry, "id").map(str::to_owned),
                hashes: entry::text(entry, "hash")
                    .and_then(hash)
                    .into_iter()
                    .collect(),
            }),
        }
    }
    Ok(file)
}

fn hash(text: &str) -> Option<StoredHash> {
    match text.split_once(':')? {
        ("sha256", hex) => Digest::from_hex(hex).map(StoredHash::Sha256),
        ("hmac-sha256", hex) => Digest::from_hex(hex).map(StoredHash::HmacSha256),
        _ => None,
    }
}

fn spec(entry: &dyn TableLike) -> Option<KeySpec> {
    let text = |name| entry::text(entry, name).unwrap_or_default().to_owned();
    let time = |name| entry::time(entry, name);
    let state = match text("state").as_str() {
        "" | "active" => KeyState::Active,
        "disabled" => KeyState::Disabled,
        "revoked" => KeyState::Revoked,
        "compromised" => KeyState::Compromised,
        "honey" => KeyState::Honey,
        _ => return None,
    };
    let list = |name| entry.get(name).and_then(Item::as_array);
    let texts = |name| list(name).into_iter().flatten().filter_map(Value::as_str);
    let previous = list("previous").into_iter().flatten().filter_map(|old| {
        let old = old.as_inline_table()?;
        Some(PreviousSecret {
            hash: hash(entry::text(old, "hash")?)?,
            until: entry::time(old, "until")?,
        })
    });
    let meta = entry.get("meta").and_then(Item::as_table_like);
    Some(KeySpec {
        id: entry::text(entry, "id")?.to_owned(),
        hash: hash(entry::text(entry, "hash")?)?,
        owner: text("owner"),
        note: text("note"),
        created: time("created"),
        expires: time("expires"),
        not_before: time("not_before"),
        state,
        reason: text("reason"),
        state_changed: time("state_changed"),
        plan: entry::text(entry, "plan").map(str::to_owned),
        limits: list("limits")
            .map(|_| texts("limits").filter_map(|t| parse_rate(t).ok()).collect()),
        roles: texts("roles").map(str::to_owned).collect(),
        previous: previous.collect(),
        meta: meta
            .into_iter()
            .flat_map(|meta| meta.iter())
            .filter_map(|(name, value)| Some((name.to_owned(), value.as_str()?.to_owned())))
            .collect(),
    })
}
