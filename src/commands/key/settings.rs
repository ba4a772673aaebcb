//! What the `key` commands need of `keyward.toml`.
//!
//! They read no more than that: a revocation must not be held up by a mistake elsewhere in the configuration, and
//! `keyward check` is there to find it. With `--keys` a change of state does not look at the configuration at all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml_edit::{DocumentMut, Item, TableLike};

use crate::cli::Files;
use crate::commands::console::Failure;
use crate::config::edit;
use crate::vocab::digest::{Digest, Pepper};
use crate::vocab::secret::Secret;
use crate::vocab::units::parse_duration;

/// Where a configuration is looked for when none is named.
pub const CONFIG_PLACES: [&str; 3] = [
    "keyward.toml",
    "config/keyward.toml",
    "/etc/keyward/keyward.toml",
];

const KEYS_FILE: &str = "keys.toml";
const PREFIX: &str = "kw";
/// Of a pepper's file.
const PEPPER_BYTES_MAX: u64 = 64 * 1024;

/// `[keys]` as far as it concerns the making and finding of keys, with every default filled in.
pub(crate) struct Settings {
    /// The file to edit.
    pub(crate) keys_file: PathBuf,
    /// Of keys made here.
    pub(crate) prefix: String,
    /// Expiry of keys made here; `None` = never.
    pub(crate) expires_default: Option<Duration>,
    /// Names of plans; `None` = there is no configuration to have them.
    pub(crate) plans: Option<Vec<String>>,
    pepper: Option<Place>,
}

enum Place {
    Env(String),
    File(PathBuf),
}

/// The key file alone.
pub(crate) fn keys_file(files: &Files, places: &[PathBuf]) -> Result<PathBuf, Failure> {
    match &files.keys {
        Some(path) => Ok(path.clone()),
        None => Settings::load(files, places).map(|settings| settings.keys_file),
    }
}

impl Settings {
    /// Reads the configuration that is named, or else the first of `places` that is there, or else none.
    pub(crate) fn load(files: &Files, places: &[PathBuf]) -> Result<Self, Failure> {
        let found = match &files.config {
            Some(path) => Some(path),
            None => places.iter().find(|path| path.is_file()),
        };
        let mut settings = match found {
            Some(path) => Self::read(path)?,
            None => Self {
                keys_file: KEYS_FILE.into(),
                prefix: PREFIX.into(),
                expires_default: None,
                plans: None,
                pepper: None,
            },
        };
        if let Some(path) = &files.keys {
            settings.keys_file.clone_from(path);
        }
        Ok(settings)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let doing = format!("failed to read {}", path.display());
        let text = std::fs::read_to_string(path).map_err(Failure::because(&doing))?;
        let document = edit::parse(path, &text)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let wrong = |problem: String| Failure::No(format!("{doing}: {problem}"));
        Self::understand(&document, folder).map_err(wrong)
    }

    fn understand(document: &DocumentMut, folder: &Path) -> Result<Self, String> {
        let keys = document.get("keys");
        let keys = match keys.map(Item::as_table_like) {
            Some(None) => return Err("keys must be a table".into()),
            Some(Some(keys)) => Some(keys),
            None => None,
        };
        let word = |name: &str| word(keys, name);
        let expires_default = match word("expires_default")? {
            None | Some("never") => None,
            Some(text) => Some(
                parse_duration(text).map_err(|error| format!("keys.expires_default: {error}"))?,
            ),
        };
        let prefix = word("prefix")?.unwrap_or(PREFIX);
        if prefix.is_empty()
            || !prefix
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || c == b'_')
        {
            return Err("keys.prefix must be of letters, digits and '_'".into());
        }
        let pepper = match word("pepper")?.map(|text| text.split_once(':')) {
            None => None,
            Some(Some(("env", name))) => Some(Place::Env(name.to_owned())),
            Some(Some(("file", path))) => Some(Place::File(folder.join(path))),
            Some(_) => return Err("keys.pepper must be env:NAME or file:PATH".into()),
        };
        let plans = document.get("plan").and_then(Item::as_table_like);
        Ok(Self {
            keys_file: folder.join(word("file")?.unwrap_or(KEYS_FILE)),
            prefix: prefix.to_owned(),
            expires_default,
            plans: Some(plans.map_or_else(Vec::new, |plans| {
                plans.iter().map(|(name, _)| name.to_owned()).collect()
            })),
            pepper,
        })
    }

    /// The pepper, if there is one. It is read only when a hash is to be made, so that the others work without it.
    pub(crate) fn pepper(&self) -> Result<Option<Pepper>, Failure> {
        let secret = match &self.pepper {
            None => return Ok(None),
            Some(Place::Env(name)) => {
                let value = std::env::var(name).map_err(Failure::because(format_args!(
                    "failed to read keys.pepper from the environment variable {name}"
                )))?;
                Secret::new(value.into_bytes())
            }
            Some(Place::File(path)) => {
                let doing = format!("failed to read keys.pepper from {}", path.display());
                let mut file = std::fs::File::open(path).map_err(Failure::because(&doing))?;
                super::secret::read(&mut file, PEPPER_BYTES_MAX)
                    .map_err(Failure::because(&doing))?
            }
        };
        if secret.expose().is_empty() {
            return Err(Failure::No(
                "failed to read keys.pepper: it is empty".into(),
            ));
        }
        Ok(Some(Pepper::new(&secret)))
    }

    /// The hash of a new key as the file has it.
    pub(crate) fn hash_text(&self, key: &[u8]) -> Result<String, Failure> {
        Ok(match self.pepper()? {
            Some(pepper) => format!("hmac-sha256:{}", pepper.digest(key).to_hex()),
            None => format!("sha256:{}", Digest::sha256(key).to_hex()),
        })
    }
}

fn word<'a>(table: Option<&'a dyn TableLike>, name: &str) -> Result<Option<&'a str>, String> {
    match table.and_then(|table| table.get(name)) {
        None => Ok(None),
        Some(item) => item
            .as_str()
            .map(Some)
            .ok_or_else(|| format!("keys.{name} must be a string")),
    }
}
