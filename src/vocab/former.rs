//! A list and the one before it, whose items have names: what was each item before?

use std::collections::HashMap;

/// The items of the list before, while the next one is gone through in its order. Mostly an item stands where it stood, or
/// near; only for those that do not is it looked up where each of them stood.
pub struct Former<'f, T> {
    items: &'f [T],
    name: fn(&T) -> &str,
    taken: Vec<bool>,
    next: usize,
    places: HashMap<&'f str, usize>,
}

/// How far from its place an item is looked for before all are searched.
const NEAR: usize = 8;

impl<'f, T> Former<'f, T> {
    /// `items` in their order; no two have one name.
    pub fn new(items: &'f [T], name: fn(&T) -> &str) -> Self {
        Self { items, name, taken: vec![false; items.len()], next: 0, places: HashMap::new() }
    }

    /// The item that had this name. `is_same` may know it without looking at its name.
    pub fn take(&mut self, name: &str, is_same: impl Fn(&T) -> bool) -> Option<&'f T> {
        let mut near = self.items.iter().enumerate().skip(self.next).take(NEAR);
        let place = match near.find(|(_, item)| is_same(item) || (self.name)(item) == name) {
            Some((place, _)) => place,
            None => *self.places().get(name)?,
        };
        self.next = place + 1;
        self.taken[place] = true;
        Some(&self.items[place])
    }

    fn places(&mut self) -> &HashMap<&'f str, usize> {
        if self.places.is_empty() {
            self.places = self.items.iter().enumerate().map(|(place, item)| ((self.name)(item), place)).collect();
        }
        &self.places
    }

    /// Those that nobody took, in their order.
    pub fn rest(self) -> impl Iterator<Item = &'f T> {
        self.items.iter().zip(self.taken).filter(|(_, taken)| !taken).map(|(item, _)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn each_is_found_wherever_it_stood(
            before in proptest::collection::btree_set(0u8..60, 0..50),
            after in proptest::collection::btree_set(0u8..60, 0..50),
            turned: bool,
        ) {
            let names = |numbers: &std::collections::BTreeSet<u8>| numbers.iter().map(u8::to_string).collect::<Vec<_>>();
            let (before, mut after) = (names(&before), names(&after));
            if turned {
                after.reverse();
            }
            let mut former = Former::new(&before, String::as_str);
            for name in &after {
                let found = former.take(name, |_| false);
                proptest::prop_assert_eq!(found, before.contains(name).then_some(name));
            }
            let gone: Vec<_> = before.iter().filter(|name| !after.contains(name)).collect();
            proptest::prop_assert_eq!(former.rest().collect::<Vec<_>>(), gone);
        }
    }
}
