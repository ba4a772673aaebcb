//! Words and lists that many entries have in common, each held once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Rules;
use crate::config::gateway::RATES_MAX;
use crate::vocab::units::{Rate, parse_rate};

/// Gives the same value for the same text, for as long as one file is read.
#[derive(Default)]
pub(super) struct Interner {
    words: HashSet<Arc<str>>,
    rates: HashMap<Vec<Box<str>>, Arc<[Rate]>>,
    /// The last good ones: mostly the next ones, too.
    last_rates: Option<Arc<[Rate]>>,
    roles: HashSet<Arc<[Box<str>]>>,
    rules: HashSet<Arc<Rules>>,
}

impl Interner {
    pub(super) fn word(&mut self, word: &str) -> Arc<str> {
        if let Some(known) = self.words.get(word) {
            return Arc::clone(known);
        }
        let word: Arc<str> = word.into();
        self.words.insert(Arc::clone(&word));
        word
    }

    pub(super) fn rates(&mut self, rates: Vec<Rate>) -> Arc<[Rate]> {
        let texts = rates.iter().map(|rate| Box::from(&*rate.text)).collect();
        Arc::clone(self.rates.entry(texts).or_insert_with(|| rates.into()))
    }

    /// The rates that are written so, if they are good and each of them stands there once.
    pub(super) fn good_rates(&mut self, texts: &[&str]) -> Option<Arc<[Rate]>> {
        let is_same = |last: &&Arc<[Rate]>| last.iter().map(|rate| &*rate.text).eq(texts.iter().copied());
        if let Some(last) = self.last_rates.as_ref().filter(is_same) {
            return Some(Arc::clone(last));
        }
        let rates: Vec<Rate> = texts.iter().map(|text| parse_rate(text)).collect::<Result<_, _>>().ok()?;
        let twice = (1..rates.len()).any(|at| rates[..at].iter().any(|other| other.text == rates[at].text));
        if twice || rates.len() > RATES_MAX {
            return None;
        }
        let rates = self.rates(rates);
        self.last_rates = Some(Arc::clone(&rates));
        Some(rates)
    }

    pub(super) fn roles(&mut self, roles: Vec<Box<str>>) -> Arc<[Box<str>]> {
        if let Some(known) = self.roles.get(roles.as_slice()) {
            return Arc::clone(known);
        }
        let roles: Arc<[Box<str>]> = roles.into();
        self.roles.insert(Arc::clone(&roles));
        roles
    }

    pub(super) fn rules(&mut self, rules: Rules) -> Arc<Rules> {
        if let Some(known) = self.rules.get(&rules) {
            return Arc::clone(known);
        }
        let rules = Arc::new(rules);
        self.rules.insert(Arc::clone(&rules));
        rules
    }
}
