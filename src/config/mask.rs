//! What of a file may be shown: a line of it with every key, hash, pepper and password replaced by `…`.
//!
//! It errs on the side of hiding: an excerpt helps a reader find a line that they can open themselves, and the excerpt
//! may end up in a log.

use std::ops::Range;
use std::path::Path;

const ELLIPSIS: &str = "…";

/// A line as it may be shown.
pub(super) struct Masked {
    /// The line with `…` in the place of what is hidden.
    pub(super) text: String,
    hidden: Vec<Range<usize>>,
}

impl Masked {
    /// Where an offset into the line as it is stands in the line as it is shown.
    pub(super) fn map(&self, offset: usize) -> usize {
        let mut shown = offset;
        for range in &self.hidden {
            if offset >= range.end {
                shown = shown + ELLIPSIS.len() - range.len();
            } else if offset > range.start {
                return shown - (offset - range.start);
            }
        }
        shown
    }
}

/// One line as it may be shown. Where the file is `broken` (it is not TOML), a line that is not plainly a setting or a
/// header may be the inside of anything, and all of it is hidden.
pub(super) fn line(text: &str, broken: bool) -> Masked {
    let mut hidden = Vec::new();
    if broken && !is_setting(text) && !is_header(text) {
        hidden.extend(trimmed(text));
    } else {
        values_of_secret_names(text, &mut hidden);
        userinfo(text, &mut hidden);
        secret_runs(text, &mut hidden);
    }
    apply(text, hidden)
}

/// A word of a file between backticks, for a message: hidden where it may be a secret, cut where it is long.
pub(crate) fn quoted(word: &str) -> String {
    const LONGEST: usize = 64;
    let shown = plain(word);
    let mut out = String::from("`");
    out.extend(shown.chars().take(LONGEST).flat_map(char::escape_debug));
    if shown.chars().nth(LONGEST).is_some() {
        out.push_str(ELLIPSIS);
    }
    out.push('`');
    out
}

/// Text that somebody typed, as it may be shown: everything stands but what may be a secret.
pub(crate) fn typed(text: &str) -> String {
    let mut hidden = Vec::new();
    secret_runs(text, &mut hidden);
    apply(text, hidden).text
}

/// A path for a message. A path is what stood where one belongs: it, too, may be a secret.
pub(super) fn path(path: &Path) -> String {
    plain(&path.display().to_string()).chars().flat_map(char::escape_debug).collect()
}

fn plain(word: &str) -> String {
    let mut hidden = Vec::new();
    secret_runs(word, &mut hidden);
    apply(word, hidden).text
}

fn apply(text: &str, mut hidden: Vec<Range<usize>>) -> Masked {
    hidden.retain(|range| !range.is_empty());
    hidden.sort_by_key(|range| range.start);
    hidden.dedup_by(|next, kept| {
        let overlaps = next.start <= kept.end;
        if overlaps {
            kept.end = kept.end.max(next.end);
        }
        overlaps
    });
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in &hidden {
        shown.push_str(&text[at..range.start]);
        shown.push_str(ELLIPSIS);
        at = range.end;
    }
    shown.push_str(&text[at..]);
    Masked { text: shown, hidden }
}

/// `name =`, dotted or quoted.
fn is_setting(text: &str) -> bool {
    text.split_once('=')
        .is_some_and(|(name, _)| !name.trim().is_empty() && name.chars().all(|c| is_name(c) || " \t.\"'".contains(c)))
}

/// `[name]` or `[[name]]`.
fn is_header(text: &str) -> bool {
    let text = text.trim();
    text.starts_with('[') && text.ends_with(']') && text.chars().all(|c| is_name(c) || "[] .".contains(c))
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn trimmed(text: &str) -> Option<Range<usize>> {
    let start = text.find(|c: char| !c.is_whitespace())?;
    Some(start..start + text.trim().len())
}

/// The values of settings whose name says that they are secret.
fn values_of_secret_names(text: &str, hidden: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(found) = text[at..].find(['=', '"', '\'']) {
        let here = at + found;
        if !text[here..].starts_with('=') {
            at = string_end(text, here).1;
            continue;
        }
        let value = here + 1 + text[here + 1..].len() - text[here + 1..].trim_start().len();
        at = value;
        let name = last_name(&text[..here]);
        if !is_secret_name(name) {
            continue;
        }
        let (content, next) = if text[value..].starts_with(['"', '\'']) {
            string_end(text, value)
        } else {
            // No string where one belongs: where it ends is a guess, so the rest of the line goes.
            (value..text.len(), text.len())
        };
        at = next;
        if !is_harmless(name, &text[content.clone()]) {
            hidden.push(content);
        }
    }
}

/// The inside of the string that opens at `start`, and where the text goes on after it. Unclosed, it is the rest.
fn string_end(text: &str, start: usize) -> (Range<usize>, usize) {
    let quote = &text[start..start + 1];
    let triple = quote.repeat(3);
    let fence = match text[start..].starts_with(&triple) {
        true => triple.as_str(),
        false => quote,
    };
    let inside = start + fence.len();
    let mut at = inside;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(fence) {
            return (inside..at, at + fence.len());
        }
        let mut chars = rest.chars();
        let escaped = chars.next() == Some('\\') && quote == "\"";
        if escaped {
            chars.next();
        }
        at = text.len() - chars.as_str().len();
    }
    (inside..text.len(), text.len())
}

