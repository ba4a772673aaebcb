//! One `[[key]]` of the file that is being edited. An entry is taken as it stands, good or not: whoever revokes a key must
//! be able to, however wrong the rest of its entry is.

use std::fmt::Display;

use jiff::Timestamp;
use toml_edit::{Array, ArrayOfTables, Datetime, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::commands::console::Failure;
use crate::config::mask::quoted;
use crate::config::reader::did_you_mean;

/// Every entry of the file, in order.
pub(crate) fn all(document: &mut DocumentMut) -> Result<Vec<&mut dyn TableLike>, Failure> {
    let entries: Vec<&mut dyn TableLike> = match document.get_mut("key") {
        None => Vec::new(),
        Some(Item::ArrayOfTables(tables)) => tables.iter_mut().map(|table| -> &mut dyn TableLike { table }).collect(),
        Some(Item::Value(Value::Array(values))) => values
            .iter_mut()
            .filter_map(Value::as_inline_table_mut)
            .map(|table| -> &mut dyn TableLike { table })
            .collect(),
        Some(_) => {
            return Err(Failure::No("failed to find keys: `key` is no [[key]]".into()));
        }
    };
    Ok(entries)
}

/// The entries with this id: at least one, and more than one only in a file with a mistake.
pub(crate) fn named<'d>(document: &'d mut DocumentMut, id: &str) -> Result<Vec<&'d mut dyn TableLike>, Failure> {
    let entries = all(document)?;
    if entries.iter().any(|entry| text(*entry, "id") == Some(id)) {
        let mine = entries.into_iter();
        return Ok(mine.filter(|entry| text(*entry, "id") == Some(id)).collect());
    }
    Err(unknown(id, entries.iter().filter_map(|entry| text(*entry, "id"))))
}

/// The one entry with this id.
pub(crate) fn only<'d>(document: &'d mut DocumentMut, id: &str) -> Result<&'d mut dyn TableLike, Failure> {
    let mut entries = named(document, id)?;
    match (entries.pop(), entries.is_empty()) {
        (Some(entry), true) => Ok(entry),
        _ => Err(Failure::No(format!("failed to choose: more than one entry has the id \"{id}\""))),
    }
}

/// Nobody has this id; perhaps somebody has one like it.
pub(crate) fn unknown<'i>(id: &str, ids: impl Iterator<Item = &'i str>) -> Failure {
    let hint = hint(id, ids);
    Failure::No(format!("no key has the id {}{hint}", quoted(id)))
}

/// `; did you mean "NAME"?`, or nothing.
pub(crate) fn hint<'i>(word: &str, words: impl Iterator<Item = &'i str>) -> String {
    did_you_mean(word, words).map_or_else(String::new, |other| format!("; did you mean {other:?}?"))
}

/// Adds an entry after all others.
pub(crate) fn append(document: &mut DocumentMut, mut table: Table) -> Result<(), Failure> {
    // Comments after the last entry, or of a file with nothing else, stand before what comes now, as in the eyes of whoever
    // wrote them. toml_edit would keep them at the end of the file.
    if !matches!(document.get("key"), Some(Item::Value(_))) {
        let mut before = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing("");
        if !before.is_empty() && !before.ends_with('\n') {
            before.push('\n');
        }
        if !document.is_empty() || !before.trim().is_empty() {
            before.push('\n');
        }
        table.decor_mut().set_prefix(before);
    }
    let keys = document.entry("key").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    match keys {
        Item::ArrayOfTables(tables) => tables.push(table),
        Item::Value(Value::Array(values)) => values.push(table.into_inline_table()),
        Item::None | Item::Value(_) | Item::Table(_) => {
            return Err(Failure::No("failed to add a key: `key` is no [[key]]".into()));
        }
    }
    Ok(())
}

/// A field's text.
pub(crate) fn text<'e>(entry: &'e dyn TableLike, field: &str) -> Option<&'e str> {
    entry.get(field).and_then(Item::as_str)
}

/// A field's time, if it has a zone.
pub(crate) fn time(entry: &dyn TableLike, field: &str) -> Option<Timestamp> {
    entry.get(field)?.as_datetime().and_then(|time| time.to_string().parse().ok())
}

/// Sets a field, in its place and with its comment where it is there already.
pub(crate) fn set(entry: &mut dyn TableLike, field: &str, value: impl Into<Value>) {
    let mut value = value.into();
    if let Some(old) = entry.get_mut(field).and_then(Item::as_value_mut) {
        *value.decor_mut() = old.decor().clone();
        *old = value;
        return;
    }
    entry.insert(field, Item::Value(value));
    let indent = entry
        .key("id")
        .and_then(|key| key.leaf_decor().prefix()?.as_str())
        .map(|prefix| prefix.rsplit('\n').next().unwrap_or_default().to_owned())
        .filter(|prefix| prefix.trim().is_empty());
    if let (Some(indent), Some(mut key)) = (indent, entry.key_mut(field)) {
        key.leaf_decor_mut().set_prefix(indent);
    }
}

/// A time as TOML has it.
pub(crate) fn moment(time: Timestamp) -> Result<Value, Failure> {
    time.to_string()
        .parse::<Datetime>()
        .map(Value::from)
        .map_err(|_| Failure::Usage("the time is outside the years 0 to 9999".into()))
}

/// Texts as a TOML array.
pub(crate) fn array(items: impl IntoIterator<Item = impl Display>) -> Value {
    Value::Array(items.into_iter().map(|item| item.to_string()).collect())
}

/// Pairs as a TOML inline table; of two with one name the last counts.
pub(crate) fn pairs(pairs: &[(String, String)]) -> Value {
    Value::InlineTable(pairs.iter().map(|(name, value)| (name, value)).collect())
}

/// Puts a rotated-out hash among the others, and takes out those that ended before `forget`.
pub(crate) fn push_previous(
    entry: &mut dyn TableLike,
    hash: String,
    until: Timestamp,
    forget: Timestamp,
) -> Result<(), Failure> {
    let old = |previous: &dyn TableLike| time(previous, "until").is_some_and(|t| t < forget);
    let until = moment(until)?;
    match entry.get_mut("previous") {
        Some(Item::Value(Value::Array(list))) => {
            list.retain(|one| !one.as_inline_table().is_some_and(|one| old(one)));
            list.push(previous(hash, until));
        }
        Some(Item::ArrayOfTables(list)) => {
            list.retain(|one| !old(one));
            list.push(previous(hash, until).into_table());
        }
        Some(_) => {
            return Err(Failure::No("failed to rotate: `previous` is no array".into()));
        }
        None => set(entry, "previous", Array::from_iter([previous(hash, until)])),
    }
    Ok(())
}

fn previous(hash: String, until: Value) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("hash", hash.into());
    table.insert("until", until);
    table
}
