//! What is at which path.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::{View, ready};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The body of an answer.
pub(super) struct Page(Option<Bytes>);

/// Answers GET and HEAD; a HEAD's body is left out when it is sent.
pub(super) fn answer(view: &View, method: &Method, path: &str) -> Response<Page> {
    let page = match path {
        "/livez" => live(view),
        "/readyz" => {
            let (status, json) = ready::page(view);
            (status, JSON, json)
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "there is nothing here\n".to_owned()),
    };
    if page.0 != StatusCode::NOT_FOUND && method != Method::GET && method != Method::HEAD {
        let mut refused = respond((StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned()));
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    respond(page)
}

fn live(view: &View) -> (StatusCode, &'static str, String) {
    match view.are_workers_alive() {
        true => (StatusCode::OK, TEXT, "ok\n".to_owned()),
        false => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "a worker stands still\n".to_owned()),
    }
}

fn respond((status, kind, text): (StatusCode, &'static str, String)) -> Response<Page> {
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
