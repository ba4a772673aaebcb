//! A key at work: a file entry with everything a request needs made ready.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use crate::config::gateway::{Identity, Plan};
use crate::config::keyfile::{KeySpec, KeyState};
use crate::limits::Bucket;
use crate::limits::ledger::{Ledger, Owner};

/// One key.
pub struct Key {
    /// Its stable name.
    pub id: Arc<str>,
    /// Who answers for it; may be empty.
    pub owner: Box<str>,
    /// The plan it is on; may be empty.
    pub plan: Box<str>,
    /// As in the file.
    pub state: KeyState,
    /// First instant at which it is taken, microseconds since the epoch.
    pub not_before_us: i64,
    /// First instant at which it is refused, microseconds since the epoch.
    pub expires_us: i64,
    /// Its own limits, those of its plan where it has none.
    pub buckets: Box<[Arc<Bucket>]>,
    /// `RateLimit-Policy`, if it has limits.
    pub policies: Option<HeaderValue>,
    /// What the upstream is told of it.
    pub identity: Box<[(HeaderName, HeaderValue)]>,
    /// Its part of a line, once it has been written.
    pub rendered: OnceLock<Box<[u8]>>,
}

impl Key {
    /// Brings an entry to life; `plan` is the one that it names.
    pub fn new(spec: &KeySpec, plan: Option<&Plan>, identity: &Identity, ledger: &mut Ledger) -> Self {
        let id: Arc<str> = spec.id.as_str().into();
        let owner = Owner::Key(Arc::clone(&id));
        let rates = spec.limits.as_deref().or(plan.map(|p| p.limits.as_slice())).unwrap_or_default();
        let mut buckets: Vec<Arc<Bucket>> = Vec::with_capacity(rates.len());
        for rate in rates {
            let bucket = ledger.bucket(&owner, rate);
            // One policy written twice is one policy: it must not be charged twice.
            if !buckets.iter().any(|b| Arc::ptr_eq(b, &bucket)) {
                buckets.push(bucket);
            }
        }
        Self {
            policies: ledger.policy_header(&buckets),
            buckets: buckets.into(),
            identity: identity_headers(spec, identity),
            owner: spec.owner.as_str().into(),
            plan: spec.plan.as_deref().unwrap_or_default().into(),
            state: spec.state,
            not_before_us: spec.not_before.map_or(i64::MIN, |t| t.as_microsecond()),
            expires_us: spec.expires.map_or(i64::MAX, |t| t.as_microsecond()),
            id,
            rendered: OnceLock::new(),
        }
    }
}

fn identity_headers(spec: &KeySpec, identity: &Identity) -> Box<[(HeaderName, HeaderValue)]> {
    let roles = spec.roles.join(",");
    let pairs = [
        (&identity.id, spec.id.as_str()),
        (&identity.owner, spec.owner.as_str()),
        (&identity.roles, roles.as_str()),
        (&identity.plan, spec.plan.as_deref().unwrap_or_default()),
    ];
    pairs
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .filter_map(|(name, text)| Some((name.clone()?, HeaderValue::from_bytes(text.as_bytes()).ok()?)))
        .collect()
}
