//! What changed between two versions of the key file, as ids for the log.

use std::sync::Arc;

use crate::config::keyfile::{KeyFile, KeyState};
use crate::observe::events::KeyChanges;
use crate::vocab::former::Former;

/// Ids in the order of the new file; removed ones in that of the old.
pub fn key_changes(before: &KeyFile, after: &KeyFile) -> KeyChanges {
    let mut former = Former::new(&before.keys, |key| &key.id);
    let mut changes = KeyChanges::default();
    for key in &after.keys {
        let id = || String::from(&*key.id);
        // An entry whose text has not changed is the same one.
        match former.take(&key.id, |was| Arc::ptr_eq(was, key)) {
            None => changes.added.push(id()),
            Some(was) if was == key => {}
            Some(was) if key.state == KeyState::Revoked && was.state != KeyState::Revoked => changes.revoked.push(id()),
            Some(_) => changes.changed.push(id()),
        }
    }
    changes.removed.extend(former.rest().map(|key| String::from(&*key.id)));
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
