//! What changed between two versions of the key file, as ids for the log.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::keyfile::{KeyFile, KeySpec, KeyState};
use crate::observe::events::KeyChanges;

/// Ids in the order of the new file; removed ones in that of the old.
pub fn key_changes(before: &KeyFile, after: &KeyFile) -> KeyChanges {
    let (old, new) = differing(&before.keys, &after.keys);
    let (olds, news) = (by_id(old), by_id(new));
    let mut changes = KeyChanges::default();
    for key in new {
        let id = || String::from(&*key.id);
        match olds.get(&*key.id) {
            None => changes.added.push(id()),
            Some(was) if **was == *key => {}
            Some(was) if key.state == KeyState::Revoked && was.state != KeyState::Revoked => changes.revoked.push(id()),
            Some(_) => changes.changed.push(id()),
        }
    }
    let gone = old.iter().filter(|key| !news.contains_key(&*key.id));
    changes.removed.extend(gone.map(|key| String::from(&*key.id)));
    changes
}

fn by_id(keys: &[Arc<KeySpec>]) -> HashMap<&str, &Arc<KeySpec>> {
    keys.iter().map(|key| (&*key.id, key)).collect()
}

/// Both without what is the same at their beginnings and ends: of a large file mostly little is left.
fn differing<'k>(mut old: &'k [Arc<KeySpec>], mut new: &'k [Arc<KeySpec>]) -> (&'k [Arc<KeySpec>], &'k [Arc<KeySpec>]) {
    // Entries whose text has not changed are the same ones.
    let same = |(a, b): &(&Arc<KeySpec>, &Arc<KeySpec>)| Arc::ptr_eq(a, b);
    let first = old.iter().zip(new).take_while(same).count();
    (old, new) = (&old[first..], &new[first..]);
    let last = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    (&old[..old.len() - last], &new[..new.len() - last])
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
