//! Names and lists in headers as servers read them.

use http::{HeaderName, HeaderValue};

use crate::vocab::fields::Fields;

/// Whether a server may take one name for the other: many turn both into the same variable (`HTTP_X_A` in CGI, WSGI, Rack),
/// so that `_` is `-`. Both names are in lower case, as `HeaderName` has them.
pub fn is_spelling_of(name: &str, other: &str) -> bool {
    let same = |(a, b): (&u8, &u8)| a == b || (*a == b'_' && *b == b'-') || (*a == b'-' && *b == b'_');
    name.len() == other.len() && name.as_bytes().iter().zip(other.as_bytes()).all(same)
}

/// Whether a field that is a list of words (RFC 9110 §5.6.1) has this one, in any case, on any of its lines.
pub fn has_word(headers: &Fields, name: &HeaderName, word: &str) -> bool {
    headers.get_all(name).any(|line| list_has(line, word))
}

/// Whether one line of such a field has it.
pub fn list_has(line: &HeaderValue, word: &str) -> bool {
    line.as_bytes().split(|b| *b == b',').any(|it| it.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::CONNECTION;

    #[test]
    fn a_word_is_found_whole_and_on_any_line() {
        let mut headers = Fields::new();
        for line in ["keep-alive , Upgrade", "", "x-close"] {
            headers.append(CONNECTION, HeaderValue::from_static(line));
        }
        for (word, found) in
            [("keep-alive", true), ("upgrade", true), ("x-close", true), ("close", false), ("keep", false)]
        {
            assert_eq!(has_word(&headers, &CONNECTION, word), found, "{word}");
        }
    }

    #[test]
    fn an_underscore_is_a_dash() {
        for (name, other, same) in [
            ("x-a-b", "x-a-b", true),
            ("x_a-b", "x-a-b", true),
            ("x-a_b", "x_a-b", true),
            ("x-a.b", "x-a-b", false),
            ("x-ab", "x-a-b", false),
        ] {
            assert_eq!(is_spelling_of(name, other), same, "{name} {other}");
        }
    }
}
