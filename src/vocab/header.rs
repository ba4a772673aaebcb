//! Names of headers as servers read them.

/// Whether a server may take one name for the other: many turn both into the same variable (`HTTP_X_A` in CGI, WSGI, Rack),
/// so that `_` is `-`. Both names are in lower case, as `HeaderName` has them.
pub fn is_spelling_of(name: &str, other: &str) -> bool {
    let same = |(a, b): (&u8, &u8)| a == b || (*a == b'_' && *b == b'-') || (*a == b'-' && *b == b'_');
    name.len() == other.len() && name.as_bytes().iter().zip(other.as_bytes()).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

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
