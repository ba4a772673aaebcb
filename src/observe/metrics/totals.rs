//! Everything that was counted since the start, of all workers.

use std::fmt;

use prometheus_client::encoding::DescriptorEncoder;

use super::family::{Family, Gauge, labels};
use super::histogram::Histogram;
use crate::vocab::denial::{Challenge, Denial};

/// Every metric that counts.
#[derive(Debug)]
pub struct Totals {
    /// `metrics.series_max`
    pub(super) series_max: usize,
    pub(super) exchanges: Exchanges,
    pub(super) upstreams: Upstreams,
    pub(super) connections: Connections,
    pub(super) keys: Keys,
    pub(super) reloads: Family<u64>,
    pub(super) lockouts: Family<u64>,
    pub(super) alerts: Family<u64>,
}

/// Of requests.
#[derive(Debug)]
pub(super) struct Exchanges {
    pub(super) requests: Family<u64>,
    pub(super) responses: Family<u64>,
    pub(super) auth_failures: Family<u64>,
    pub(super) throttled: Family<u64>,
    pub(super) durations: Family<Histogram>,
    pub(super) request_bytes: Family<u64>,
    pub(super) response_bytes: Family<u64>,
}

/// Of their way on.
#[derive(Debug)]
pub(super) struct Upstreams {
    pub(super) durations: Family<Histogram>,
    pub(super) attempts: Family<u64>,
    pub(super) retries: Family<u64>,
    pub(super) ejections: Family<u64>,
}

/// Of what they come over.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) accepted: Family<u64>,
    pub(super) refused: Family<u64>,
    pub(super) handshakes: Family<u64>,
    pub(super) failures: Family<u64>,
}

/// Of keys, where `metrics.per_key` says so.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) requests: Family<u64>,
    pub(super) last_used: Family<Gauge>,
}

impl Totals {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            series_max,
            exchanges: Exchanges::new(),
            upstreams: Upstreams::new(),
            connections: Connections::new(),
            keys: Keys::new(),
            reloads: Family::new("config_reloads", "Times that files were read again, by result.", &["result"])
                .beginning_with(["applied", "rejected", "unchanged"].map(|result| labels![result])),
            lockouts: Family::new("lockouts", "Lock-outs that began.", &[]).beginning_with([labels![]]),
            alerts: Family::new("alerts", "Alerts raised, by rule and severity.", &["rule", "severity"]),
        }
    }

    /// `metrics.series_max`
    pub const fn series_max(&self) -> usize {
        self.series_max
    }

    /// Forgets keys whose ids are not to be `kept`.
    pub fn forget_keys(&mut self, kept: impl Fn(&str) -> bool) {
        self.keys.requests.retain(&kept);
        self.keys.last_used.retain(&kept);
    }

    pub(super) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Exchanges { requests, responses, auth_failures, throttled, durations, request_bytes, response_bytes } =
            &self.exchanges;
        for counter in [requests, responses, auth_failures, throttled, request_bytes, response_bytes] {
            counter.encode(encoder)?;
        }
        durations.encode(encoder)?;
        let Upstreams { durations, attempts, retries, ejections } = &self.upstreams;
        durations.encode(encoder)?;
        let Connections { accepted, refused, handshakes, failures } = &self.connections;
        let (reloads, lockouts, alerts) = (&self.reloads, &self.lockouts, &self.alerts);
        let Keys { requests, last_used } = &self.keys;
        for counter in
            [attempts, retries, ejections, accepted, refused, handshakes, failures, reloads, lockouts, alerts, requests]
        {
            counter.encode(encoder)?;
        }
        last_used.encode(encoder)
    }
}

impl Exchanges {
    fn new() -> Self {
        let about_keys = Denial::ALL.into_iter().filter(|denial| is_about_a_key(*denial));
        Self {
            requests: Family::new(
                "requests",
                "Requests, by route (_none where there is none), decision and reason, as in the log.",
                &["route", "decision", "reason"],
            ),
            responses: Family::new("responses", "Responses, by route and class of status.", &["route", "code"]),
            auth_failures: Family::new(
                "auth_failures",
                "Requests refused for their key, or for what it may not reach, by reason.",
                &["reason"],
            )
            .beginning_with(about_keys.map(|denial| labels![denial.reason()])),
            throttled: Family::new(
                "throttled",
                "Requests beyond a limit, by policy and decision (shadow_deny: it passed all the same).",
                &["policy", "decision"],
            ),
            durations: Family::new(
                "request_duration_seconds",
                "Whole exchanges, from the head of the request to the end of the response.",
                &["route"],
            ),
            request_bytes: Family::new("request_body_bytes", "Bytes from clients, without heads.", &["route"]),
            response_bytes: Family::new("response_body_bytes", "Bytes to clients, without heads.", &["route"]),
        }
    }
}

impl Upstreams {
    fn new() -> Self {
        const NAMES: &[&str] = &["upstream"];
        let waiting = "Waiting for the head of the upstream's response.";
        Self {
            durations: Family::new("upstream_duration_seconds", waiting, NAMES),
            attempts: Family::new("upstream_attempts", "Times that a request was sent, or was to be.", NAMES),
            retries: Family::new("upstream_retries", "Times that it was not the first.", NAMES),
            ejections: Family::new("upstream_ejections", "Servers ejected because requests failed.", NAMES),
        }
    }
}

impl Connections {
    fn new() -> Self {
        const NAMES: &[&str] = &["reason"];
        let refused = ["connections_max", "connections_per_ip_max", "proxy_protocol"].map(|reason| labels![reason]);
        let failed = ["closed", "protocol", "timeout"].map(|reason| labels![reason]);
        Self {
            accepted: Family::new("connections_accepted", "Connections that got a place.", &[])
                .beginning_with([labels![]]),
            refused: Family::new("connections_refused", "Connections closed at once.", NAMES).beginning_with(refused),
            handshakes: Family::new("tls_handshakes", "TLS handshakes that succeeded.", &["version", "resumed"]),
            failures: Family::new("tls_handshake_failures", "TLS handshakes that failed.", NAMES)
                .beginning_with(failed),
        }
    }
}

impl Keys {
    fn new() -> Self {
        const NAMES: &[&str] = &["key_id"];
        let last = "When the key was last presented, since the start.";
        Self {
            requests: Family::new("key_requests", "Requests that presented the key.", NAMES),
            last_used: Family::new("key_last_used_timestamp_seconds", last, NAMES),
        }
    }
}

/// A credential is missing, is one too many, is not good, or not for that.
pub(super) fn is_about_a_key(denial: Denial) -> bool {
    denial == Denial::DuplicateCredential || denial.challenge() != Challenge::None
}
