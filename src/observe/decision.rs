//! The decision line: INTERFACE.md §5, field by field.

use http::Version;

use super::line::{Line, name};
use crate::keys::Key;
use crate::record::{Record, TunnelRecord, Verdict};
use crate::request::{ConnFacts, Forwarded, RequestId, Transport};
use crate::upstream::body::Progress;
use crate::vocab::denial::{Denial, Fault};

/// `throttle` where a limit refused, or would have in shadow mode, else `decision`.
pub(super) fn event(record: &Record) -> &'static str {
    match record.verdict {
        Verdict::Deny(denial) | Verdict::Shadow(denial) if denial.is_throttle() => "throttle",
        Verdict::Deny(_) | Verdict::Shadow(_) | Verdict::Allow => "decision",
    }
}

/// Every field that applies.
pub(super) fn write(line: &mut Line<'_>, record: &Record) {
    line.word(name!("decision"), record.decision()).word(name!("reason"), record.reason());
    if let Some(fault) = record.fault() {
        line.word(name!("fault"), fault.as_str());
    }
    line.ascii(name!("request_id"), record.facts.request_id.as_bytes());
    write_key(line, record);
    write_client(line, record.facts.forwarded.as_deref(), &record.conn);
    write_request(line, record);
    write_transfer(line, record);
    if let Some(reading) = &record.trail.reading {
        line.word(name!("limit.policy"), &reading.label.text)
            .number(name!("limit.limit"), reading.label.units)
            .number(name!("limit.remaining"), reading.remaining)
            .number(name!("limit.reset_s"), reading.reset_s());
    }
    line.number(name!("generation"), record.settings.generation);
}

/// A request whose head could not be read: nothing is known of it but where it came from.
pub(super) fn write_unreadable(
    line: &mut Line<'_>,
    conn: &ConnFacts,
    id: &RequestId,
    end: (Option<u16>, &str),
    generation: u64,
) {
    line.word(name!("decision"), "deny")
        .word(name!("reason"), Denial::MalformedRequest.reason())
        .word(name!("fault"), Fault::Client.as_str())
        .word(name!("request_id"), id.as_str());
    write_conn(line, conn);
    let (status, outcome) = end;
    if let Some(status) = status {
        line.number(name!("http.response.status_code"), status.into());
    }
    line.word(name!("outcome"), outcome).number(name!("generation"), generation);
}

/// What became of a tunnel.
pub(super) fn write_tunnel(line: &mut Line<'_>, record: &TunnelRecord) {
    line.word(name!("request_id"), record.request_id.as_str());
    if let Some(fault) = record.fault() {
        line.word(name!("fault"), fault.as_str());
    }
    if let Some(key) = &record.key {
        write_known_key(line, key);
    }
    write_client(line, record.forwarded.as_deref(), &record.conn);
    if let Some(route) = &record.route {
        line.text(name!("http.route"), route.name.as_bytes());
    }
    line.number(name!("http.request.body.size"), record.request_bytes)
        .number(name!("http.response.body.size"), record.response_bytes);
    if let Some(upstream) = &record.upstream {
        line.text(name!("upstream.name"), upstream.name.as_bytes());
    }
    if let Some(address) = &record.address {
        line.word(name!("upstream.address"), address);
    }
    line.number(name!("duration_us"), record.duration_us)
        .word(name!("outcome"), record.outcome.as_str())
        .number(name!("generation"), record.generation);
}

fn write_known_key(line: &mut Line<'_>, key: &Key) {
    line.again(key.rendered().get_or_init(|| Line::fields(|line| write_key_entry(line, key))));
}

fn write_key(line: &mut Line<'_>, record: &Record) {
    let trail = &record.trail;
    if let Some(key) = &trail.key {
        write_known_key(line, key);
    }
    if let Some(source) = &trail.source {
        line.text(name!("key.source"), source.as_bytes());
    }
    if let Some(state) = trail.key_state {
        line.word(name!("key.state"), state);
    }
    if let Some(fingerprint) = trail.fingerprint {
        line.ascii(name!("key.fingerprint"), fingerprint.as_bytes());
    }
}

