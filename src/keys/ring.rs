//! The key ring: from a digest to a key, in one probe and one constant-time comparison.
//!
//! The index is an open-addressing table over the first bytes of the digests, which are as good as random: nobody can
//! choose where a guess lands. The comparison that decides looks at all 32 bytes in constant time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::key::Key;
use crate::config::gateway::{Gateway, Identity, Plan};
use crate::config::keyfile::{KeyFile, KeySpec, Rules, StoredHash};
use crate::credential::Presented;
use crate::limits::Ledger;
use crate::limits::ledger::Grant;
use crate::vocab::digest::Digest;
use crate::vocab::former::Former;

/// All keys.
pub struct Ring {
    /// The number of a slot, and above it 32 bits of its digest, so that a slot is looked at only for good reason.
    index: Box<[u64]>,
    slots: Box<[Slot]>,
    keys: Box<[Arc<Key>]>,
    /// The key file, and whether there was a pepper.
    made_from: (Digest, bool),
    terms: Terms,
    /// Entries that cannot be trusted.
    quarantined: usize,
    guards_paths: bool,
    names_networks: bool,
}

/// What keys depend on beside their entries.
#[derive(PartialEq, Eq)]
struct Terms {
    plans: BTreeMap<String, Plan>,
    names: Arc<Identity>,
}

/// All that finding and judging needs to know, in one cache line.
#[repr(align(64))]
struct Slot {
    hash: StoredHash,
    holder: Holder,
}

const _: () = assert!(size_of::<Slot>() == 64, "a slot is a cache line");

enum Holder {
    Current(Arc<Key>),
    Previous { key: Arc<Key>, until_us: i64 },
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

const EMPTY: u64 = u64::MAX;

impl Ring {
    /// Brings every good entry to life. Entries whose plan does not exist, or that need a pepper which is not there, are
    /// quarantined here: only both files together can tell. `before` is the ring that this one takes over from: keys
    /// that have not changed are the same ones, and the others keep their buckets.
    pub fn new(
        file: &KeyFile,
        gateway: &Gateway,
        has_pepper: bool,
        ledger: &mut Ledger,
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let mut terms = Terms { plans: gateway.plans.clone(), names: Arc::new(gateway.keys.identity.clone()) };
        let same_terms = before.is_some_and(|before| before.terms == terms);
        if let Some(before) = before.filter(|_| same_terms) {
            if before.made_from == (file.digest, has_pepper) {
                return Arc::clone(before);
            }
            terms.names = Arc::clone(&before.terms.names);
        }
        let former = before.map_or(&[][..], |ring| &ring.keys);
        let mut former = Former::new(former, |key| key.id());
        let accounts = Arc::clone(ledger.accounts());
        let mut common = None;
        let mut keys = Vec::with_capacity(file.keys.len());
        let mut slots = Vec::with_capacity(file.keys.len());
        for spec in &file.keys {
            let plan = spec.plan.as_ref().map(|name| terms.plans.get(&**name));
            let needs_pepper = spec.hashes().any(|h| matches!(h, StoredHash::HmacSha256(_)));
            if matches!(plan, Some(None)) || (needs_pepper && !has_pepper) {
                slots.extend(spec.hashes().map(|hash| Slot { hash, holder: Holder::Quarantined }));
                continue;
            }
            let was = former.take(&spec.id, |key| Arc::ptr_eq(&key.spec, spec));
            let key = was.filter(|was| same_terms && Arc::ptr_eq(&was.spec, spec)).cloned().unwrap_or_else(|| {
                let held = was.map(|was| &*was.buckets);
                let holding = ledger.holding(&spec.id, grant(spec, plan.flatten()), held.unwrap_or_default());
                Arc::new(Key::new(Arc::clone(spec), holding, (&terms.names, &accounts), &mut common))
            });
            slots.push(Slot { hash: spec.hash, holder: Holder::Current(Arc::clone(&key)) });
            slots.extend(spec.previous.iter().map(|p| Slot {
                hash: p.hash,
                holder: Holder::Previous { key: Arc::clone(&key), until_us: p.until.as_microsecond() },
            }));
            keys.push(key);
        }
        // The buckets of keys that are gone.
        former.rest().for_each(|key| ledger.leave(key.id(), &key.buckets));
        let quarantined = file.quarantined.iter().flat_map(|q| &q.hashes);
        slots.extend(quarantined.map(|hash| Slot { hash: *hash, holder: Holder::Quarantined }));
        let made_from = (file.digest, has_pepper);
        let any = |has: fn(&Rules) -> bool| keys.iter().any(|key: &Arc<Key>| key.rules().is_some_and(has));
        let quarantined = file.quarantined.len() + file.keys.len() - keys.len();
        let guards_paths = any(|rules| rules.paths.is_some());
        let names_networks = any(|rules| rules.networks.is_some());
        let (index, slots, keys) = (index(&slots), slots.into(), keys.into());
        Arc::new(Self { index, slots, keys, made_from, terms, quarantined, guards_paths, names_networks })
    }

