//! What a route changes on the way: prefixes of paths, and headers in both directions.

use crate::harness::{Gateway, Key, Setup, Upstream, keyward};

const ROUTES: &str = r#"
[[route]]
path = "/api/*"
strip_prefix = "/api"
[[route]]
path = "/tenant/*"
strip_prefix = "/tenant"
add_prefix = "/t/42"
[[route]]
path = "/edited/*"
[route.request_headers]
set = { X-From = "gateway", X-Secret-Door = "shut" }
remove = ["X-Debug", "User-Agent", "X-Secret-Door", "Authorization"]
[route.response_headers]
set = { X-Frame-Options = "DENY", Date = "never" }
remove = ["X-Public", "Set-Cookie"]
[[route]]
add_prefix = "/rest"
"#;

fn world() -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, ROUTES, &key.entry("a", "owner = \"o\"")).start();
    (upstream, key, gateway)
}

#[test]
fn prefixes_are_stripped_and_added_on_the_path_that_was_matched() {
    let (upstream, key, gateway) = world();
    for (sent, got) in [
        ("/api", "/"),
        ("/api/", "/"),
        ("/api/x?y=/api/z", "/x?y=/api/z"),
        ("/%61pi/%78", "/x"),
        ("/apix", "/rest/apix"),
        ("/tenant", "/t/42"),
        ("/tenant/", "/t/42/"),
        ("/tenant/a/b/?c", "/t/42/a/b/?c"),
        ("/", "/rest/"),
    ] {
        let reply = gateway.get(sent).bearer(&key).send();
        assert_eq!(reply.status, 200, "{sent}");
        assert_eq!(upstream.seen().pop().unwrap().target(), got, "{sent}");
        let path = sent.split('?').next().unwrap();
        assert_eq!(gateway.line_of(&reply)["url.path"], path, "the line has what the client asked for");
    }
    let before = upstream.seen().len();
    for path in ["/tenant/../43/x", "/tenant/%2e%2e/x", "/tenant//x", "/tenant/..%2fx", "/api/..;/x", "/x/../../etc"] {
        assert_eq!(gateway.get(path).bearer(&key).send().status, 400, "{path} would leave its prefix");
    }
    assert_eq!(upstream.seen().len(), before);
}

#[test]
fn a_prefix_is_no_cage_with_a_hole_even_where_no_route_has_a_path() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[[route]]\nadd_prefix = \"/t/42\"\n", &key.entry("a", "")).start();
    assert_eq!(gateway.get("/../43/x").bearer(&key).send().status, 400);
    assert_eq!(gateway.get("/x").bearer(&key).send().status, 200);
    assert_eq!(upstream.seen().pop().unwrap().target(), "/t/42/x");
}

#[test]
fn request_headers_are_removed_and_set_and_no_spelling_or_trailer_gets_around_it() {
    let (upstream, key, gateway) = world();
    let request = gateway.request("POST", "/edited/x").api_key(&key.text).header("User-Agent", "me/1");
    let request =
        request.header("X-From", "client").header("X_From", "client").header("X-Debug", "1").header("x_debug", "1");
    let request =
        request.header("Connection", "X-From, X-Secret-Door").header("X-Secret_Door", "open").header("X-Kept", "1");
    let reply = request.header("Authorization", "Digest of-the-application").header("X-Consumer-ID", "root").send();
    assert_eq!(reply.status, 200);
    let seen = upstream.request("/edited/x");
    for (name, values) in [
        ("x-from", &["gateway"][..]),
        ("x-secret-door", &["shut"]),
        ("x-kept", &["1"]),
        ("x-consumer-id", &["a"]),
        ("x-debug", &[]),
        ("user-agent", &[]),
        ("authorization", &[]),
        ("x-api-key", &[]),
    ] {
        assert_eq!(seen.all(name), values, "{name} in {}", seen.raw());
    }
    assert!(!seen.raw().contains('_'), "{}", seen.raw());
    let head = format!(
        "POST /edited/t HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Debug\r\n\r\n",
        key.text
    );
    let mut conn = gateway.connect();
    conn.write((head + "2\r\nhi\r\n0\r\nX-Debug: 1\r\nX_From: 2\r\nX-Sum: 3\r\n\r\n").as_bytes()).unwrap();
    assert_eq!(conn.read_reply("POST").unwrap().status, 200);
    let trailers = upstream.request("/edited/t").trailers;
    assert!(trailers.iter().all(|(name, _)| name.eq_ignore_ascii_case("x-sum")), "{trailers:?}");
}

#[test]
fn response_headers_are_removed_and_set_and_ours_stay_ours() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let config = "[[route]]\npath = \"/hop/*\"\n[route.response_headers]\nremove = [\"X-Public\", \"Set-Cookie\"]\n\
        set = { X-Frame-Options = \"DENY\", Cache-Control = \"public\", X-API-Key-Fingerprint = \"made up\" }\n";
    let gateway = Setup::with(&upstream, config, &key.entry("a", "")).start();
    let reply = gateway.get("/hop").bearer(&key).send();
    assert_eq!(reply.status, 200);
    assert_eq!((reply.all("x-frame-options"), reply.all("cache-control")), (vec!["DENY"], vec!["public"]));
    assert_eq!((reply.header("x-public"), reply.header("set-cookie")), (None, None));
    assert_eq!(reply.all("x-api-key-fingerprint"), [gateway.line_of(&reply)["key.fingerprint"].as_str().unwrap()]);
    let refused = gateway.get("/hop").send();
    assert_eq!((refused.status, refused.header("x-frame-options")), (401, Some("DENY")));
    assert_eq!(refused.all("cache-control"), ["no-store"], "a refusal is never kept");
    assert_eq!(gateway.get("/elsewhere").send().header("x-frame-options"), None);
}

#[test]
fn what_a_route_may_not_change_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("keys.toml"), "").unwrap();
    for (route, place) in [
        ("strip_prefix = \"api\"", "keyward.toml:3:16"),
        ("request_headers = { set = { Host = \"x\" } }", "keyward.toml:3:36"),
        ("request_headers = { remove = [\"x-a\", \"X-Consumer-ID\"] }", "keyward.toml:3:38"),
        ("response_headers = { set = { Connection = \"x\" } }", "keyward.toml:3:43"),
    ] {
        let text = format!("upstream.default.servers = [\"http://127.0.0.1:1\"]\n[[route]]\n{route}\n");
        std::fs::write(dir.path().join("keyward.toml"), text).unwrap();
        let ran = keyward(dir.path(), &["check", "-c", "keyward.toml"]).exits(1);
        assert!(ran.all().contains(place), "{route}: {}", ran.all());
    }
}
