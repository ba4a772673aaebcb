//! What is at which path.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::metrics::Exposition;
use super::{View, ready};

const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

/// The body of an answer.
pub(super) struct Page(Option<Bytes>);

/// All that can be asked for.
pub(super) struct Pages {
    view: Arc<View>,
    metrics: Option<Exposition>,
}

/// A status, the type of the content, and the content.
type Answer = (StatusCode, &'static str, String);

impl Pages {
    /// About what `view` shows.
    pub(super) fn new(view: View) -> Self {
        let view = Arc::new(view);
        let metrics = view.shared.metrics.clone().map(|metrics| Exposition::new(Arc::clone(&view), metrics));
        Self { view, metrics }
    }

    /// Answers GET and HEAD; a HEAD's body is left out when it is sent.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Response<Page> {
        let method = request.method();
        let read: fn(&Self, Option<&HeaderValue>) -> Answer = match request.uri().path() {
            "/livez" => |pages, _| pages.live(),
            "/readyz" => |pages, _| ready::page(&pages.view),
            "/metrics" => Self::metrics,
            _ => return respond((StatusCode::NOT_FOUND, TEXT, "there is nothing here\n".to_owned())),
        };
        if method != Method::GET && method != Method::HEAD {
            let mut refused = respond((StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned()));
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        respond(read(self, request.headers().get(ACCEPT)))
    }

    fn live(&self) -> Answer {
        match self.view.are_workers_alive() {
            true => (StatusCode::OK, TEXT, "ok\n".to_owned()),
            false => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "a worker stands still\n".to_owned()),
        }
    }

    fn metrics(&self, accept: Option<&HeaderValue>) -> Answer {
        match self.metrics.as_ref().map(|metrics| metrics.page(accept)) {
            Some(Ok((kind, text))) => (StatusCode::OK, kind, text),
            // Memory takes all that is written to it.
            Some(Err(_)) | None => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, "no metrics\n".to_owned()),
        }
    }
}

fn respond((status, kind, text): Answer) -> Response<Page> {
    let mut response = Response::new(Page(Some(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Body for Page {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}
