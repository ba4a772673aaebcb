//! May this key be used now? State, expiry, not-before, rotation, in that order.

use std::sync::Arc;

use super::key::Key;
use super::ring::{Match, Ring};
use crate::config::keyfile::KeyState;
use crate::credential::Presented;
use crate::vocab::clock::Now;
use crate::vocab::denial::Denial;

/// A key that may be used now. Only [`identify`] makes one.
#[derive(Clone)]
pub struct Identified {
    key: Arc<Key>,
    in_grace: bool,
}

/// A key that may not, and what is known of it.
pub struct Rejected {
    /// Why.
    pub denial: Denial,
    /// The entry, where there is one.
    pub key: Option<Arc<Key>>,
}

impl Identified {
    /// The key.
    pub const fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// It came with an older secret.
    pub const fn in_grace(&self) -> bool {
        self.in_grace
    }

    /// The log's `key.state`: `active`, or `grace` for an older secret.
    pub const fn state(&self) -> &'static str {
        if self.in_grace { "grace" } else { "active" }
    }
}

/// Finds the key and judges it.
///
/// # Errors
/// Every reason of INTERFACE.md §4 whose public code is `invalid_key`.
pub fn identify(ring: &Ring, presented: &Presented, now: Now) -> Result<Identified, Rejected> {
    // Found before the shape is judged, so that a malformed key takes as long as an unknown one.
    let found = ring.find(presented);
    if let Some(denial) = presented.shape_denial() {
        return Err(Rejected { denial, key: None });
    }
    let (key, until_us) = match found {
        None => {
            return Err(Rejected { denial: Denial::UnknownKey, key: None });
        }
        Some(Match::Quarantined) => {
            return Err(Rejected { denial: Denial::Quarantined, key: None });
        }
        Some(Match::Current(key)) => (key, None),
        Some(Match::Previous(key, until_us)) => (key, Some(until_us)),
    };
    match judge(key, until_us, now.wall_us) {
        None => Ok(Identified { key: Arc::clone(key), in_grace: until_us.is_some() }),
        Some(denial) => Err(Rejected { denial, key: Some(Arc::clone(key)) }),
    }
}

pub(super) fn judge(key: &Key, until_us: Option<i64>, now_us: i64) -> Option<Denial> {
    match key.state {
        KeyState::Active => {}
        KeyState::Disabled => return Some(Denial::Disabled),
        KeyState::Revoked => return Some(Denial::Revoked),
        KeyState::Compromised => return Some(Denial::Compromised),
        KeyState::Honey => return Some(Denial::Honey),
    }
    if now_us >= key.expires_us {
        Some(Denial::Expired)
    } else if now_us < key.not_before_us {
        Some(Denial::NotYetValid)
    } else if until_us.is_some_and(|until| now_us >= until) {
        Some(Denial::RotatedOut)
    } else {
        None
    }
}
