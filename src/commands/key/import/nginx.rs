//! `nginx-map`: the maps of an nginx configuration whose source is a key, or the lines of such a map alone.

mod words;

use self::words::{Map, Statement, statements};
use super::draft::{Draft, Gathered, Place};
use crate::commands::console::Failure;
use crate::config::mask::quoted;

/// What the variables are called that hold keys.
const KEYS: [&str; 7] = ["key", "token", "auth", "secret", "cred", "pass", "cookie_"];
/// Values that say that a key is good, and not whose it is.
const YES: [&str; 7] = ["1", "on", "yes", "true", "ok", "valid", "allowed"];
/// Values that nginx takes as no.
const NO: [&str; 2] = ["", "0"];
const BEARER: &str = "bearer ";

pub(super) fn read(text: &str, into: &mut Gathered) -> Result<(), Failure> {
    let file = statements(text).map_err(|line| into.broken(Some(Place::Line(line)), "a quote is not closed"))?;
    let alone = file.maps.len() == 1;
    for (number, map) in file.maps.iter().enumerate() {
        if !alone && !is_of_keys(map) {
            let what = format!("the map of {} is not of keys, by its name, and stays behind", quoted(&map.source));
            into.remark(Some(Place::Line(map.line)), what);
            continue;
        }
        let authorization = map.source.to_ascii_lowercase().contains("authorization");
        for statement in file.statements.iter().filter(|statement| statement.map == Some(number)) {
            entry(statement, authorization, into)?;
        }
    }
    if file.maps.is_empty() {
        for statement in &file.statements {
            entry(statement, false, into)?;
        }
    }
    if !into.entries.is_empty() {
        into.remark(None, "nginx takes a key in upper and lower case alike; here it is taken as it is written");
    }
    Ok(())
}

fn is_of_keys(map: &Map<'_>) -> bool {
    let source = map.source.to_ascii_lowercase();
    KEYS.iter().any(|word| source.contains(word))
}

/// One `KEY NAME;`, or one of the words that mean something else.
fn entry(statement: &Statement<'_>, authorization: bool, into: &mut Gathered) -> Result<(), Failure> {
    let place = Place::Line(statement.line);
    match statement.words.as_slice() {
        [word] if ["volatile", "hostnames"].contains(&word.as_str()) => Ok(()),
        [word, value] if word.as_str() == "default" => {
            if !NO.contains(&value.as_str()) {
                let what =
                    "`default` lets everybody in there; it is not carried over, and here nobody without a key is";
                into.remark(Some(place), what);
            }
            Ok(())
        }
        [word, _] if word.as_str() == "include" => {
            into.remark(Some(place), "`include` is not followed: import that file as well");
            Ok(())
        }
        [key, value] => key_of(place, key.as_str(), value.as_str(), authorization, into),
        _ => into.refuse(place, "", "the line is not KEY NAME;"),
    }
}

fn key_of(place: Place, key: &str, value: &str, authorization: bool, into: &mut Gathered) -> Result<(), Failure> {
    if key.starts_with('~') {
        return into.refuse(place, value, "it is a regular expression, which lets in more keys than one");
    }
    if NO.contains(&value) {
        into.remark(Some(place), "a key that is mapped to nothing is not let in there, and is not imported");
        return Ok(());
    }
    // A backslash before it keeps a key from being taken for one of the words above.
    let key = key.strip_prefix('\\').unwrap_or(key);
    let mut draft =
        if YES.contains(&value.to_ascii_lowercase().as_str()) { Draft::default() } else { Draft::of(value) };
    if draft.name.contains('$') {
        draft.remark("its name holds a variable, which is taken as a text");
    }
    let bearer = key.get(..BEARER.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(BEARER));
    match (authorization, bearer) {
        (true, true) => into.key(place, draft, key[BEARER.len()..].trim_start()),
        (true, false) => {
            draft.remark("its key was all of `Authorization`; here that needs `Bearer` before it, or another header");
            into.key(place, draft, key)
        }
        (false, _) => into.key(place, draft, key),
    }
}
