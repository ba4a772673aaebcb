//! The instruments are true: client, recording upstream, keys and real tools, with no gateway between them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::harness::{
    Conn, Key, Req, Upstream, base62_crc, curl_ok, nginx, python, python_http_server, secrets_in, sha256_hex,
    wait_within,
};

#[test]
fn the_client_and_the_upstream_agree() {
    let upstream = Upstream::start();
    let mut conn = Conn::open(upstream.addr);
    let echo = conn.send(&Req::new(upstream.addr, "POST", "/echo/x?y=1").body(b"hello"));
    assert_eq!((echo.status, echo.text().as_str()), (200, "hello"));
    let chunked = conn.send(&Req::new(upstream.addr, "GET", "/chunked"));
    assert_eq!(chunked.text(), "hello world");
    assert_eq!(chunked.trailers, [("X-Checksum".to_owned(), "abc123".to_owned())]);
    assert_eq!(conn.send(&Req::new(upstream.addr, "HEAD", "/bytes/9")).body.len(), 0);
    assert_eq!(conn.send(&Req::new(upstream.addr, "GET", "/status/204")).status, 204);
    let pattern = conn.send(&Req::new(upstream.addr, "GET", "/bytes/100000"));
    assert_eq!((pattern.body.len(), pattern.body[300]), (100_000, ((300_usize * 31) ^ 1) as u8));
    let seen = upstream.request("/echo/x");
    assert_eq!((seen.target(), seen.body_len, seen.get("HOST")), ("/echo/x?y=1", 5, Some("api.example.com")));
    assert_eq!(seen.body_sha256, sha256_hex(b"hello"));
}

#[test]
fn the_upstream_misbehaves_as_asked() {
    let upstream = Upstream::start();
    for (path, ok) in
        [("/reset", false), ("/garbage", false), ("/midway", false), ("/cutchunk", false), ("/close", true)]
    {
        let answer = Conn::open(upstream.addr).try_send(&Req::new(upstream.addr, "GET", path));
        assert_eq!(answer.is_ok(), ok, "{path}: {answer:?}");
    }
    let mut stream = TcpStream::connect(upstream.addr).unwrap();
    stream.write_all(b"GET /reset HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let reset = stream.read(&mut [0; 1]).unwrap_err();
    assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_made_key_has_its_form_and_is_remembered() {
    // GitHub's published example of the same checksum, over its own random part.
    assert_eq!(base62_crc("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
    let key = Key::new();
    assert_eq!((key.text.len(), key.secret().unwrap().len()), (52, 43));
    assert_eq!(secrets_in(&format!("{{\"x\":\"{}\"}}", key.text)), [key.secret().unwrap()]);
    assert_eq!(secrets_in(&format!("hash={}", key.hash())), [key.digest_hex()]);
    assert!(secrets_in("nothing to see here").is_empty());
}

#[test]
fn the_real_tools_run() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f.txt"), "file").unwrap();
    for server in [
        nginx(folder.path()),
        python_http_server(folder.path(), "HTTP/1.0"),
        python_http_server(folder.path(), "HTTP/1.1"),
    ] {
        assert_eq!(curl_ok(&["-f", &format!("{}/f.txt", server.url())]), "file");
    }
    let mut version = python();
    version.args(["-c", "import httpx, h2; print('both')"]);
    assert_eq!(wait_within(version, crate::harness::PATIENCE).ok().stdout, "both");
}
