//! The canonical path: the one spelling that routes are matched on and the upstream is sent.
//!
//! Servers agree on percent-encoded unreserved characters (RFC 3986 §6.2.2.2), so those are decoded. Where they differ
//! (dot segments, empty segments, encoded slashes, backslashes, path parameters, NUL, broken escapes) the path has no
//! single meaning, and a gateway that guards by path must not guess.

use std::borrow::Cow;

/// The path means different things to different servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// `path` with every encoded unreserved character decoded.
///
/// # Errors
/// [`Ambiguous`] for a path that servers read differently.
pub fn canonical(path: &str) -> Result<Cow<'_, str>, Ambiguous> {
    if path == "*" {
        return Ok(Cow::Borrowed(path));
    }
    if !path.starts_with('/') {
        return Err(Ambiguous);
    }
    let decoded = if path.contains('%') { Cow::Owned(decode_unreserved(path)?) } else { Cow::Borrowed(path) };
    let odd = |b: u8| matches!(b, b'\\' | b';' | 0..=0x20 | 0x7f..);
    if decoded.bytes().any(odd) {
        return Err(Ambiguous);
    }
    let mut segments = decoded[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        if matches!(segment, "." | "..") || (segment.is_empty() && !last) {
            return Err(Ambiguous);
        }
    }
    Ok(decoded)
}

fn decode_unreserved(path: &str) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.get(at..at + 3).ok_or(Ambiguous)?;
        let byte = decode_escape(escape.as_bytes()).ok_or(Ambiguous)?;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => out.push(char::from(byte)),
            // Encoded: a separator, a parameter mark, a control character, or an escape of an escape.
            b'/' | b'\\' | b';' | b'%' | 0..=0x1f | 0x7f => return Err(Ambiguous),
            _ => out.push_str(&escape.to_ascii_uppercase()),
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The byte that `%XX` stands for.
pub fn decode_escape(escape: &[u8]) -> Option<u8> {
    let &[b'%', high, low] = escape else {
        return None;
    };
    let digit = |c: u8| char::from(c).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Decodes `%XX`. A `+` stays a `+`: keys may hold one, and never a space. A broken escape stays as it is.
pub fn percent_decode(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 3).and_then(decode_escape) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_become_one() {
        for (written, canonical_form) in [
            ("/", "/"),
            ("*", "*"),
            ("/v1/orders", "/v1/orders"),
            ("/%761/orders", "/v1/orders"),
            ("/v1/orders/", "/v1/orders/"),
            ("/a%2dz%5F%7e%2E5", "/a-z_~.5"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/a.b/..c/...", "/a.b/..c/..."),
        ] {
            assert_eq!(canonical(written).as_deref(), Ok(canonical_form), "{written}");
        }
    }

    #[test]
    fn paths_that_servers_read_differently_have_no_canonical_form() {
        for path in [
            "",
            "x",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e/a",
            "/%2E/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "/a;b/c",
            "/a%3bb",
            "/a%00",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%252fb",
            "/a b",
            "/a%0ab",
            "/é",
        ] {
            assert_eq!(canonical(path), Err(Ambiguous), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_canonical_path_is_its_own_canonical_form(path in "/[ -~]{0,40}") {
            if let Ok(once) = canonical(&path) {
                proptest::prop_assert_eq!(canonical(&once), Ok(once.clone()));
            }
        }
    }
}