fn write_key_entry(line: &mut Line<'_>, key: &Key) {
    line.word(name!("key.id"), key.id());
    if !key.owner().is_empty() {
        line.text(name!("key.owner"), key.owner().as_bytes());
    }
    if !key.plan().is_empty() {
        line.text(name!("key.plan"), key.plan().as_bytes());
    }
}

/// Behind a proxy every request of a connection may come from somebody else.
fn write_client(line: &mut Line<'_>, forwarded: Option<&Forwarded>, conn: &ConnFacts) {
    let Some(forwarded) = forwarded else {
        return write_conn(line, conn);
    };
    match forwarded.client {
        Some(address) => line.word(name!("client.address"), &address.to_string()),
        None => line.word(name!("client.address"), &conn.source.to_string()),
    };
    if let Some(port) = forwarded.port {
        line.number(name!("client.port"), port.into());
    }
    write_peer(line, conn);
}

fn write_conn(line: &mut Line<'_>, conn: &ConnFacts) {
    line.again(conn.rendered.get_or_init(|| Line::fields(|line| write_conn_facts(line, conn))));
}

fn write_conn_facts(line: &mut Line<'_>, conn: &ConnFacts) {
    line.word(name!("client.address"), &conn.source.to_string());
    if let Some(port) = conn.source.port() {
        line.number(name!("client.port"), port.into());
    }
    write_peer(line, conn);
}

fn write_peer(line: &mut Line<'_>, conn: &ConnFacts) {
    line.word(name!("network.peer.address"), &conn.peer.to_string());
    if let Transport::Tls(version) = conn.transport {
        line.word(name!("tls.protocol.version"), version);
    }
    if let Some(subject) = &conn.client_subject {
        line.text(name!("tls.client.subject"), subject.as_bytes());
    }
}

fn write_request(line: &mut Line<'_>, record: &Record) {
    let (facts, redactor) = (&record.facts, &record.settings.redactor);
    line.text(name!("http.request.method"), &redactor.text(facts.method.as_str().as_bytes()));
    if !facts.host_name().is_empty() {
        line.text(name!("server.address"), &redactor.text(facts.host_name().as_bytes()));
    }
    line.text(name!("url.path"), &redactor.text(facts.path_and_query.path().as_bytes()));
    if let Some(query) = facts.path_and_query.query() {
        line.text(name!("url.query"), &redactor.query(query));
    }
    if let Some(route) = &record.trail.route {
        line.text(name!("http.route"), route.name.as_bytes());
    }
    if let Some(agent) = &facts.user_agent {
        line.text(name!("user_agent.original"), &redactor.text(agent.as_bytes()));
    }
    let version = match facts.version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    };
    line.word(name!("network.protocol.version"), version);
}

fn write_transfer(line: &mut Line<'_>, record: &Record) {
    let transfer = &record.transfer;
    if let Some(status) = transfer.status {
        line.number(name!("http.response.status_code"), status.into());
    }
    line.number(name!("http.request.body.size"), transfer.request_body.as_deref().map_or(0, Progress::bytes))
        .number(name!("http.response.body.size"), transfer.response_bytes);
    if let Some(upstream) = &transfer.upstream {
        line.text(name!("upstream.name"), upstream.name.as_bytes());
        if let Some(address) = &transfer.attempts.address {
            line.word(name!("upstream.address"), address);
        }
        line.number(name!("upstream.attempts"), transfer.attempts.count.into());
    }
    line.number(name!("duration_us"), record.duration_us);
    if transfer.upstream.is_some() {
        line.number(name!("upstream_duration_us"), transfer.upstream_us.unwrap_or(record.duration_us));
    }
    line.word(name!("outcome"), transfer.outcome.as_str());
}
