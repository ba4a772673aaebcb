//! Secrets that are not in the file: it says where they are, or hides them.

/// Whether something stands in the place of a key: the name of a vault's entry or of a variable (Kong's and decK's, APISIX's,
/// those of templates), or what a dump shows instead of it (Envoy's).
pub(super) fn is_reference(key: &str) -> bool {
    const BEGINNINGS: [&str; 6] = ["{vault://", "$env://", "$ENV://", "$secret://", "${", "{{"];
    let key = key.trim();
    let masked = key.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let is_mask = !key.is_empty() && key.bytes().all(|c| c == b'*' || c == b'.');
    BEGINNINGS.iter().any(|mark| key.starts_with(mark)) || masked.eq_ignore_ascii_case("redacted") || is_mask
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn references_and_keys() {
        for reference in [
            "{vault://env/my-key}",
            "${{ env \"DECK_KEY\" }}",
            "${KEY}",
            "{{ key }}",
            "$env://KEY",
            "$secret://vault/1/a/b",
            "[redacted]",
            "<REDACTED>",
            "********",
        ] {
            assert!(is_reference(reference), "{reference}");
        }
        for key in ["", "vault", "$x", "{x}", "kw_x", "x*", "unredacted"] {
            assert!(!is_reference(key), "{key}");
        }
    }
}
