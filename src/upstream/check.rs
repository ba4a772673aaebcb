//! Active checks: a request to every server now and then, the way that requests go, but over a connection of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, StatusCode, Uri, Version};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::{sleep, timeout};

use super::body::RequestBody;
use super::connect::{Connected, connect};
use super::health::{Change, Tell, now_ms};
use super::server::Server;
use crate::config::gateway::{Health, HostHeader};
use crate::task::{LocalExecutor, Task};
use crate::vocab::clock::Clock;

/// How a server is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) health: Health,
    pub(super) host: HostHeader,
}

/// Checks a server, for ever. It is healthy until `unhealthy` checks in a row say otherwise.
pub(super) async fn keep_checking(server: Arc<Server>, check: Check, clock: Clock, tell: Tell) {
    let Check { health, host } = check;
    let (mut good, mut bad) = (0, 0);
    loop {
        let outcome = timeout(health.timeout, ask(&server, &health, &host)).await;
        match outcome.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(()) => {
                (good, bad) = (good + 1, 0);
                if good >= health.healthy {
                    set(&server, false, &clock, &tell, ("check_passed", None));
                }
            }
            Err(why) => {
                (good, bad) = (0, bad + 1);
                if bad >= health.unhealthy {
                    set(&server, true, &clock, &tell, ("check_failed", Some(&why)));
                }
            }
        }
        sleep(jittered(health.interval)).await;
    }
}

/// Says what checks have found, and tells of it if it is news.
pub(super) fn set(server: &Server, unhealthy: bool, clock: &Clock, tell: &Tell, why: (&'static str, Option<&str>)) {
    let from = server.health.state(now_ms(clock));
    server.health.set_unhealthy(unhealthy);
    let to = server.health.state(now_ms(clock));
    if from != to {
        tell(&Change { server, from, to, reason: why.0, detail: why.1 });
    }
}

/// A tenth more or less, so that many gateways do not ask at the same moment.
fn jittered(interval: Duration) -> Duration {
    let mut byte = [128];
    // Without randomness there is no jitter, and nothing else is lost.
    let _ = getrandom::fill(&mut byte);
    interval.mul_f64(0.9 + 0.2 * f64::from(byte[0]) / 255.0)
}

/// Good is what is neither an error nor an answer to something else: 200 to 399.
async fn ask(server: &Server, health: &Health, host: &HostHeader) -> Result<(), String> {
    let Connected { stream, is_http2, .. } =
        connect(server, health.timeout, false).await.map_err(|error| plain(&error))?;
    let host = match host {
        HostHeader::Literal(host) => host.clone(),
        HostHeader::Preserve | HostHeader::Upstream => server.authority.clone(),
    };
    let request = request(server, health, host, is_http2).ok_or("no request can be made of `path` and `host`")?;
    let broken = |error: hyper::Error| format!("no answer: {error}");
    let io = TokioIo::new(stream);
    let (status, _connection) = if is_http2 {
        let (mut sender, connection) = http2::handshake(LocalExecutor, io).await.map_err(broken)?;
        let driving = Task::spawn(async move { drop(connection.await) });
        (sender.send_request(request).await.map_err(broken)?.status(), driving)
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        let driving = Task::spawn(async move { drop(connection.await) });
        (sender.send_request(request).await.map_err(broken)?.status(), driving)
    };
    let is_good = (StatusCode::OK..StatusCode::BAD_REQUEST).contains(&status);
    if is_good { Ok(()) } else { Err(format!("status {}", status.as_u16())) }
}

fn request(server: &Server, health: &Health, host: HeaderValue, is_http2: bool) -> Option<Request<RequestBody>> {
    let path: PathAndQuery = health.path.parse().ok()?;
    let mut request = Request::<RequestBody>::default();
    let agent = HeaderValue::from_static(concat!("keyward/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert(USER_AGENT, agent);
    *request.uri_mut() = if is_http2 {
        *request.version_mut() = Version::HTTP_2;
        let scheme = if server.tls.is_some() { "https" } else { "http" };
        Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(path).build().ok()?
    } else {
        request.headers_mut().insert(HOST, host);
        path.into()
    };
    Some(request)
}

/// The system's words without their number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}
