//! What changed between two versions of the key file, as ids for the log.

use std::collections::{HashMap, HashSet};

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

/// Whether a key that was good before is not there, or not good, any more. In a file that somebody still writes, that
/// means nothing.
pub fn takes_keys_away(before: &KeyFile, after: &KeyFile) -> bool {
    let there: HashSet<&str> = after.keys.iter().map(|key| key.id.as_str()).collect();
    before.keys.iter().any(|key| !there.contains(key.id.as_str()))
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

    #[test]
    fn missing_keys_are_told_from_changed_ones() {
        let all = file(&[("a", ""), ("b", ""), ("c", "")]);
        for (after, expected) in [
            (file(&[]), true),
            (file(&[("a", "")]), true),
            (file(&[("a", ""), ("b", "")]), true),
            (file(&[("a", ""), ("b", ""), ("c", "")]), false),
            (file(&[("a", ""), ("b", ""), ("c", "state = \"revoked\"")]), false),
            (file(&[("a", ""), ("b", ""), ("c", ""), ("d", "")]), false),
            (file(&[("a", ""), ("b", ""), ("c", "nonsense = 1")]), true),
            (file(&[("a", "state = \"revoked\"")]), true),
        ] {
            assert_eq!(takes_keys_away(&all, &after), expected);
        }
    }
}
