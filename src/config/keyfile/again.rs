//! Entries that stand in the file as they stood before: known by their text, and not read again.

use std::collections::HashMap;
use std::sync::Arc;

use super::{KeyFile, KeySpec, TextDigest};

/// How far from its place an entry is looked for before all are searched.
const NEAR: usize = 8;
/// How many are read anew before it is worth knowing where each of the others stands.
const MISSED_MAX: usize = 64;

/// The file as it was before. It need not find every entry again: one that it misses is read like a new one.
pub(super) struct Again<'b> {
    before: &'b KeyFile,
    next: usize,
    missed: usize,
    places: HashMap<&'b TextDigest, usize>,
}

impl<'b> Again<'b> {
    pub(super) fn new(before: &'b KeyFile) -> Self {
        Self { before, next: 0, missed: 0, places: HashMap::new() }
    }

    /// The entry that had this text. Asked in the order of the file.
    pub(super) fn find(&mut self, text: &TextDigest) -> Option<Arc<KeySpec>> {
        let texts = &self.before.texts;
        let near = texts.iter().enumerate().skip(self.next).take(NEAR);
        let place = near.filter(|(_, known)| known.as_ref() == Some(text)).map(|(place, _)| place).next();
        let place = place.or_else(|| self.search(text))?;
        self.next = place + 1;
        Some(Arc::clone(&self.before.keys[place]))
    }

    fn search(&mut self, text: &TextDigest) -> Option<usize> {
        self.missed += 1;
        if self.missed < MISSED_MAX {
            return None;
        }
        if self.places.is_empty() {
            let texts = self.before.texts.iter().enumerate();
            self.places = texts.filter_map(|(place, text)| Some((text.as_ref()?, place))).collect();
        }
        self.places.get(text).copied()
    }
}
