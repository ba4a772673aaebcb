//! `[upstream.NAME]`: good and bad inputs.

use super::*;

fn upstream(text: &str) -> Upstream {
    good(&format!("[upstream.b]\n{text}")).upstreams["b"].clone()
}

#[track_caller]
fn refused(before: &str, values: &[&str], code: &str) {
    for value in values {
        let report = with(&format!("[upstream.b]\n{before}{value}\n")).expect_err("a problem");
        let errors = report.diagnostics().iter().filter(|it| it.severity == Severity::Error);
        assert_eq!(errors.map(|it| it.code).collect::<Vec<_>>(), [code], "{before}{value}");
    }
}

#[test]
fn servers() {
    let table = [
        ("http://127.0.0.1:3000", "127.0.0.1:3000", "127.0.0.1:3000"),
        ("http://API.internal", "api.internal:80", "api.internal"),
        ("http://api_1:81/", "api_1:81", "api_1:81"),
        ("http://[::1]:8000", "[::1]:8000", "[::1]:8000"),
        ("http://[::1]", "[::1]:80", "[::1]"),
    ];
    for (url, place, authority) in table {
        for (server, weight) in [(format!("\"{url}\""), 1), (format!("{{ url = \"{url}\", weight = 65535 }}"), 65_535)]
        {
            let servers = upstream(&format!("servers = [{server}]\n")).servers;
            let [only] = &*servers else { panic!("one server: {servers:?}") };
            let endpoint = &only.endpoint;
            assert_eq!((endpoint.to_string(), endpoint.authority()), (place.to_owned(), authority.to_owned()), "{url}");
            assert_eq!((only.weight, only.protocol), (weight, Protocol::Http1));
        }
    }
    let several = upstream("servers = [\"http://a\", { url = \"http://b\", weight = 2 }, \"http://a:81\"]\n").servers;
    assert_eq!(several.iter().map(|it| it.weight).collect::<Vec<_>>(), [1, 2, 1]);
}

#[test]
fn servers_refused() {
    let wrong = [
        "[]",
        "[\"\"]",
        "[\"http://\"]",
        "[\"http://:80\"]",
        "[\"127.0.0.1:80\"]",
        "[\"ftp://a\"]",
        "[\"http://a:0\"]",
        "[\"http://a:65536\"]",
        "[\"http://a:+1\"]",
        "[\"http://a:\"]",
        "[\"http://a/b\"]",
        "[\"http://a?b\"]",
        "[\"http://u:p@a\"]",
        "[\"http://::1\"]",
        "[\"http://[::1\"]",
        "[\"http://[::1]x\"]",
        "[\"unix:\"]",
        "[\"unix:///run/a\"]",
        "[{ url = \"http://a\", weight = 0 }]",
        "[{ url = \"http://a\", weight = 65536 }]",
    ];
    refused("servers = ", &wrong, "invalid-value");
    refused("servers = ", &["[{ weight = 1 }]"], "missing-key");
    refused("servers = ", &["[\"http://a\", \"http://A:80/\"]"], "duplicate-server");
    refused("", &[""], "missing-key");
    refused("servers = ", &["\"http://a\"", "[1]", "[\"http://a\", 2]"], "wrong-type");
    refused("servers = ", &[&format!("[\"unix:/{}\"]", "x".repeat(200))], "invalid-value");
    let many: String = (1..=257).map(|port| format!("\"http://a:{port}\", ")).collect();
    refused("servers = ", &[&format!("[{many}]")], "invalid-value");

    let text = "[upstream.b]\nservers = [\"http://u:hunter2@a\"]\n";
    let report = with(text).expect_err("a password");
    assert!(!format!("{report:?}{}", report.to_json()).contains("hunter2"));

    let report = parse(&file("[upstream.a]\nservers = [\"http://a\"]\n")).expect_err("no default");
    assert_eq!(report.diagnostics()[0].code, "unknown-upstream");
}

const SERVERS: &str = "servers = [\"http://a\"]\n";

