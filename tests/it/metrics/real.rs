//! Prometheus and its promtool, which none of us wrote, on our metrics.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{ADMIN, settled};
use crate::harness::{
    Conn, Gateway, Key, Req, Server, Setup, Upstream, eventually, free_port, served_by, tool, wait_within,
};

/// Traffic of several kinds, so that most metrics have a series.
fn busy() -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = format!("{ADMIN}[metrics]\nper_key = true\n[server]\nstate = \"state.db\"\n");
    let gateway =
        Setup::with(&upstream, &config, &key.entry("a", "limits = [\"5/h\"]\nexpires = 2099-01-01T00:00:00Z"));
    let gateway = gateway.start();
    for _ in 0..8 {
        gateway.get("/").bearer(&key).send();
    }
    gateway.get("/").send();
    settled(&gateway, 9);
    (upstream, key, gateway)
}

fn ask(gateway: &Gateway, accept: &str) -> (String, String) {
    let reply = Req::new(gateway.admin(), "GET", "/metrics").header("Accept", accept).send();
    assert_eq!(reply.status, 200);
    (reply.header("content-type").unwrap().to_owned(), reply.text())
}

#[test]
fn the_format_is_the_one_that_is_asked_for() {
    let (_upstream, _, gateway) = busy();
    let (kind, text) = ask(&gateway, "*/*");
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.contains("# TYPE keyward_requests_total counter\n") && !text.contains("# EOF"), "{text}");
    let (kind, text) = ask(&gateway, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.contains("# TYPE keyward_requests counter\n") && text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn promtool_finds_nothing_wrong() {
    let (_upstream, _, gateway) = busy();
    let page = gateway.dir.path().join("page");
    fs::write(&page, ask(&gateway, "*/*").1).unwrap();
    let mut shell = tool("sh");
    shell.args(["-c", "exec promtool check metrics <\"$0\""]).arg(&page);
    let ran = wait_within(shell, Duration::from_secs(20)).ok();
    assert_eq!(ran.all().trim(), "", "{ran:?}");
    assert!(gateway.scrape().names().all(|name| name.starts_with("keyward_")));
}

/// Prometheus over one target, with its files in `folder`.
pub(crate) fn prometheus(folder: &Path, target: &str, rules: &str) -> Server {
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n{rules}\
         scrape_configs: [{{ job_name: keyward, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
    );
    fs::write(folder.join("prometheus.yml"), config).unwrap();
    let addr = free_port();
    let mut command: Command = tool("prometheus");
    command.arg("--config.file").arg(folder.join("prometheus.yml")).arg("--storage.tsdb.path").arg(folder.join("tsdb"));
    command.args(["--web.listen-address", &addr.to_string(), "--log.level", "warn"]);
    served_by(command, addr)
}

/// What Prometheus has of a query, once it has something.
pub(crate) fn query(prometheus: &Server, query: &str) -> Vec<Value> {
    let target = format!("/api/v1/query?query={query}");
    eventually(query, || {
        let mut conn = Conn::try_open(prometheus.addr).ok()?;
        let reply = conn.try_send(&Req::new(prometheus.addr, "GET", &target)).ok()?;
        // It says that it is not ready in other words.
        let answer: Value = serde_json::from_slice(&reply.body).ok()?;
        let found = answer["data"]["result"].as_array()?.clone();
        (!found.is_empty()).then_some(found)
    })
}

#[test]
fn a_real_prometheus_scrapes_it() {
    let (_upstream, key, gateway) = busy();
    let folder = tempfile::tempdir().unwrap();
    let prometheus = prometheus(folder.path(), &gateway.admin().to_string(), "");
    assert_eq!(query(&prometheus, "up")[0]["value"][1], "1");
    let found = query(&prometheus, "keyward_requests_total");
    let of = |reason: &str| found.iter().find(|series| series["metric"]["reason"] == reason).expect("a series");
    assert_eq!((&of("allowed")["value"][1], &of("missing_key")["value"][1]), (&"5".into(), &"1".into()));
    assert_eq!(of("rate_limited")["value"][1], "3");
    let bucket = query(&prometheus, "keyward_request_duration_seconds_bucket");
    assert!(bucket.iter().any(|series| series["metric"]["le"] == "+Inf"), "{bucket:?}");
    assert_eq!(query(&prometheus, "keyward_key_expiry_timestamp_seconds")[0]["metric"]["key_id"], "a");
    // It goes on.
    gateway.get("/").bearer(&key).send();
    eventually("a later scrape", || {
        (query(&prometheus, "sum(keyward_requests_total)")[0]["value"][1] == "10").then_some(())
    });
}
