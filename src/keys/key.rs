//! A key at work: a file entry with what a request needs made ready.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use crate::config::gateway::Identity;
use crate::config::keyfile::{KeySpec, KeyState};
use crate::limits::ledger::Buckets;
use crate::vocab::digest::Fingerprint;

/// One key. There may be a million of them, most of which nobody uses. With the counts of its `Arc` it takes a cache line
/// and a half; the whole one has what every request looks at.
#[repr(C)]
pub struct Key {
    /// Its own limits, those of its plan where it has none.
    pub buckets: Buckets,
    /// As in the file.
    pub state: KeyState,
    /// First instant at which it is taken, microseconds since the epoch.
    pub not_before_us: i64,
    /// First instant at which it is refused, microseconds since the epoch.
    pub expires_us: i64,
    pub(super) spec: Arc<KeySpec>,
    common: Arc<Common>,
    used: OnceLock<Box<Used>>,
}

const _: () = assert!(size_of::<Key>() + 2 * size_of::<usize>() == 96, "a key is a cache line and a half");

/// What only requests need: made by a key's first one.
struct Used {
    identity: Box<[(HeaderName, HeaderValue)]>,
    rendered: OnceLock<Box<[u8]>>,
    fingerprint: OnceLock<Fingerprint>,
}

/// What many keys have in common.
pub(super) struct Common {
    /// `RateLimit-Policy` of their limits.
    policies: Option<Arc<HeaderValue>>,
    /// The headers that tell the upstream of them.
    names: Arc<Identity>,
}

impl Common {
    /// The `last` one if it says the same, and mostly it does; otherwise a new one, which is the last from then on.
    pub(super) fn next(
        last: &mut Option<Arc<Self>>,
        policies: Option<Arc<HeaderValue>>,
        names: &Arc<Identity>,
    ) -> Arc<Self> {
        let same = |it: &&Arc<Self>| it.policies.as_ref().map(Arc::as_ptr) == policies.as_ref().map(Arc::as_ptr);
        let common = last.as_ref().filter(same).cloned();
        let common = common.unwrap_or_else(|| Arc::new(Self { policies, names: Arc::clone(names) }));
        *last = Some(Arc::clone(&common));
        common
    }
}

impl Key {
    /// Brings an entry to life with the buckets that are its own.
    pub(super) fn new(spec: Arc<KeySpec>, buckets: Buckets, common: Arc<Common>) -> Self {
        Self {
            buckets,
            state: spec.state,
            not_before_us: spec.not_before.map_or(i64::MIN, |t| t.as_microsecond()),
            expires_us: spec.expires.map_or(i64::MAX, |t| t.as_microsecond()),
            spec,
            common,
            used: OnceLock::new(),
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
        self.common.policies.as_deref()
    }

    /// What the upstream is told of it.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.used().identity
    }

    /// Its part of a line, once it has been written.
    pub fn rendered(&self) -> &OnceLock<Box<[u8]>> {
        &self.used().rendered
    }

    /// Names its present secret in logs, once that was used.
    pub fn fingerprint(&self) -> &OnceLock<Fingerprint> {
        &self.used().fingerprint
    }

    fn used(&self) -> &Used {
        self.used.get_or_init(|| {
            let identity = identity_headers(&self.spec, &self.common.names);
            Box::new(Used { identity, rendered: OnceLock::new(), fingerprint: OnceLock::new() })
        })
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