    /// The entry whose hash this key has. Both digests are looked for, whichever the entries use.
    pub fn find(&self, presented: &Presented) -> Option<Match<'_>> {
        let plain = self.probe(&StoredHash::Sha256(presented.sha256));
        let peppered = presented.hmac.and_then(|digest| self.probe(&StoredHash::HmacSha256(digest)));
        Some(match plain.or(peppered)? {
            Holder::Current(key) => Match::Current(key),
            Holder::Previous { key, until_us } => Match::Previous(key, *until_us),
            Holder::Quarantined => Match::Quarantined,
        })
    }

    fn probe(&self, wanted: &StoredHash) -> Option<&Holder> {
        let mask = self.index.len() - 1;
        let (start, tag) = position(wanted);
        let mut at = start & mask;
        // The table is never full, so that every probe ends at an empty place.
        while self.index[at] != EMPTY {
            if self.index[at] & TAG == tag {
                let slot = &self.slots[slot_number(self.index[at])];
                // Compared in constant time: see `Digest`.
                if slot.hash == *wanted {
                    return Some(&slot.holder);
                }
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Some key may only use certain paths.
    pub const fn guards_paths(&self) -> bool {
        self.guards_paths
    }

    /// Some key may only be used from certain networks.
    pub const fn names_networks(&self) -> bool {
        self.names_networks
    }

    /// How many entries cannot be trusted.
    pub const fn quarantined(&self) -> usize {
        self.quarantined
    }

    /// Good keys, in file order.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }
}

/// What an entry says goes before what its plan says.
fn grant<'a>(spec: &'a KeySpec, plan: Option<&'a Plan>) -> Grant<'a> {
    let rules = spec.rules.as_deref();
    Grant {
        rates: spec.limits.as_deref().or(plan.map(|plan| plan.limits.as_slice())).unwrap_or_default(),
        quota: rules.and_then(|rules| rules.quota.as_ref()).or(plan.and_then(|plan| plan.quota.as_ref())),
        concurrency: rules.and_then(|rules| rules.concurrency).or(plan.and_then(|plan| plan.concurrency)),
    }
}

const TAG: u64 = 0xffff_ffff_0000_0000;

/// Where to look first, and the tag of what to look for.
fn position(hash: &StoredHash) -> (usize, u64) {
    let (StoredHash::Sha256(digest) | StoredHash::HmacSha256(digest)) = hash;
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    let start = usize::try_from(u32::from_le_bytes([a, b, c, d])).unwrap_or_default();
    (start, u64::from(u32::from_le_bytes([e, f, g, h])) << 32)
}

fn slot_number(place: u64) -> usize {
    usize::try_from(place & !TAG).unwrap_or_default()
}

fn index(slots: &[Slot]) -> Box<[u64]> {
    let size = (slots.len() * 2).next_power_of_two().max(8);
    let mut index = vec![EMPTY; size].into_boxed_slice();
    for (number, slot) in slots.iter().enumerate() {
        let (start, tag) = position(&slot.hash);
        let mut at = start & (size - 1);
        while index[at] != EMPTY {
            at = (at + 1) & (size - 1);
        }
        index[at] = tag | number as u64;
    }
    index
}
