//! What patterns of paths and lists of methods take, and what two of them have in common.

use http::Method;

use super::PathPattern;

impl PathPattern {
    /// Whether the canonical `path` is one of the pattern's. `/a/*` covers `/a` itself: a guard with a hole at its root is none.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()) || prefix.strip_suffix('/') == Some(path),
        }
    }

    /// Whether there is a path that both match.
    pub(in crate::config) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Exact(path), pattern) | (pattern, Self::Exact(path)) => pattern.matches(path),
            (Self::Prefix(a), Self::Prefix(b)) => a.starts_with(b.as_str()) || b.starts_with(a.as_str()),
        }
    }
}

/// Whether a list takes the method: it names it, or GET where it is HEAD. Who answers the one answers the other (RFC 9110
/// §9.1), and may tell no more by it.
pub fn takes(methods: &[Method], method: &Method) -> bool {
    methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
}

/// The methods that no route takes, whatever it says: they ask a gateway to be a tunnel, or to echo a request with its
/// credential (RFC 9110 §9.3.6, §9.3.8).
pub fn is_never_taken(method: &Method) -> bool {
    *method == Method::CONNECT || *method == Method::TRACE
}

/// Whether there is a method that both lists take and that is taken at all; `None` is any.
pub(in crate::config) fn methods_meet(a: Option<&[Method]>, b: Option<&[Method]>) -> bool {
    let usable = |list: &[Method]| list.iter().any(|method| !is_never_taken(method));
    match (a, b) {
        (None, None) => true,
        (Some(list), None) | (None, Some(list)) => usable(list),
        (Some(a), Some(b)) => {
            // GET takes HEAD, so that a method of both is one that is written in one of them.
            a.iter().chain(b).any(|method| !is_never_taken(method) && takes(a, method) && takes(b, method))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> PathPattern {
        super::super::path(text).expect("a path")
    }

    #[test]
    fn paths() {
        for (pattern, text, matches) in [
            ("/v1", "/v1", true),
            ("/v1", "/v1/", false),
            ("/v1/*", "/v1/x", true),
            ("/v1/*", "/v1/", true),
            ("/v1/*", "/v1", true),
            ("/v1/*", "/v10", false),
            ("/*", "*", true),
        ] {
            assert_eq!(path(pattern).matches(text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_that_have_a_path_in_common() {
        for (a, b, meet) in [
            ("/*", "/v1", true),
            ("/v1", "/v1", true),
            ("/v1", "/v2", false),
            ("/v1/*", "/v1", true),
            ("/v1/*", "/v1/x/*", true),
            ("/v1/*", "/v10/*", false),
            ("/v1/*", "/v10", false),
            ("/v1/a/*", "/v1/b/*", false),
        ] {
            assert_eq!((path(a).meets(&path(b)), path(b).meets(&path(a))), (meet, meet), "{a} {b}");
        }
    }

    #[test]
    fn methods_in_common() {
        let list = |text: &str| match text {
            "any" => None,
            text => Some(text.split(' ').filter_map(|m| m.parse().ok()).collect::<Vec<Method>>()),
        };
        for (a, b, meet) in [
            ("any", "any", true),
            ("any", "GET", true),
            ("any", "TRACE CONNECT", false),
            ("GET POST", "PUT GET", true),
            ("GET", "POST", false),
            ("GET", "HEAD", true),
            ("HEAD", "HEAD", true),
            ("TRACE", "TRACE", false),
        ] {
            let (first, second) = (list(a), list(b));
            assert_eq!(methods_meet(first.as_deref(), second.as_deref()), meet, "{a}, {b}");
            assert_eq!(methods_meet(second.as_deref(), first.as_deref()), meet, "{b}, {a}");
        }
    }
}
