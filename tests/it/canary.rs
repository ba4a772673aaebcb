//! One key, fed through everything that can go right or wrong, and found in no output.

use std::fs;

use crate::harness::{Gateway, Key, Req, Setup, Upstream, curl, free_port, keyward, keyward_with, raw};

/// Asserts that no form of the key stands in what was said.
#[track_caller]
fn absent(key: &Key, what: &str, said: &str) {
    for (form, text) in
        [("text", key.text.as_str()), ("secret part", key.secret().unwrap()), ("digest", &key.digest_hex())]
    {
        assert!(!said.contains(text), "the canary's {form} is in {what}:\n{said}");
        let encoded = text.replace('_', "%5F");
        assert!(!said.to_lowercase().contains(&encoded.to_lowercase()), "the canary's {form} is in {what}:\n{said}");
    }
    // Nor enough of it to find it: any eleven characters in a row of the secret.
    let secret = key.secret().unwrap();
    for at in 0..secret.len() - 11 {
        assert!(!said.contains(&secret[at..at + 11]), "a piece of the canary is in {what}:\n{said}");
    }
}

/// The canary in every place of a request.
fn everywhere(gateway: &Gateway, key: &Key) -> Vec<Req> {
    let k = &key.text;
    vec![
        gateway.get("/plain").bearer(key),
        gateway.get("/header").api_key(k),
        gateway.get(&format!("/query?q=1&api_key={k}")),
        gateway.get(&format!("/query?q=1&api%5Fkey={}", k.replace('_', "%5F"))),
        gateway.get(&format!("/not-a-source?token={k}")).bearer(key),
        gateway.get(&format!("/path/{k}/x")).bearer(key),
        gateway.get("/cookie").header("Cookie", &format!("a=b; session={k}")),
        gateway.get("/ws").header("Sec-WebSocket-Protocol", &format!("keyward.{k}, chat")),
        gateway.get("/agent").bearer(key).header("User-Agent", k),
        gateway.get("/referer").bearer(key).header("Referer", &format!("https://x/?k={k}")),
        gateway.get("/host").bearer(key).header("Host", &format!("{k}.example.com")),
        gateway
            .get("/trace")
            .bearer(key)
            .header("traceparent", k)
            .header("X-Request-ID", k)
            .header("X-Forwarded-For", k),
        gateway.get("/twice").bearer(key).api_key(k),
        gateway.get("/crashed/reset").bearer(key),
        gateway.get("/reset").bearer(key),
        gateway.get("/garbage").bearer(key),
        gateway.get("/midway").bearer(key),
        gateway.get("/hang").bearer(key),
        gateway.request("DELETE", "/only-get").bearer(key),
        gateway.get("/only-get/../x").bearer(key),
        gateway.get("/form").header("Authorization", &format!("Bearer  {k}")),
        gateway.get("/form").header("Authorization", &format!("Bearer {k},")),
        gateway.get("/form").header("Authorization", &format!("Bearer \"{k}\"")),
        gateway.get("/form").header("Authorization", &format!("Basic {k}")),
        gateway.get("/broken").api_key(&key.bad_checksum()),
        gateway.get("/broken").api_key(&k[..k.len() - 1]),
        gateway.get("/broken").api_key(&format!("{k}{k}")),
        gateway.get("/broken").api_key(&k.to_uppercase()),
        gateway.request("POST", "/body").bearer(key).body(k.as_bytes()),
    ]
}

const CONFIG: &str = r#"
[keys]
sources = ["bearer", "header:x-api-key", "query:api_key", "cookie:session", "websocket-protocol", "basic"]
[[route]]
name = "only-get"
path = "/only-get"
methods = ["GET"]
[[route]]
name = "all"
timeout = "200ms"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
insecure = "refuse"
[[listener]]
address = "127.0.0.1:0"
tls = [{ cert = "t.pem", key = "t.key" }]
"#;

fn feed(gateway: &Gateway, key: &Key, heard: &mut String) {
    for request in everywhere(gateway, key) {
        // Some of these are cut on purpose: what was heard until then counts.
        if let Ok(reply) = gateway.connect().try_send(&request) {
            heard.push_str(&reply.everything());
        }
    }
    let k = &key.text;
    let hosts = "Host: a\r\nHost: b\r\n";
    for bytes in [
        format!("GET /{k} HTTP/1.1\r\n{hosts}X-API-Key: {k}\r\n\r\n"),
        format!("{k} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {k}\u{1}\r\n\r\n"),
        format!("{k}\r\n\r\n"),
        format!("POST / HTTP/1.1\r\nHost: a\r\nX-API-Key: {k}\r\nContent-Length: {k}\r\n\r\n"),
    ] {
        if let Ok((_, reply)) = raw(gateway.addr(), bytes.as_bytes()) {
            heard.push_str(&reply.everything());
        }
    }
    heard.push_str(&Req::new(gateway.listener(1), "GET", "/insecure").bearer(key).send().everything());
    let ca = gateway.dir.path().join("t.pem").display().to_string();
    let auth = format!("authorization: Bearer {k}");
    let url = format!("https://localhost:{}/tls?api_key={k}", gateway.listener(2).port());
    heard.push_str(&curl(&["--cacert", &ca, "--http2", "-i", "-H", &auth, &url]).all());
}

