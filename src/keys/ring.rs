//! The key ring: from a digest to a key, in one probe and one constant-time comparison.
//!
//! The index is an open-addressing table over the first bytes of the digests, which are as good as random: nobody can
//! choose where a guess lands. The comparison that decides looks at all 32 bytes in constant time.

use std::sync::Arc;

use super::key::Key;
use crate::config::gateway::Gateway;
use crate::config::keyfile::{KeyFile, StoredHash};
use crate::credential::Presented;
use crate::limits::Ledger;
use crate::vocab::digest::Digest;

/// All keys.
pub struct Ring {
    index: Box<[u32]>,
    slots: Box<[Slot]>,
    keys: Box<[Arc<Key>]>,
}

struct Slot {
    hash: StoredHash,
    holder: Holder,
}

#[derive(Clone, Copy)]
enum Holder {
    Current(u32),
    Previous { key: u32, until_us: i64 },
    Quarantined,
}

/// What the ring knows of a presented key.
pub enum Match<'a> {
    /// The key's present secret.
    Current(&'a Arc<Key>),
    /// An older secret of the key, good until then (microseconds since the epoch).
    Previous(&'a Arc<Key>, i64),
    /// The hash of an entry that cannot be trusted.
    Quarantined,
}

const EMPTY: u32 = u32::MAX;

impl Ring {
    /// Brings every good entry to life. Entries whose plan does not exist, or that need a pepper which is not there, are
    /// quarantined here: only both files together can tell.
    pub fn new(file: &KeyFile, gateway: &Gateway, has_pepper: bool, ledger: &mut Ledger) -> Self {
        let mut keys = Vec::with_capacity(file.keys.len());
        let mut slots = Vec::with_capacity(file.keys.len());
        for spec in &file.keys {
            let plan = spec.plan.as_ref().map(|name| gateway.plans.get(name));
            let hashes = std::iter::once(spec.hash).chain(spec.previous.iter().map(|p| p.hash));
            let needs_pepper = hashes.clone().any(|h| matches!(h, StoredHash::HmacSha256(_)));
            if matches!(plan, Some(None)) || (needs_pepper && !has_pepper) {
                slots.extend(hashes.map(|hash| Slot { hash, holder: Holder::Quarantined }));
                continue;
            }
            let key = u32::try_from(keys.len()).unwrap_or(EMPTY);
            keys.push(Arc::new(Key::new(spec, plan.flatten(), &gateway.keys.identity, ledger)));
            slots.push(Slot { hash: spec.hash, holder: Holder::Current(key) });
            slots.extend(
                spec.previous.iter().map(|p| Slot {
                    hash: p.hash,
                    holder: Holder::Previous { key, until_us: p.until.as_microsecond() },
                }),
            );
        }
        let quarantined = file.quarantined.iter().flat_map(|q| &q.hashes);
        slots.extend(quarantined.map(|hash| Slot { hash: *hash, holder: Holder::Quarantined }));
        Self { index: index(&slots), slots: slots.into(), keys: keys.into() }
    }

    /// The entry whose hash this key has. Both digests are looked for, whichever the entries use.
    pub fn find(&self, presented: &Presented) -> Option<Match<'_>> {
        let plain = self.probe(&StoredHash::Sha256(presented.sha256));
        let peppered = presented.hmac.and_then(|digest| self.probe(&StoredHash::HmacSha256(digest)));
        Some(match plain.or(peppered)? {
            Holder::Current(key) => Match::Current(self.keys.get(key as usize)?),
            Holder::Previous { key, until_us } => Match::Previous(self.keys.get(key as usize)?, until_us),
            Holder::Quarantined => Match::Quarantined,
        })
    }

    fn probe(&self, wanted: &StoredHash) -> Option<Holder> {
        let mask = self.index.len() - 1;
        let mut at = start(digest(wanted)) & mask;
        // The table is never full, so that every probe ends at an empty place.
        while self.index[at] != EMPTY {
            let slot = &self.slots[self.index[at] as usize];
            // Compared in constant time: see `Digest`.
            if slot.hash == *wanted {
                return Some(slot.holder);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Good keys, in file order.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }
}

const fn digest(hash: &StoredHash) -> &Digest {
    match hash {
        StoredHash::Sha256(digest) | StoredHash::HmacSha256(digest) => digest,
    }
}

fn start(digest: &Digest) -> usize {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    usize::try_from(u64::from_le_bytes([a, b, c, d, e, f, g, h]) & 0xffff_ffff).unwrap_or_default()
}

fn index(slots: &[Slot]) -> Box<[u32]> {
    let size = (slots.len() * 2).next_power_of_two().max(8);
    let mut index = vec![EMPTY; size].into_boxed_slice();
    for (number, slot) in slots.iter().enumerate() {
        let mut at = start(digest(&slot.hash)) & (size - 1);
        while index[at] != EMPTY {
            at = (at + 1) & (size - 1);
        }
        index[at] = u32::try_from(number).unwrap_or(EMPTY);
    }
    index
}
