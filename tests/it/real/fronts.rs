//! nginx and HAProxy in front of the gateway: who the client is, as they tell it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Gateway, Key, Server, Setup, Upstream, curl_ok, free_port, served_by, tool, write_certificate};

/// A client's own address; the fronts and the gateway are at 127.0.0.1.
const CLIENT: &str = "127.0.0.2";

/// Writes a config from `template` and starts the program that reads it.
fn nginx_before(dir: &Path, to: SocketAddr) -> (Server, SocketAddr) {
    let (addr, tls, scratch) = (free_port(), free_port(), dir.join("front-nginx"));
    fs::create_dir_all(&scratch).unwrap();
    write_certificate(&scratch, "n", "localhost");
    let mut text = include_str!("../../tools/front_nginx.conf").to_owned();
    for (mark, value) in [
        ("@ADDR@", addr.to_string()),
        ("@TLS_ADDR@", tls.to_string()),
        ("@GATEWAY@", to.to_string()),
        ("@SCRATCH@", scratch.display().to_string()),
        ("@CERT@", scratch.join("n.pem").display().to_string()),
        ("@KEY@", scratch.join("n.key").display().to_string()),
    ] {
        text = text.replace(mark, &value);
    }
    let file = scratch.join("nginx.conf");
    fs::write(&file, text).unwrap();
    let mut command = tool("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(&scratch).args(["-e", "stderr"]);
    (served_by(command, addr), tls)
}

fn haproxy_before(dir: &Path, to: SocketAddr, mode: &str, option: &str, server: &str) -> Server {
    let (addr, file) = (free_port(), dir.join(format!("haproxy-{mode}-{}.cfg", server.replace('/', "_"))));
    let mut text = include_str!("../../tools/front_haproxy.cfg").to_owned();
    for (mark, value) in [("@ADDR@", &*addr.to_string()), ("@GATEWAY@", &to.to_string()), ("@MODE@", mode)] {
        text = text.replace(mark, value);
    }
    fs::write(&file, text.replace("@OPTION@", option).replace("@SERVER@", server)).unwrap();
    let mut command = tool("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    served_by(command, addr)
}

/// Asks at `url` from [`CLIENT`] and gives curl's own port.
fn ask(url: &str, key: &Key, more: &[&str]) -> u64 {
    let auth = format!("authorization: Bearer {}", key.text);
    let args = ["-f", "-k", "--interface", CLIENT, "-H", &auth, "-o", "/dev/null", "-w", "%{local_port}", url];
    curl_ok(&[&args, more].concat()).parse().unwrap()
}

#[track_caller]
fn line(gateway: &Gateway, path: &str) -> Value {
    gateway.wait_decision("its line", |l| l["url.path"] == path)
}

#[track_caller]
fn is_from(gateway: &Gateway, path: &str, client: &str) -> Value {
    let line = line(gateway, path);
    assert_eq!(
        (&line["client.address"], &line["network.peer.address"]),
        (&json!(client), &json!("127.0.0.1")),
        "{line:#}"
    );
    line
}

fn start(config: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    (upstream, key, gateway)
}

#[test]
fn forwarded_addresses_are_believed_from_trusted_fronts_only() {
    for (config, client) in [("", "127.0.0.1"), ("[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n", CLIENT)] {
        let (upstream, key, gateway) = start(config);
        let dir = gateway.dir.path();
        let (nginx, tls) = nginx_before(dir, gateway.addr());
        let haproxy = haproxy_before(dir, gateway.addr(), "http", "option forwardfor", "");
        let forged = ["-H", "X-Forwarded-For: 203.0.113.9"];
        for (path, url) in
            [("/nginx", nginx.url()), ("/nginx-tls", format!("https://{tls}")), ("/haproxy", haproxy.url())]
        {
            ask(&format!("{url}{path}"), &key, &forged);
            is_from(&gateway, path, client);
            let seen = upstream.request(path);
            let sent: Vec<&str> = seen.all("x-forwarded-for");
            let trusted = format!("203.0.113.9, {CLIENT}, 127.0.0.1");
            let expected = if client == CLIENT { trusted.as_str() } else { "127.0.0.1" };
            assert_eq!(sent.join(", "), expected, "{path}");
        }
        let proto = upstream.request("/nginx-tls").get("x-forwarded-proto").map(str::to_owned);
        assert_eq!(proto.as_deref(), Some(if client == CLIENT { "https" } else { "http" }));
    }
}

#[test]
fn a_chain_of_fronts_is_walked_over_trusted_hops_only() {
    let (upstream, key, gateway) = start("[server]\ntrusted_proxies = [\"127.0.0.1/32\", \"127.0.0.3/32\"]\n");
    let dir = gateway.dir.path();
    let (nginx, _) = nginx_before(dir, gateway.addr());
    let first = haproxy_before(dir, nginx.addr, "http", "option forwardfor", "source 127.0.0.3");
    ask(&format!("{}/chain", first.url()), &key, &["-H", "X-Forwarded-For: 203.0.113.9"]);
    is_from(&gateway, "/chain", CLIENT);
    let sent = upstream.request("/chain").all("x-forwarded-for").join(", ");
    assert_eq!(sent, format!("203.0.113.9, {CLIENT}, 127.0.0.3, 127.0.0.1"));
    // The hop before an untrusted one is that hop's word only.
    let second = haproxy_before(dir, nginx.addr, "http", "option forwardfor", "source 127.0.0.4");
    ask(&format!("{}/untrusted", second.url()), &key, &[]);
    is_from(&gateway, "/untrusted", "127.0.0.4");
}

#[test]
fn tls_that_ends_at_a_trusted_front_is_secure() {
    let config = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n";
    let (_upstream, key, gateway) = start(config);
    let (nginx, tls) = nginx_before(gateway.dir.path(), gateway.addr());
    ask(&format!("https://{tls}/secure"), &key, &[]);
    assert_eq!(line(&gateway, "/secure")["decision"], "allow");
    let auth = format!("authorization: Bearer {}", key.text);
    let url = format!("{}/insecure", nginx.url());
    let args = ["-H", &auth, "-H", "X-Forwarded-Proto: https", "-o", "/dev/null", "-w", "%{http_code}", &url];
    assert_eq!(curl_ok(&args), "403", "nginx says http, whatever its client says");
    assert_eq!(line(&gateway, "/insecure")["reason"], "insecure_transport");
}

#[test]
fn a_trusted_fronts_request_id_is_the_requests() {
    let (upstream, key, gateway) = start("[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n");
    let (nginx, _) = nginx_before(gateway.dir.path(), gateway.addr());
    ask(&format!("{}/id", nginx.url()), &key, &[]);
    let line = line(&gateway, "/id");
    // nginx's $request_id is 32 hexadecimal digits.
    let id = upstream.request("/id").get("x-request-id").unwrap().to_owned();
    assert_eq!((line["request_id"].as_str(), id.len()), (Some(id.as_str()), 32), "{line:#}");
}

#[test]
fn per_address_limits_count_the_client_behind_the_front() {
    let config = "[server]\ntrusted_proxies = [\"127.0.0.1/32\"]\n[limits]\nper_ip = \"2/h\"\n";
    let (_upstream, key, gateway) = start(config);
    let (nginx, _) = nginx_before(gateway.dir.path(), gateway.addr());
    let auth = format!("authorization: Bearer {}", key.text);
    let url = format!("{}/", nginx.url());
    let code = |from: &str| curl_ok(&["--interface", from, "-H", &auth, "-o", "/dev/null", "-w", "%{http_code}", &url]);
    let codes: Vec<String> = [CLIENT, CLIENT, CLIENT, "127.0.0.5", "127.0.0.5", "127.0.0.5"].map(code).to_vec();
    assert_eq!(codes, ["200", "200", "429", "200", "200", "429"]);
}
