//! Ids made of names.

use std::collections::{HashMap, HashSet};

/// Longest id.
const LONGEST: usize = 63;
/// Of what has no name.
const NAMELESS: &str = "key";

/// `name` as an id: in lower case, with `-` for what an id cannot have.
pub(super) fn id_of(name: &str) -> String {
    let letters = name.trim().chars().flat_map(char::to_lowercase);
    let id: String = letters.map(|c| if is_member(c) { c } else { '-' }).collect();
    let id = id.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
    let id = id[..id.len().min(LONGEST)].trim_end_matches('-');
    if id.is_empty() { NAMELESS.into() } else { id.into() }
}

fn is_member(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c)
}

/// The ids that are given away. Of several that would be the same, all but the first get a number.
pub(super) struct Ids {
    /// Of the key file, and those given away since.
    taken: HashSet<String>,
    /// What the file of the import calls its own, with the number that its last one got.
    ours: HashMap<String, u64>,
}

impl Ids {
    pub(super) fn new(taken: HashSet<String>) -> Self {
        Self { taken, ours: HashMap::new() }
    }

    /// Says that `id` belongs to a key of the import that is in the key file already.
    pub(super) fn claim(&mut self, id: &str) {
        self.ours.entry(id.into()).or_insert(1);
    }

    /// `id`, or `id` with a number; `None` where it belongs to a key that the import knows nothing of.
    pub(super) fn give(&mut self, id: &str) -> Option<String> {
        if !self.ours.contains_key(id) {
            if self.taken.contains(id) {
                return None;
            }
            self.claim(id);
            self.taken.insert(id.into());
            return Some(id.into());
        }
        let count = self.ours.entry(id.into()).or_insert(1);
        loop {
            *count += 1;
            let number = format!("-{count}");
            let numbered = format!("{}{number}", &id[..id.len().min(LONGEST - number.len())]);
            if self.taken.insert(numbered.clone()) {
                return Some(numbered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keyfile;

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("billing", "billing"),
            ("Acme Corp.", "acme-corp."),
            ("ann@example.com", "ann-example.com"),
            ("-._x", "x"),
            ("Ünïcode", "n-code"),
            ("a  b ", "a--b"),
            ("x!", "x"),
            ("", "key"),
            ("日本", "key"),
            ("İ", "i"),
            (&"A".repeat(70), &"a".repeat(63)),
        ] {
            assert_eq!(id_of(name), id, "{name}");
        }
    }

    #[test]
    fn the_same_id_is_given_once() {
        let mut ids = Ids::new(HashSet::from(["there".into(), "ann-2".into()]));
        assert_eq!(ids.give("ann").as_deref(), Some("ann"));
        assert_eq!(ids.give("ann").as_deref(), Some("ann-3"));
        assert_eq!(ids.give("there"), None);
        ids.claim("there");
        assert_eq!(ids.give("there").as_deref(), Some("there-2"));
        let long = "a".repeat(63);
        assert_eq!(ids.give(&long), Some(long.clone()));
        assert_eq!(ids.give(&long), Some(format!("{}-2", "a".repeat(61))));
    }

    #[test]
    fn a_hundred_thousand_of_one_name_are_numbered_in_one_go() {
        let mut ids = Ids::new(HashSet::new());
        let last = (0..100_000).map(|_| ids.give("key")).last();
        assert_eq!(last.flatten().as_deref(), Some("key-100000"));
    }

    proptest::proptest! {
        #[test]
        fn every_name_becomes_an_id_that_the_gateway_takes(name in "\\PC{0,80}") {
            let id = id_of(&name);
            let entry = format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{}\"\n", "0".repeat(64));
            let source = crate::config::source::SourceFile::new("x", entry);
            let (file, _) = keyfile::parse(&source.into()).expect("a key file");
            proptest::prop_assert!(file.quarantined.is_empty(), "{}", id);
        }
    }
}
