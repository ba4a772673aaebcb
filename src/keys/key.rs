//! A key at work: a file entry with what a request needs made ready.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use crate::config::gateway::Identity;
use crate::config::keyfile::{KeySpec, KeyState};
use crate::limits::ledger::{Buckets, Holding};
use crate::vocab::digest::Fingerprint;

/// One key. There may be a million of them, most of which nobody uses: what only requests need is made by the first one.
pub struct Key {
    pub(super) spec: Arc<KeySpec>,
    /// As in the file.
    pub state: KeyState,
    /// First instant at which it is taken, microseconds since the epoch.
    pub not_before_us: i64,
    /// First instant at which it is refused, microseconds since the epoch.
    pub expires_us: i64,
    /// Its own limits, those of its plan where it has none.
    pub buckets: Buckets,
    policies: Option<Arc<HeaderValue>>,
    names: Arc<Identity>,
    identity: OnceLock<Box<[(HeaderName, HeaderValue)]>>,
    /// Its part of a line, once it has been written.
    pub rendered: OnceLock<Box<[u8]>>,
    /// Names its present secret in logs, once that was used.
    pub fingerprint: OnceLock<Fingerprint>,
}

impl Key {
    /// Brings an entry to life with the buckets that are its own. `names` are the headers that tell the upstream of it.
    pub fn new(spec: Arc<KeySpec>, holding: Holding, names: Arc<Identity>) -> Self {
        Self {
            state: spec.state,
            not_before_us: spec.not_before.map_or(i64::MIN, |t| t.as_microsecond()),
            expires_us: spec.expires.map_or(i64::MAX, |t| t.as_microsecond()),
            spec,
            buckets: holding.buckets,
            policies: holding.policies,
            names,
            identity: OnceLock::new(),
            rendered: OnceLock::new(),
            fingerprint: OnceLock::new(),
        }
    }

    /// Its stable name.
    pub fn id(&self) -> &str {
        &self.spec.id
    }

    /// Who answers for it; may be empty.
    pub fn owner(&self) -> &str {
        &self.spec.owner
    }

    /// The plan it is on; may be empty.
    pub fn plan(&self) -> &str {
        self.spec.plan.as_deref().unwrap_or_default()
    }

    /// `RateLimit-Policy`, if it has limits.
    pub fn policies(&self) -> Option<&HeaderValue> {
        self.policies.as_deref()
    }

    /// What the upstream is told of it.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        self.identity.get_or_init(|| identity_headers(&self.spec, &self.names))
    }
}

fn identity_headers(spec: &KeySpec, identity: &Identity) -> Box<[(HeaderName, HeaderValue)]> {
    let roles = spec.roles.join(",");
    let pairs = [
        (&identity.id, &*spec.id),
        (&identity.owner, &*spec.owner),
        (&identity.roles, roles.as_str()),
        (&identity.plan, spec.plan.as_deref().unwrap_or_default()),
    ];
    pairs
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .filter_map(|(name, text)| Some((name.clone()?, HeaderValue::from_bytes(text.as_bytes()).ok()?)))
        .collect()
}
