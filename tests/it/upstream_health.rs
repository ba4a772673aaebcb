//! Servers that turn bad and good again: what checks find, what requests find, and who then gets what.

use std::fs;

use serde_json::Value;

use crate::harness::{Fickle, Gateway, Key, Mood, Setup, eventually, free_port, nginx_with};

const CHECKS: &str = "health = { interval = \"50ms\", timeout = \"10s\", healthy = 2, unhealthy = 2 }\n";

fn gateway(servers: &[&Fickle], settings: &str, key: &Key) -> Gateway {
    let urls: Vec<String> = servers.iter().map(|server| format!("\"{}\"", server.url())).collect();
    let config = format!("[upstream.default]\nservers = [{}]\n{settings}\n[server]\nworkers = 1\n", urls.join(", "));
    Setup::before("", &config, &key.entry("a", "")).start()
}

/// Sends requests that must not be sent twice, and gives their statuses.
fn post(gateway: &Gateway, key: &Key, times: usize) -> Vec<u16> {
    let mut conn = gateway.connect();
    (0..times).map(|_| conn.send(&gateway.request("POST", "/x").bearer(key).body(b"x")).status).collect()
}

fn counts(servers: &[&Fickle]) -> Vec<usize> {
    servers.iter().map(|server| server.requests()).collect()
}

fn change<'a>(line: &'a Value, server: &Fickle) -> [&'a str; 3] {
    assert_eq!(line["upstream.name"], "default", "{line:#}");
    assert_eq!(line["upstream.address"], server.addr.to_string(), "{line:#}");
    ["state.from", "state.to", "reason"].map(|field| line[field].as_str().unwrap())
}

/// The `upstream_health` line at a place, when it has come.
fn line(gateway: &Gateway, at: usize) -> Value {
    eventually("an upstream_health line", || gateway.events("upstream_health").into_iter().nth(at))
}

#[test]
fn a_server_whose_checks_fail_gets_nothing_until_they_pass() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let gateway = gateway(&[&a, &b], CHECKS, &key);
    assert_eq!(post(&gateway, &key, 20), [200; 20]);
    assert_eq!(counts(&[&a, &b]), [10, 10], "healthy until checks say otherwise");
    b.set(Mood::Sick);
    let bad = line(&gateway, 0);
    assert_eq!(change(&bad, &b), ["healthy", "unhealthy", "check_failed"]);
    assert_eq!((&bad["level"], &bad["detail"]), (&"warn".into(), &"status 503".into()));
    assert_eq!(post(&gateway, &key, 20), [200; 20]);
    assert_eq!(counts(&[&a, &b]), [30, 10]);
    b.set(Mood::Well);
    let good = line(&gateway, 1);
    assert_eq!(change(&good, &b), ["unhealthy", "healthy", "check_passed"]);
    assert_eq!((&good["level"], &good["detail"]), (&"info".into(), &Value::Null));
    assert_eq!(post(&gateway, &key, 20), [200; 20]);
    assert_eq!(counts(&[&a, &b]), [40, 20]);
    let before = a.checks();
    eventually("more checks", || (a.checks() > before + 3).then_some(()));
    assert_eq!(gateway.events("upstream_health").len(), 2, "each change is told of once");
}

#[test]
fn checks_say_what_is_wrong() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let quick = "health = { interval = \"50ms\", timeout = \"300ms\", unhealthy = 1 }\n";
    a.kill();
    let gateway = gateway(&[&a, &b], quick, &key);
    assert_eq!(line(&gateway, 0)["detail"], "connection refused");
    b.set(Mood::Hanging);
    assert_eq!(line(&gateway, 1)["detail"], "no answer in time");
}

#[test]
fn where_every_server_is_out_all_are_tried() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    a.set(Mood::Sick);
    b.set(Mood::Sick);
    let gateway = gateway(&[&a, &b], CHECKS, &key);
    line(&gateway, 1);
    assert_eq!(post(&gateway, &key, 10), [503; 10], "the servers' own answers");
    assert_eq!(counts(&[&a, &b]), [5, 5]);
}

#[test]
fn a_reload_that_ends_the_checks_ends_what_they_found() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let gateway = gateway(&[&a, &b], CHECKS, &key);
    b.set(Mood::Sick);
    line(&gateway, 0);
    let config = fs::read_to_string(gateway.config_path()).unwrap();
    // What does not concern the checks leaves what they found.
    fs::write(gateway.config_path(), config.replace("[server]", "retries = 0\n[server]")).unwrap();
    assert_eq!(gateway.reload_after(0)["result"], "applied");
    assert_eq!(post(&gateway, &key, 10), [200; 10]);
    assert_eq!(b.requests(), 0);
    fs::write(gateway.config_path(), config.replace(CHECKS, "")).unwrap();
    assert_eq!(gateway.reload_after(1)["result"], "applied");
    assert_eq!(change(&line(&gateway, 1), &b), ["unhealthy", "healthy", "checks_removed"]);
    assert_eq!(post(&gateway, &key, 10).iter().filter(|status| **status == 503).count(), 5);
}

