//! Certificates of clients.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use serde_json::Value;

use crate::harness::{Gateway, Key, Setup, Upstream, curl, eventually, keyward, poll, tool, wait_within};

type Authority = CertifiedIssuer<'static, KeyPair>;

/// An authority; its certificate goes to `FILE.pem`.
fn authority(dir: &Path, file: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, format!("authority {file}"));
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join(format!("{file}.pem")), authority.pem()).unwrap();
    authority
}

/// A client's certificate and key, in `FILE.pem` and `FILE.key`.
fn client(dir: &Path, file: &str, by: &Authority, expired: bool) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Acme, Inc.");
    params.distinguished_name.push(DnType::CommonName, file);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if expired {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    fs::write(dir.join(format!("{file}.pem")), certificate.pem()).unwrap();
    fs::write(dir.join(format!("{file}.key")), key.serialize_pem()).unwrap();
}

struct World {
    upstream: Upstream,
    key: Key,
    gateway: Gateway,
}

/// The first listener wants certificates as `client_auth` says, the second knows nothing of them.
fn world(client_auth: &str) -> World {
    let (upstream, key) = (Upstream::start(), Key::new());
    let tls = "address = \"127.0.0.1:0\"\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let config =
        format!("[[listener]]\n{tls}client_ca = \"clients.pem\"\nclient_auth = \"{client_auth}\"\n[[listener]]\n{tls}");
    let setup = Setup::with(&upstream, &config, &key.entry("a", "")).certificate("t", "localhost");
    let dir = setup.dir.path();
    let ours = authority(dir, "clients");
    client(dir, "good", &ours, false);
    client(dir, "expired", &ours, true);
    client(dir, "stranger", &authority(dir, "others"), false);
    World { gateway: setup.start(), upstream, key }
}

impl World {
    /// Whether a request with this certificate passes.
    fn passes(&self, path: &str, certificate: Option<&str>, more: &[&str]) -> bool {
        let file = |name: &str| self.gateway.dir.path().join(name).display().to_string();
        let (port, auth) = (self.gateway.addr().port(), format!("x-api-key: {}", self.key.text));
        let (url, resolve) = (format!("https://localhost:{port}{path}"), format!("localhost:{port}:127.0.0.1"));
        let ca = file("t.pem");
        let shown = certificate.map(|name| (file(&format!("{name}.pem")), file(&format!("{name}.key"))));
        let mut args = vec!["--cacert", &ca, "--resolve", &resolve, "-H", &auth];
        args.extend(shown.iter().flat_map(|(cert, key)| ["--cert", cert, "--key", key]));
        args.extend(more);
        args.push(&url);
        let ran = curl(&args);
        assert!(ran.code != 0 || ran.stdout == "ok", "{ran:?}");
        ran.code == 0
    }

    fn line(&self, path: &str) -> Value {
        self.gateway.wait_decision("its line", |l| l["url.path"] == path)
    }
}

#[test]
fn where_a_certificate_is_required_only_a_good_one_passes() {
    let world = world("required");
    for version in [["--tlsv1.3", "--http2"], ["--tls-max", "1.2"]] {
        assert!(world.passes("/good", Some("good"), &version));
        for bad in [None, Some("stranger"), Some("expired")] {
            assert!(!world.passes("/bad", bad, &version), "{bad:?} {version:?}");
        }
    }
    assert_eq!(world.line("/good")["tls.client.subject"], "CN=good,O=Acme\\, Inc.");
    assert_eq!(world.upstream.count("/good"), 2);
    assert_eq!(world.upstream.count("/bad"), 0);
    // A certificate is no key.
    let no_key = Key::new();
    let world = World { key: no_key, ..world };
    let args: &[&str] = &["-f"];
    assert!(!world.passes("/no-key", Some("good"), args));
    assert_eq!(world.line("/no-key")["reason"], "unknown_key");
}

#[test]
fn where_it_is_optional_one_that_is_shown_must_be_good() {
    let world = world("optional");
    assert!(world.passes("/none", None, &[]) && world.passes("/good", Some("good"), &[]));
    assert!(!world.passes("/bad", Some("stranger"), &[]) && !world.passes("/bad", Some("expired"), &[]));
    assert_eq!(world.line("/good")["tls.client.subject"], "CN=good,O=Acme\\, Inc.");
    assert!(world.line("/none").get("tls.client.subject").is_none());
    assert_eq!(world.upstream.count("/bad"), 0);
}

#[test]
fn where_it_is_off_none_is_looked_at() {
    let world = world("off");
    assert!(world.passes("/", Some("stranger"), &[]));
    assert!(world.line("/").get("tls.client.subject").is_none());
}

