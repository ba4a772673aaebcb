//! Three servers under load: each is killed, hangs, resets and comes back, and only what was underway there suffers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, Scope, ScopedJoinHandle};

use serde_json::Value;

use crate::harness::{Fickle, Gateway, Key, Mood, Setup, eventually};

/// Each sends GET and POST by turns, one after the other.
const CLIENTS: usize = 4;
const FAILURES: usize = 3;

/// One exchange as its client saw it.
struct Seen {
    request_id: String,
    method: &'static str,
    status: u16,
}

fn client<'s>(
    scope: &'s Scope<'s, '_>,
    gateway: &'s Gateway,
    key: &'s Key,
    over: &'s AtomicBool,
) -> ScopedJoinHandle<'s, Vec<Seen>> {
    scope.spawn(move || {
        let mut conn = gateway.connect();
        let mut seen = Vec::new();
        while !over.load(Relaxed) {
            for method in ["GET", "POST"] {
                let request = gateway.request(method, "/x").bearer(key);
                let request = if method == "POST" { request.body(b"x") } else { request };
                let reply = conn.send(&request);
                seen.push(Seen { request_id: reply.request_id().to_owned(), method, status: reply.status });
            }
        }
        seen
    })
}

/// Waits until the server is ejected, heals it, and waits until it gets requests again.
fn out_and_back(gateway: &Gateway, server: &Fickle, heal: impl FnOnce()) {
    let address = server.addr.to_string();
    gateway.wait_event("upstream_health", |line| line["upstream.address"] == address && line["state.to"] == "ejected");
    heal();
    gateway.wait_event("upstream_health", |line| line["upstream.address"] == address && line["state.to"] == "healthy");
    let before = server.requests();
    eventually("requests to it again", || (server.requests() > before + 10).then_some(()));
}

/// Runs clients while `trouble` happens, and gives the failures of clients with their lines. Everything else went well.
fn failures(gateway: &Gateway, key: &Key, trouble: impl FnOnce()) -> Vec<(Seen, Value)> {
    let (over, before) = (AtomicBool::new(false), gateway.decided());
    let seen: Vec<Seen> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| client(scope, gateway, key, &over)).collect();
        // Also when it fails: the clients have to end for the test to end.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(trouble));
        over.store(true, Relaxed);
        let seen = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        seen
    });
    eventually("a line for each request", || (gateway.decided() >= before + seen.len()).then_some(()));
    let mut lines: HashMap<String, Vec<Value>> = HashMap::new();
    for line in gateway.decisions() {
        lines.entry(line["request_id"].as_str().unwrap().to_owned()).or_default().push(line);
    }
    let mut failures = Vec::new();
    for seen in seen {
        let mut lines = lines.remove(&seen.request_id).unwrap_or_default();
        assert_eq!(lines.len(), 1, "exactly one line");
        let line = lines.remove(0);
        assert_eq!(line["http.response.status_code"], seen.status, "{line:#}");
        assert!(line["upstream.attempts"].as_u64().unwrap() <= 2, "no more than one retry: {line:#}");
        if seen.status != 200 {
            failures.push((seen, line));
        }
    }
    failures
}

fn three(eject_for: &str, key: &Key) -> ([Fickle; 3], Gateway) {
    let servers = [Fickle::start(), Fickle::start(), Fickle::start()];
    let urls: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    let config = format!(
        "[upstream.default]\nservers = [{}]\neject = {{ failures = {FAILURES}, for = \"{eject_for}\" }}\n\
         [server]\nworkers = 2\n[[route]]\ntimeout = \"1s\"\n",
        urls.join(", ")
    );
    let gateway = Setup::before("", &config, &key.entry("a", "")).start();
    (servers, gateway)
}

fn all_of(failures: &[(Seen, Value)], server: &Fickle, reason: &str) {
    for (_, line) in failures {
        assert_eq!(line["reason"], reason, "{line:#}");
        assert_eq!(line["fault"], "upstream", "{line:#}");
        assert_eq!(line["upstream.address"], server.addr.to_string(), "{line:#}");
    }
}

/// How often a server was ejected.
fn ejections(gateway: &Gateway, server: &Fickle) -> usize {
    let address = server.addr.to_string();
    let lines = gateway.events("upstream_health");
    lines.iter().filter(|line| line["upstream.address"] == address && line["state.to"] == "ejected").count()
}

#[test]
fn a_server_that_is_killed_takes_only_what_was_underway_there() {
    let key = Key::new();
    let (servers, gateway) = three("700ms", &key);
    for server in &servers {
        let failures = failures(&gateway, &key, || {
            eventually("load", || (server.requests() > 20).then_some(()));
            server.kill();
            out_and_back(&gateway, server, || server.revive());
        });
        assert!(failures.len() <= CLIENTS, "{} failed", failures.len());
        assert!(failures.iter().all(|(seen, _)| seen.method == "POST"), "what may be repeated was");
        all_of(&failures, server, "upstream_error");
    }
}

#[test]
fn a_server_that_hangs_or_resets_fails_few_requests_and_is_left_alone() {
    let key = Key::new();
    let (servers, gateway) = three("700ms", &key);
    let moods = [Mood::Hanging, Mood::Resetting, Mood::Hanging];
    for (server, mood) in servers.iter().zip(moods) {
        let failures = failures(&gateway, &key, || {
            eventually("load", || (server.requests() > 20).then_some(()));
            server.set(mood);
            out_and_back(&gateway, server, || server.set(Mood::Well));
        });
        // Those that eject it, and those that were underway with them; and so again if its time was over before it was well.
        let most = (FAILURES + CLIENTS) * ejections(&gateway, server);
        assert!(failures.len() <= most, "{mood:?}: {} failed", failures.len());
        // A reset may meet only what is repeated; nobody is spared a server that hangs.
        assert!(mood == Mood::Resetting || !failures.is_empty(), "{mood:?}: nobody noticed");
        all_of(&failures, server, if mood == Mood::Hanging { "upstream_timeout" } else { "upstream_error" });
        if mood == Mood::Resetting {
            assert!(failures.iter().all(|(seen, _)| seen.method == "POST"), "what may be repeated was");
        }
    }
}
