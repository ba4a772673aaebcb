//! The key that a request presents: found in exactly one place, digested, and forgotten.

mod extract;
pub mod format;
mod strip;
mod traces;

use std::sync::Arc;

pub use extract::Query;
pub use strip::strip;
pub use traces::{FOREIGN_BYTES_MIN, HASH_CHARS, Needle, Traces};

use crate::config::gateway::Source;
use crate::config::keyfile::StoredHash;
use crate::credential::format::{Shape, inspect};
use crate::vocab::denial::Denial;
use crate::vocab::digest::{Digest, Fingerprint, Fingerprinter, Pepper};
use crate::vocab::fields::Fields;

/// Where keys are looked for, and how they are turned into digests.
#[derive(Clone)]
pub struct Reader {
    /// `keys.sources`, each with its name as written.
    pub sources: Box<[(Source, Arc<str>)]>,
    /// `keys.prefix`
    pub prefix: Box<str>,
    /// `keys.pepper`
    pub pepper: Option<Pepper>,
    /// Names keys in logs.
    pub fingerprinter: Fingerprinter,
}

/// Exactly one key was sent; its digests are known and its bytes are gone. Only [`Reader::find`] makes one.
#[derive(Clone)]
pub struct Presented {
    pub(crate) sha256: Digest,
    pub(crate) hmac: Option<Digest>,
    shape: Shape,
    needle: Option<Needle>,
    source: usize,
}

/// What a request presents.
pub enum Found {
    /// No key.
    None,
    /// One.
    One(Presented),
    /// More than one, even if equal.
    Several,
}

impl Reader {
    /// Looks in every source.
    pub fn find(&self, headers: &Fields, query: Query<'_>) -> Found {
        let mut found = Found::None;
        for (at, (source, _)) in self.sources.iter().enumerate() {
            let mut take = |key: &[u8]| {
                found = match &found {
                    Found::None => Found::One(self.present(key, at)),
                    Found::One(_) | Found::Several => Found::Several,
                };
            };
            extract::each(source, headers, query, &mut take);
        }
        found
    }

    /// Digests come before any judgement of the key's shape, so that every bad key costs the same.
    pub fn present(&self, key: &[u8], source: usize) -> Presented {
        let sha256 = Digest::sha256(key);
        let shape = inspect(&self.prefix, key);
        let needle = if shape == Shape::Foreign { Needle::new(self.fingerprinter.place(), key) } else { None };
        Presented { hmac: self.pepper.as_ref().map(|pepper| pepper.digest(key)), shape, needle, sha256, source }
    }

    /// Names a presented key in logs.
    pub fn fingerprint(&self, presented: &Presented) -> Fingerprint {
        self.fingerprinter.fingerprint(&presented.sha256)
    }

    /// The source of a presented key, as a rule and as written.
    pub fn source(&self, presented: &Presented) -> &(Source, Arc<str>) {
        &self.sources[presented.source]
    }
}

impl Presented {
    /// As if the key with this hash had come from the first source: for `explain`, which knows no secrets.
    pub fn assumed(hash: StoredHash) -> Self {
        // A digest that nobody has the key of stands for the one that is not known.
        let unknown = Digest::new([0; 32]);
        let (sha256, hmac) = match hash {
            StoredHash::Sha256(digest) => (digest, None),
            StoredHash::HmacSha256(digest) => (unknown, Some(digest)),
        };
        Self { sha256, hmac, shape: Shape::Foreign, needle: None, source: 0 }
    }

    /// What is needed to know the key again.
    pub fn traces(&self) -> Traces {
        Traces { sha256: self.sha256, hmac: self.hmac, needle: self.needle.clone() }
    }

    /// What the shape of the key alone says against it.
    pub const fn shape_denial(&self) -> Option<Denial> {
        match self.shape {
            Shape::Malformed => Some(Denial::MalformedKey),
            Shape::BadChecksum => Some(Denial::BadChecksum),
            Shape::Ours | Shape::Foreign => None,
        }
    }
}

#[cfg(test)]
mod tests;
