//! An HTTP/2 client without TLS that can do what a browser does and curl does not: several streams, crumbs, trailers,
//! and leaving in the middle of one.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::PATIENCE;

/// A body made beforehand, trailers included.
#[derive(Default)]
pub(crate) struct Frames(VecDeque<Frame<Bytes>>);

impl Frames {
    pub(crate) fn of(body: &[u8], trailers: Option<HeaderMap>) -> Frames {
        let parts = body.chunks(8000).map(|c| Frame::data(Bytes::copy_from_slice(c)));
        Frames(parts.chain(trailers.map(Frame::trailers)).collect())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// An answer over HTTP/2.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// The body ended as it should.
    pub(crate) whole: bool,
}

/// One HTTP/2 connection.
pub(crate) struct H2 {
    sender: SendRequest<Frames>,
}

impl H2 {
    async fn open(addr: SocketAddr) -> H2 {
        let stream = tokio::net::TcpStream::connect(addr).await.expect("a connection");
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("a preface");
        tokio::spawn(connection);
        H2 { sender }
    }

    /// Sends one request and reads at most `most` bytes of its answer; then the stream is dropped.
    pub(crate) async fn send_some(&self, request: Request<Frames>, most: usize) -> Result<Answer, String> {
        let mut sender = self.sender.clone();
        sender.ready().await.map_err(|e| e.to_string())?;
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let (head, body) = response.into_parts();
        let mut answer = Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Vec::new(),
            trailers: None,
            whole: false,
        };
        read(body, &mut answer, most).await;
        Ok(answer)
    }

    /// Sends one request, and keeps its answer as it is: the body is read by nobody.
    pub(crate) async fn start(&self, request: Request<Frames>) -> Response<Incoming> {
        let mut sender = self.sender.clone();
        sender.ready().await.expect("a connection that lives");
        sender.send_request(request).await.expect("a head")
    }

    pub(crate) async fn send(&self, request: Request<Frames>) -> Answer {
        self.send_some(request, usize::MAX).await.expect("an answer")
    }
}

async fn read(mut body: Incoming, answer: &mut Answer, most: usize) {
    while answer.body.len() < most {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => {
                answer.whole = true;
                return;
            }
            Some(Err(_)) => return,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => answer.body.extend_from_slice(&data),
                Err(rest) => answer.trailers = rest.into_trailers().ok(),
            },
        }
    }
}

/// Runs a test over one HTTP/2 connection.
pub(crate) fn over_h2<T, F: Future<Output = T>>(addr: SocketAddr, test: impl FnOnce(H2) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let connection = H2::open(addr).await;
        tokio::time::timeout(PATIENCE, test(connection)).await.expect("in time")
    })
}
