//! curl in all its versions of HTTP.

use std::fs;

use super::{ca, front};
use crate::harness::{Gateway, Key, Setup, Upstream, curl, curl_ok, python_http_server};

fn start() -> (Upstream, Key, Gateway, String) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = front(&upstream.url(), "", &key.entry("a", ""));
    let auth = format!("authorization: Bearer {}", key.text);
    (upstream, key, gateway, auth)
}

/// Every way curl has to speak HTTP: its flag, the URL's start, the version that is then spoken.
fn ways(gateway: &Gateway) -> Vec<(&'static str, String, &'static str)> {
    let plain = format!("http://{}", gateway.addr());
    let secure = format!("https://localhost:{}", gateway.listener(1).port());
    vec![
        ("--http1.0", plain.clone(), "1.0"),
        ("--http1.1", plain.clone(), "1.1"),
        ("--http2", plain.clone(), "1.1"),
        ("--http2-prior-knowledge", plain, "2"),
        ("--http1.0", secure.clone(), "1.0"),
        ("--http1.1", secure.clone(), "1.1"),
        ("--http2", secure, "2"),
    ]
}

/// curl 7.88 breaks its second request over h2c by prior knowledge, in front of any server.
fn on_one_connection(flag: &str) -> usize {
    if flag == "--http2-prior-knowledge" { 1 } else { 2 }
}

#[test]
fn every_version_gets_the_same() {
    let (upstream, _key, gateway, auth) = start();
    let ca = ca(&gateway);
    let file = gateway.dir.path().join("upload.bin");
    fs::write(&file, vec![b'u'; 300_000]).unwrap();
    for (flag, base, version) in ways(&gateway) {
        let curl = |more: &[&str], path: &str| {
            let url = format!("{base}{path}");
            let mut args = vec![flag, "--cacert", &ca, "-H", &auth, "-w", "|%{http_code} %{size_download}", &url];
            args.extend(more);
            curl_ok(&args)
        };
        assert_eq!(curl(&[], "/echo/x"), "|200 0", "{flag} {base}");
        assert_eq!(curl(&["-d", "hello"], "/echo/x"), "hello|200 5", "{flag} {base}");
        assert_eq!(curl(&["-o", "/dev/null"], "/bytes/1000000"), "|200 1000000", "{flag} {base}");
        assert_eq!(curl(&[], "/chunked"), "hello world|200 11", "{flag} {base}");
        assert_eq!(curl(&[], "/hints"), "hinted|200 6", "{flag} {base}");
        assert_eq!(curl(&[], "/close"), "bye|200 3", "{flag} {base}");
        assert_eq!(curl(&["-I", "-o", "/dev/null"], "/bytes/77"), "|200 0", "{flag} {base}");
        let upload = file.display().to_string();
        assert_eq!(curl(&["-o", "/dev/null", "-T", &upload], "/echo/up"), "|200 300000", "{flag} {base}");
        assert_eq!(upstream.request("/echo/up").body_len, 300_000);
        gateway.wait_decision("its line", |l| l["network.protocol.version"] == version);
    }
}

