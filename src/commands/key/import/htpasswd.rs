//! `htpasswd`: lines of `name:key`, with comments after `#`. Not what Apache's tool of that name writes: what is hashed
//! cannot be brought over.

use super::draft::{Draft, Gathered, Place};
use crate::commands::console::Failure;

/// How a hashed password begins, as crypt(3), Apache and nginx have it.
const HASHED: [&str; 9] = ["$apr1$", "$1$", "$2", "$5$", "$6$", "$7$", "$y$", "{SHA}", "{SSHA}"];
/// How nginx marks a password that is not hashed.
const PLAIN: &str = "{PLAIN}";

pub(super) fn read(text: &str, into: &mut Gathered) -> Result<(), Failure> {
    for (number, line) in text.lines().enumerate() {
        let (place, line) = (Place::Line(number + 1), line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, key)) = line.split_once(':') else {
            // What stands there alone may be a key.
            into.refuse(place, "", "the line is not NAME:KEY")?;
            continue;
        };
        let (name, key) = (name.trim(), key.trim());
        if HASHED.iter().any(|mark| key.starts_with(mark)) {
            into.refuse(place, name, "it has the hash of a password, and nobody can make a key of that")?;
        } else {
            into.key(place, Draft::of(name), key.strip_prefix(PLAIN).unwrap_or(key))?;
        }
    }
    Ok(())
}
