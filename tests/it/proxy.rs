//! Bodies and messages pass through unchanged.

use crate::harness::{Key, Setup, Upstream, curl_ok, sha256_hex};

#[test]
fn answers_that_have_no_body_have_none() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let head = conn.send(&gateway.request("HEAD", "/bytes/1234").bearer(&key));
    assert_eq!((head.status, head.header("content-length")), (200, Some("1234")));
    for status in [204, 304] {
        let reply = conn.send(&gateway.get(&format!("/status/{status}")).bearer(&key));
        assert_eq!((reply.status, reply.header("etag")), (status, Some("\"v1\"")));
        assert_eq!(reply.header("transfer-encoding"), None);
    }
    // The connection is still in step: nothing was left over as a body.
    assert_eq!(conn.send(&gateway.get("/bytes/3").bearer(&key)).body.len(), 3);
    let line = gateway.line_of(&head);
    assert_eq!((&line["http.response.body.size"], &line["http.request.method"]), (&0.into(), &"HEAD".into()));
}

#[test]
fn every_method_passes() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "PURGE"] {
        assert_eq!(gateway.request(method, "/m").bearer(&key).send().status, 200, "{method}");
        assert!(upstream.seen().pop().unwrap().head.first.starts_with(&format!("{method} /m ")));
    }
}

#[test]
fn bodies_of_every_size_pass_both_ways() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for size in [0, 1, 100, 16_383, 16_384, 65_535, 65_537, 1_000_000] {
        let sent: Vec<u8> = (0..size).map(|n: usize| (n * 7 % 251) as u8).collect();
        let reply = conn.send(&gateway.request("POST", "/echo/x").bearer(&key).body(&sent));
        assert_eq!(reply.status, 200);
        assert!(reply.body == sent, "{size} bytes came back as {}", reply.body.len());
        let line = gateway.line_of(&reply);
        assert_eq!((&line["http.request.body.size"], &line["http.response.body.size"]), (&size.into(), &size.into()));
        assert_eq!(upstream.request("/echo/x").body_sha256, sha256_hex(&sent));
    }
}

#[test]
fn chunked_uploads_and_their_trailers_pass() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let head = gateway
        .request("POST", "/up")
        .bearer(&key)
        .header("Transfer-Encoding", "chunked")
        .header("Trailer", "X-Checksum");
    conn.write(&head.bytes()).unwrap();
    for part in ["5\r\nhello\r\n", "6\r\n world\r\n", "0\r\nX-Checksum: abc123\r\n\r\n"] {
        conn.write(part.as_bytes()).unwrap();
    }
    let reply = conn.read_reply("POST").unwrap();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/up");
    assert_eq!(String::from_utf8_lossy(&seen.body), "hello world");
    assert_eq!(seen.trailers.len(), 1, "{:?}", seen.trailers);
    assert!(seen.trailers[0].0.eq_ignore_ascii_case("x-checksum") && seen.trailers[0].1 == "abc123");
    assert_eq!(gateway.line_of(&reply)["http.request.body.size"], 11);
}

#[test]
fn a_trailer_cannot_bring_identity_or_a_key() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    let head = gateway.request("POST", "/forged").bearer(&key).header("Transfer-Encoding", "chunked");
    conn.write(&head.header("Trailer", "X-Consumer-ID, X-API-Key").bytes()).unwrap();
    let other = Key::new();
    let body = format!("2\r\nhi\r\n0\r\nX-Consumer-ID: root\r\nX-API-Key: {}\r\n\r\n", other.text);
    conn.write(body.as_bytes()).unwrap();
    if conn.read_reply("POST").is_ok_and(|r| r.status == 200) {
        let seen = upstream.request("/forged");
        assert!(seen.trailers.iter().all(|(n, _)| !n.eq_ignore_ascii_case("x-consumer-id")), "{:?}", seen.trailers);
        assert!(!format!("{:?}", seen.trailers).contains(other.secret().unwrap()), "{:?}", seen.trailers);
    }
}

#[test]
fn chunked_answers_and_their_trailers_pass() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("/chunked").bearer(&key).header("TE", "trailers").send();
    assert_eq!((reply.status, reply.text().as_str()), (200, "hello world"));
    assert_eq!(reply.trailers.len(), 1, "{}", reply.everything());
    assert!(reply.trailers[0].0.eq_ignore_ascii_case("x-checksum") && reply.trailers[0].1 == "abc123");
    let without = gateway.get("/chunked").bearer(&key).send();
    assert_eq!(without.text(), "hello world");
}

#[test]
fn a_body_is_asked_for_only_when_it_is_wanted() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let ask = |request: crate::harness::Req| request.header("Expect", "100-continue").header("Content-Length", "5");
    let mut conn = gateway.connect();
    conn.write(&ask(gateway.request("PUT", "/echo/x").bearer(&key)).bytes()).unwrap();
    let interim = conn.read_head().unwrap();
    assert!(interim.first.starts_with("HTTP/1.1 100"), "{}", interim.first);
    conn.write(b"hello").unwrap();
    assert_eq!(conn.read_reply("PUT").unwrap().text(), "hello");
    let mut conn = gateway.connect();
    conn.write(&ask(gateway.request("PUT", "/echo/y")).bytes()).unwrap();
    let refused = conn.read_head().unwrap();
    assert!(refused.first.starts_with("HTTP/1.1 401"), "a refused client is not asked for its body: {}", refused.first);
    assert_eq!(upstream.count("/echo/y"), 0);
}

#[test]
fn early_hints_do_not_end_an_answer() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("/hints").bearer(&key).send();
    assert_eq!((reply.status, reply.text().as_str()), (200, "hinted"));
}

#[test]
fn an_answer_flows_before_it_is_whole() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    // The upstream sends 10,000 bytes of a million and resets: the first ones arrive all the same.
    conn.write(&gateway.get("/midway").bearer(&key).bytes()).unwrap();
    let mut got = 0;
    let end = conn.read_into("GET", &mut |part| got += part.len());
    assert!(end.is_err());
    assert!(got > 0, "nothing was streamed");
}

#[test]
fn many_requests_share_one_http_2_connection() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let setup = Setup::with(&upstream, config, &key.entry("a", "")).certificate("t", "localhost");
    let mut gateway = setup.start();
    let auth = format!("authorization: Bearer {}", key.text);
    let ca = gateway.dir.path().join("t.pem").display().to_string();
    let base = format!("https://localhost:{}/bytes", gateway.addr().port());
    let urls: Vec<String> = (0..30).map(|n| format!("{base}/{}", 1000 + n)).collect();
    let format = "%{http_version} %{http_code} %{size_download}\n";
    let mut args = vec!["--http2", "--cacert", &ca, "-Z", "--parallel-max", "10", "-H", &auth, "-w", format];
    args.extend(urls.iter().flat_map(|_| ["-o", "/dev/null"]));
    args.extend(urls.iter().map(String::as_str));
    let printed = curl_ok(&args);
    let mut sizes: Vec<&str> = printed.lines().filter_map(|l| l.strip_prefix("2 200 ")).collect();
    sizes.sort_unstable();
    let expected: Vec<String> = (0..30).map(|n| (1000 + n).to_string()).collect();
    assert_eq!(sizes, expected, "{printed}");
    gateway.stop();
    assert_eq!(gateway.decisions().iter().filter(|l| l["network.protocol.version"] == "2").count(), 30);
}
