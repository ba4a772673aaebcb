//! What changed between two versions of the key file, as ids for the log.

use std::collections::HashMap;

use crate::config::keyfile::{KeyFile, KeySpec, KeyState};
use crate::observe::events::KeyChanges;

/// Ids in the order of the new file; removed ones in that of the old.
pub fn key_changes(before: &KeyFile, after: &KeyFile) -> KeyChanges {
    let by_id = |file: &KeyFile| -> HashMap<String, KeySpec> {
        file.keys.iter().map(|key| (key.id.clone(), key.clone())).collect()
    };
    let (old, new) = (by_id(before), by_id(after));
    let mut changes = KeyChanges::default();
    for key in &after.keys {
        match old.get(&key.id) {
            None => changes.added.push(key.id.clone()),
            Some(was) if was == key => {}
            Some(was) if key.state == KeyState::Revoked && was.state != KeyState::Revoked => {
                changes.revoked.push(key.id.clone());
            }
            Some(_) => changes.changed.push(key.id.clone()),
        }
    }
    let gone = before.keys.iter().filter(|key| !new.contains_key(&key.id));
    changes.removed.extend(gone.map(|key| key.id.clone()));
    changes
}