/// The last part of a possibly dotted, possibly quoted name that ends `text`.
fn last_name(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let start = text.rfind(|c| !is_name(c)).map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    &text[start..]
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["hash", "pepper", "secret", "pass", "token", "credential", "authorization", "cookie"];
    let near = ["hash", "pepper", "secret", "password", "apikey"];
    name == "key"
        || ["_key", "-key", "apikey"].iter().any(|end| name.ends_with(end))
        || parts.iter().any(|part| name.contains(part))
        || near.iter().any(|word| name.len() <= 16 && strsim::damerau_levenshtein(&name, word) <= word.len() / 4)
}

/// A reference to a secret, or the path of a private key, is not itself a secret.
fn is_harmless(name: &str, value: &str) -> bool {
    let path = [".key", ".pem", ".crt"].iter().any(|end| value.ends_with(end));
    value.starts_with("env:") || value.starts_with("file:") || (name == "key" && path)
}

/// What stands before `@` in a URL.
fn userinfo(text: &str, hidden: &mut Vec<Range<usize>>) {
    for (found, scheme) in text.match_indices("://") {
        let start = found + scheme.len();
        let authority = text[start..].split(['/', '?', '#', '"', '\'', ' ']).next().unwrap_or_default();
        hidden.extend(authority.rfind('@').map(|length| start..start + length));
    }
}

/// Runs of characters that look like a key or a digest wherever they stand.
fn secret_runs(text: &str, hidden: &mut Vec<Range<usize>>) {
    hidden.extend(runs(text, is_name).filter(|run| is_key_like(&text[run.clone()])));
    let base64 = |c: char| is_name(c) || "+/=".contains(c);
    hidden.extend(runs(text, base64).filter(|run| is_base64_like(&text[run.clone()])));
}

fn runs(text: &str, member: impl Fn(char) -> bool + Copy) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(member)?;
        let end = text[start..].find(|c| !member(c)).map_or(text.len(), |len| start + len);
        at = end;
        Some(start..end)
    })
}

/// `kw_` and a long word, a word of 32 or more, a UUID: what keys look like.
fn is_key_like(run: &str) -> bool {
    let digit = |word: &str| word.bytes().any(|c| c.is_ascii_digit());
    let lower = |word: &str| word.bytes().any(|c| c.is_ascii_lowercase());
    let upper = |word: &str| word.bytes().any(|c| c.is_ascii_uppercase());
    let long_word = run.split(['_', '-']).any(|word| {
        let (digit, lower, upper) = (digit(word), lower(word), upper(word));
        word.len() >= 32
            || (word.len() >= 20 && digit && (lower || upper))
            || (word.len() >= 10 && digit && lower && upper)
    });
    let prefixed = run
        .split('_')
        .skip(1)
        .any(|word| word.len() >= 24 || (word.len() >= 16 && (digit(word) || (lower(word) && upper(word)))));
    long_word || prefixed || (run.len() >= 32 && digit(run))
}

