//! In front of servers and behind clients that none of us wrote.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::harness::{
    Gateway, Key, Server, Setup, curl, curl_ok, nginx, python, python_http_server, sha256_hex, tool, wait_within,
};

const TLS: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
    tls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let big: Vec<u8> = (0..3_000_000_usize).map(|n| (n * 31 % 253) as u8).collect();
    for (name, body) in
        [("empty.bin", b"".as_slice()), ("small.txt", b"hello"), ("page.html", b"<p>hi</p>\n"), ("big.bin", &big)]
    {
        fs::write(folder.path().join(name), body).unwrap();
    }
    folder
}

fn before(server: &Server, key: &Key) -> Gateway {
    Setup::before(&server.url(), TLS, &key.entry("a", "")).certificate("t", "localhost").start()
}

/// The body at `url`, as curl gets it.
fn body(dir: &Path, url: &str, more: &[&str]) -> Vec<u8> {
    let out = dir.join("body.out");
    let file = out.display().to_string();
    let mut args = vec!["-f", "-o", &file, url];
    args.extend(more);
    curl(&args).ok();
    let body = fs::read(&out).unwrap_or_default();
    drop(fs::remove_file(&out));
    body
}

#[track_caller]
fn same_bodies(server: &Server, gateway: &Gateway, key: &Key) {
    let dir = gateway.dir.path();
    let (auth, ca) = (format!("authorization: Bearer {}", key.text), dir.join("t.pem").display().to_string());
    for name in ["empty.bin", "small.txt", "page.html", "big.bin"] {
        let direct = body(dir, &format!("{}/{name}", server.url()), &[]);
        let plain = format!("http://{}/{name}", gateway.addr());
        let secure = format!("https://localhost:{}/{name}", gateway.listener(1).port());
        for (url, more) in [
            (&plain, vec!["--http1.1"]),
            (&plain, vec!["--http2-prior-knowledge"]),
            (&secure, vec!["--http1.1", "--cacert", &ca]),
            (&secure, vec!["--http2", "--cacert", &ca]),
        ] {
            let mut args = vec!["-H", auth.as_str()];
            args.extend(&more);
            assert!(body(dir, url, &args) == direct, "{url} {more:?}");
        }
    }
}

#[test]
fn pythons_http_server_is_the_same_behind_the_gateway() {
    let (folder, key) = (folder(), Key::new());
    for protocol in ["HTTP/1.0", "HTTP/1.1"] {
        let server = python_http_server(folder.path(), protocol);
        let gateway = before(&server, &key);
        same_bodies(&server, &gateway, &key);
    }
}

#[test]
fn nginx_is_the_same_behind_the_gateway() {
    let (folder, key) = (folder(), Key::new());
    let server = nginx(folder.path());
    let gateway = before(&server, &key);
    same_bodies(&server, &gateway, &key);
}

#[test]
fn nginx_gets_uploads_as_they_were_sent() {
    let (folder, key) = (folder(), Key::new());
    let server = nginx(folder.path());
    let gateway = before(&server, &key);
    let auth = format!("authorization: Bearer {}", key.text);
    let ca = gateway.dir.path().join("t.pem").display().to_string();
    let file = folder.path().join("big.bin").display().to_string();
    let urls = [format!("http://{}", gateway.addr()), format!("https://localhost:{}", gateway.listener(1).port())];
    for (n, url) in urls.iter().enumerate() {
        curl_ok(&["-f", "--cacert", &ca, "-H", &auth, "-T", &file, &format!("{url}/upload/{n}.bin")]);
        let stored = fs::read(folder.path().join(format!("upload/{n}.bin"))).unwrap();
        assert_eq!(sha256_hex(&stored), sha256_hex(&fs::read(&file).unwrap()));
    }
    // A chunked one, which curl sends with 100-continue.
    let chunked = ["-f", "-H", &auth, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue", "-T", &file];
    let mut args = chunked.to_vec();
    let url = format!("{}/upload/chunked.bin", urls[0]);
    args.push(&url);
    curl_ok(&args);
    assert_eq!(fs::read(folder.path().join("upload/chunked.bin")).unwrap().len(), 3_000_000);
}

#[test]
fn ranges_and_conditions_are_the_upstreams_business() {
    let (folder, key) = (folder(), Key::new());
    let server = nginx(folder.path());
    let gateway = before(&server, &key);
    let request = gateway.get("/big.bin").bearer(&key);
    let part = request.clone().header("Range", "bytes=1000-1999").send();
    assert_eq!((part.status, part.body.len()), (206, 1000));
    let etag = request.send().header("etag").unwrap().to_owned();
    let unchanged = request.header("If-None-Match", &etag).send();
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let empty = gateway.get("/empty").bearer(&key).send();
    assert_eq!((empty.status, empty.body.len()), (204, 0));
    assert_eq!(gateway.request("HEAD", "/big.bin").bearer(&key).send().header("content-length"), Some("3000000"));
}

#[test]
fn a_python_http_2_client_gets_the_same_bodies() {
    let (folder, key) = (folder(), Key::new());
    let server = nginx(folder.path());
    let gateway = before(&server, &key);
    let key_file = gateway.dir.path().join("key.txt");
    fs::write(&key_file, &key.text).unwrap();
    for name in ["small.txt", "big.bin"] {
        let url = format!("https://localhost:{}/{name}", gateway.listener(1).port());
        let mut client = python();
        client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/h2_get.py"));
        client.arg(gateway.dir.path().join("t.pem")).arg(url).arg(&key_file).arg("8");
        let printed = wait_within(client, Duration::from_secs(60)).ok().stdout;
        let direct = sha256_hex(&fs::read(folder.path().join(name)).unwrap());
        assert_eq!(printed.lines().collect::<Vec<_>>(), vec![format!("HTTP/2 200 {direct}"); 8]);
    }
}

#[test]
fn wrk_finds_no_fault() {
    let (folder, key) = (folder(), Key::new());
    let server = nginx(folder.path());
    let mut gateway = before(&server, &key);
    let mut wrk = tool("wrk");
    wrk.args(["-t1", "-c16", "-d2s", "-H", &format!("X-API-Key: {}", key.text)]);
    wrk.arg(format!("http://{}/small.txt", gateway.addr()));
    let printed = wait_within(wrk, Duration::from_secs(30)).ok().stdout;
    assert!(!printed.contains("Socket errors") && !printed.contains("Non-2xx"), "{printed}");
    let words: Vec<&str> = printed.split_whitespace().collect();
    let at = words.windows(2).position(|w| w[0] != "Requests/sec:" && w[1] == "requests").expect("a count");
    let counted: usize = words[at].parse().unwrap();
    assert!(counted > 100, "{printed}");
    gateway.stop();
    // wrk does not count the requests that were under way when its time ended.
    let lines = gateway.decided();
    assert!((counted..=counted + 16).contains(&lines), "{counted} requests, {lines} lines");
}
