//! One request to a receiver, over a connection of its own. Redirects are not followed: a signed alert goes where the
//! configuration says, and nowhere else.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::format::Message;
use crate::config::gateway::WebhookFormat;
use crate::config::load::Hook;
use crate::task::Task;

/// From the name's resolution to the head of the answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Why an alert was not taken. None of it holds anything that a receiver or the URL says: that may be a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The URL cannot be used.
    #[error("the URL cannot be used")]
    Url,
    /// It cannot be reached.
    #[error("failed to connect: {}", plain(.0))]
    Connect(#[source] io::Error),
    /// It broke off.
    #[error("failed to get an answer")]
    Broken(#[source] hyper::Error),
    /// It did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// It answered with something else than 2xx.
    #[error("status {0}")]
    Status(StatusCode),
}

/// Sends a message; good is 200 to 299.
pub(super) async fn send(hook: &Hook, message: Message) -> Result<(), Refused> {
    timeout(ANSWER_MAX, ask(hook, message)).await.unwrap_or(Err(Refused::Timeout))
}

async fn ask(hook: &Hook, message: Message) -> Result<(), Refused> {
    let uri: Uri = std::str::from_utf8(hook.url.expose()).ok().and_then(|url| url.parse().ok()).ok_or(Refused::Url)?;
    let host = uri.host().ok_or(Refused::Url)?;
    let is_https = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
    let request = request(&uri, hook.format, message).ok_or(Refused::Url)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port)).await.map_err(Refused::Connect)?;
    let status = if is_https {
        let config = hook.tls.as_ref().ok_or(Refused::Url)?;
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| Refused::Url)?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream).await.map_err(Refused::Connect)?;
        exchange(stream, request).await?
    } else {
        exchange(stream, request).await?
    };
    if status.is_success() { Ok(()) } else { Err(Refused::Status(status)) }
}

/// Whatever else the answer says is not read.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    request: Request<Whole>,
) -> Result<StatusCode, Refused> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Refused::Broken)?;
    let _driving = Task::spawn(async move { drop(connection.await) });
    Ok(sender.send_request(request).await.map_err(Refused::Broken)?.status())
}

fn request(uri: &Uri, format: WebhookFormat, message: Message) -> Option<Request<Whole>> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = match (format, path.trim_end_matches('/')) {
        // As Prometheus is told of an Alertmanager: by its host alone, or with a prefix that ends in the whole path.
        (WebhookFormat::Alertmanager, prefix) if !prefix.ends_with("/api/v2/alerts") && !prefix.contains('?') => {
            format!("{prefix}/api/v2/alerts")
        }
        _ => path.to_owned(),
    };
    let mut request = Request::new(Whole(Some(message.body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().ok()?;
    *request.headers_mut() = message.headers;
    request.headers_mut().insert(HOST, HeaderValue::from_str(uri.authority()?.as_str()).ok()?);
    Some(request)
}

/// A body in one piece.
struct Whole(Option<Bytes>);

impl Body for Whole {
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

/// The system's words without their number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn alertmanager_is_known_by_its_host_its_prefix_or_its_whole_path() {
        for (url, format, expected) in [
            ("http://a:9093", WebhookFormat::Alertmanager, "/api/v2/alerts"),
            ("http://a:9093/", WebhookFormat::Alertmanager, "/api/v2/alerts"),
            ("http://a/prefix", WebhookFormat::Alertmanager, "/prefix/api/v2/alerts"),
            ("http://a/api/v2/alerts", WebhookFormat::Alertmanager, "/api/v2/alerts"),
            ("https://a", WebhookFormat::Standard, "/"),
            ("https://a/hook?x=y", WebhookFormat::Standard, "/hook?x=y"),
            ("https://a/services/T/B/x", WebhookFormat::Slack, "/services/T/B/x"),
        ] {
            let message = Message { headers: HeaderMap::new(), body: Bytes::new() };
            let uri: Uri = url.parse().expect("a URL");
            let request = request(&uri, format, message).expect("a request");
            assert_eq!((request.uri().to_string().as_str(), request.method()), (expected, &Method::POST), "{url}");
            assert_eq!(request.headers()[HOST], uri.authority().expect("a host").as_str());
        }
    }
}
