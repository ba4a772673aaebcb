//! The one place that turns a cause into a response: refusals as RFC 9457 problems, answers with our headers on them.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::response::Parts;
use http::{Response, StatusCode, Version};

use super::response_body::ResponseBody;
use super::upgrade::Upgrade;
use crate::admit::Admitted;
use crate::limits::Reading;
use crate::limits::report::{policy_header, set_headers, set_retry_after};
use crate::observe::line::push_escaped;
use crate::record::{Open, Outcome, Record};
use crate::request::forwarded::X_REQUEST_ID;
use crate::timer::Timers;
use crate::upstream::answer::AnswerBody;
use crate::upstream::headers::strip_hop_by_hop;
use crate::vocab::denial::{Denial, grpc_status};

static FINGERPRINT: HeaderName = HeaderName::from_static("x-api-key-fingerprint");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// draft-ietf-httpapi-ratelimit-headers-11 §5.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// Why a request is refused, with what the answer needs to say so.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denial: Denial,
    allow: Option<HeaderValue>,
    reading: Option<Reading>,
}

impl Refusal {
    /// A refusal that needs no more words.
    pub const fn new(denial: Denial) -> Self {
        Self { denial, allow: None, reading: None }
    }

    /// A 405 names the methods that would be taken.
    pub fn with_allow(self, allow: HeaderValue) -> Self {
        Self { allow: Some(allow), ..self }
    }

    /// A 429 names the limit.
    pub fn with_reading(self, reading: Option<Reading>) -> Self {
        Self { reading, ..self }
    }
}

/// Answers a request that was refused, or whose upstream failed; `outcome` is how the exchange ends once this is sent.
pub fn refuse(refusal: &Refusal, mut open: Open, outcome: Outcome) -> Response<ResponseBody> {
    let record = open.record();
    let status = record.settings.status(refusal.denial);
    let mut headers = HeaderMap::with_capacity(12);
    if let Some(rewrite) = record.trail.route.as_ref().and_then(|route| route.rewrite.as_ref()) {
        // What a route says to every client, such as which origins may read the answer, holds for refusals, too.
        rewrite.response.apply(&mut headers);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(challenge) = record.settings.challenge(refusal.denial) {
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(allow) = &refusal.allow {
        headers.insert(ALLOW, allow.clone());
    }
    if let Some(reading) = &refusal.reading {
        let own = record.trail.key.as_ref().filter(|_| refusal.denial == Denial::RateLimited);
        let policies = own.map_or_else(|| policy_header([&*reading.policy]), |key| key.policies().cloned());
        set_headers(&mut headers, record.settings.families, reading, policies.as_ref());
        set_retry_after(&mut headers, reading);
    }
    if refusal.denial == Denial::UpstreamBusy {
        // Nobody knows better: it depends on how fast the others are.
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    set_audit_headers(&mut headers, record);
    let is_the_last = matches!(refusal.denial, Denial::MalformedRequest | Denial::BodyTooLarge);
    if is_the_last && record.facts.version < Version::HTTP_2 {
        // Where this request ends is not certain, or nobody wants to read that far: what follows is not the next.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }

    let (status, body) = if record.facts.is_grpc {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(&GRPC_STATUS, u16::from(grpc_status(status)).into());
        headers.insert(&GRPC_MESSAGE, grpc_message(refusal.denial));
        (200, Bytes::new())
    } else {
        let body = problem(refusal, status, record);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, body.len().into());
        (status, body)
    };
    open.transfer().status = Some(status);
    open.transfer().outcome = outcome;
    let mut response = Response::new(ResponseBody::whole(body, open));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    *response.headers_mut() = headers;
    response
}

/// Relays the upstream's answer: its head with our headers on it, its body as it comes.
pub fn relay(
    answer: Response<AnswerBody>,
    mut open: Open,
    admitted: &Admitted,
    timers: &Rc<Timers>,
) -> Response<ResponseBody> {
    let (mut parts, body) = answer.into_parts();
    dress(&mut parts, &mut open, admitted);
    Response::from_parts(parts, ResponseBody::streamed(body, open, timers))
}

/// Relays the upstream's 101: the exchange is over with it.
pub(super) fn switched(
    mut parts: Parts,
    mut open: Open,
    admitted: &Admitted,
    upgrade: Upgrade,
) -> Response<ResponseBody> {
    dress(&mut parts, &mut open, admitted);
    open.transfer().outcome = Outcome::Complete;
    upgrade.agree(&mut parts.status, &mut parts.headers);
    Response::from_parts(parts, ResponseBody::whole(Bytes::new(), open))
}

/// Takes off an answer's head what concerned the upstream's connection, and puts ours on it.
fn dress(parts: &mut Parts, open: &mut Open, admitted: &Admitted) {
    strip_hop_by_hop(&mut parts.headers, |_| false);
    if let Some(rewrite) = &admitted.route().rewrite {
        rewrite.response.apply(&mut parts.headers);
    }
    let record = open.record();
    if let Some(reading) = admitted.reading() {
        let policies = admitted.key().and_then(|key| key.policies());
        set_headers(&mut parts.headers, record.settings.families, reading, policies);
    }
    set_audit_headers(&mut parts.headers, record);
    open.transfer().status = Some(parts.status.as_u16());
    parts.extensions.clear();
    parts.version = Version::HTTP_11;
}

fn set_audit_headers(headers: &mut HeaderMap, record: &Record) {
    if !record.settings.audit_headers {
        return;
    }
    headers.insert(&X_REQUEST_ID, record.facts.request_id.header());
    if let Some(fingerprint) = record.trail.fingerprint
        && let Ok(value) = HeaderValue::from_str(fingerprint.as_str())
    {
        headers.insert(&FINGERPRINT, value);
    }
}

/// The body of a refusal (RFC 9457). Nothing of the request is in it but the id that we gave it.
fn problem(refusal: &Refusal, status: u16, record: &Record) -> Bytes {
    let denial = refusal.denial;
    let (kind, title) = match &refusal.reading {
        Some(_) => (QUOTA_EXCEEDED, "Quota Exceeded"),
        None => {
            let phrase = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
            ("about:blank", phrase.unwrap_or("Error"))
        }
    };
    let mut out = Vec::with_capacity(320);
    let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
    put("{\"type\":\"");
    put(kind);
    put("\",\"title\":\"");
    put(title);
    put("\",\"status\":");
    put(&status.to_string());
    put(",\"detail\":\"");
    put(denial.detail());
    put("\",\"code\":\"");
    put(denial.code());
    put("\",\"request_id\":\"");
    put(record.facts.request_id.as_str());
    put("\"");
    if let Some(reading) = &refusal.reading {
        out.extend_from_slice(b",\"violated-policies\":[\"");
        push_escaped(&mut out, reading.policy.text.as_bytes());
        out.extend_from_slice(b"\"]");
    }
    out.extend_from_slice(b"}\n");
    Bytes::from(out)
}

/// The same words for a gRPC client; they are ASCII without `%`, so that percent-encoding changes nothing.
fn grpc_message(denial: Denial) -> HeaderValue {
    HeaderValue::from_static(denial.detail())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_detail_can_stand_in_a_header_and_in_json() {
        for denial in Denial::ALL {
            let plain = |b: u8| matches!(b, 0x20..=0x7e) && !b"\"\\%".contains(&b);
            assert!(denial.detail().bytes().all(plain), "{denial}");
            assert_eq!(grpc_message(denial), denial.detail());
        }
    }
}
