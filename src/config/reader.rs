//! A cursor over a TOML table that asks for each setting by name, notes every problem with its place, and at the end
//! names the keys that nobody asked for.
//!
//! serde would stop at the first problem and lose the places; this walks the spanned tree of the `toml` crate instead.

use std::borrow::Cow;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::gateway::Located;
use super::mask::quoted;
use super::problems::{Problems, Wrong};
use super::source::SourceFile;
use crate::vocab::units;

/// A table that is being read.
pub(super) struct Table<'a> {
    problems: &'a Problems,
    path: Cow<'a, str>,
    entries: &'a DeTable<'a>,
    span: Range<usize>,
    known: Vec<&'static str>,
}

/// A value that is being read.
#[derive(Clone)]
pub(super) struct Item<'a> {
    problems: &'a Problems,
    /// What it is called in messages: `http.headers_max`.
    name: Name<'a>,
    value: &'a DeValue<'a>,
    /// Where the value stands.
    pub(super) span: Range<usize>,
}

/// `table.key`, put together only when a message needs it.
#[derive(Clone)]
struct Name<'a> {
    path: Cow<'a, str>,
    key: &'a str,
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&*self.path, self.key) {
            ("", key) => f.write_str(key),
            (path, "") => f.write_str(path),
            (path, key) => write!(f, "{path}.{key}"),
        }
    }
}

/// A value that asks for nothing beyond what is done anyway.
#[derive(Clone, Copy)]
pub(super) enum Neutral {
    False,
    EmptyArray,
    EmptyTable,
}

impl<'a> Table<'a> {
    /// `path` is what the table is called in messages; empty for the whole file.
    pub(super) fn new(
        problems: &'a Problems,
        path: impl Into<Cow<'a, str>>,
        entries: &'a DeTable<'a>,
        span: Range<usize>,
    ) -> Self {
        Self { problems, path: path.into(), entries, span, known: Vec::with_capacity(24) }
    }

    /// The same table with its problems noted elsewhere.
    pub(super) fn under(self, problems: &'a Problems) -> Self {
        Self { problems, ..self }
    }

    pub(super) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    pub(super) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Every pair, for tables whose keys are free.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (Located<&'a str>, Item<'a>)> + use<'a> {
        let (problems, path) = (self.problems, self.path.clone());
        self.entries.iter().map(move |(key, value)| {
            let item = Item {
                problems,
                name: Name { path: path.clone(), key: key.get_ref() },
                value: value.get_ref(),
                span: problems.placed(value.span()),
            };
            (located(&**key.get_ref(), problems.placed(key.span())), item)
        })
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'a>> {
        self.known.push(key);
        let value = self.entries.get(key)?;
        Some(Item {
            problems: self.problems,
            name: Name { path: self.path.clone(), key },
            value: value.get_ref(),
            span: self.problems.placed(value.span()),
        })
    }

    pub(super) fn string(&mut self, key: &'static str) -> Option<Located<&'a str>> {
        self.get(key)?.string()
    }

    /// A string read by `read`; `None` when it is absent or wrong, and then the problem is noted.
    pub(super) fn parsed<T, E: Into<Wrong>>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        self.get(key)?.parsed(read)
    }

    /// A duration of more than zero.
    pub(super) fn duration(&mut self, key: &'static str, default: Duration) -> Duration {
        self.parsed(key, positive_duration).unwrap_or(default)
    }

    pub(super) fn integer(&mut self, key: &'static str, range: RangeInclusive<u32>, default: u32) -> u32 {
        self.get(key).and_then(|item| item.integer(range)).unwrap_or(default)
    }

    pub(super) fn boolean(&mut self, key: &'static str, default: bool) -> bool {
        let Some(item) = self.get(key) else {
            return default;
        };
        item.value.as_bool().unwrap_or_else(|| {
            item.wrong_type("`true` or `false`");
            default
        })
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(&mut self, key: &'static str, words: &[(&'static str, T)], default: T) -> T {
        self.parsed(key, |text| {
            let found = words.iter().find(|(word, _)| *word == text);
            found.map(|(_, value)| *value).ok_or_else(|| {
                let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                let wrong = Wrong::value(format!("not one of {}", all.join(", ")));
                match did_you_mean(text, words.iter().map(|(word, _)| *word)) {
                    Some(word) => wrong.hint(format!("did you mean \"{word}\"?")),
                    None => wrong,
                }
            })
        })
        .unwrap_or(default)
    }

    /// Every element of an array; none when it is absent or no array.
    pub(super) fn list(&mut self, key: &'static str) -> Vec<Item<'a>> {
        self.get(key).and_then(|item| item.list("an array")).unwrap_or_default()
    }

    /// Every string of an array that `read` takes.
    pub(super) fn strings<T, E: Into<Wrong>>(
        &mut self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<Located<T>> {
        let items = self.list(key).into_iter();
        items
            .filter_map(|item| {
                let span = item.span.clone();
                Some(located(item.parsed(&read)?, span))
            })
            .collect()
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<Self> {
        self.get(key)?.table()
    }

    /// The tables of `[[key]]`; `None` when there is none.
    pub(super) fn tables(&mut self, key: &'static str) -> Option<Vec<Self>> {
        let items = self.get(key)?.list("a list of tables")?;
        Some(items.into_iter().filter_map(Item::table).collect())
    }

    /// Refuses a key whose time has not come, unless its value is neutral.
    pub(super) fn later(&mut self, key: &'static str, neutral: &[Neutral]) {
        if let Some(item) = self.get(key)
            && !neutral.iter().any(|neutral| item.is(*neutral))
        {
            let wrong = Wrong::later(format!("`{}` is not supported yet", item.name));
            self.problems.add(item.span, wrong);
        }
    }

    /// Names the keys that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.entries {
            let text: &str = key.get_ref();
            if self.known.contains(&text) {
                continue;
            }
            let name = match &*self.path {
                "" => text.to_owned(),
                path => format!("{path}.{text}"),
            };
            let wrong = Wrong::new("unknown-key", format!("unknown key {}", quoted(&name)));
            let wrong = match did_you_mean(text, self.known.iter().copied()) {
                Some(word) => wrong.hint(format!("did you mean `{word}`?")),
                None => wrong,
            };
            self.problems.add(self.problems.placed(key.span()), wrong);
        }
    }
}

