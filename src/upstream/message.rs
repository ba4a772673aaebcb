//! The heads that pass between the gateway and a server.

use http::uri::PathAndQuery;
use http::{Method, StatusCode};

use crate::vocab::fields::Fields;

/// A request as a server gets it, but for what frames it.
#[derive(Debug)]
pub struct Outgoing {
    /// What is asked.
    pub method: Method,
    /// Of what.
    pub target: PathAndQuery,
    /// `Host` among them.
    pub fields: Fields,
}

/// A response.
#[derive(Debug)]
pub struct Answer<B> {
    /// How it went.
    pub status: StatusCode,
    /// What is said of it.
    pub fields: Fields,
    /// What follows.
    pub body: B,
}

impl<B> Answer<B> {
    /// The same head with another body.
    pub fn map<C>(self, change: impl FnOnce(B) -> C) -> Answer<C> {
        let Self { status, fields, body } = self;
        Answer { status, fields, body: change(body) }
    }
}
