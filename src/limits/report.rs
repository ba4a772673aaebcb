//! What a limit tells: to the client in `RateLimit` fields, to the operator in `limit.*`.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER};

use crate::vocab::fields::Fields;
use crate::vocab::units::push_number;

/// What a limit is called, whichever way it counts.
#[derive(Debug, PartialEq, Eq)]
pub struct Label {
    /// Its name: a rate as written, a quota's period.
    pub text: Arc<str>,
    /// `q`
    pub units: u64,
    /// `w`, seconds; `None` where not every window has as many.
    pub window_s: Option<u64>,
    /// `qu`
    pub counts: Counts,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Requests, by their cost.
    Requests,
    /// Requests that are underway.
    Concurrent,
}

/// One limit at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whose.
    pub label: Arc<Label>,
    /// Units that it would admit at once.
    pub remaining: u64,
    /// They are enough for the request that asks.
    pub enough: bool,
    /// Nanoseconds until they are; 0 = now.
    pub wait: u64,
    /// Nanoseconds until it is full.
    pub refill: u64,
}

impl Reading {
    /// Seconds until it admits the request, rounded up, at least 1 (`Retry-After`).
    pub fn retry_after_s(&self) -> u64 {
        seconds_up(self.wait).max(1)
    }

    /// `t`, and `limit.reset_s`: seconds until it is full; where it admits nothing, until it does.
    pub fn reset_s(&self) -> u64 {
        if self.remaining == 0 || !self.enough { self.retry_after_s() } else { seconds_up(self.refill) }
    }

    /// Of two readings, the one nearer exhaustion: fewer units left, then the longer wait for new ones.
    pub fn nearer(self, other: Self) -> Self {
        let rank = |r: &Self| (r.remaining, u64::MAX - r.refill);
        if rank(&other) < rank(&self) { other } else { self }
    }
}

fn seconds_up(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

/// Which families of headers are sent (`limits.headers`).
#[derive(Clone, Copy, Debug)]
pub struct Families {
    /// `RateLimit`, `RateLimit-Policy`
    pub ratelimit: bool,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`
    pub x_ratelimit: bool,
}

static RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
static X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
static X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
static X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// `RateLimit-Policy: "100/s";q=100;w=1, …` (draft-ietf-httpapi-ratelimit-headers-11 §3).
pub fn policy_header<'a>(labels: impl IntoIterator<Item = &'a Label>) -> Option<HeaderValue> {
    let text = policy_text(labels);
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// The value of [`policy_header`]; empty where there are no policies.
pub(super) fn policy_text<'a>(labels: impl IntoIterator<Item = &'a Label>) -> String {
    let mut text = String::new();
    for label in labels {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}\"{}\";q={}", label.text, label.units);
        if let Some(seconds) = label.window_s {
            let _ = write!(text, ";w={seconds}");
        }
        if label.counts == Counts::Concurrent {
            text.push_str(";qu=\"concurrent-requests\"");
        }
    }
    text
}

/// Sets `RateLimit-Policy` where its family is on, over whatever the upstream sent.
pub fn set_policies(headers: &mut Fields, families: Families, policies: Option<&HeaderValue>) {
    if let Some(policies) = policies.filter(|_| families.ratelimit) {
        headers.set(&RATELIMIT_POLICY, policies.clone());
    }
}

/// Sets what a limit tells in the fields of every family that is on, over whatever the upstream sent.
pub fn set_reading(headers: &mut Fields, families: Families, reading: &Reading) {
    if families.ratelimit
        && let Ok(value) = ratelimit(reading)
    {
        headers.set(&RATELIMIT, value);
    }
    if families.x_ratelimit {
        headers.set(&X_LIMIT, reading.label.units.into());
        headers.set(&X_REMAINING, reading.remaining.into());
        headers.set(&X_RESET, reading.reset_s().into());
    }
}

/// `"100/s";r=42;t=1`. Without `format!`: it is made for every request of a key that has limits.
fn ratelimit(reading: &Reading) -> Result<HeaderValue, InvalidHeaderValue> {
    let name = reading.label.text.as_bytes();
    let mut text = Vec::with_capacity(name.len() + 48);
    text.push(b'"');
    text.extend_from_slice(name);
    text.extend_from_slice(b"\";r=");
    push_number(&mut text, reading.remaining);
    text.extend_from_slice(b";t=");
    push_number(&mut text, reading.reset_s());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from(text))?;
    // It is another one every time: HTTP/2 would remember it in place of values that come again (RFC 7541 §7.1.3).
    value.set_sensitive(true);
    Ok(value)
}

/// Sets `Retry-After` of a 429.
pub fn set_retry_after(headers: &mut Fields, reading: &Reading) {
    headers.set(RETRY_AFTER, reading.retry_after_s().into());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str, units: u64, window_s: u64) -> Label {
        Label { text: text.into(), units, window_s: Some(window_s), counts: Counts::Requests }
    }

    fn reading(label: Label, remaining: u64, wait: u64, refill: u64) -> Reading {
        Reading { label: Arc::new(label), remaining, enough: remaining > 0, wait, refill }
    }

    #[test]
    fn fields_have_the_forms_of_the_draft() {
        let reading = reading(label("100/s", 100, 1), 42, 0, 580_000_000);
        let month = Label { window_s: None, ..label("month", 5, 1) };
        let at_once = Label { counts: Counts::Concurrent, window_s: None, ..label("concurrency", 8, 1) };
        let policies = policy_header([&label("100/s", 100, 1), &label("600/5m", 600, 300), &month, &at_once]);
        let mut headers = Fields::new();
        let families = Families { ratelimit: true, x_ratelimit: true };
        set_policies(&mut headers, families, policies.as_ref());
        set_reading(&mut headers, families, &reading);
        let line = |name| {
            headers.get(HeaderName::from_static(name)).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        assert_eq!(line("ratelimit"), r#""100/s";r=42;t=1"#);
        assert!(
            headers.get(&RATELIMIT).is_some_and(HeaderValue::is_sensitive),
            "HTTP/2 remembers what is another one every time"
        );
        assert_eq!(
            line("ratelimit-policy"),
            r#""100/s";q=100;w=1, "600/5m";q=600;w=300, "month";q=5, "concurrency";q=8;qu="concurrent-requests""#
        );
        assert_eq!(
            [line("x-ratelimit-limit"), line("x-ratelimit-remaining"), line("x-ratelimit-reset")],
            ["100", "42", "1"]
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (59_999_999_999, 60)] {
            let reading = reading(label("1/m", 1, 60), 0, wait, wait);
            assert_eq!((reading.retry_after_s(), reading.reset_s()), (seconds, seconds));
        }
    }
}
