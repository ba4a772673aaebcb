//! Writes to the key file that a key is compromised: the one change that the gateway makes to a file of its own accord, and
//! only where `keys.compromise_on_plaintext` asks for it.

use std::path::Path;

use jiff::Timestamp;
use toml_edit::{Item, TableLike, Value};

use crate::config::edit::{EditError, edit};

/// Marks the key as compromised, if it is active. True if it was.
///
/// # Errors
/// The file cannot be read or written.
pub fn compromise(keys: &Path, id: &str, why: &str, now: Timestamp) -> Result<bool, EditError> {
    edit(keys, |document| {
        let mut found = false;
        let entries = document.get_mut("key");
        for entry in entries.into_iter().flat_map(tables) {
            let text = |field: &str| entry.get(field).and_then(Item::as_str);
            if text("id") == Some(id) && text("state").unwrap_or("active") == "active" {
                let now: Value = now.to_string().parse().unwrap_or_else(|_| Value::from(now.to_string()));
                entry.insert("state", Item::Value("compromised".into()));
                entry.insert("state_changed", Item::Value(now));
                entry.insert("reason", Item::Value(why.into()));
                found = true;
            }
        }
        Ok::<_, EditError>(found)
    })
}

/// The tables of `[[key]]`, or of `key = [{…}]`.
fn tables(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(values)) => {
            let tables = values.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.map(|table| table as &mut dyn TableLike).collect()
        }
        Item::None | Item::Value(_) | Item::Table(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_active_key_of_that_name_is_changed_and_the_rest_stays_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys.toml");
        let text = "# ours\n[[key]]\nid = \"a\" # first\nowner = \"o\"\n\n[[key]]\nid = \"b\"\nstate = \"revoked\"\n";
        std::fs::write(&path, text).expect("a file");
        let now = "2026-11-28T12:00:00Z".parse().expect("a time");
        assert_eq!(compromise(&path, "a", "sent in the clear", now).ok(), Some(true));
        let changed = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(
            changed,
            "# ours\n[[key]]\nid = \"a\" # first\nowner = \"o\"\nstate = \"compromised\"\n\
             state_changed = 2026-11-28T12:00:00Z\nreason = \"sent in the clear\"\n\n[[key]]\nid = \"b\"\nstate = \"revoked\"\n"
        );
        for id in ["a", "b", "c"] {
            assert_eq!(compromise(&path, id, "again", now).ok(), Some(false), "{id}");
        }
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), changed);
    }
}
