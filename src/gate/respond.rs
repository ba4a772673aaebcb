//! The one place that turns a cause into a response: refusals as RFC 9457 problems, answers with our headers on them.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode, Version};

use super::leak::Scanner;
use super::response_body::ResponseBody;
use super::upgrade::Upgrade;
use crate::admit::{Admitted, Limited};
use crate::limits::Reading;
use crate::limits::report::{Families, policy_header, set_policies, set_reading, set_retry_after};
use crate::observe::line::push_escaped;
use crate::record::{Open, Outcome, Record};
use crate::request::forwarded::X_REQUEST_ID;
use crate::timer::Timers;
use crate::upstream::answer::AnswerBody;
use crate::upstream::headers::strip_hop_by_hop;
use crate::upstream::message::Answer;
use crate::vocab::denial::{Denial, grpc_status};
use crate::vocab::fields::Fields;

static FINGERPRINT: HeaderName = HeaderName::from_static("x-api-key-fingerprint");
static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a request is refused, with what the answer needs to say so.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub denial: Denial,
    allow: Option<HeaderValue>,
    reading: Option<Reading>,
    /// `RateLimit-Policy`, where more is said than that of the reading.
    policies: Option<Arc<HeaderValue>>,
    retry_after_s: Option<u64>,
}

impl Refusal {
    /// A refusal that needs no more words.
    pub const fn new(denial: Denial) -> Self {
        Self { denial, allow: None, reading: None, policies: None, retry_after_s: None }
    }

    /// A 405 names the methods that would be taken.
    pub fn with_allow(self, allow: HeaderValue) -> Self {
        Self { allow: Some(allow), ..self }
    }

    /// A 429 names the limit.
    pub fn limited(limited: Limited) -> Self {
        let Limited { denial, reading, policies } = limited;
        Self { reading, policies, ..Self::new(denial) }
    }

    /// It is worth another try in so many seconds.
    pub fn with_retry_after(self, seconds: u64) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }
}

