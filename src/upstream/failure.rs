//! Why an exchange with a server came to nothing.

use std::io;

use super::body::RequestBody;

/// An attempt that brought no response head.
pub struct Failure {
    /// What went wrong.
    pub cause: Cause,
    /// The server cannot have acted on the request: nothing of it was sent, it had hung up before, or it says so.
    pub unseen: bool,
    /// The request's body, where it can be sent once more.
    pub body: Option<RequestBody>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The connection broke.
    #[error("the connection to the server broke")]
    Broken(#[source] io::Error),
    /// The server sent what is not HTTP, or can be read in more than one way.
    #[error("the server sent a malformed response")]
    Malformed(#[source] Malformed),
    /// The same, or its end, over HTTP/2.
    #[error("the server ended the stream")]
    Http2(#[source] hyper::Error),
    /// The request's body ended early. It knows why.
    #[error("the request did not come to its end")]
    Client,
}

/// What is wrong with a message, in our own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(super) &'static str);
