//! `/readyz`: whether requests are taken, and how everything is that they depend on.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::View;
use super::page::JSON;
use crate::edge::worker::Phase;
use crate::upstream::Upstream;

/// A chunk of lines that takes longer to be written is stuck.
const STUCK: Duration = Duration::from_secs(1);

/// The status, and the JSON.
pub(super) fn page(view: &View) -> (StatusCode, &'static str, String) {
    let (draining, alive) = (*view.phase.borrow() >= Phase::Draining, view.are_workers_alive());
    let reason = match (draining, alive) {
        (true, _) => Some("draining"),
        (false, false) => Some("a worker stands still"),
        (false, true) => None,
    };
    let mut page = Map::new();
    page.insert("status".to_owned(), if reason.is_none() { "ready" } else { "not_ready" }.into());
    if let Some(reason) = reason {
        page.insert("reason".to_owned(), reason.into());
    }
    page.insert("workers".to_owned(), json!({ "alive": alive }));
    page.insert("config".to_owned(), config(view));
    page.insert("upstreams".to_owned(), upstreams(view));
    page.insert("log".to_owned(), log(view));
    if let Some(state) = state(view) {
        page.insert("state".to_owned(), state);
    }
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, JSON, format!("{}\n", Value::Object(page)))
}

fn config(view: &View) -> Value {
    let standing = view.files.standing();
    json!({
        "generation": view.shared.snapshot.load().settings.generation,
        "result": standing.outcome.word(),
        "since": time(standing.since_us),
        "last_success": time(standing.success_us),
        "problems": standing.problems,
        "warnings": standing.warnings,
    })
}

fn upstreams(view: &View) -> Value {
    let (snapshot, now_ms) = (view.shared.snapshot.load_full(), view.now_ms());
    let servers = |upstream: &Upstream| -> Value {
        let servers = upstream.servers.iter().map(|it| &it.server);
        servers
            .map(|server| json!({ "server": server.endpoint.to_string(), "state": server.state(now_ms).word() }))
            .collect()
    };
    let named = snapshot.upstreams.iter().map(|upstream| (String::from(&*upstream.name), servers(upstream)));
    Value::Object(named.collect())
}

fn log(view: &View) -> Value {
    let stuck = view.sink.is_stuck_for();
    json!({
        "state": if stuck >= STUCK { "stuck" } else { "writing" },
        "lost": view.sink.lost(),
        "stuck_s": if stuck >= STUCK { stuck.as_secs() } else { 0 },
    })
}

/// None without a state file.
fn state(view: &View) -> Option<Value> {
    let keeping = view.shared.counts.as_ref()?.keeping();
    let state = if keeping.is_failing { "failing" } else { "writing" };
    Some(json!({ "state": state, "failures": keeping.failures, "lost": keeping.lost }))
}

/// As lines have it.
fn time(wall_us: i64) -> String {
    Timestamp::from_microsecond(wall_us).unwrap_or_default().to_string()
}