#[test]
fn settings() {
    let plain = upstream(SERVERS);
    assert_eq!((plain.retries, plain.connections_max, plain.queue_max), (1, 1024, 1024));
    assert_eq!((plain.connect_timeout, plain.host), (Duration::from_secs(2), HostHeader::Preserve));
    assert_eq!((plain.balance, plain.health, plain.eject), (Balance::RoundRobin, None, None));
    assert_eq!(plain.tls, UpstreamTlsPaths::default());

    let set = upstream(&format!(
        "{SERVERS}retries = 0\nconnections_max = 7\nqueue_max = 0\nhost = \"app.internal:81\"\nconnect_timeout = \"1s\"\n"
    ));
    assert_eq!((set.retries, set.connections_max, set.queue_max), (0, 7, 0));
    assert_eq!(set.host, HostHeader::Literal("app.internal:81".parse().expect("a value")));
    assert_eq!(upstream(&format!("{SERVERS}host = \"upstream\"\n")).host, HostHeader::Upstream);

    let before = |key: &str| format!("{SERVERS}{key} = ");
    refused(&before("retries"), &["-1", "11"], "invalid-value");
    refused(&before("connections_max"), &["0", "1000001"], "invalid-value");
    refused(&before("queue_max"), &["-1"], "invalid-value");
    refused(&before("connect_timeout"), &["\"0\""], "invalid-value");
    refused(&before("balance"), &["\"random\""], "invalid-value");
    refused(&before("protocol"), &["\"http2\"", "\"\""], "invalid-value");
    let hosts = ["\"\"", "\"a b\"", "\"http://a\"", "\"a/b\"", "\"u@a\"", "\"a:\"", "\"a\\r\\nX: 1\""];
    refused(&before("host"), &hosts, "invalid-value");
    refused(&before("tls"), &["\"ca.pem\""], "wrong-type");
    refused(&before("tls"), &["{ cert = \"c.pem\" }", "{ key = \"c.key\" }"], "missing-key");
    refused(&before("tls"), &["{ server_name = \"a b\" }", "{ ca = \"\" }"], "invalid-value");
    refused(&before("tls"), &["{ verify = false }"], "unknown-key");
}

#[test]
fn checks() {
    let seconds = Duration::from_secs;
    let both = upstream(&format!("{SERVERS}health = {{}}\neject = {{}}\n"));
    let (path, healthy, unhealthy) = ("/healthz".to_owned(), 2, 3);
    let health = Health { path, interval: seconds(5), timeout: seconds(2), healthy, unhealthy };
    assert_eq!(both.health, Some(health));
    assert_eq!(both.eject, Some(Eject { failures: 5, duration: seconds(30) }));
    let set = upstream(&format!(
        "{SERVERS}health = {{ path = \"/up?deep=1\", interval = \"250ms\", timeout = \"1s\", healthy = 1, unhealthy = 1 }}\n\
         eject = {{ failures = 1, for = \"2m\" }}\n"
    ));
    let (path, interval) = ("/up?deep=1".to_owned(), Duration::from_millis(250));
    assert_eq!(set.health, Some(Health { path, interval, timeout: seconds(1), healthy: 1, unhealthy: 1 }));
    assert_eq!(set.eject, Some(Eject { failures: 1, duration: seconds(120) }));
    for (word, balance) in [("least_requests", Balance::LeastRequests), ("consistent_key", Balance::ConsistentKey)] {
        assert_eq!(upstream(&format!("{SERVERS}balance = \"{word}\"\n")).balance, balance);
    }

    let before = |inside: &str| format!("{SERVERS}{inside}");
    for path in ["", "healthz", "/a b", "/a#b", "/ä", "*", "http://a/"] {
        refused(&before("health = "), &[&format!("{{ path = \"{path}\" }}")], "invalid-value");
    }
    let wrong = ["{ interval = \"0\" }", "{ timeout = \"0s\" }", "{ healthy = 0 }", "{ unhealthy = 1001 }"];
    refused(&before("health = "), &wrong, "invalid-value");
    refused(&before("health = "), &["\"/healthz\"", "true", "{ path = 1 }"], "wrong-type");
    refused(&before("health = "), &["{ pfad = \"/\" }"], "unknown-key");
    refused(&before("eject = "), &["{ failures = 0 }", "{ for = \"0\" }"], "invalid-value");
    refused(&before("eject = "), &["{ fails = 1 }"], "unknown-key");
}

#[test]
fn tls_without_a_server_that_has_it_is_warned_of() {
    let (_, report) = with(&format!("[upstream.b]\n{SERVERS}tls = {{ ca = \"ca.pem\" }}\n")).expect("it can serve");
    assert_eq!(report.diagnostics()[0].code, "unused-tls");
    assert_eq!(report.diagnostics()[0].severity, Severity::Warning);
}
