//! Upstreams over HTTP/2, TLS and Unix sockets, with an nginx behind that says how it was spoken to.

use std::fs;
use std::path::Path;

use crate::harness::{Gateway, Key, Server, Setup, curl_ok, free_port, nginx_with, sha256_hex};

/// What nginx says of a request: protocol, TLS, SNI, the client's certificate, Host.
const SAYS: &str = "\"$server_protocol|$ssl_protocol|$ssl_server_name|$ssl_client_s_dn|$http_host\"";

fn server(listen: &str, more: &str) -> String {
    format!(
        "server {{ listen {listen}; root @ROOT@; {more}
            location /says {{ return 200 {SAYS}; }}
            location /upload/ {{ dav_methods PUT; create_full_put_path on; }} }}\n"
    )
}

fn tls(more: &str) -> String {
    let files = "ssl_certificate @ROOT@/t.pem; ssl_certificate_key @ROOT@/t.key; ssl_protocols TLSv1.2 TLSv1.3;";
    format!("{files} {more}")
}

/// Certificates: `t` for the server `app.internal` and `localhost`, `c` for a client.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    crate::harness::write_certificate(folder.path(), "t", "app.internal");
    crate::harness::write_certificate(folder.path(), "c", "client");
    let big: Vec<u8> = (0..3_000_000_usize).map(|n| (n * 31 % 253) as u8).collect();
    fs::write(folder.path().join("big.bin"), big).unwrap();
    folder
}

fn before(url: &str, more: &str, key: &Key) -> Gateway {
    let config = format!("[upstream.default]\nservers = [\"{url}\"]\n{more}\n");
    Setup::before(url, &config, &key.entry("a", "")).start()
}

#[track_caller]
fn says(gateway: &Gateway, key: &Key, expected: &str) {
    // Twice: once on a new connection, once on that one again.
    for _ in 0..2 {
        let reply = gateway.get("/says").bearer(key).send();
        assert_eq!((reply.status, reply.text().as_str()), (200, expected));
    }
}

/// A large download and a large upload come through whole.
#[track_caller]
fn carries(gateway: &Gateway, key: &Key, folder: &Path) {
    let auth = format!("authorization: Bearer {}", key.text);
    let (file, out) = (folder.join("big.bin"), folder.join("out.bin"));
    let big = fs::read(&file).unwrap();
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let url = format!("http://{}", gateway.addr());
        let down = format!("{url}/big.bin");
        curl_ok(&["-f", protocol, "-H", &auth, "-o", &out.display().to_string(), &down]);
        assert_eq!(sha256_hex(&fs::read(&out).unwrap()), sha256_hex(&big), "{protocol} down");
        // The second has no length beforehand.
        for (name, more) in [("known", vec![]), ("chunked", vec!["-H", "transfer-encoding: chunked"])] {
            let up = format!("{url}/upload/{name}.bin");
            let mut args = vec!["-f", protocol, "-H", &auth, "-T", file.to_str().unwrap(), &up];
            args.extend(more);
            curl_ok(&args);
            let there = folder.join("upload").join(format!("{name}.bin"));
            assert_eq!(sha256_hex(&fs::read(&there).unwrap()), sha256_hex(&big), "{protocol} {name} up");
            fs::remove_file(there).unwrap();
        }
    }
}

fn start(folder: &Path, blocks: &str) -> Server {
    nginx_with(folder, &blocks.replace("@ROOT@", &folder.display().to_string()))
}

#[test]
fn http2_without_tls_is_spoken_where_the_scheme_or_the_protocol_says_so() {
    let (folder, key, port) = (folder(), Key::new(), free_port());
    let _nginx = start(folder.path(), &server(&format!("{port} http2"), ""));
    let gateway = before(&format!("h2c://{port}"), "host = \"app.internal\"", &key);
    says(&gateway, &key, "HTTP/2.0||||app.internal");
    carries(&gateway, &key, folder.path());
    let gateway = before(&format!("http://{port}"), "protocol = \"h2\"\nhost = \"upstream\"", &key);
    says(&gateway, &key, &format!("HTTP/2.0||||{port}"));
}

