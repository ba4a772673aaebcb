//! What an upstream has told that it should not have.

use http::HeaderName;

use crate::config::gateway::LeakAction;

/// A response with a key in it, or with what a key is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    /// What was found first.
    pub what: Leaked,
    /// Where.
    pub place: Place,
    /// How often something was found.
    pub count: u64,
    /// What was done about it.
    pub action: LeakAction,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaked {
    /// The key of the request.
    Presented,
    /// Another one of our form.
    Ours,
    /// A stored hash of the request's key.
    Hash,
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the field of this name.
    Header(HeaderName),
    /// Likewise, behind the body.
    Trailer(HeaderName),
    /// In the body.
    Body,
}

impl Leaked {
    /// As alerts say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Presented => "presented_key",
            Self::Ours => "key",
            Self::Hash => "hash",
        }
    }
}

/// `header:x-debug`, `trailer:x-debug`, `body`
impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Trailer(name) => write!(f, "trailer:{name}"),
            Self::Body => f.write_str("body"),
        }
    }
}