/// Answers a request that was refused, or whose upstream failed; `outcome` is how the exchange ends once this is sent.
pub fn refuse(refusal: &Refusal, mut open: Open, outcome: Outcome) -> Answer<ResponseBody> {
    let record = open.record();
    let status = record.settings.status(refusal.denial);
    let mut headers = Fields::with_capacity(12);
    if let Some(rewrite) = record.trail.route.as_ref().and_then(|route| route.rewrite.as_ref()) {
        // What a route says to every client, such as which origins may read the answer, holds for refusals, too.
        rewrite.response.apply(&mut headers);
    }
    headers.set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.set(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(challenge) = record.settings.challenge(refusal.denial) {
        headers.set(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(allow) = &refusal.allow {
        headers.set(ALLOW, allow.clone());
    }
    if let Some(reading) = &refusal.reading {
        let policies = refusal.policies.as_deref().cloned().or_else(|| policy_header([&*reading.label]));
        set_policies(&mut headers, record.settings.families, policies.as_ref());
        set_reading(&mut headers, record.settings.families, reading);
        set_retry_after(&mut headers, reading);
    }
    if let Some(seconds) = refusal.retry_after_s {
        headers.set(RETRY_AFTER, seconds.into());
    }
    if refusal.denial == Denial::UpstreamBusy {
        // Nobody knows better: it depends on how fast the others are.
        headers.set(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    set_audit_headers(&mut headers, record);
    let is_the_last = matches!(refusal.denial, Denial::MalformedRequest | Denial::BodyTooLarge);
    if is_the_last && record.facts.version < Version::HTTP_2 {
        // Where this request ends is not certain, or nobody wants to read that far: what follows is not the next.
        headers.set(CONNECTION, HeaderValue::from_static("close"));
    }

    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, body) = if record.facts.is_grpc {
        headers.set(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.set(&GRPC_STATUS, u16::from(grpc_status(status.as_u16())).into());
        headers.set(&GRPC_MESSAGE, grpc_message(refusal.denial));
        (StatusCode::OK, Bytes::new())
    } else {
        let body = problem(refusal, status, record);
        headers.set(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.set(CONTENT_LENGTH, body.len().into());
        // Of what HEAD asks for, it gets the length.
        (status, if record.facts.method == Method::HEAD { Bytes::new() } else { body })
    };
    open.transfer().status = Some(status.as_u16());
    open.transfer().outcome = outcome;
    Answer { status, fields: headers, body: ResponseBody::whole(body, open) }
}

/// Relays the upstream's answer: its head with our headers on it, its body as it comes.
pub fn relay(
    mut answer: Answer<AnswerBody>,
    mut open: Open,
    admitted: &Admitted,
    timers: &Rc<Timers>,
) -> Answer<ResponseBody> {
    dress(answer.status, &mut answer.fields, &mut open, admitted);
    let scanner = Scanner::new(&answer.fields, open.record());
    answer.map(|body| ResponseBody::streamed(body, open, timers, scanner))
}

/// Relays the upstream's 101: the exchange is over with it.
pub(super) fn switched(
    (mut status, mut fields): (StatusCode, Fields),
    mut open: Open,
    admitted: &Admitted,
    upgrade: Upgrade,
) -> Answer<ResponseBody> {
    dress(status, &mut fields, &mut open, admitted);
    open.transfer().outcome = Outcome::Complete;
    upgrade.agree(&mut status, &mut fields);
    Answer { status, fields, body: ResponseBody::whole(Bytes::new(), open) }
}

/// Takes off an answer's head what concerned the upstream's connection, and puts ours on it.
fn dress(status: StatusCode, headers: &mut Fields, open: &mut Open, admitted: &Admitted) {
    strip_hop_by_hop(headers, |_, _| false);
    if let Some(rewrite) = &admitted.route().rewrite {
        rewrite.response.apply(headers);
    }
    let record = open.record();
    tell_limits(headers, record.settings.families, admitted);
    set_audit_headers(headers, record);
    open.transfer().status = Some(status.as_u16());
}

/// Says on an answer what the key's limits are and what is left of them.
pub fn tell_limits(headers: &mut Fields, families: Families, admitted: &Admitted) {
    // There may be policies and no reading: nobody can say when fewer requests will be underway.
    set_policies(headers, families, admitted.policies());
    if let Some(reading) = admitted.reading() {
        set_reading(headers, families, reading);
    }
}

fn set_audit_headers(headers: &mut Fields, record: &Record) {
    if !record.settings.audit_headers {
        return;
    }
    headers.set(&X_REQUEST_ID, record.facts.request_id.header());
    if let Some(fingerprint) = record.trail.fingerprint
        && let Ok(value) = HeaderValue::from_bytes(fingerprint.as_bytes())
    {
        headers.set(&FINGERPRINT, value);
    }
}

/// The body of a refusal (RFC 9457). Nothing of the request is in it but the id that we gave it.
fn problem(refusal: &Refusal, status: StatusCode, record: &Record) -> Bytes {
    let denial = refusal.denial;
    let (kind, title) = denial.problem();
    let title = title.unwrap_or_else(|| status.canonical_reason().unwrap_or("Error"));
    let mut out = Vec::with_capacity(320);
    let mut put = |text: &str| out.extend_from_slice(text.as_bytes());
    put("{\"type\":\"");
    put(kind);
    put("\",\"title\":\"");
    put(title);
    put("\",\"status\":");
    put(status.as_str());
    put(",\"detail\":\"");
    put(denial.detail());
    put("\",\"code\":\"");
    put(denial.code());
    put("\",\"request_id\":\"");
    put(record.facts.request_id.as_str());
    put("\"");
    if let Some(reading) = &refusal.reading {
        out.extend_from_slice(b",\"violated-policies\":[\"");
        push_escaped(&mut out, reading.label.text.as_bytes());
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