#[test]
fn over_tls_the_server_chooses_the_protocol() {
    let (folder, key, ports) = (folder(), Key::new(), [free_port(), free_port()]);
    let blocks = server(&format!("{} ssl http2", ports[0]), &tls("")) + &server(&format!("{} ssl", ports[1]), &tls(""));
    let _nginx = start(folder.path(), &blocks);
    let ca = folder.path().join("t.pem").display().to_string();
    let url = |at: usize| format!("https://localhost:{}", ports[at].port());
    let trust = format!("tls = {{ ca = \"{ca}\" }}\nhost = \"upstream\"");
    let host = |at: usize| format!("localhost:{}", ports[at].port());
    let gateway = before(&url(0), &trust, &key);
    says(&gateway, &key, &format!("HTTP/2.0|TLSv1.3|localhost||{}", host(0)));
    carries(&gateway, &key, folder.path());
    let gateway = before(&url(0), &format!("{trust}\nprotocol = \"http/1.1\""), &key);
    says(&gateway, &key, &format!("HTTP/1.1|TLSv1.3|localhost||{}", host(0)));
    let gateway = before(&url(1), &trust, &key);
    says(&gateway, &key, &format!("HTTP/1.1|TLSv1.3|localhost||{}", host(1)));
    carries(&gateway, &key, folder.path());
    let line = gateway.wait_decision("a line", |line| line["url.path"] == "/says");
    assert_eq!(line["upstream.address"], ports[1].to_string(), "{line:#}");
}

#[test]
fn a_server_has_to_prove_its_name_and_may_ask_for_ours() {
    let (folder, key, port) = (folder(), Key::new(), free_port());
    let client = "ssl_verify_client on; ssl_client_certificate @ROOT@/c.pem;";
    let _nginx = start(folder.path(), &server(&format!("{port} ssl"), &tls(client)));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let url = format!("https://127.0.0.1:{}", port.port());
    let both = format!("cert = \"{}\", key = \"{}\"", file("c.pem"), file("c.key"));
    let trusted = format!("ca = \"{}\", server_name = \"app.internal\"", file("t.pem"));
    let gateway = before(&url, &format!("tls = {{ {trusted}, {both} }}\nhost = \"x\""), &key);
    let reply = gateway.get("/says").bearer(&key).send();
    assert_eq!(reply.status, 200);
    assert!(reply.text().starts_with("HTTP/1.1|TLSv1.3|app.internal|CN="), "{}", reply.text());
    // Another name, another authority, and the system's authorities, which do not know this one.
    for tls in [
        format!("ca = \"{}\", server_name = \"other.internal\", {both}", file("t.pem")),
        format!("ca = \"{}\", server_name = \"app.internal\", {both}", file("c.pem")),
        format!("server_name = \"app.internal\", {both}"),
    ] {
        let gateway = before(&url, &format!("tls = {{ {tls} }}"), &key);
        let reply = gateway.get("/says").bearer(&key).send();
        assert_eq!((reply.status, reply.json()["code"].as_str()), (502, Some("upstream_unavailable")), "{tls}");
    }
    // Without a certificate of ours nginx says 400, as it does.
    let gateway = before(&url, &format!("tls = {{ {trusted} }}"), &key);
    assert_eq!(gateway.get("/says").bearer(&key).send().status, 400);
}

#[test]
fn a_unix_socket_is_an_upstream_like_any_other() {
    let (folder, key) = (folder(), Key::new());
    let socket = folder.path().join("app.sock");
    let _nginx = start(folder.path(), &server(&format!("unix:{}", socket.display()), ""));
    let url = format!("unix:{}", socket.display());
    let gateway = before(&url, "host = \"a.example\"", &key);
    says(&gateway, &key, "HTTP/1.1||||a.example");
    carries(&gateway, &key, folder.path());
    let line = gateway.wait_decision("a line", |line| line["url.path"] == "/says");
    assert_eq!(line["upstream.address"], url, "{line:#}");
    let nobody = before(&format!("{url}x"), "", &key);
    assert_eq!(nobody.get("/says").bearer(&key).send().json()["code"], "upstream_unavailable");
}