/// nginx says 503 to a check: whoever hears it has spoken the server's protocol.
#[test]
fn checks_speak_the_protocol_of_the_server() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Key::new());
    crate::harness::write_certificate(folder.path(), "t", "app.internal");
    let (tls, h2c, socket) = (free_port(), free_port(), folder.path().join("app.sock"));
    let root = folder.path().display().to_string();
    let answer = "if ($http_host != \"app.internal\") { return 404; } return 503;";
    let files = format!("ssl_certificate {root}/t.pem; ssl_certificate_key {root}/t.key;");
    let _nginx = nginx_with(
        folder.path(),
        &format!(
            "server {{ listen {tls} ssl http2; {files} {answer} }}\nserver {{ listen {h2c} http2; {answer} }}\n\
             server {{ listen unix:{}; {answer} }}\n",
            socket.display()
        ),
    );
    let trust = format!("tls = {{ ca = \"{root}/t.pem\", server_name = \"app.internal\" }}");
    for url in [format!("https://{tls}"), format!("h2c://{h2c}"), format!("unix:{}", socket.display())] {
        let config = format!(
            "[upstream.default]\nservers = [\"{url}\"]\nhost = \"app.internal\"\n\
             health = {{ path = \"/up\", unhealthy = 1 }}\n"
        );
        let config = if url.starts_with("https") { config + &trust } else { config };
        let gateway = Setup::before("", &config, &key.entry("a", "")).start();
        assert_eq!(line(&gateway, 0)["detail"], "status 503", "{url}");
    }
}

#[test]
fn a_server_that_fails_requests_in_a_row_is_ejected() {
    let (a, b, c, key) = (Fickle::start(), Fickle::start(), Fickle::start(), Key::new());
    let gateway = gateway(&[&a, &b, &c], "eject = { failures = 3, for = \"10m\" }\n", &key);
    c.set(Mood::Resetting);
    let statuses = post(&gateway, &key, 30);
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), 3, "{statuses:?}");
    assert_eq!(c.requests(), 3);
    let bad = line(&gateway, 0);
    assert_eq!(change(&bad, &c), ["healthy", "ejected", "consecutive_failures"]);
    assert_eq!(bad["level"], "warn");
}

#[test]
fn a_server_that_was_ejected_comes_back() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let gateway = gateway(&[&a, &b], "eject = { failures = 1, for = \"500ms\" }\n", &key);
    b.set(Mood::Resetting);
    post(&gateway, &key, 2);
    assert_eq!(change(&line(&gateway, 0), &b), ["healthy", "ejected", "consecutive_failures"]);
    b.set(Mood::Well);
    assert_eq!(change(&line(&gateway, 1), &b), ["ejected", "healthy", "ejection_over"]);
    let before = b.requests();
    eventually("requests to it", || {
        assert_eq!(post(&gateway, &key, 2), [200; 2]);
        (b.requests() > before).then_some(())
    });
    assert_eq!(gateway.events("upstream_health").len(), 2);
}

#[test]
fn answers_of_gateways_and_silence_eject_and_one_good_answer_begins_anew() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let settings = "eject = { failures = 2, for = \"10m\" }\n[[route]]\ntimeout = \"300ms\"\n";
    let gateway = gateway(&[&a, &b], settings, &key);
    // b: bad, good, bad, good: never two in a row.
    for mood in [Mood::Sick, Mood::Well, Mood::Sick, Mood::Well] {
        b.set(mood);
        post(&gateway, &key, 2);
    }
    assert_eq!(gateway.events("upstream_health").len(), 0);
    b.set(Mood::Hanging);
    let statuses = post(&gateway, &key, 8);
    assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 2, "{statuses:?}");
    line(&gateway, 0);
    a.set(Mood::Sick);
    assert_eq!(post(&gateway, &key, 2), [503, 503]);
    assert_eq!(change(&line(&gateway, 1), &a), ["healthy", "ejected", "consecutive_failures"]);
}

#[test]
fn a_request_that_may_be_repeated_does_not_notice_a_server_that_is_gone() {
    let (a, b, key) = (Fickle::start(), Fickle::start(), Key::new());
    let gateway = gateway(&[&a, &b], "", &key);
    post(&gateway, &key, 4);
    b.kill();
    // Nothing was sent to it, so that this holds for requests with a body as well.
    assert_eq!(post(&gateway, &key, 20), [200; 20]);
    let reply = gateway.get("/y").bearer(&key).send();
    assert_eq!(reply.status, 200);
    eventually("the lines", || (gateway.decided() == 25).then_some(()));
    let lines = gateway.decisions();
    assert!(lines.iter().all(|line| line["upstream.attempts"].as_u64().unwrap() <= 2));
    assert!(lines.iter().any(|line| line["upstream.attempts"] == 2));
}
