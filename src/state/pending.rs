//! Counts that are not in the file yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::count::Delta;

/// Hours of keys that are kept while the file cannot be written: some 300 MB. What does not fit is lost, and told of.
pub(super) const ROWS_MAX: usize = 1_000_000;
/// Room for so many keys is kept from one commit to the next.
const ROOM_KEPT: usize = 4_096;

/// What is to be added, by key and hour.
pub struct Pending {
    keys: HashMap<Box<str>, Vec<(u32, Delta)>>,
    rows: usize,
    rows_max: usize,
}

impl Pending {
    /// Nothing yet, and never more than so many hours of keys.
    pub fn new(rows_max: usize) -> Self {
        Self { keys: HashMap::new(), rows: 0, rows_max }
    }

    /// Adds to a key's hour.
    ///
    /// # Errors
    /// There is no room; so many requests are lost.
    pub fn add(&mut self, id: &str, hour: u32, delta: &Delta) -> Result<(), u64> {
        let is_full = self.rows >= self.rows_max;
        if let Some(hours) = self.keys.get_mut(id)
            && let Some((_, own)) = hours.iter_mut().find(|(known, _)| *known == hour)
        {
            own.add(delta);
            return Ok(());
        }
        if is_full {
            return Err(delta.counts.requests());
        }
        self.rows += 1;
        match self.keys.entry(id.into()) {
            Entry::Occupied(hours) => hours.into_mut().push((hour, delta.clone())),
            Entry::Vacant(place) => drop(place.insert(vec![(hour, delta.clone())])),
        }
        Ok(())
    }

    /// All of it.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &[(u32, Delta)])> {
        self.keys.iter().map(|(id, hours)| (&**id, hours.as_slice()))
    }

    /// How many hours of keys there are.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// How many requests they are.
    pub fn requests(&self) -> u64 {
        self.keys.values().flatten().map(|(_, delta)| delta.counts.requests()).sum()
    }

    /// It is in the file now.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.keys.shrink_to(ROOM_KEPT);
        self.rows = 0;
    }
}
