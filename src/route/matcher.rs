//! How one pattern matches, and which of two patterns is the more exact.

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::config::gateway::{HostPattern, PathPattern};
use crate::vocab::fields::Fields;

/// A CORS preflight (Fetch standard, "CORS-preflight request"): it asks for a method without using it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflighted {
    /// The method that the real request will have.
    pub method: Method,
}

impl Preflighted {
    /// Reads a preflight; `None` for any other request.
    pub fn read(method: &Method, headers: &Fields) -> Option<Self> {
        if *method != Method::OPTIONS || !headers.contains(ORIGIN) {
            return None;
        }
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
        Method::from_bytes(asked.as_bytes()).ok().map(|method| Self { method })
    }
}

/// Whether `host` (without port, any case) is one of the pattern's.
pub(super) fn host_matches(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(exact) => host.eq_ignore_ascii_case(exact),
        HostPattern::Suffix(suffix) => host
            .len()
            .checked_sub(suffix.len())
            .filter(|at| *at > 0)
            .and_then(|at| host.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix)),
    }
}

/// Smaller sorts first: exact, then the longer pattern, then none.
pub(super) fn host_rank(pattern: &HostPattern) -> (u8, usize) {
    match pattern {
        HostPattern::Exact(_) => (0, 0),
        HostPattern::Suffix(suffix) => (1, usize::MAX - suffix.len()),
        HostPattern::Any => (2, 0),
    }
}

/// Smaller sorts first: exact, then the longest prefix, then none.
pub(super) fn path_rank(pattern: &PathPattern) -> (u8, usize) {
    match pattern {
        PathPattern::Exact(_) => (0, 0),
        PathPattern::Prefix(prefix) => (1, usize::MAX - prefix.len()),
        PathPattern::Any => (2, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let exact = HostPattern::Exact("api.example.com".into());
        let suffix = HostPattern::Suffix(".example.com".into());
        for (pattern, host, matches) in [
            (&exact, "api.example.com", true),
            (&exact, "API.Example.com", true),
            (&exact, "x.api.example.com", false),
            (&suffix, "a.example.com", true),
            (&suffix, "a.b.EXAMPLE.com", true),
            (&suffix, "example.com", false),
            (&suffix, ".example.com", false),
            (&suffix, "badexample.com", false),
            (&HostPattern::Any, "", true),
        ] {
            assert_eq!(host_matches(pattern, host), matches, "{pattern:?} {host}");
        }
    }
}
