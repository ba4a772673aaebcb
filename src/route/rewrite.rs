//! What a route changes in a request before the upstream gets it, and in the answer before the client does.

use http::HeaderName;
use http::uri::PathAndQuery;

use crate::config::gateway::{self, HeaderEdits};
use crate::request::target::matching;
use crate::vocab::fields::Fields;
use crate::vocab::header::is_spelling_of;

/// The changes of one route.
#[derive(Debug, Default)]
pub struct Rewrite {
    strip_prefix: Box<str>,
    add_prefix: Box<str>,
    /// Headers on the way to the upstream.
    pub request: HeaderEdits,
    /// Headers on the way to the client.
    pub response: HeaderEdits,
}

impl Rewrite {
    /// What the file says; `None` where it changes nothing.
    pub(super) fn new(route: &gateway::Route) -> Option<Box<Self>> {
        let rewrite = Self {
            strip_prefix: route.strip_prefix.as_str().into(),
            add_prefix: route.add_prefix.as_str().into(),
            request: route.request_headers.clone(),
            response: route.response_headers.clone(),
        };
        let is_idle = !rewrite.changes_paths() && rewrite.request.is_empty() && rewrite.response.is_empty();
        (!is_idle).then(|| Box::new(rewrite))
    }

    /// Whether paths become others: then they have to mean one thing only, or a path would climb out of `add_prefix`.
    pub(super) fn changes_paths(&self) -> bool {
        !self.strip_prefix.is_empty() || !self.add_prefix.is_empty()
    }

    /// The target that the upstream gets, of a target whose path is canonical; `None` where it stays as it is. A prefix is
    /// whole segments: `/api` is stripped from `/api` and `/api/x`, and not from `/apix`.
    pub fn target(&self, target: &PathAndQuery) -> Option<PathAndQuery> {
        let path = target.path();
        // `OPTIONS *` asks the server, not a resource.
        if !self.changes_paths() || !path.starts_with('/') {
            return None;
        }
        let rest = self.without_prefix(path);
        let query = target.query().map_or(0, |query| query.len() + 1);
        let mut text = String::with_capacity(self.add_prefix.len() + rest.len() + query + 1);
        text.push_str(&self.add_prefix);
        text.push_str(rest);
        if text.is_empty() {
            text.push('/');
        }
        if let Some(query) = target.query() {
            text.push('?');
            text.push_str(query);
        }
        PathAndQuery::try_from(text).ok()
    }
}

impl Rewrite {
    /// What stands behind `strip_prefix`, which is compared as routes are: `/%21` is `/!`.
    fn without_prefix<'p>(&self, path: &'p str) -> &'p str {
        let segments = self.strip_prefix.matches('/').count();
        let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
        let (prefix, rest) = path.split_at(end);
        if matching(prefix) == *self.strip_prefix { rest } else { path }
    }
}

impl HeaderEdits {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Removes, then sets.
    pub fn apply(&self, headers: &mut Fields) {
        headers.retain(|name, _| !self.names(name));
        for (name, value) in &self.set {
            headers.set(name, value.clone());
        }
    }

    /// Whether a header of this name is removed or set, with `_` for `-` or the other way round: to many servers `X_A` is
    /// `X-A`, and would walk past what this file says of that.
    pub fn names(&self, name: &HeaderName) -> bool {
        let set = self.set.iter().map(|(name, _)| name);
        self.remove.iter().chain(set).any(|ours| is_spelling_of(name.as_str(), ours.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        for (strip, add, target, expected) in [
            ("/api", "", "/api", "/"),
            ("/api", "", "/api/", "/"),
            ("/api", "", "/api/x/", "/x/"),
            ("/api", "", "/api?q=1", "/?q=1"),
            ("/api", "", "/apix", "/apix"),
            ("/api", "", "/API/x", "/API/x"),
            ("/api", "", "/x/api", "/x/api"),
            ("/api", "", "/api/api/x", "/api/x"),
            ("/api/v1", "", "/api/v1/x?a=/api/v1", "/x?a=/api/v1"),
            ("/api/v1", "", "/api/v2", "/api/v2"),
            ("", "/v2", "/", "/v2/"),
            ("", "/v2", "/x?", "/v2/x?"),
            ("/api", "/v2", "/api", "/v2"),
            ("/api", "/v2", "/api/", "/v2/"),
            ("/api", "/v2", "/api/x", "/v2/x"),
            ("/api", "/v2", "/x", "/v2/x"),
            ("/api", "/v2", "*", "*"),
            ("/a!b", "", "/a%21b/%21x", "/%21x"),
            ("/a!b", "", "/a%21bc", "/a%21bc"),
            ("", "", "/x", "/x"),
        ] {
            let rewrite = Rewrite { strip_prefix: strip.into(), add_prefix: add.into(), ..Rewrite::default() };
            let target = PathAndQuery::try_from(target).expect("a target");
            assert_eq!(rewrite.target(&target).unwrap_or_else(|| target.clone()), expected, "{strip} {add} {target}");
        }
    }

    #[test]
    fn headers_are_removed_and_then_set_in_every_spelling() {
        let name = HeaderName::from_static;
        let edits = HeaderEdits {
            set: vec![
                (name("x-set"), HeaderValue::from_static("ours")),
                (name("x-both"), HeaderValue::from_static("1")),
            ],
            remove: vec![name("x-gone"), name("x-both")],
        };
        let mut headers = Fields::new();
        for line in ["x-set", "x_set", "x-gone", "x_gone", "x-both", "x-both", "x-keep"] {
            headers.append(name(line), HeaderValue::from_static("theirs"));
        }
        edits.apply(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
        left.sort_unstable();
        assert_eq!(left, [("x-both", &b"1"[..]), ("x-keep", b"theirs"), ("x-set", b"ours")]);
    }
}
