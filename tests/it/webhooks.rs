//! Webhooks: what receivers that none of us wrote get, and what becomes of alerts that nobody takes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{
    Gateway, Key, PATIENCE, Server, Setup, curl_ok, eventually, free_port, served_by, server_that_names_its_port, tool,
};
use crate::leak::{scripted, sized};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A receiver in Python, and what it has seen.
struct Receiver {
    server: Server,
    seen: PathBuf,
}

impl Receiver {
    /// At this port, or any; it answers like this.
    fn start(dir: &Path, port: u16, answers: &[&str]) -> Receiver {
        fs::write(dir.join("hook.secret"), SECRET).unwrap();
        let seen = dir.join(format!("seen-{}", answers.join("-")));
        let mut command = tool("python3");
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/webhook_receiver.py"));
        command.arg(port.to_string()).arg(dir.join("hook.secret")).arg(&seen).args(answers);
        Receiver { server: server_that_names_its_port(command), seen }
    }

    fn seen(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.seen).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The request that is the `n`th, once it has come.
    fn nth(&self, n: usize) -> Value {
        eventually(&format!("request {n} of a webhook"), || self.seen().into_iter().nth(n))
    }

    fn standard(&self) -> String {
        format!("[[alerts.webhook]]\nurl = \"{}/hook\"\nsecret = \"file:hook.secret\"\n", self.server.url())
    }
}