impl<'a> Item<'a> {
    /// Notes a problem with this value.
    pub(super) fn wrong(&self, wrong: impl Into<Wrong>) {
        let wrong = wrong.into().about(&self.name);
        self.problems.add(self.span.clone(), wrong);
    }

    fn wrong_type(&self, expected: &str) {
        let found = match self.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let message = format!("expected {expected}, found {found}");
        self.wrong(Wrong::new("wrong-type", message));
    }

    pub(super) fn value(&self) -> &'a DeValue<'a> {
        self.value
    }

    pub(super) fn source(&self) -> &'a SourceFile {
        self.problems.source()
    }

    pub(super) fn string(&self) -> Option<Located<&'a str>> {
        let Some(text) = self.value.as_str() else {
            self.wrong_type("a string");
            return None;
        };
        Some(located(text, self.span.clone()))
    }

    /// Whether it is this very word.
    pub(super) fn says(&self, word: &str) -> bool {
        self.value.as_str() == Some(word)
    }

    pub(super) fn parsed<T, E: Into<Wrong>>(&self, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match read(self.string()?.value) {
            Ok(value) => Some(value),
            Err(wrong) => {
                self.wrong(wrong);
                None
            }
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(number) = self.value else {
            self.wrong_type("a whole number");
            return None;
        };
        let value = u32::from_str_radix(number.as_str(), number.radix()).ok();
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let message = format!("expected a whole number from {} to {}", range.start(), range.end());
            self.wrong(Wrong::value(message));
        }
        value
    }

    pub(super) fn list(&self, expected: &str) -> Option<Vec<Item<'a>>> {
        let DeValue::Array(items) = self.value else {
            self.wrong_type(expected);
            return None;
        };
        let item = |value: &'a Spanned<DeValue<'a>>| Item {
            problems: self.problems,
            name: self.name.clone(),
            value: value.get_ref(),
            span: self.problems.placed(value.span()),
        };
        Some(items.iter().map(item).collect())
    }

    pub(super) fn table(self) -> Option<Table<'a>> {
        let DeValue::Table(entries) = self.value else {
            self.wrong_type("a table");
            return None;
        };
        let path = match (&*self.name.path, self.name.key) {
            ("", key) => Cow::Borrowed(key),
            _ => Cow::Owned(self.name.to_string()),
        };
        Some(Table::new(self.problems, path, entries, self.span))
    }

    pub(super) fn is_empty_table(&self) -> bool {
        self.is(Neutral::EmptyTable)
    }

    fn is(&self, neutral: Neutral) -> bool {
        match (neutral, self.value) {
            (Neutral::False, DeValue::Boolean(value)) => !value,
            (Neutral::EmptyArray, DeValue::Array(items)) => items.is_empty(),
            (Neutral::EmptyTable, DeValue::Table(entries)) => entries.is_empty(),
            _ => false,
        }
    }
}

pub(super) fn located<T>(value: T, span: Range<usize>) -> Located<T> {
    Located { value, span }
}

/// A duration of more than zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, Wrong> {
    match units::parse_duration(text)? {
        Duration::ZERO => Err(Wrong::value("expected more than zero")),
        duration => Ok(duration),
    }
}

/// The word that was probably meant.
pub(crate) fn did_you_mean<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    const LONGEST: usize = 64;
    if text.len() > LONGEST {
        return None;
    }
    let near = (text.chars().count() / 3).max(1);
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(text, word), word))
        .filter(|(distance, _)| *distance <= near)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
