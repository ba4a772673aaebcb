//! What the `key` commands need of `keyward.toml`.
//!
//! They ask no more of it than that `[keys]` is good: a revocation must not be held up by a mistake elsewhere in the
//! configuration, and `keyward check` is there to find it. With `--keys` a change of state does not look at it at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml_edit::{DocumentMut, Item};

use crate::cli::Files;
use crate::commands::console::Failure;
use crate::config::gateway::{self, Gateway, Keys, Located, SecretRef};
use crate::config::load::resolve_secret;
use crate::config::source::SourceFile;
use crate::vocab::digest::{Digest, Pepper};

/// The smallest thing that must be in a configuration besides what is asked of it here.
const UPSTREAM: &str = "upstream.default.servers = [\"http://127.0.0.1\"]\n";

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
    /// The whole of the configuration, if it is good, and the file that it was read from.
    pub(crate) gateway: Option<(Gateway, Arc<SourceFile>)>,
    pepper: Option<Located<SecretRef>>,
    source: Arc<SourceFile>,
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
            None => places.iter().find(|path| path.exists()),
        };
        let mut settings = match found {
            Some(path) => Self::read(path)?,
            None => Self::defaults()?,
        };
        if let Some(path) = &files.keys {
            settings.keys_file.clone_from(path);
        }
        Ok(settings)
    }

    fn read(path: &Path) -> Result<Self, Failure> {
        let doing = format!("failed to read {}", path.display());
        let text = std::fs::read_to_string(path).map_err(Failure::because(doing))?;
        let source = Arc::new(SourceFile::new(path, text));
        let report = match gateway::parse(&source) {
            Ok((gateway, _)) => {
                let plans = gateway.plans.keys().cloned().collect();
                let settings = Self::of(gateway.keys.clone(), Some(plans), &source);
                return Ok(Self { gateway: Some((gateway, source)), ..settings });
            }
            Err(report) => report,
        };
        let Ok(document) = source.text().parse::<DocumentMut>() else {
            return Err(report.into());
        };
        match keys_alone(path, &document) {
            Some((keys, source)) => Ok(Self::of(keys, Some(plans(&document)), &source)),
            None => Err(report.into()),
        }
    }

    /// What holds where there is no configuration.
    fn defaults() -> Result<Self, Failure> {
        let source = Arc::new(SourceFile::new("", UPSTREAM));
        let (gateway, _) = gateway::parse(&source)?;
        Ok(Self::of(gateway.keys, None, &source))
    }

    fn of(keys: Keys, plans: Option<Vec<String>>, source: &Arc<SourceFile>) -> Self {
        Self {
            keys_file: keys.file.value,
            prefix: keys.prefix,
            expires_default: keys.expires_default,
            plans,
            gateway: None,
            pepper: keys.pepper,
            source: Arc::clone(source),
        }
    }

    /// The pepper, if there is one. It is read only when a hash is to be made, so that the others work without it.
    pub(crate) fn pepper(&self) -> Result<Option<Pepper>, Failure> {
        let Some(reference) = &self.pepper else {
            return Ok(None);
        };
        let secret = resolve_secret(reference, &self.source)?;
        Ok(Some(Pepper::new(&secret)))
    }

    /// The hash of a new key as the file has it.
    pub(crate) fn hash_text(&self, key: &[u8]) -> Result<String, Failure> {
        let pepper = self.pepper()?;
        Ok(hash_text(&Digest::sha256(key), pepper.map(|pepper| pepper.digest(key)).as_ref()))
    }
}

/// The hash of a new key as the file has it, where there is a pepper and where there is none.
pub(crate) fn hash_text(plain: &Digest, peppered: Option<&Digest>) -> String {
    match peppered {
        Some(digest) => format!("hmac-sha256:{}", digest.to_hex()),
        None => format!("sha256:{}", plain.to_hex()),
    }
}

/// `[keys]` of a configuration that has mistakes, if they are all elsewhere.
fn keys_alone(path: &Path, document: &DocumentMut) -> Option<(Keys, Arc<SourceFile>)> {
    let mut alone = DocumentMut::new();
    if let Some(keys) = document.get("keys") {
        alone.insert("keys", keys.clone());
    }
    let source = Arc::new(SourceFile::new(path, format!("{UPSTREAM}{alone}")));
    let (gateway, _) = gateway::parse(&source).ok()?;
    Some((gateway.keys, source))
}

fn plans(document: &DocumentMut) -> Vec<String> {
    let plans = document.get("plan").and_then(Item::as_table_like);
    let names = plans.into_iter().flat_map(|plans| plans.iter());
    names.map(|(name, _)| name.to_owned()).collect()
}
