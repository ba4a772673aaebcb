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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::keyfile::parse;
    use crate::config::source::SourceFile;

    fn file(entries: &[(&str, &str)]) -> KeyFile {
        let entry = |(number, (id, rest)): (usize, &(&str, &str))| {
            format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{number:064x}\"\n{rest}\n")
        };
        let text: String = entries.iter().enumerate().map(entry).collect();
        parse(&Arc::new(SourceFile::new("keys.toml", text))).map(|(file, _)| file).unwrap_or_default()
    }

    #[test]
    fn every_kind_of_change_is_told_of_once() {
        let before = file(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]);
        let after = file(&[("a", ""), ("b", "owner = \"o\""), ("c", "state = \"revoked\""), ("e", "")]);
        let list = |id: &str| vec![id.to_owned()];
        let expected = KeyChanges { added: list("e"), changed: list("b"), revoked: list("c"), removed: list("d") };
        assert_eq!(key_changes(&before, &after), expected);
        assert_eq!(key_changes(&after, &after), KeyChanges::default());
    }
}
