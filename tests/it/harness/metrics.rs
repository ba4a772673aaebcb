//! A scrape, taken apart.

use std::collections::BTreeMap;

use super::{Gateway, secrets_in};

type Labels = BTreeMap<String, String>;

/// What `/metrics` said.
pub(crate) struct Scrape {
    pub(crate) text: String,
    /// By name, with the labels of each.
    series: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl Gateway {
    /// Asks for its metrics. No scrape of any test may hold a secret.
    pub(crate) fn scrape(&self) -> Scrape {
        let reply = self.ask("/metrics");
        assert_eq!(reply.status, 200, "{}", reply.text());
        Scrape::read(reply.text())
    }
}

impl Scrape {
    pub(crate) fn read(text: String) -> Scrape {
        let found = secrets_in(&text);
        assert!(found.is_empty(), "secrets in a scrape: {found:?}");
        let mut series: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (what, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            let value = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
            let (name, labels) = what.split_once('{').unwrap_or((what, "}"));
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of labels: {line}"));
            series.entry(name.to_owned()).or_default().push((pairs(labels), value));
        }
        Scrape { text, series }
    }

    /// Every name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// The series with exactly these labels.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let is_it = |of: &Labels| {
            of.len() == labels.len() && labels.iter().all(|(name, value)| of.get(*name).is_some_and(|it| it == value))
        };
        self.series.get(name)?.iter().find(|(of, _)| is_it(of)).map(|(_, value)| *value)
    }

    /// Likewise, where it must be there.
    #[track_caller]
    pub(crate) fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.value(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?} in\n{}", self.text))
    }

    /// All series of a name together.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.series.get(name).into_iter().flatten().map(|(_, value)| value).sum()
    }

    /// All series of a name that are not 0, by the values of these labels.
    pub(crate) fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, u64> {
        let mut found = BTreeMap::new();
        for (of, value) in self.series.get(name).into_iter().flatten().filter(|(_, value)| *value != 0.0) {
            let values = labels.iter().map(|label| of.get(*label).cloned().unwrap_or_default()).collect();
            *found.entry(values).or_default() += *value as u64;
        }
        found
    }
}

/// `a="b",c="d"`; no value of any test has a quote in it.
fn pairs(labels: &str) -> Labels {
    let mut found = BTreeMap::new();
    let mut rest = labels;
    while let Some((name, behind)) = rest.split_once("=\"") {
        let (value, behind) = behind.split_once('"').unwrap_or_else(|| panic!("no end of a value: {labels}"));
        found.insert(name.trim_start_matches(',').to_owned(), value.to_owned());
        rest = behind;
    }
    found
}