#[test]
fn whom_to_trust_is_reloaded_and_a_broken_file_changes_nothing() {
    let world = world("required");
    let dir = world.gateway.dir.path();
    let good = fs::read(dir.join("clients.pem")).unwrap();
    assert!(world.passes("/", Some("good"), &[]) && !world.passes("/", Some("stranger"), &[]));

    fs::write(dir.join("clients.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let told = world.gateway.reload_after(0);
    assert_eq!(told["result"], "rejected");
    assert!(told["problems"][0].as_str().unwrap().contains("keyward.toml:5:13"), "{told}");
    assert!(world.passes("/", Some("good"), &[]));

    fs::copy(dir.join("others.pem"), dir.join("clients.pem")).unwrap();
    eventually("the others to be trusted", || world.passes("/", Some("stranger"), &[]).then_some(()));
    assert!(!world.passes("/", Some("good"), &[]));
    // A bundle: all of them.
    fs::write(dir.join("clients.pem"), [good, fs::read(dir.join("others.pem")).unwrap()].concat()).unwrap();
    eventually("both to be trusted", || world.passes("/", Some("good"), &[]).then_some(()));
    assert!(world.passes("/", Some("stranger"), &[]));
}

/// `openssl s_client` to a listener of the gateway, and what it said.
fn s_client(world: &World, listener: usize, args: &[&str]) -> String {
    let request = format!("GET /s HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nConnection: close\r\n\r\n", world.key.text);
    let file = world.gateway.dir.path().join("request.txt");
    fs::write(&file, request).unwrap();
    let mut shell = tool("sh");
    let address = world.gateway.listener(listener).to_string();
    shell.current_dir(world.gateway.dir.path());
    shell.args(["-c", "exec openssl s_client \"$@\" <request.txt", "sh", "-connect", &address, "-ign_eof"]).args(args);
    wait_within(shell, Duration::from_secs(20)).all()
}

#[test]
fn a_session_without_a_certificate_is_not_resumed_where_one_is_required() {
    let world = world("required");
    for version in ["-tls1_3", "-tls1_2"] {
        let first = s_client(&world, 1, &[version, "-servername", "localhost", "-sess_out", "session.pem"]);
        assert!(first.contains("200 OK"), "{version}: {first}");
        let again = s_client(&world, 1, &[version, "-servername", "localhost", "-sess_in", "session.pem"]);
        assert!(again.contains("Reused, ") && again.contains("200 OK"), "{version}: {again}");
        let elsewhere = s_client(&world, 0, &[version, "-servername", "localhost", "-sess_in", "session.pem"]);
        assert!(!elsewhere.contains("Reused, ") && !elsewhere.contains("200 OK"), "{version}: {elsewhere}");

        let shown = ["-cert", "good.pem", "-key", "good.key"];
        let mut args = vec![version, "-servername", "localhost", "-sess_out", "session.pem"];
        args.extend(shown);
        assert!(s_client(&world, 0, &args).contains("200 OK"), "{version}");
        let resumed = s_client(&world, 0, &[version, "-servername", "localhost", "-sess_in", "session.pem"]);
        assert!(resumed.contains("Reused, ") && resumed.contains("200 OK"), "{version}: {resumed}");
    }
    let named = |l: &Value| l["tls.client.subject"] == "CN=good,O=Acme\\, Inc.";
    eventually("lines of resumed sessions", || {
        (world.gateway.decisions().iter().filter(|l| named(l)).count() == 4).then_some(())
    });

    // Whom nobody trusts any more cannot go on with a session of yesterday.
    let dir = world.gateway.dir.path();
    fs::copy(dir.join("others.pem"), dir.join("clients.pem")).unwrap();
    eventually("the others to be trusted", || world.passes("/", Some("stranger"), &[]).then_some(()));
    for _ in 0..2 {
        let late = s_client(&world, 0, &["-tls1_2", "-servername", "localhost", "-sess_in", "session.pem"]);
        assert!(!late.contains("200 OK"), "{late}");
    }
}

#[test]
fn a_failed_handshake_is_told_of_to_whoever_asks() {
    let world = world("required");
    let path = world.gateway.config_path();
    let text = fs::read_to_string(&path).unwrap() + "[log]\nlevel = \"debug\"\n";
    fs::write(&path, text).unwrap();
    world.gateway.reload_after(0);
    assert!(!world.passes("/", None, &[]));
    let told = world.gateway.wait_event("handshake_failed", |_| true);
    assert_eq!(told["peer"], "127.0.0.1", "{told}");
    assert!(poll(Duration::ZERO, || world.gateway.decisions().pop()).is_none());
}

#[test]
fn check_names_a_bundle_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    crate::harness::write_certificate(dir.path(), "t", "localhost");
    fs::write(dir.path().join("keys.toml"), "").unwrap();
    let text = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n[[listener]]\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n\
        client_auth = \"required\"\nclient_ca = \"t.key\"\n";
    fs::write(dir.path().join("keyward.toml"), text).unwrap();
    for (command, code) in [("check", 1), ("run", 78)] {
        let ran = keyward(dir.path(), &[command, "-c", "keyward.toml"]).exits(code);
        assert!(ran.all().contains("keyward.toml:5:13") && ran.all().contains("no certificate in PEM form"), "{ran:?}");
    }
}
