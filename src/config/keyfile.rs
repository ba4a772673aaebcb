//! `keys.toml`, understood: the entries that are good, and those quarantined with the reason why.

mod again;
mod cross;
mod entry;
mod interner;
mod parse;
mod plain;
mod rules;

#[cfg(test)]
mod tests;
mod twins;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;

pub use self::cross::cross_check;
pub(crate) use self::cross::needs_pepper;
pub(super) use self::entry::role;
pub use self::parse::{parse, parse_again};
pub use self::rules::Rules;
use crate::vocab::digest::Digest;
use crate::vocab::units::Rate;

/// The whole file. Held for as long as it serves, and with a million entries: what it holds is small.
#[derive(Clone)]
pub struct KeyFile {
    /// Good entries, in file order. One whose text is as it was before is the same one.
    pub keys: Vec<Arc<KeySpec>>,
    /// Entries invalid on their own: refused, loudly, while the others serve.
    pub quarantined: Vec<Quarantined>,
    /// Of everything in the file: equal files mean the same.
    pub digest: Digest,
    /// Where each of [`KeyFile::keys`] stands: what [`cross_check`] points at. Empty where nobody asks for it any more.
    places: Vec<Range<u32>>,
    /// Of the text of each of [`KeyFile::keys`], where it was read alone and nothing is to be said of it.
    texts: Vec<Option<TextDigest>>,
}

/// The first half of the SHA-256 of an entry's text.
type TextDigest = [u8; 16];

/// One good `[[key]]`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// `[a-z0-9][a-z0-9._-]{0,62}`, unique in the file.
    pub id: Box<str>,
    /// Of the whole key as sent.
    pub hash: StoredHash,
    /// Who answers for it; may be empty.
    pub owner: Box<str>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// First instant at which it is refused; `None` = never.
    pub expires: Option<Timestamp>,
    /// First instant at which it is taken.
    pub not_before: Option<Timestamp>,
    /// What may be done with it at all.
    pub state: KeyState,
    /// Name of a `[plan.NAME]`; whether it exists is known only with the gateway's file.
    pub plan: Option<Arc<str>>,
    /// The key's own limits; `None` = those of the plan.
    pub limits: Option<Arc<[Rate]>>,
    /// Handed to the upstream, and asked for by routes.
    pub roles: Arc<[Box<str>]>,
    /// What it may reach, and how much; `None` where the entry says nothing of it.
    pub rules: Option<Arc<Rules>>,
    /// Older secrets that still work for a while.
    pub previous: Box<[PreviousSecret]>,
    /// What people read and no request asks for; `None` where there is nothing of it.
    remarks: Option<Box<Remarks>>,
}

/// The rare part of an entry.
#[derive(Clone, Default, PartialEq, Eq)]
struct Remarks {
    note: Box<str>,
    reason: Box<str>,
    state_changed: Option<Timestamp>,
    meta: BTreeMap<Box<str>, Box<str>>,
}

/// An entry that cannot be trusted, and what is known of it.
#[derive(Clone)]
pub struct Quarantined {
    /// Its id, if it has a readable one.
    pub id: Option<String>,
    /// Every hash in it that can be read: a request that presents one is refused as `quarantined`.
    pub hashes: Vec<StoredHash>,
    /// `path:line:col: message` of what is wrong with it, for a log line.
    pub problem: String,
}

/// `hash` of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum StoredHash {
    /// `sha256:<64 hex>`
    Sha256(Digest),
    /// `hmac-sha256:<64 hex>`, under `keys.pepper`.
    HmacSha256(Digest),
}

/// One entry of `previous`.
#[derive(Clone, PartialEq, Eq)]
pub struct PreviousSecret {
    /// Of the older secret.
    pub hash: StoredHash,
    /// First instant at which it is refused (`rotated_out`).
    pub until: Timestamp,
}

/// `state` of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// `active`
    Active,
    /// `disabled`: refused until enabled again.
    Disabled,
    /// `revoked`: refused for good.
    Revoked,
    /// `compromised`: refused for good.
    Compromised,
    /// `honey`: a trap; always refused.
    Honey,
}

impl Default for KeyFile {
    fn default() -> Self {
        let digest = Digest::sha256(b"");
        Self { keys: Vec::new(), quarantined: Vec::new(), digest, places: Vec::new(), texts: Vec::new() }
    }
}

impl KeyFile {
    /// Gives back the memory of what only [`cross_check`] asks for.
    pub fn forget_places(&mut self) {
        self.places = Vec::new();
    }
}

impl KeySpec {
    /// Free text.
    pub fn note(&self) -> &str {
        self.remarks.as_ref().map_or("", |remarks| &remarks.note)
    }

    /// Why it is in its state.
    pub fn reason(&self) -> &str {
        self.remarks.as_ref().map_or("", |remarks| &remarks.reason)
    }

    /// Since when it is in its state.
    pub fn state_changed(&self) -> Option<Timestamp> {
        self.remarks.as_ref()?.state_changed
    }

    /// Free pairs, by name.
    pub fn meta(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.remarks.iter().flat_map(|remarks| &remarks.meta);
        pairs.map(|(name, value)| (&**name, &**value))
    }

    /// Every hash that finds it: its own, then those of older secrets.
    pub fn hashes(&self) -> impl Iterator<Item = StoredHash> + Clone {
        std::iter::once(self.hash).chain(self.previous.iter().map(|secret| secret.hash))
    }
}

impl StoredHash {
    /// `sha256:` or `hmac-sha256:` and 64 hexadecimal characters.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, hex) = text.split_once(':')?;
        let digest = Digest::from_hex(hex)?;
        match scheme {
            "sha256" => Some(Self::Sha256(digest)),
            "hmac-sha256" => Some(Self::HmacSha256(digest)),
            _ => None,
        }
    }
}

impl KeyState {
    /// As written in the file and in `key.state` of the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Compromised => "compromised",
            Self::Honey => "honey",
        }
    }
}