fn is_base64_like(run: &str) -> bool {
    run.len() >= 32
        && run.bytes().any(|c| c.is_ascii_digit())
        && run.bytes().any(|c| c.is_ascii_lowercase())
        && run.bytes().any(|c| c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "kw_4fTq0zXhJ2Lr8vWbNc6YdKmPs9GuEaRoTi1xQ7BnHfZ0aB3dE";
    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_secret_is_hidden_and_the_rest_is_not() {
        let table = [
            (r#"hash = "sha256:1234""#, r#"hash = "…""#),
            (r#"hash = 'plain'  # note"#, r#"hash = '…'  # note"#),
            (r#""pepper" = "hunter2""#, r#""pepper" = "…""#),
            (r#"keys.pepper="hunter2""#, r#"keys.pepper="…""#),
            (r#"pepper = "env:PEPPER""#, r#"pepper = "env:PEPPER""#),
            (r#"peper = "hunter2""#, r#"peper = "…""#),
            (r#"pepper = """hunter2"#, r#"pepper = """…"#),
            (r#"pepper = "hun\"ter2", x = 1"#, r#"pepper = "…", x = 1"#),
            (r#"pepper = hunter2, x = 1"#, r#"pepper = …"#),
            (r#"key = "hunter2""#, r#"key = "…""#),
            (r#"tls = [{ cert = "a.pem", key = "tls/a.key" }]"#, r#"tls = [{ cert = "a.pem", key = "tls/a.key" }]"#),
            (r#"previous = [{ hash = "x", until = 1 }]"#, r#"previous = [{ hash = "…", until = 1 }]"#),
            (r#"set = { Authorization = "Basic x" }"#, r#"set = { Authorization = "…" }"#),
            (r#"path = "/v1/orders/*""#, r#"path = "/v1/orders/*""#),
            (r#"note = "a = b""#, r#"note = "a = b""#),
            (r#"headers_max = 100"#, r#"headers_max = 100"#),
            ("a = 2026-11-21T10:00:00Z", "a = 2026-11-21T10:00:00Z"),
            (r#"a = ["1/s"RoTi1xQ7BnHfZ0aB3dE"#, r#"a = ["1/s"…"#),
        ];
        for (plain, shown) in table {
            assert_eq!(line(plain, false).text, shown);
        }
    }

    #[test]
    fn what_looks_like_a_key_is_hidden_wherever_it_stands() {
        for secret in [KEY, HEX, "2f1b6f0a-9c3e-4d7b-8f4e-0a1b2c3d4e5f", "aGVsbG8/d29ybGQ+aGVsbG8gd29ybGQgaGVsbG8K/1A="]
        {
            for text in [
                format!("note = \"{secret}\""),
                format!("{secret} = 1"),
                format!("# {secret}"),
                format!("x = [\"é{secret}\""),
            ] {
                for broken in [false, true] {
                    let shown = line(&text, broken).text;
                    assert!(!shown.contains(&secret[8..16]), "{shown}");
                }
            }
            assert!(!quoted(secret).contains(&secret[8..16]));
            let shown = path(&Path::new("conf").join(secret));
            assert!(!shown.contains(&secret[8..16]), "{shown}");
        }
    }

    #[test]
    fn in_a_broken_file_only_settings_and_headers_are_shown() {
        let shown = |text| line(text, true).text;
        assert_eq!(shown("  hunter2\"\"\""), "  …");
        assert_eq!(shown("pepper \"hunter2\""), "…");
        assert_eq!(shown("pepper: hunter2"), "…");
        assert_eq!(shown("[keys] pepper hunter2"), "…");
        assert_eq!(shown("[[route]"), "[[route]");
        assert_eq!(shown("timeout = 10x"), "timeout = 10x");
        assert_eq!(shown("pepper = \"hunter2"), "pepper = \"…");
        assert_eq!(shown(""), "");
    }

    #[test]
    fn offsets_follow_the_text_that_is_shown() {
        let masked = line(r#"{ hash = "12345678", until = 5 }"#, false);
        assert_eq!(masked.text, r#"{ hash = "…", until = 5 }"#);
        assert_eq!(masked.map(9), 9);
        assert_eq!(masked.map(10), 10);
        assert_eq!(masked.map(14), 10);
        assert_eq!(masked.map(18), 13);
        assert_eq!(&masked.text[masked.map(21)..masked.map(26)], "until");
    }

    #[test]
    fn quoted_words_are_escaped_and_cut() {
        assert_eq!(quoted("orders"), "`orders`");
        assert_eq!(quoted("a\u{1b}[0m\n"), r"`a\u{1b}[0m\n`");
        assert_eq!(quoted(&"ab ".repeat(40)).chars().count(), 64 + 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "[a-z=\"'\\\\ #{}\\[\\],éµ…_0-9]{0,80}", broken: bool) {
            let masked = line(&text, broken);
            for offset in 0..=text.len() {
                proptest::prop_assert!(masked.map(offset) <= masked.text.len());
            }
        }
    }
}
