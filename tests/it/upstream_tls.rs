//! The files that upstreams over TLS need: found wrong where they are named, and taken over when they change.

use std::fs;

use crate::harness::{Key, Setup, eventually, free_port, keyward_with, nginx_with, write_certificate};

/// An nginx with the certificate `t`, and a gateway's folder that trusts `ca.pem`.
fn setup(key: &Key) -> (crate::harness::Server, Setup) {
    let mut setup = Setup::before("", "", &key.entry("a", ""));
    let (folder, port) = (setup.dir.path(), free_port());
    write_certificate(folder, "t", "app.internal");
    fs::copy(folder.join("t.pem"), folder.join("ca.pem")).unwrap();
    let here = folder.display();
    // Every connection is a new one.
    let server = format!(
        "server {{ listen {port} ssl; ssl_certificate {here}/t.pem; ssl_certificate_key {here}/t.key; \
         ssl_session_cache off; keepalive_timeout 0; return 200; }}\n"
    );
    let nginx = nginx_with(folder, &server);
    setup.config = format!(
        "[upstream.default]\nservers = [\"https://{port}\"]\ntls = {{ ca = \"ca.pem\", server_name = \"app.internal\" }}\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n"
    );
    (nginx, setup)
}

#[test]
fn a_ca_that_changes_is_trusted_from_then_on_and_one_that_is_broken_changes_nothing() {
    let key = Key::new();
    let (_nginx, setup) = setup(&key);
    let gateway = setup.start();
    let folder = gateway.dir.path().to_owned();
    let status = || gateway.get("/").bearer(&key).send().status;
    assert_eq!(status(), 200);

    fs::write(folder.join("ca.pem"), "no certificate at all").unwrap();
    let line = gateway.reload_after(0);
    assert_eq!(line["result"], "rejected");
    assert!(
        line["problems"][0].as_str().unwrap().contains("keyward.toml:3:14: failed to read the certificates"),
        "{line:#}"
    );
    assert_eq!(status(), 200, "the last good one serves");

    write_certificate(&folder, "other", "app.internal");
    fs::copy(folder.join("other.pem"), folder.join("ca.pem")).unwrap();
    eventually("the server to be trusted no more", || (status() == 502).then_some(()));
    fs::copy(folder.join("t.pem"), folder.join("ca.pem")).unwrap();
    eventually("the server to be trusted again", || (status() == 200).then_some(()));
}

#[test]
fn a_configuration_that_names_a_file_that_is_not_there_changes_nothing() {
    let key = Key::new();
    let (_nginx, setup) = setup(&key);
    let gateway = setup.start();
    let good = fs::read_to_string(gateway.config_path()).unwrap();
    let settings = "retries = 0\n";
    fs::write(gateway.config_path(), good.replace("ca.pem", "missing.pem") + "[http]\nheaders_max = 1\n").unwrap();
    let line = gateway.reload_after(0);
    assert_eq!(line["result"], "rejected", "{line:#}");
    assert!(line["problems"][0].as_str().unwrap().contains("missing.pem"), "{line:#}");
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "none of it applies");
    fs::write(gateway.config_path(), good.replace("[[listener]]", &format!("{settings}[[listener]]"))).unwrap();
    eventually("the next good one", || gateway.reloads().into_iter().find(|line| line["result"] == "applied"));
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn check_says_which_file_is_wrong_and_where_a_system_without_certificates_needs_one() {
    let dir = tempfile::tempdir().unwrap();
    write_certificate(dir.path(), "c", "client");
    write_certificate(dir.path(), "d", "client");
    fs::write(dir.path().join("keys.toml"), "").unwrap();
    let no_system = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/nowhere")];
    for (tls, place, says) in [
        ("ca = \"missing.pem\"", "keyward.toml:3:14", "failed to read the certificates"),
        ("ca = \"c.key\"", "keyward.toml:3:14", "no certificate in PEM form"),
        (
            "cert = \"c.pem\", key = \"d.key\", ca = \"c.pem\"",
            "keyward.toml:3:31",
            "does not belong to the certificate",
        ),
        ("", "keyward.toml:2:12", "the system has no certificates to trust"),
    ] {
        let text = format!("[upstream.default]\nservers = [\"https://app.internal\"]\ntls = {{ {tls} }}\n");
        fs::write(dir.path().join("keyward.toml"), text).unwrap();
        for (command, code) in [("check", 1), ("run", 78)] {
            let ran = keyward_with(dir.path(), &[command, "-c", "keyward.toml"], "", &no_system).exits(code);
            assert!(ran.all().contains(says) && ran.all().contains(place), "{command} {tls}: {ran:?}");
        }
    }
}
