//! The server: hyper's HTTP/1.1, one request a connection, and a limit on everything.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};

use super::View;
use super::page::{Page, Pages};
use crate::edge::listener::Listener;
use crate::edge::stream::Wire;
use crate::edge::worker::Phase;

/// Connections at a time; further ones are closed at once.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head: the least that hyper can be told.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
/// For a whole request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For all that happens on a connection.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts and answers until the process stops.
pub(super) async fn serve(listener: Listener, view: View) {
    let mut phase = view.phase.clone();
    let pages = Rc::new(Pages::new(view));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(|phase| *phase >= Phase::Stopped) => return,
        };
        match accepted {
            // Each connection holds them once, and we do.
            Ok((wire, _)) if Rc::strong_count(&pages) <= CONNECTIONS_MAX => {
                tokio::task::spawn_local(converse(wire, Rc::clone(&pages)));
            }
            Ok(_) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn converse(wire: Wire, pages: Rc<Pages>) {
    let service = service_fn(|request: Request<Incoming>| {
        let page = pages.answer(&request);
        std::future::ready(Ok::<Response<Page>, Infallible>(page))
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .half_close(true)
        .serve_connection(TokioIo::new(wire), service);
    // However it ends: who asked has an answer, or does not want one.
    let _ = timeout(CONNECTION_TIMEOUT, conversation).await;
}
