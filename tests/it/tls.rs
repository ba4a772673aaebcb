//! TLS as clients none of us wrote see it.

use std::path::Path;
use std::time::Duration;

use crate::harness::{Gateway, Key, Setup, Upstream, curl, curl_ok, tool, wait_within, write_certificate};

fn gateway(tls: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = format!("[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {tls}\n");
    let setup =
        Setup::with(&upstream, &config, &key.entry("a", "")).certificate("a", "a.test").certificate("b", "b.test");
    let gateway = setup.start();
    (upstream, key, gateway)
}

/// Gets `https://NAME/` trusting one certificate; true where the handshake and the request succeed.
fn trusts(gateway: &Gateway, key: &Key, name: &str, certificate: &Path, more: &[&str]) -> bool {
    let port = gateway.addr().port();
    let (ca, auth) = (certificate.display().to_string(), format!("authorization: Bearer {}", key.text));
    let (url, resolve) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    let mut args = vec!["--cacert", &ca, "--resolve", &resolve, "-H", &auth, "-w", " %{http_code}"];
    args.extend(more);
    args.push(&url);
    let ran = curl(&args);
    ran.code == 0 && ran.stdout.trim_end().ends_with("200")
}

/// `openssl s_client`, with one request on stdin by way of a shell, and what it printed.
fn s_client(gateway: &Gateway, key: &Key, args: &[&str]) -> String {
    let file = gateway.dir.path().join("request.txt");
    let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-API-Key: {}\r\nConnection: close\r\n\r\n", key.text);
    std::fs::write(&file, request).unwrap();
    let mut shell = tool("sh");
    let address = gateway.addr().to_string();
    shell.arg("-c").arg("f=$1; shift; exec openssl s_client \"$@\" <\"$f\"").arg("sh").arg(&file);
    shell.args(["-connect", &address, "-ign_eof"]).args(args);
    wait_within(shell, Duration::from_secs(20)).all()
}

#[test]
fn the_name_picks_the_certificate_and_the_first_is_the_default() {
    let (_upstream, key, gateway) =
        gateway("[{ cert = \"a.pem\", key = \"a.key\" }, { cert = \"b.pem\", key = \"b.key\" }]");
    let (a, b) = (gateway.dir.path().join("a.pem"), gateway.dir.path().join("b.pem"));
    assert!(trusts(&gateway, &key, "a.test", &a, &[]));
    assert!(trusts(&gateway, &key, "b.test", &b, &[]));
    assert!(!trusts(&gateway, &key, "b.test", &a, &[]));
    // Both certificates also name localhost; asked for neither of the two names, the first answers.
    let subject = s_client(&gateway, &key, &["-noservername", "-showcerts"]);
    let pem = std::fs::read_to_string(&a).unwrap();
    let line = pem.lines().nth(2).unwrap();
    assert!(subject.contains(line), "not the first certificate:\n{subject}");
}

#[test]
fn both_versions_and_both_protocols_are_spoken() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    let a = gateway.dir.path().join("a.pem");
    for args in [
        ["--tlsv1.2", "--tls-max", "1.2", "--http1.1"],
        ["--tlsv1.2", "--tls-max", "1.2", "--http2"],
        ["--tlsv1.3", "--tls-max", "1.3", "--http1.1"],
        ["--tlsv1.3", "--tls-max", "1.3", "--http2"],
    ] {
        assert!(trusts(&gateway, &key, "a.test", &a, &args), "{args:?}");
    }
    assert!(!trusts(&gateway, &key, "a.test", &a, &["--tls-max", "1.1"]));
}

#[test]
fn alpn_chooses_http_2_where_the_client_can() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    for (offer, chosen) in [("h2,http/1.1", "h2"), ("http/1.1", "http/1.1")] {
        let said = s_client(&gateway, &key, &["-alpn", offer]);
        assert!(said.contains(&format!("ALPN protocol: {chosen}")), "{said}");
    }
}

#[test]
fn the_lighter_cipher_is_chosen_whatever_stands_first_and_any_that_is_asked_for_alone() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    let newer = ("-tls1_3", "-ciphersuites", ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]);
    let older = ("-tls1_2", "-cipher", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]);
    for (version, option, [heavy, light]) in [newer, older] {
        for (offer, chosen) in [(format!("{heavy}:{light}"), light), (heavy.to_owned(), heavy)] {
            let said = s_client(&gateway, &key, &[version, option, &offer]);
            assert!(said.contains(&format!("Cipher is {chosen}")) && said.contains("200 OK"), "{offer}: {said}");
        }
    }
}

