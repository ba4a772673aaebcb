//! Good keys that came in the clear: whoever was on the way has them, too (draft-ietf-httpapi-privacy). The request was
//! refused; here it is noted whose key it was, for the thread that keeps the files.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::record::Record;

/// Keys noted at once. Whoever can send a good key in the clear can do so as often as there are keys.
const NOTED_MAX: usize = 1_000;

/// The keys that were exposed since somebody asked.
#[derive(Debug, Default)]
pub struct Exposed {
    ids: Mutex<BTreeSet<Box<str>>>,
}

impl Exposed {
    /// Notes the key of a request that was refused because it came in the clear, if it is a good one and
    /// `keys.compromise_on_plaintext` asks for it. An older secret in its grace is about to end anyway.
    pub fn note(&self, record: &Record) {
        let trail = &record.trail;
        if let Some(key) = trail.key.as_ref().filter(|_| trail.key_state == Some("active"))
            && record.settings.compromise_on_plaintext
        {
            let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
            if ids.len() < NOTED_MAX && !ids.contains(key.id()) {
                ids.insert(key.id().into());
            }
        }
    }

    /// Those that were noted since the last time.
    pub fn take(&self) -> BTreeSet<Box<str>> {
        std::mem::take(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
