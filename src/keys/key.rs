//! A key at work: a file entry with what a request needs made ready.

use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};

use crate::config::gateway::{Identity, Mode};
use crate::config::keyfile::{KeySpec, KeyState, Rules};
use crate::limits::account::{Account, Accounts};
use crate::limits::ledger::{Buckets, Holding};
use crate::limits::quota::QuotaPolicy;
use crate::limits::report::Label;
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
    account: Arc<Account>,
    identity: Box<[(HeaderName, HeaderValue)]>,
    rendered: OnceLock<Box<[u8]>>,
    fingerprint: OnceLock<Fingerprint>,
}

/// What many keys have in common.
pub(super) struct Common {
    /// What its entry says beyond its life and its rates.
    rules: Option<Arc<Rules>>,
    quota: Option<Arc<QuotaPolicy>>,
    /// How many requests may be underway: `units` of it.
    concurrency: Option<Arc<Label>>,
    /// `RateLimit-Policy` of all their limits.
    policies: Option<Arc<HeaderValue>>,
    /// The headers that tell the upstream of them.
    names: Arc<Identity>,
    accounts: Arc<Accounts>,
}

impl Common {
    /// The `last` one if it says the same, and mostly it does; otherwise this one, which is the last from then on.
    pub(super) fn or_last(self, last: &mut Option<Arc<Self>>) -> Arc<Self> {
        let common = last.as_ref().filter(|it| it.says_the_same(&self)).cloned();
        let common = common.unwrap_or_else(|| Arc::new(self));
        *last = Some(Arc::clone(&common));
        common
    }

    fn says_the_same(&self, other: &Self) -> bool {
        fn same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
            a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
        }
        same(self.policies.as_ref(), other.policies.as_ref())
            && same(self.rules.as_ref(), other.rules.as_ref())
            && same(self.quota.as_ref(), other.quota.as_ref())
            && same(self.concurrency.as_ref(), other.concurrency.as_ref())
    }
}

impl Key {
    /// Brings an entry to life with what is its own of limits. `last` is what the key before it has in common with others.
    pub(super) fn new(
        spec: Arc<KeySpec>,
        holding: Holding,
        (names, accounts): (&Arc<Identity>, &Arc<Accounts>),
        last: &mut Option<Arc<Common>>,
    ) -> Self {
        let Holding { buckets, quota, concurrency, policies } = holding;
        let (names, accounts) = (Arc::clone(names), Arc::clone(accounts));
        let common = Common { rules: spec.rules.clone(), quota, concurrency, policies, names, accounts };
        Self {
            buckets,
            state: spec.state,
            not_before_us: spec.not_before.map_or(i64::MIN, |t| t.as_microsecond()),
            expires_us: spec.expires.map_or(i64::MAX, |t| t.as_microsecond()),
            spec,
            common: common.or_last(last),
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
    pub fn policies(&self) -> Option<&Arc<HeaderValue>> {
        self.common.policies.as_ref()
    }

    /// What its entry says beyond its life and its rates.
    pub fn rules(&self) -> Option<&Rules> {
        self.common.rules.as_deref()
    }

    /// What routes may ask for.
    pub fn roles(&self) -> &[Box<str>] {
        &self.spec.roles
    }

    /// Its own quota, or that of its plan.
    pub fn quota(&self) -> Option<&QuotaPolicy> {
        self.common.quota.as_deref()
    }

    /// How many of its requests may be underway: `units` of this.
    pub fn concurrency(&self) -> Option<&Arc<Label>> {
        self.common.concurrency.as_ref()
    }

    /// Its limits are counted and told of, and not meant.
    pub fn is_shadow(&self) -> bool {
        self.rules().is_some_and(|rules| rules.mode == Mode::Shadow)
    }

    /// What it has used beyond its buckets.
    pub fn account(&self) -> &Arc<Account> {
        &self.used().account
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
            let account = self.common.accounts.of(&self.spec.id);
            Box::new(Used { account, identity, rendered: OnceLock::new(), fingerprint: OnceLock::new() })
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
        (&identity.credential, &*spec.id),
    ];
    pairs
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .filter_map(|(name, text)| Some((name.clone()?, HeaderValue::from_bytes(text.as_bytes()).ok()?)))
        .collect()
}