#[test]
fn a_canary_key_is_found_in_no_output() {
    let (upstream, key, other) = (Upstream::start(), Key::new(), Key::new());
    let mut heard = String::new();
    // Allowed, then throttled, revoked, expired, quarantined and unknown: the same requests against every state.
    for fields in ["", "limits = [\"2/h\"]", "state = \"revoked\"", "expires = 2020-01-01T00:00:00Z", "state = \"x\""] {
        let setup = Setup::with(&upstream, CONFIG, &key.entry("canary", fields)).certificate("t", "localhost");
        let mut gateway = setup.start();
        feed(&gateway, &key, &mut heard);
        fs::write(gateway.keys_path(), other.entry("other", "")).unwrap();
        gateway.wait_event("reload", |l| l["result"] == "applied");
        feed(&gateway, &key, &mut heard);
        gateway.stop();
        absent(&key, "the gateway's lines", &gateway.text());
    }
    absent(&key, "what clients heard", &heard);
    for seen in upstream.seen().iter().filter(|s| !s.path().contains("/path/") && !s.target().contains("token=")) {
        let taken = ["/plain", "/header", "/query", "/cookie", "/ws"];
        if taken.contains(&seen.path()) {
            absent(&key, "what the upstream saw", &seen.raw());
        }
    }
}

#[test]
fn a_canary_is_not_in_what_a_gateway_without_an_upstream_says() {
    let key = Key::new();
    let url = format!("http://{}", free_port());
    let gateway = Setup::before(&url, CONFIG, &key.entry("canary", "")).certificate("t", "localhost").start();
    let mut heard = String::new();
    feed(&gateway, &key, &mut heard);
    absent(&key, "what clients heard", &heard);
    absent(&key, "the gateway's lines", &gateway.text());
}

/// Files with the canary, or its hash, pasted where they do not belong.
fn mispasted(key: &Key) -> Vec<(String, String)> {
    let (k, h) = (&key.text, key.hash());
    let up = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n";
    let keys = |text: String| (up.to_owned(), text);
    let config = |text: String| (format!("{up}{text}"), String::new());
    vec![
        keys(format!("[[key]]\nid = \"a\"\nhash = \"{k}\"\n")),
        keys(format!("[[key]]\nid = \"a\"\nhash = \"sha256:{k}\"\n")),
        keys(format!("[[key]]\nid = \"{k}\"\nhash = \"{h}\"\n")),
        keys(format!("[[key]]\nid = \"{h}\"\nhash = \"x\"\n")),
        keys(format!("[[key]]\nid = \"a\"\nhash = \"{h}0\"\n")),
        keys(format!("[[key]]\nid = \"a\"\nhash = '{h}\n")),
        keys(format!("[[key]]\nid = \"a\"\n{k} = \"{k}\"\n")),
        keys(format!("[[key]]\nid = \"a\"\nhash = \"{h}\"\n[[key]]\nid = \"b\"\nhash = \"{h}\"\n")),
        keys(format!(
            "[[key]]\nid = \"a\"\nhash = \"{h}\"\nstate = \"{k}\"\nexpires = \"{k}\"\nlimits = [\"{k}\"]\nplan = \"{k}\"\n"
        )),
        keys(format!("{k}\n")),
        config(format!("[keys]\npepper = \"{k}\"\n")),
        config(format!("[keys]\nsources = [\"{k}\"]\nrealm = 1\n")),
        config(format!("[keys]\n{k} = 1\n")),
        config(format!("[keys]\nkey = \"{k}\n")),
        config(format!("{k}\n")),
        (format!("upstream.default.servers = [\"http://user:{k}@127.0.0.1:1/?k={k}\"]\n"), String::new()),
    ]
}

#[test]
fn a_canary_pasted_into_files_is_not_shown_back() {
    let key = Key::new();
    for (config, keys) in mispasted(&key) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("keyward.toml"), &config).unwrap();
        fs::write(dir.path().join("keys.toml"), &keys).unwrap();
        for args in [
            vec!["check"],
            vec!["check", "--json"],
            vec!["key", "list"],
            vec!["key", "show", "a"],
            vec!["key", "disable", "a"],
        ] {
            let ran = keyward(dir.path(), &args);
            absent(&key, &format!("{args:?} of\n{config}{keys}"), &ran.all());
        }
        // As an edit of a running gateway.
        let upstream = Upstream::start();
        let gateway = Setup::with(&upstream, "", "").start();
        fs::write(gateway.keys_path(), &keys).unwrap();
        fs::write(gateway.config_path(), &config).unwrap();
        gateway.signal("HUP");
        gateway.wait_event("reload", |_| true);
        absent(&key, "the gateway's lines", &gateway.text());
    }
}

#[test]
fn a_canary_given_to_commands_is_not_shown_back() {
    let key = Key::new();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys.toml"), key.entry("canary", "")).unwrap();
    let stdin = format!("{}\n", key.text);
    let identify = keyward_with(dir.path(), &["key", "identify", "--keys", "keys.toml"], &stdin, &[]).ok();
    absent(&key, "key identify", &identify.all());
    for args in [
        vec!["key", "identify", &key.text, "--keys", "keys.toml"],
        vec!["key", "hash", &key.text],
        vec!["key", "show", &key.text, "--keys", "keys.toml"],
        vec!["key", "revoke", &key.text, "--keys", "keys.toml"],
        vec!["key", "new", &key.text, "--keys", "keys.toml"],
    ] {
        let ran = keyward(dir.path(), &args);
        assert_ne!(ran.code, 0, "{args:?}");
        let said = ran.all();
        absent(&key, &format!("{} {}", args[0], args[1]), &said);
    }
}
