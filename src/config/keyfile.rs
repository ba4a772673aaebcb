//! `keys.toml`, understood: the entries that are good, and those quarantined with the reason why.

mod cross;
mod entry;
mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;

use jiff::Timestamp;

pub use self::cross::cross_check;
pub(crate) use self::cross::needs_pepper;
pub use self::parse::parse;
use crate::vocab::digest::Digest;
use crate::vocab::units::Rate;

/// The whole file.
#[derive(Clone, Default)]
pub struct KeyFile {
    /// Good entries, in file order.
    pub keys: Vec<KeySpec>,
    /// Entries invalid on their own: refused, loudly, while the others serve.
    pub quarantined: Vec<Quarantined>,
    /// Where each of [`KeyFile::keys`] stands: what [`cross_check`] points at. May be shorter, or empty, where a key
    /// was not read from a file.
    pub places: Vec<Range<usize>>,
}

/// One good `[[key]]`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// `[a-z0-9][a-z0-9._-]{0,62}`, unique in the file.
    pub id: String,
    /// Of the whole key as sent.
    pub hash: StoredHash,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// Free text.
    pub note: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// First instant at which it is refused; `None` = never.
    pub expires: Option<Timestamp>,
    /// First instant at which it is taken.
    pub not_before: Option<Timestamp>,
    /// What may be done with it at all.
    pub state: KeyState,
    /// Why it is in that state.
    pub reason: String,
    /// Since when it is in that state.
    pub state_changed: Option<Timestamp>,
    /// Name of a `[plan.NAME]`; whether it exists is known only with the gateway's file.
    pub plan: Option<String>,
    /// The key's own limits; `None` = those of the plan.
    pub limits: Option<Vec<Rate>>,
    /// Handed to the upstream.
    pub roles: Vec<String>,
    /// Older secrets that still work for a while.
    pub previous: Vec<PreviousSecret>,
    /// Free pairs.
    pub meta: BTreeMap<String, String>,
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
