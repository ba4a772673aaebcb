//! The decision line: INTERFACE.md §5, field by field.

use http::Version;

use super::line::Line;
use crate::record::{Record, Verdict};
use crate::request::{ConnFacts, Transport};
use crate::upstream::body::Progress;
use crate::vocab::denial::{Denial, Fault};

/// `throttle` where a limit refused, else `decision`.
pub(super) fn event(record: &Record) -> &'static str {
    match record.verdict {
        Verdict::Deny(denial) if denial.is_throttle() => "throttle",
        Verdict::Deny(_) | Verdict::Allow => "decision",
    }
}

/// Every field that applies.
pub(super) fn write(line: &mut Line<'_>, record: &Record) {
    let decision = match record.verdict {
        Verdict::Allow => "allow",
        Verdict::Deny(_) => "deny",
    };
    line.word("decision", decision).word("reason", record.reason());
    if let Some(fault) = record.fault() {
        line.word("fault", fault.as_str());
    }
    line.word("request_id", record.facts.request_id.as_str());
    write_key(line, record);
    write_conn(line, &record.conn);
    write_request(line, record);
    write_transfer(line, record);
    if let Some(reading) = &record.trail.reading {
        line.word("limit.policy", &reading.policy.text)
            .number("limit.limit", reading.policy.units.into())
            .number("limit.remaining", reading.remaining)
            .number("limit.reset_s", reading.reset_s());
    }
    line.number("generation", record.settings.generation);
}

/// A request whose head hyper could not read: nothing is known of it but where it came from.
pub(super) fn write_unreadable(line: &mut Line<'_>, conn: &ConnFacts, end: (Option<u16>, &str), generation: u64) {
    line.word("decision", "deny")
        .word("reason", Denial::MalformedRequest.reason())
        .word("fault", Fault::Client.as_str());
    write_conn(line, conn);
    let (status, outcome) = end;
    if let Some(status) = status {
        line.number("http.response.status_code", status.into());
    }
    line.word("outcome", outcome).number("generation", generation);
}

fn write_key(line: &mut Line<'_>, record: &Record) {
    let trail = &record.trail;
    if let Some(key) = &trail.key {
        line.word("key.id", &key.id);
        if !key.owner.is_empty() {
            line.text("key.owner", key.owner.as_bytes());
        }
        if !key.plan.is_empty() {
            line.text("key.plan", key.plan.as_bytes());
        }
    }
    if let Some(source) = &trail.source {
        line.text("key.source", source.as_bytes());
    }
    if let Some(state) = trail.key_state {
        line.word("key.state", state);
    }
    if let Some(fingerprint) = trail.fingerprint {
        line.word("key.fingerprint", fingerprint.as_str());
    }
}

fn write_conn(line: &mut Line<'_>, conn: &ConnFacts) {
    line.text("client.address", conn.forwarded_for.as_bytes())
        .number("client.port", conn.peer.port().into())
        .text("network.peer.address", conn.forwarded_for.as_bytes());
    if let Transport::Tls(version) = conn.transport {
        line.word("tls.protocol.version", version);
    }
}

fn write_request(line: &mut Line<'_>, record: &Record) {
    let (facts, redactor) = (&record.facts, &record.settings.redactor);
    line.text("http.request.method", &redactor.text(facts.method.as_str().as_bytes()));
    if !facts.host_name().is_empty() {
        line.text("server.address", &redactor.text(facts.host_name().as_bytes()));
    }
    line.text("url.path", &redactor.text(facts.path_and_query.path().as_bytes()));
    if let Some(query) = facts.path_and_query.query() {
        line.text("url.query", &redactor.query(query));
    }
    if let Some(route) = &record.trail.route {
        line.text("http.route", route.name.as_bytes());
    }
    if let Some(agent) = &facts.user_agent {
        line.text("user_agent.original", &redactor.text(agent.as_bytes()));
    }
    let version = match facts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    line.word("network.protocol.version", version);
}

fn write_transfer(line: &mut Line<'_>, record: &Record) {
    let transfer = &record.transfer;
    if let Some(status) = transfer.status {
        line.number("http.response.status_code", status.into());
    }
    line.number("http.request.body.size", transfer.request_body.as_deref().map_or(0, Progress::bytes))
        .number("http.response.body.size", transfer.response_bytes);
    if let Some(upstream) = &transfer.upstream {
        line.text("upstream.name", upstream.name.as_bytes());
        if let Some(address) = transfer.upstream_address {
            line.shown("upstream.address", address);
        }
        line.number("upstream.attempts", transfer.attempts.into());
    }
    line.number("duration_us", record.duration_us);
    if transfer.upstream.is_some() {
        line.number("upstream_duration_us", transfer.upstream_us);
    }
    line.word("outcome", transfer.outcome.as_str());
}
