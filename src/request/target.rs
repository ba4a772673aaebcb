//! The canonical path: the one spelling that the upstream is sent, and the one reading of it that routes are matched on.
//!
//! Servers agree on percent-encoded unreserved characters (RFC 3986 §6.2.2.2), so those are decoded. Where they differ
//! (dot segments, empty segments, encoded slashes, backslashes, path parameters, NUL, broken escapes, escapes that are no
//! UTF-8 or that hide another escape) the path has no single meaning, and a gateway that guards by path must not guess.
//!
//! Other characters may be written encoded or plain (`%21` is `!`). Most servers take both for one resource, while to some
//! applications they differ (`%2B` and `+`). So they are sent on as they came, and matched as what they stand for.

use std::borrow::Cow;

/// The path means different things to different servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// `path` with every encoded unreserved character decoded, and every other escape in capitals.
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

/// What a canonical path is matched as: with its printable escapes decoded. This is no path to be sent anywhere.
pub fn matching(canonical: &str) -> Cow<'_, str> {
    if !canonical.contains('%') {
        return Cow::Borrowed(canonical);
    }
    let mut out = String::with_capacity(canonical.len());
    let mut rest = canonical;
    while let Some(at) = rest.find('%') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        match escape.get(..3).and_then(|escape| decode_escape(escape.as_bytes())) {
            // An escape of `%` itself stays one, or what stands behind it would look like one.
            Some(byte @ b'!'..=b'~') if byte != b'%' => out.push(char::from(byte)),
            _ => out.push_str(escape.get(..3).unwrap_or(escape)),
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn decode_unreserved(path: &str) -> Result<String, Ambiguous> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    let mut is_opaque = false;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at..at + 3).ok_or(Ambiguous)?;
        let byte = decode_escape(escape).ok_or(Ambiguous)?;
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' | b'.' => out.push(char::from(byte)),
            // Encoded: a separator, a parameter mark, or a control character.
            b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return Err(Ambiguous),
            _ => {
                is_opaque |= byte == b'%' || byte >= 0x80;
                out.extend(escape.iter().map(|b| char::from(b.to_ascii_uppercase())));
            }
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    if is_opaque && !is_plain_text(&out) {
        return Err(Ambiguous);
    }
    Ok(out)
}

/// Whether the decoded path is UTF-8 (no overlong forms: `%C0%AF` is a slash to some) without control characters (`%C2%85`
/// ends a line to some), and holds no further escape for a server that decodes twice (`%252F`, `%25u002F`).
fn is_plain_text(path: &str) -> bool {
    let decoded = percent_decode(path);
    let hides_an_escape = |at: usize| {
        let next = decoded.get(at + 1..).unwrap_or_default();
        matches!(next, [b'u' | b'U', ..])
            || matches!(next, [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
    };
    let is_text = std::str::from_utf8(&decoded).is_ok_and(|text| !text.contains(char::is_control));
    is_text && !memchr::memchr_iter(b'%', &decoded).any(hides_an_escape)
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
    use proptest::prelude::*;

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
            ("/a%2bb+c%2Cd,e%3ff%23", "/a%2Bb+c%2Cd,e%3Ff%23"),
            ("/50%25", "/50%25"),
            ("/50%25/x%25y", "/50%25/x%25y"),
            ("/%e2%82%ac", "/%E2%82%AC"),
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
            "/a%252Eb",
            "/a%25%32%65",
            "/a%25u002e",
            "/a%u002e",
            "/%c0%ae%c0%ae/",
            "/%c0%af",
            "/%e0%80%af",
            "/%ff",
            "/%c3",
            "/%c3/%a9",
            "/%ed%a0%80",
            "/%c2%8a",
            "/a%c2%85b",
            "/%7f",
            "/.%2e/a",
            "/a/%2E%2e",
            "/a//",
            "/%5C",
            "/a%",
            "/a%é",
            "/a b",
            "/a%0ab",
            "/é",
        ] {
            assert_eq!(canonical(path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn a_path_is_matched_as_what_its_escapes_stand_for() {
        for (path, matched) in [
            ("/a/b", "/a/b"),
            ("/a%21b%2Cc%40d%3Ae", "/a!b,c@d:e"),
            ("/a%2A", "/a*"),
            ("/%5Ba%5D%7C", "/[a]|"),
            ("/a%20b", "/a%20b"),
            ("/%C3%A9", "/%C3%A9"),
            ("/a%25b", "/a%25b"),
            ("/%25%21", "/%25!"),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(path));
            assert_eq!(matching(path), matched, "{path}");
        }
    }

    /// Text with what matters to paths in it more often than chance would have it.
    fn path() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-z]{1,3}",
            "%[0-9a-fA-F]{2}",
            "%(2[eEfF15]|5[cC]|3[bB]|[cC][0-3]|[aA][9fFeE]|25|00|7[eEfF])",
            "[!-~]",
            Just("/".to_owned()),
            Just("..".to_owned()),
            Just("/./".to_owned()),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| format!("/{}", parts.concat()))
    }

    /// `path` with every unreserved character for which `choose` has a true encoded, and the others as they are.
    fn respelled(path: &str, choose: &[bool]) -> String {
        let mut choose = choose.iter().cycle();
        let mut out = String::new();
        let mut rest = path.chars();
        while let Some(c) = rest.next() {
            if c == '%' {
                out.push('%');
                out.extend(rest.by_ref().take(2));
            } else if (c.is_ascii_alphanumeric() || "-._~".contains(c)) && *choose.next().unwrap_or(&false) {
                out.push_str(&format!("%{:02x}", c as u32));
            } else {
                out.push(c);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_canonical_path_is_its_own_canonical_form(path in prop_oneof![path(), "/[ -~]{0,40}"]) {
            if let Ok(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), Ok(once.clone()));
            }
        }

        #[test]
        fn a_canonical_path_means_one_thing(path in path()) {
            if let Ok(once) = canonical(&path) {
                let decoded = String::from_utf8(percent_decode(&once).into_owned()).expect("UTF-8");
                let odd = |c: char| c.is_control() || matches!(c, '\\' | ';');
                prop_assert!(!decoded.contains(odd), "{:?}", decoded);
                let inner = decoded[1..].strip_suffix('/').unwrap_or(&decoded[1..]);
                prop_assert!(inner.is_empty() || !inner.split('/').any(|s| matches!(s, "" | "." | "..")), "{:?}", decoded);
                // What is decoded once and what is matched have the same segments.
                prop_assert_eq!(decoded.matches('/').count(), matching(&once).matches('/').count());
                prop_assert_eq!(percent_decode(&decoded).into_owned(), decoded.as_bytes());
            }
        }

        #[test]
        fn encoding_what_needs_no_encoding_changes_nothing(
            path in path(),
            choose in proptest::collection::vec(any::<bool>(), 1..8),
        ) {
            let other = respelled(&path, &choose);
            if let Ok(canonical_form) = canonical(&path) {
                prop_assert_eq!(canonical(&other), Ok(canonical_form), "{}", other);
            } else {
                prop_assert_eq!(canonical(&other), Err(Ambiguous), "{}", other);
            }
        }
    }
}
