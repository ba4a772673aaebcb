//! Which headers pass through a proxy, and which are its own business.

use crate::harness::{Key, Setup, Upstream};

#[test]
fn hop_by_hop_headers_of_a_request_stay_on_their_hop() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let request = gateway
        .get("/")
        .bearer(&key)
        .header("Connection", "close, X-Private-Hop")
        .header("X-Private-Hop", "secret of this hop")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("Proxy-Authorization", "Basic dXNlcjpwYXNz")
        .header("TE", "gzip")
        .header("Accept", "text/plain")
        .header("X-Public", "1")
        .header("X-Public", "2");
    let reply = request.send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/");
    for name in ["x-private-hop", "keep-alive", "proxy-connection", "proxy-authorization", "upgrade"] {
        assert_eq!(seen.get(name), None, "{name} in {}", seen.raw());
    }
    assert!(seen.get("connection").is_none_or(|v| v.eq_ignore_ascii_case("keep-alive")), "{}", seen.raw());
    assert!(seen.get("te").is_none_or(|v| v == "trailers"), "{}", seen.raw());
    assert_eq!(seen.get("accept"), Some("text/plain"));
    assert_eq!(seen.all("x-public"), ["1", "2"], "repeated headers keep their order");
    assert_eq!(seen.get("via"), None);
}

#[test]
fn hop_by_hop_headers_of_an_answer_stay_on_their_hop() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.get("/hop").bearer(&key).send();
    assert_eq!((reply.status, reply.text().as_str()), (200, "hop"));
    for name in ["x-private-hop", "keep-alive", "proxy-authenticate", "via"] {
        assert_eq!(reply.header(name), None, "{name} in {:?}", reply.head.headers);
    }
    assert_eq!(reply.header("x-public"), Some("1"));
    assert_eq!(reply.all("x-request-id").len(), 1, "an upstream cannot rename a request");
    assert_eq!(gateway.line_of(&reply)["url.path"], "/hop");
    assert_eq!(reply.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(reply.all("date"), ["Mon, 01 Jan 2024 00:00:00 GMT"], "the date is the upstream's");
}

#[test]
fn the_upstream_learns_where_a_request_came_from() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
        tls = [{ cert = \"t.pem\", key = \"t.key\" }]\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).certificate("t", "api.example.com").start();
    let forged = gateway
        .get("/plain")
        .bearer(&key)
        .header("X-Forwarded-For", "10.9.8.7")
        .header("X_Forwarded_For", "10.9.8.7")
        .header("X-Forwarded-Proto", "https")
        .header("X-Forwarded-Host", "evil.example")
        .header("X-Request-Id", "chosen-by-the-client");
    let reply = forged.send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/plain");
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"], "nobody is trusted by default");
    assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.all("x-forwarded-host"), ["api.example.com"]);
    assert_eq!(seen.all("host"), ["api.example.com"]);
    assert!(!seen.raw().contains("10.9.8.7") && !seen.raw().contains("evil.example"), "{}", seen.raw());
    assert_ne!(reply.request_id(), "chosen-by-the-client");
    let port = gateway.listener(1).port();
    let ca = gateway.dir.path().join("t.pem");
    let url = format!("https://api.example.com:{port}/tls");
    let resolve = format!("api.example.com:{port}:127.0.0.1");
    let auth = format!("authorization: Bearer {}", key.text);
    crate::harness::curl_ok(&["--cacert", &ca.display().to_string(), "--resolve", &resolve, "-H", &auth, &url]);
    let seen = upstream.request("/tls");
    assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.all("x-forwarded-host"), [format!("api.example.com:{port}")]);
    assert_eq!(seen.all("host"), [format!("api.example.com:{port}")], "an HTTP/2 authority arrives as Host");
}

#[test]
fn a_path_and_a_query_pass_as_they_were_sent() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for target in [
        "/a%20b?q=%2Fx&empty=&flag",
        "/%C3%A9t%C3%A9",
        "/a?b?c",
        "/a?",
        "/a?x=1&x=2",
        "/a+b/c~d/(e)!*'$",
        "/a//b",
        "/a;v=1/b",
        "/a%2Fb",
        "/a/../b",
    ] {
        let reply = gateway.get(target).bearer(&key).send();
        assert_eq!(reply.status, 200, "{target}");
        let last = upstream.seen().pop().unwrap();
        assert_eq!(last.target(), target, "no route guards by path, so nothing is refused or rewritten");
    }
}