#[test]
fn an_upgrade_to_h2c_is_neither_made_nor_passed_on() {
    let (upstream, _key, gateway, auth) = start();
    let url = format!("http://{}/h2c", gateway.addr());
    let printed = curl_ok(&["--http2", "-v", "--stderr", "-", "-H", &auth, "-w", "\nspoke %{http_version}", &url]);
    assert!(printed.contains("> Upgrade: h2c"), "curl asks for it: {printed}");
    assert!(printed.contains("< HTTP/1.1 200") && printed.contains("spoke 1.1"), "{printed}");
    assert!(!printed.contains("101 Switching"), "{printed}");
    let seen = upstream.request("/h2c");
    let hops = ["upgrade", "http2-settings", "connection"];
    assert!(hops.iter().all(|h| !seen.get(h).unwrap_or_default().to_lowercase().contains("h2c")), "{}", seen.raw());
    assert!(seen.get("upgrade").is_none() && seen.get("http2-settings").is_none(), "{}", seen.raw());
    // With a body it is the same, and without a key it is a refusal.
    let printed =
        curl_ok(&["--http2", "-d", "hello", "-H", &auth, "-w", "|%{http_version}", &url.replace("h2c", "echo/x")]);
    assert_eq!(printed, "hello|1.1");
    assert_eq!(curl_ok(&["--http2", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", &url]), "401 1.1");
    assert_eq!(upstream.count("/h2c"), 1);
}

#[test]
fn early_hints_never_confuse() {
    let (_upstream, _key, gateway, auth) = start();
    let ca = ca(&gateway);
    let dump = gateway.dir.path().join("head.txt").display().to_string();
    for (flag, base, version) in ways(&gateway) {
        let url = format!("{base}/hints");
        // Twice on one connection: what was left over would be taken for the second answer.
        let urls = vec![url.as_str(); on_one_connection(flag)];
        let args = [flag, "--cacert", &ca, "-H", &auth, "-D", &dump, "-w", "|%{http_code}|"];
        let printed = curl_ok(&[&args[..], &urls].concat());
        assert_eq!(printed, "hinted|200|".repeat(urls.len()), "{flag} {base}");
        let heads = fs::read_to_string(&dump).unwrap();
        let (interim, last) = heads.split_once(" 200").unwrap_or_else(|| panic!("{heads}"));
        assert!(interim.matches("HTTP/").count() <= 2 && (version != "1.0" || !interim.contains("103")), "{heads}");
        let own = last.split("HTTP/").next().unwrap_or_default().to_lowercase();
        assert!(!own.contains("\nlink:"), "the hints are not the answer's headers: {heads}");
    }
}

#[test]
fn a_body_is_sent_when_it_is_asked_for_and_not_when_it_is_refused() {
    let (upstream, _key, gateway, auth) = start();
    let ca = ca(&gateway);
    let file = gateway.dir.path().join("upload.bin");
    fs::write(&file, vec![b'u'; 3_000_000]).unwrap();
    let file = file.display().to_string();
    for (flag, base, version) in ways(&gateway).into_iter().filter(|w| w.2 == "1.1" && w.0 == "--http1.1") {
        let url = format!("{base}/echo/expected");
        // curl waits for the 100 as long as it likes here, so that it sends no byte unasked.
        let ask = [flag, "--cacert", &ca, "--expect100-timeout", "50", "-H", "Expect: 100-continue", "-T", &file];
        let mut args = ask.to_vec();
        args.extend(["-H", &auth, "-o", "/dev/null", "-w", "%{http_code} %{size_upload} %{http_version}", &url]);
        assert_eq!(curl_ok(&args), format!("200 3000000 {version}"), "{flag}");
        let mut args = ask.to_vec();
        args.extend(["-o", "/dev/null", "-w", "%{http_code} %{size_upload} %{http_version}", &url]);
        assert_eq!(curl_ok(&args), format!("401 0 {version}"), "{flag}");
    }
    assert_eq!(upstream.count("/echo/expected"), 2, "one a listener");
}

#[test]
fn connect_and_trace_are_refused() {
    let (upstream, _key, gateway, auth) = start();
    let ca = ca(&gateway);
    for (flag, base, _) in ways(&gateway) {
        let url = format!("{base}/traced");
        let args = [flag, "--cacert", &ca, "-H", &auth, "-X", "TRACE", "-o", "/dev/null", "-w", "%{http_code}", &url];
        let code: u16 = curl_ok(&args).parse().unwrap();
        assert!((400..=501).contains(&code), "{flag} {base}: {code}");
    }
    assert_eq!(upstream.count("/traced"), 0);
    // As a forward proxy: curl asks it to CONNECT to the upstream.
    let proxy = format!("http://{}", gateway.addr());
    let target = format!("http://{}/tunnelled", upstream.addr);
    let ran = curl(&["--proxytunnel", "-x", &proxy, "--proxy-header", &auth, "--noproxy", "", &target]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(upstream.count("/tunnelled"), 0);
    let line = gateway.wait_decision("its line", |l| l["http.request.method"] == "CONNECT");
    assert_eq!(line["decision"], "deny", "{line:#}");
}

#[test]
fn a_server_of_http_1_0_serves_clients_of_every_version() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Key::new());
    fs::write(folder.path().join("f.txt"), vec![b'f'; 200_000]).unwrap();
    let server = python_http_server(folder.path(), "HTTP/1.0");
    let gateway = front(&server.url(), "", &key.entry("a", ""));
    let (ca, auth) = (ca(&gateway), format!("authorization: Bearer {}", key.text));
    for (flag, base, version) in ways(&gateway) {
        let url = format!("{base}/f.txt");
        let urls = vec![url.as_str(); on_one_connection(flag)];
        let mut args = vec![flag, "--cacert", &ca, "-H", &auth, "-w", "%{http_code} %{size_download} "];
        args.extend(urls.iter().flat_map(|_| ["-o", "/dev/null"]));
        assert_eq!(curl_ok(&[&args[..], &urls].concat()), "200 200000 ".repeat(urls.len()), "{flag} {base}");
        gateway.wait_decision("its line", |l| l["network.protocol.version"] == version);
    }
}

#[test]
fn several_curls_share_a_gateway_without_mixing() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let auth = format!("authorization: Bearer {}", key.text);
    let handles: Vec<_> = ["--http1.0", "--http1.1", "--http2"]
        .into_iter()
        .enumerate()
        .map(|(n, flag)| {
            let (auth, base) = (auth.clone(), format!("http://{}/bytes", gateway.addr()));
            std::thread::spawn(move || {
                let urls: Vec<String> = (0..30).map(|k| format!("{base}/{}", 1 + n * 1000 + k)).collect();
                let mut args = vec![flag, "-H", &auth, "-w", "%{http_code} %{size_download} "];
                args.extend(urls.iter().flat_map(|_| ["-o", "/dev/null"]));
                args.extend(urls.iter().map(String::as_str));
                let expected: String = (0..30).map(|k| format!("200 {} ", 1 + n * 1000 + k)).collect();
                assert_eq!(curl_ok(&args), expected, "{flag}");
            })
        })
        .collect();
    handles.into_iter().for_each(|h| h.join().unwrap());
}
