//! The fields of a message (RFC 9110 §5), in the order in which they stand.
//!
//! A list, and not a hash table as `http::HeaderMap` is one: a head has about ten fields, and to look at ten names costs
//! less than to hash one. How many there may be is bounded where heads are read.

use std::borrow::Borrow;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names with their values; a name may stand more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    list: Vec<(HeaderName, HeaderValue)>,
}

impl Fields {
    /// No fields.
    pub const fn new() -> Self {
        Self { list: Vec::new() }
    }

    /// No fields, and room for so many.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { list: Vec::with_capacity(capacity) }
    }

    /// How many lines there are.
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The value of the first line of this name.
    pub fn get(&self, name: impl Borrow<HeaderName>) -> Option<&HeaderValue> {
        let name = name.borrow();
        self.list.iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// The values of all lines of this name.
    pub fn get_all<N: Borrow<HeaderName>>(
        &self,
        name: N,
    ) -> impl DoubleEndedIterator<Item = &HeaderValue> + use<'_, N> {
        self.list.iter().filter(move |(it, _)| it == name.borrow()).map(|(_, value)| value)
    }

    /// Whether there is a line of this name.
    pub fn contains(&self, name: impl Borrow<HeaderName>) -> bool {
        self.get(name).is_some()
    }

    /// The name of each line.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.list.iter().map(|(name, _)| name)
    }

    /// Each line.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.list.iter().map(|(name, value)| (name, value))
    }

    /// Each line, its value to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&HeaderName, &mut HeaderValue)> {
        self.list.iter_mut().map(|(name, value)| (&*name, value))
    }

    /// Puts one line in the place of all lines of its name.
    pub fn set(&mut self, name: impl Borrow<HeaderName> + Into<HeaderName>, value: HeaderValue) {
        let mut places = (0..self.list.len()).filter(|at| self.list[*at].0 == *name.borrow());
        match (places.next(), places.next()) {
            (None, _) => self.list.push((name.into(), value)),
            (Some(at), None) => self.list[at].1 = value,
            (Some(_), Some(_)) => {
                self.remove(name.borrow());
                self.list.push((name.into(), value));
            }
        }
    }

    /// Adds a line.
    pub fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.list.push((name, value));
    }

    /// Removes all lines of this name, and gives the value of the first.
    pub fn remove(&mut self, name: impl Borrow<HeaderName>) -> Option<HeaderValue> {
        let name = name.borrow();
        let at = self.list.iter().position(|(it, _)| it == name)?;
        let (_, value) = self.list.remove(at);
        self.list.retain(|(it, _)| it != name);
        Some(value)
    }

    /// Keeps the lines that are to stay.
    pub fn retain(&mut self, mut stays: impl FnMut(&HeaderName, &HeaderValue) -> bool) {
        self.list.retain(|(name, value)| stays(name, value));
    }
}

impl From<HeaderMap> for Fields {
    fn from(map: HeaderMap) -> Self {
        let mut fields = Self::with_capacity(map.len());
        let mut last = None;
        for (name, value) in map {
            // Of lines of one name only the first is named.
            if let Some(name) = name.or_else(|| last.take()) {
                last = Some(name.clone());
                fields.append(name, value);
            }
        }
        fields
    }
}

impl From<Fields> for HeaderMap {
    fn from(fields: Fields) -> Self {
        let mut map = Self::with_capacity(fields.list.len());
        for (name, value) in fields.list {
            map.append(name, value);
        }
        map
    }
}

impl FromIterator<(HeaderName, HeaderValue)> for Fields {
    fn from_iter<I: IntoIterator<Item = (HeaderName, HeaderValue)>>(lines: I) -> Self {
        Self { list: lines.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NAMES: [&str; 4] = ["host", "accept", "x-a", "x-b"];

    #[derive(Clone, Debug)]
    enum Edit {
        Set(usize, u8),
        Append(usize, u8),
        Remove(usize),
    }

    fn edit() -> impl Strategy<Value = Edit> {
        prop_oneof![
            (0..NAMES.len(), any::<u8>()).prop_map(|(name, value)| Edit::Set(name, value)),
            (0..NAMES.len(), any::<u8>()).prop_map(|(name, value)| Edit::Append(name, value)),
            (0..NAMES.len()).prop_map(Edit::Remove),
        ]
    }

    fn values<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Vec<&'a [u8]> {
        lines.map(HeaderValue::as_bytes).collect()
    }

    proptest! {
        #[test]
        fn they_hold_what_a_header_map_holds(edits in prop::collection::vec(edit(), 0..40)) {
            let (mut fields, mut map) = (Fields::new(), HeaderMap::new());
            for edit in edits {
                match edit {
                    Edit::Set(name, value) => {
                        let name = HeaderName::from_static(NAMES[name]);
                        map.insert(&name, u16::from(value).into());
                        fields.set(&name, u16::from(value).into());
                    }
                    Edit::Append(name, value) => {
                        let name = HeaderName::from_static(NAMES[name]);
                        map.append(&name, u16::from(value).into());
                        fields.append(name, u16::from(value).into());
                    }
                    Edit::Remove(name) => {
                        let name = HeaderName::from_static(NAMES[name]);
                        prop_assert_eq!(fields.remove(&name), map.remove(&name));
                    }
                }
            }
            let (back, there) = (Fields::from(map.clone()), HeaderMap::from(fields.clone()));
            for name in NAMES.map(HeaderName::from_static) {
                let expected = values(map.get_all(&name).iter());
                prop_assert_eq!(fields.get(&name), map.get(&name));
                prop_assert_eq!(&values(fields.get_all(&name)), &expected);
                prop_assert_eq!(&values(back.get_all(&name)), &expected);
                prop_assert_eq!(&values(there.get_all(&name).iter()), &expected);
            }
            prop_assert_eq!(fields.len(), map.len());
        }
    }

    #[test]
    fn lines_stay_in_their_order() {
        let name = HeaderName::from_static;
        let mut fields: Fields =
            ["x-a", "host", "x-a", "x-b"].map(|it| (name(it), HeaderValue::from_static(it))).into_iter().collect();
        fields.set(&http::header::HOST, HeaderValue::from_static("a"));
        fields.retain(|name, _| name != "x-b");
        assert_eq!(fields.names().collect::<Vec<_>>(), ["x-a", "host", "x-a"]);
        fields.remove(name("x-a"));
        assert_eq!(
            fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect::<Vec<_>>(),
            [("host", &b"a"[..])]
        );
    }
}