#[test]
fn a_session_is_resumed() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    for version in ["-tls1_3", "-tls1_2"] {
        let session = gateway.dir.path().join("session.pem").display().to_string();
        let first = s_client(&gateway, &key, &[version, "-servername", "a.test", "-sess_out", &session]);
        assert!(first.contains("200 OK") && first.contains("New, "), "{version}: {first}");
        let second = s_client(&gateway, &key, &[version, "-servername", "a.test", "-sess_in", &session]);
        assert!(second.contains("Reused, ") && second.contains("200 OK"), "{version}: {second}");
    }
}

#[test]
fn plaintext_on_a_tls_port_hurts_nobody() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    for bytes in [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), &[0; 64], &[0x16, 3, 1, 0xff, 0xff], b""] {
        let mut conn = gateway.connect();
        conn.write(bytes).unwrap();
        conn.stream().shutdown(std::net::Shutdown::Write).unwrap();
        assert!(conn.is_closed_by_peer());
    }
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("a.pem"), &[]));
}

#[test]
fn a_listener_with_and_one_without_tls_stand_side_by_side() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"a.pem\", key = \"a.key\" }]\n\
        [[listener]]\naddress = \"127.0.0.1:0\"\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("a", "a.test").start();
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("a.pem"), &[]));
    let plain = format!("http://{}/", gateway.listener(1));
    let auth = format!("x-api-key: {}", key.text);
    assert_eq!(curl_ok(&["-H", &auth, &plain]), "ok");
    let urls = gateway.events("ready")[0]["listeners"].clone();
    assert!(urls[0].as_str().unwrap().starts_with("https://") && urls[1].as_str().unwrap().starts_with("http://"));
}

#[test]
fn a_new_certificate_is_served_without_a_restart() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    let file = gateway.dir.path().join("a.pem");
    let old = std::fs::read_to_string(&file).unwrap();
    std::fs::write(gateway.dir.path().join("old.pem"), &old).unwrap();
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("old.pem"), &[]));
    write_certificate(gateway.dir.path(), "a", "a.test");
    crate::harness::eventually("the new certificate", || trusts(&gateway, &key, "a.test", &file, &[]).then_some(()));
    assert!(!trusts(&gateway, &key, "a.test", &gateway.dir.path().join("old.pem"), &[]));
}

#[test]
fn a_certificate_that_is_broken_leaves_the_old_one() {
    let (_upstream, key, gateway) = gateway("[{ cert = \"a.pem\", key = \"a.key\" }]");
    let file = gateway.dir.path().join("a.pem");
    std::fs::copy(&file, gateway.dir.path().join("old.pem")).unwrap();
    std::fs::write(&file, "not a certificate").unwrap();
    let line = gateway.wait_event("reload", |l| l["result"] == "rejected");
    assert!(line.to_string().contains("a.pem"), "{line}");
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("old.pem"), &[]));
}

#[test]
fn a_client_that_never_shakes_hands_is_cut() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[http]\nheader_timeout = \"1s\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        tls = [{ cert = \"a.pem\", key = \"a.key\" }]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("a", "a.test").start();
    let mut silent = gateway.connect();
    let mut halfway = gateway.connect();
    halfway.write(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    assert!(silent.is_closed_by_peer() && halfway.is_closed_by_peer());
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("a.pem"), &[]));
}

#[test]
fn a_listener_that_moves_in_the_file_keeps_its_certificate_while_the_new_one_is_broken() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let (tls, plain) =
        ("address = \"127.0.0.1:0\"\ntls = [{ cert = \"a.pem\", key = \"a.key\" }]\n", "address = \"127.0.0.2:0\"\n");
    let config = format!("[[listener]]\n{tls}[[listener]]\n{plain}");
    let gateway = Setup::with(&upstream, &config, &key.entry("a", "")).certificate("a", "a.test").start();
    let file = gateway.dir.path().join("a.pem");
    std::fs::copy(&file, gateway.dir.path().join("old.pem")).unwrap();
    std::fs::write(&file, "not a certificate").unwrap();
    let text = std::fs::read_to_string(gateway.config_path()).unwrap();
    assert!(text.contains(tls) && text.contains(plain));
    let swapped = text.replace(tls, "@").replace(plain, tls).replace('@', plain);
    std::fs::write(gateway.config_path(), swapped).unwrap();
    gateway.wait_event("reload", |l| l["result"] == "applied");
    assert!(trusts(&gateway, &key, "a.test", &gateway.dir.path().join("old.pem"), &[]));
    let auth = format!("x-api-key: {}", key.text);
    assert_eq!(curl_ok(&["-H", &auth, &format!("http://{}/", gateway.listener(1))]), "ok");
}
