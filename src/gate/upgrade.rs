//! WebSockets ask for their connection, or their HTTP/2 stream, to become a tunnel. Nothing else is let through that door:
//! `Upgrade: h2c` least of all, behind which requests would pass that nobody has looked at.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE, UPGRADE};
use http::{Method, StatusCode, Version};

use crate::request::Received;
use crate::upstream::message::Answer;
use crate::vocab::fields::Fields;
use crate::vocab::header::has_word;

const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// How a WebSocket is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// `Upgrade: websocket` (RFC 6455 §4.1).
    Http1,
    /// Extended CONNECT (RFC 8441 §4).
    Http2,
}

impl Upgrade {
    /// What a request asks for. Over HTTP/2 its method becomes that of the handshake over HTTP/1.1: routes, keys and the
    /// upstream know a WebSocket by that.
    pub(super) fn take(request: &mut Received) -> Option<Self> {
        if request.is_websocket_stream {
            request.method = Method::GET;
            return Some(Self::Http2);
        }
        let asks = request.version == Version::HTTP_11
            && request.method == Method::GET
            && request.fields.contains(UPGRADE)
            && has_word(&request.fields, &CONNECTION, "upgrade")
            && has_word(&request.fields, &UPGRADE, "websocket");
        asks.then_some(Self::Http1)
    }

    /// Asks the upstream for the same, by HTTP/1.1, after what concerns the client's connection was removed.
    pub(super) fn ask(self, headers: &mut Fields) {
        headers.remove(TE);
        headers.set(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.set(UPGRADE, WEBSOCKET);
        if self == Self::Http2 {
            // A nonce, which RFC 8441 §5 does without.
            let mut nonce = [0; 16];
            let nonce = getrandom::fill(&mut nonce).ok().and_then(|()| STANDARD.encode(nonce).try_into().ok());
            headers
                .set(SEC_WEBSOCKET_KEY, nonce.unwrap_or_else(|| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA==")));
        }
    }

    /// Whether the upstream's answer is one to the question: 101 to `websocket`, or a refusal. Over HTTP/2 a success that
    /// is no 101 would be taken for a tunnel.
    pub(super) fn is_answered_by<B>(self, response: &Answer<B>) -> bool {
        match response.status {
            StatusCode::SWITCHING_PROTOCOLS => has_word(&response.fields, &UPGRADE, "websocket"),
            status => self == Self::Http1 || !status.is_success(),
        }
    }

    /// Tells the client that it has its tunnel. Such an answer has no body, whatever the upstream says of its length
    /// (RFC 9110 §8.6, §9.3.6).
    pub(super) fn agree(self, status: &mut StatusCode, headers: &mut Fields) {
        headers.remove(CONTENT_LENGTH);
        match self {
            Self::Http1 => {
                headers.set(CONNECTION, HeaderValue::from_static("upgrade"));
                headers.set(UPGRADE, WEBSOCKET);
            }
            Self::Http2 => {
                headers.remove(SEC_WEBSOCKET_ACCEPT);
                *status = StatusCode::OK;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, Uri};

    use super::*;
    use crate::request::ClientBody;

    fn request(method: &str, version: Version, lines: &[(&'static str, &'static str)]) -> Received {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        Received {
            method: method.parse().expect("a method"),
            uri: Uri::from_static("/"),
            version,
            fields: lines.iter().map(line).collect(),
            is_websocket_stream: false,
            body: ClientBody::Nothing,
        }
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        for (method, version, connection, upgrade, expected) in [
            ("GET", Version::HTTP_11, "Upgrade", "websocket", true),
            ("GET", Version::HTTP_11, "keep-alive, upgrade", "WebSocket", true),
            ("POST", Version::HTTP_11, "Upgrade", "websocket", false),
            ("GET", Version::HTTP_10, "Upgrade", "websocket", false),
            ("GET", Version::HTTP_2, "Upgrade", "websocket", false),
            ("GET", Version::HTTP_11, "keep-alive", "websocket", false),
            ("GET", Version::HTTP_11, "Upgrade", "h2c", false),
            ("GET", Version::HTTP_11, "Upgrade, HTTP2-Settings", "h2c", false),
            ("GET", Version::HTTP_11, "Upgrade", "TLS/1.0", false),
            ("GET", Version::HTTP_11, "Upgrade", "websockets", false),
        ] {
            let mut request = request(method, version, &[("connection", connection), ("upgrade", upgrade)]);
            let asked = Upgrade::take(&mut request);
            assert_eq!(asked, expected.then_some(Upgrade::Http1), "{method} {connection} {upgrade}");
        }
    }

    #[test]
    fn an_agreement_has_no_body() {
        for (upgrade, expected) in [(Upgrade::Http1, 101), (Upgrade::Http2, 200)] {
            let mut headers = Fields::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("5"))]);
            let mut status = StatusCode::SWITCHING_PROTOCOLS;
            upgrade.agree(&mut status, &mut headers);
            assert_eq!((status.as_u16(), headers.get(CONTENT_LENGTH)), (expected, None));
        }
    }

    #[test]
    fn over_http2_the_method_becomes_that_of_the_handshake() {
        let mut request = request("CONNECT", Version::HTTP_2, &[]);
        assert_eq!(Upgrade::take(&mut request), None);
        request.is_websocket_stream = true;
        assert_eq!(Upgrade::take(&mut request), Some(Upgrade::Http2));
        assert_eq!(request.method, Method::GET);
    }
}