/// A gateway whose upstream tells the key to everybody who asks for `/`.
fn setup(dir: tempfile::TempDir, config: &str, keys: &[(&str, &Key)]) -> Setup {
    let echo: String = keys.iter().map(|(id, key)| format!("X-Of-{id}: {}\r\n", key.text)).collect();
    let entries: String = keys.iter().map(|(id, key)| key.entry(id, "")).collect();
    let mut setup = Setup::before(&format!("http://{}", scripted(vec![("/", sized(&echo, ""))])), config, &entries);
    setup.dir = dir;
    setup
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn alert(gateway: &Gateway, key: &Key) -> Value {
    let before = gateway.events("alert").len();
    gateway.get("/").bearer(key).send();
    eventually("an alert", || gateway.events("alert").into_iter().nth(before))
}

#[track_caller]
fn is_silent_about_the_secret(gateway: &Gateway) {
    let text = gateway.text();
    assert!(!text.contains(SECRET) && !text.contains(&SECRET[6..]), "the secret is in a line:\n{text}");
}

#[test]
fn an_alert_comes_signed_and_once_and_no_redirect_is_followed() {
    let (dir, key) = (folder(), Key::new());
    let receiver = Receiver::start(dir.path(), 0, &["302", "500", "200"]);
    let gateway = setup(dir, &receiver.standard(), &[("a", &key)]).start();
    let line = alert(&gateway, &key);
    let taken = receiver.nth(2);
    for (n, answer) in ["302", "500", "200"].into_iter().enumerate() {
        let seen = receiver.nth(n);
        assert_eq!((&seen["answer"], &seen["path"]), (&answer.into(), &"/hook".into()));
        assert_eq!((&seen["signed"], &seen["type"]), (&true.into(), &"application/json".into()));
        assert_eq!((&seen["id"], &seen["body"]), (&line["alert.id"], &taken["body"]), "the same each time");
    }
    assert_eq!(taken["body"]["type"], "keyward.alert.leak_in_response");
    let data = &taken["body"]["data"];
    for name in ["id", "rule", "severity", "subject", "count", "window_s", "evidence"] {
        assert_eq!(data[name], line[&format!("alert.{name}")], "{name}");
    }
    gateway.wait_event("webhook_recovered", |line| line["webhook"] == "http://127.0.0.1");
    assert_eq!(gateway.events("webhook_failed").len(), 1, "told once");
    assert_eq!(gateway.events("webhook_failed")[0]["reason"], "status 302 Found");
    assert_eq!(receiver.seen().len(), 3);
    is_silent_about_the_secret(&gateway);
}

#[test]
fn a_receiver_that_hangs_holds_up_nobody() {
    let (dir, key, other) = (folder(), Key::new(), Key::new());
    let hanging = Receiver::start(dir.path(), 0, &["hang"]);
    let well = Receiver::start(dir.path(), 0, &["200"]);
    let config = format!("{}{}", hanging.standard(), well.standard());
    let mut gateway = setup(dir, &config, &[("a", &key), ("b", &other)]).start();
    let first = alert(&gateway, &key);
    assert_eq!(hanging.nth(0)["id"], first["alert.id"]);
    let second = alert(&gateway, &other);
    assert_eq!((&well.nth(0)["id"], &well.nth(1)["id"]), (&first["alert.id"], &second["alert.id"]));
    assert_eq!(gateway.get("/").bearer(&key).send().status, 500, "requests go on");
    gateway.stop();
}

#[test]
fn with_a_state_file_no_alert_is_lost_over_a_restart() {
    let (dir, key) = (folder(), Key::new());
    let port = free_port().port();
    fs::write(dir.path().join("hook.secret"), SECRET).unwrap();
    let config = format!(
        "[server]\nstate = \"state.db\"\n[[alerts.webhook]]\nurl = \"http://127.0.0.1:{port}/hook\"\n\
         secret = \"file:hook.secret\"\n"
    );
    let gateway = setup(dir, &config, &[("a", &key)]).start();
    let line = alert(&gateway, &key);
    gateway.wait_event("webhook_failed", |_| true);
    gateway.signal("KILL");
    let gateway = gateway.next();
    let receiver = Receiver::start(gateway.dir.path(), port, &["200"]);
    let seen = receiver.nth(0);
    assert_eq!((&seen["id"], &seen["signed"]), (&line["alert.id"], &true.into()));
    assert_eq!(seen["body"]["data"]["evidence"], line["alert.evidence"]);
    gateway.wait_event("webhook_recovered", |_| true);
    gateway.signal("TERM");
    let gateway = gateway.next();
    alert(&gateway, &key);
    assert_ne!(receiver.nth(1)["id"], line["alert.id"], "what was taken does not come again");
    assert_eq!(receiver.seen().len(), 2);
}

#[test]
fn a_chat_gets_a_text_and_a_url_that_is_a_secret_is_in_no_line() {
    let (dir, key) = (folder(), Key::new());
    let receiver = Receiver::start(dir.path(), 0, &["404", "200"]);
    fs::write(dir.path().join("slack.url"), format!("{}/services/T0/B0/hidden\n", receiver.server.url())).unwrap();
    let config = "[[alerts.webhook]]\nurl = \"file:slack.url\"\nformat = \"slack\"\n";
    let gateway = setup(dir, config, &[("a", &key)]).start();
    alert(&gateway, &key);
    let seen = receiver.nth(1);
    assert_eq!((&seen["path"], &seen["id"]), (&"/services/T0/B0/hidden".into(), &Value::Null));
    let text = seen["body"]["text"].as_str().unwrap();
    assert!(text.starts_with("*critical*: leak_in_response, key:a (1)\n"), "{text}");
    let failed = gateway.wait_event("webhook_failed", |_| true);
    assert!(failed["webhook"].as_str().unwrap().ends_with("slack.url"), "{failed}");
    assert!(!gateway.text().contains("hidden"));
}

#[test]
fn a_reload_changes_who_is_told_and_what_it_is_signed_with() {
    let (dir, key, other) = (folder(), Key::new(), Key::new());
    let receiver = Receiver::start(dir.path(), 0, &["200"]);
    let gateway = setup(dir, "", &[("a", &key), ("b", &other)]).start();
    alert(&gateway, &key);
    let text = fs::read_to_string(gateway.config_path()).unwrap();
    fs::write(gateway.config_path(), format!("{text}\n{}", receiver.standard())).unwrap();
    gateway.reload_after(0);
    let line = alert(&gateway, &other);
    let seen = receiver.nth(0);
    assert_eq!((&seen["id"], &seen["signed"]), (&line["alert.id"], &true.into()), "the first has nobody heard of");
    assert_eq!(receiver.seen().len(), 1);
}

#[test]
fn a_real_alertmanager_takes_one() {
    let (dir, key) = (folder(), Key::new());
    let file = dir.path().join("alertmanager.yml");
    fs::write(&file, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n").unwrap();
    let addr: SocketAddr = free_port();
    let mut command = tool("prometheus-alertmanager");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.path={}", dir.path().join("alertmanager").display()));
    command.arg(format!("--web.listen-address={addr}")).arg("--cluster.listen-address=");
    let manager = served_by(command, addr);
    let config = format!("[[alerts.webhook]]\nurl = \"{}\"\nformat = \"alertmanager\"\n", manager.url());
    let gateway = setup(dir, &config, &[("a", &key)]).start();
    let line = alert(&gateway, &key);
    let url = format!("{}/api/v2/alerts", manager.url());
    let found = eventually("Alertmanager to have it", || {
        let list: Value = serde_json::from_str(&curl_ok(&[&url])).ok()?;
        list.as_array()?.first().cloned()
    });
    assert_eq!(found["labels"]["alertname"], "keyward_leak_in_response");
    assert_eq!((&found["labels"]["severity"], &found["labels"]["subject"]), (&"critical".into(), &"key:a".into()));
    assert_eq!(found["annotations"]["id"], line["alert.id"]);
    assert_eq!(found["annotations"]["leak_place"], "header:x-of-a");
    assert!(gateway.events("webhook_failed").is_empty(), "within {PATIENCE:?}");
}
