use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use super::*;

const SETTINGS: gateway::Metrics = gateway::Metrics { per_key: false, series_max: 2 };

#[derive(Debug)]
struct All(Arc<Metrics>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(&mut encoder)
    }
}

fn registry(metrics: &Arc<Metrics>) -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(All(Arc::clone(metrics))));
    registry
}

/// The lines of one metric, as Prometheus has them.
fn told(metrics: &Arc<Metrics>, name: &str) -> Vec<String> {
    let mut page = String::new();
    prometheus_text::encode(&mut page, &registry(metrics)).expect("memory takes all");
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

#[test]
fn both_formats_say_the_same_in_their_own_way() {
    let metrics = Arc::new(Metrics::new(1, SETTINGS));
    metrics.count_alert("guessing", "high");
    metrics.totals().exchanges.durations.at(labels!["a \"b\" \\ c"], 9).observe(2_500);
    for line in ["# TYPE keyward_alerts_total counter", "keyward_alerts_total{rule=\"guessing\",severity=\"high\"} 1"] {
        assert_eq!(told(&metrics, line), [line]);
    }
    let durations = told(&metrics, "keyward_request_duration_seconds_bucket{");
    assert_eq!(durations.len(), 16);
    assert_eq!(durations[0], "keyward_request_duration_seconds_bucket{route=\"a \\\"b\\\" \\\\ c\",le=\"0.001\"} 0");
    assert_eq!(durations[1], "keyward_request_duration_seconds_bucket{route=\"a \\\"b\\\" \\\\ c\",le=\"0.005\"} 1");
    assert_eq!(durations[15], "keyward_request_duration_seconds_bucket{route=\"a \\\"b\\\" \\\\ c\",le=\"+Inf\"} 1");

    let mut page = String::new();
    text::encode(&mut page, &registry(&metrics)).expect("memory takes all");
    assert!(page.contains("# TYPE keyward_alerts counter\nkeyward_alerts_total{rule"), "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn what_is_beyond_the_series_is_counted_in_one() {
    let metrics = Arc::new(Metrics::new(1, SETTINGS));
    for policy in ["1/s", "2/s", "3/s", "4/s", "1/s", "3/s"] {
        *metrics.totals().exchanges.throttled.at(labels![policy, "deny"], 2) += 1;
    }
    let series = told(&metrics, "keyward_throttled_total{");
    let expected = [
        "keyward_throttled_total{policy=\"1/s\",decision=\"deny\"} 2",
        "keyward_throttled_total{policy=\"2/s\",decision=\"deny\"} 1",
        "keyward_throttled_total{policy=\"_other\",decision=\"_other\"} 3",
    ];
    assert_eq!(series, expected);
    *metrics.totals().exchanges.throttled.at(labels!["4/s", "deny"], 3) += 1;
    assert_eq!(told(&metrics, "keyward_throttled_total{").len(), 4, "there is more room now");
}

#[test]
fn a_worker_brings_what_it_has_when_nobody_is_in_the_way_and_loses_nothing() {
    let metrics = Arc::new(Metrics::new(2, SETTINGS));
    let accepted = || told(&metrics, "keyward_connections_accepted_total ");
    let tally = Tally::new(Arc::clone(&metrics), 1);
    tally.accepted();
    assert_eq!(accepted(), ["keyward_connections_accepted_total 0"], "it is the worker's own so far");
    {
        let _scrape = metrics.totals();
        tally.fold(3);
        assert_eq!(metrics.underway(), 3, "nobody has to wait for a number");
    }
    assert_eq!(accepted(), ["keyward_connections_accepted_total 0"]);
    tally.accepted();
    tally.fold(2);
    assert_eq!(accepted(), ["keyward_connections_accepted_total 2"]);
    tally.fold(2);
    assert_eq!(accepted(), ["keyward_connections_accepted_total 2"]);
    tally.refused(Refused::Full);
    tally.shaken("1.3", true);
    tally.not_shaken("closed");
    tally.unreadable(Some(400));
    drop(tally);
    assert_eq!(metrics.underway(), 0);
    for line in [
        "keyward_connections_refused_total{reason=\"connections_max\"} 1",
        "keyward_connections_refused_total{reason=\"proxy_protocol\"} 0",
        "keyward_tls_handshakes_total{version=\"1.3\",resumed=\"true\"} 1",
        "keyward_tls_handshake_failures_total{reason=\"closed\"} 1",
        "keyward_requests_total{route=\"_none\",decision=\"deny\",reason=\"malformed_request\"} 1",
        "keyward_responses_total{route=\"_none\",code=\"4xx\"} 1",
        "keyward_auth_failures_total{reason=\"unknown_key\"} 0",
    ] {
        assert_eq!(told(&metrics, line), [line]);
    }
    assert!(told(&metrics, "keyward_auth_failures_total{reason=\"malformed_request\"").is_empty());
}

#[test]
fn ids_of_keys_are_there_only_while_they_are_wanted() {
    let per_key = gateway::Metrics { per_key: true, ..SETTINGS };
    let metrics = Arc::new(Metrics::new(1, per_key));
    for id in ["a", "b", "c"] {
        *metrics.totals().keys.requests.at(labels![id], 2) += 1;
    }
    assert_eq!(told(&metrics, "keyward_key_requests_total{").len(), 3);
    metrics.totals().forget_keys(|id| id == "b");
    let left = ["keyward_key_requests_total{key_id=\"b\"} 1", "keyward_key_requests_total{key_id=\"_other\"} 1"];
    assert_eq!(told(&metrics, "keyward_key_requests_total{"), left);
    metrics.configure(SETTINGS);
    assert!(!metrics.is_per_key() && told(&metrics, "key_id").is_empty());
}
