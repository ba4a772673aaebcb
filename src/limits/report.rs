//! What a limit tells: to the client in `RateLimit` fields, to the operator in `limit.*`.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue, InvalidHeaderValue, RETRY_AFTER};

use super::policy::Policy;
use crate::vocab::fields::Fields;
use crate::vocab::units::push_number;

/// One bucket at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Whose.
    pub policy: Arc<Policy>,
    /// Units that it would admit at once.
    pub remaining: u64,
    /// Nanoseconds until it admits one; 0 = now.
    pub wait: u64,
    /// Nanoseconds until it is full.
    pub refill: u64,
}

impl Reading {
    /// Seconds until one is admitted, rounded up, at least 1 (`Retry-After`).
    pub fn retry_after_s(&self) -> u64 {
        seconds_up(self.wait).max(1)
    }

    /// `t`, and `limit.reset_s`: seconds until it is full; where it admits nothing, until it admits one.
    pub fn reset_s(&self) -> u64 {
        if self.remaining == 0 { self.retry_after_s() } else { seconds_up(self.refill) }
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

/// `RateLimit-Policy: "100/s";q=100;w=1, …` (draft-ietf-httpapi-ratelimit-headers-11 §3), made once per key.
pub fn policy_header<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Option<HeaderValue> {
    let mut text = String::new();
    for policy in policies {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}\"{}\";q={};w={}", policy.text, policy.units, policy.window_s);
    }
    if text.is_empty() { None } else { HeaderValue::try_from(text).ok() }
}

/// Sets the fields of every family that is on, over whatever the upstream sent.
pub fn set_headers(headers: &mut Fields, families: Families, reading: &Reading, policies: Option<&HeaderValue>) {
    if families.ratelimit {
        if let Ok(value) = ratelimit(reading) {
            headers.set(&RATELIMIT, value);
        }
        if let Some(policies) = policies {
            headers.set(&RATELIMIT_POLICY, policies.clone());
        }
    }
    if families.x_ratelimit {
        headers.set(&X_LIMIT, reading.policy.units.into());
        headers.set(&X_REMAINING, reading.remaining.into());
        headers.set(&X_RESET, reading.reset_s().into());
    }
}

/// `"100/s";r=42;t=1`. Without `format!`: it is made for every request of a key that has limits.
fn ratelimit(reading: &Reading) -> Result<HeaderValue, InvalidHeaderValue> {
    let name = reading.policy.text.as_bytes();
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
    use crate::vocab::units::Rate;
    use std::num::NonZeroU32;
    use std::time::Duration;

    fn policy(text: &str, units: u32, window_s: u64) -> Arc<Policy> {
        let units = NonZeroU32::new(units).expect("not zero");
        let window = Duration::from_secs(window_s);
        let rate = Rate { text: text.into(), units, window, burst: units };
        Arc::new(Policy::new(&rate))
    }

    #[test]
    fn fields_have_the_forms_of_the_draft() {
        let reading = Reading { policy: policy("100/s", 100, 1), remaining: 42, wait: 0, refill: 580_000_000 };
        let policies = policy_header([&*policy("100/s", 100, 1), &*policy("600/5m", 600, 300)]);
        let mut headers = Fields::new();
        set_headers(&mut headers, Families { ratelimit: true, x_ratelimit: true }, &reading, policies.as_ref());
        let line = |name| {
            headers.get(HeaderName::from_static(name)).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned()
        };
        assert_eq!(line("ratelimit"), r#""100/s";r=42;t=1"#);
        assert!(
            headers.get(&RATELIMIT).is_some_and(HeaderValue::is_sensitive),
            "HTTP/2 remembers what is another one every time"
        );
        assert_eq!(line("ratelimit-policy"), r#""100/s";q=100;w=1, "600/5m";q=600;w=300"#);
        assert_eq!(
            [line("x-ratelimit-limit"), line("x-ratelimit-remaining"), line("x-ratelimit-reset")],
            ["100", "42", "1"]
        );
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        for (wait, seconds) in [(0, 1), (1, 1), (1_000_000_000, 1), (1_000_000_001, 2), (59_999_999_999, 60)] {
            let reading = Reading { policy: policy("1/m", 1, 60), remaining: 0, wait, refill: wait };
            assert_eq!((reading.retry_after_s(), reading.reset_s()), (seconds, seconds));
        }
    }
}
