//! What is different when requests share a connection.

use http::{HeaderMap, Request};

use crate::harness::{Answer, Frames, Gateway, Key, Setup, Upstream, over_h2};

fn start(config: &str, fields: &str) -> (Upstream, Key, Gateway) {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, config, &key.entry("a", fields)).start();
    (upstream, key, gateway)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Frames> {
    request_with(method, path, headers, Frames::default())
}

fn request_with(method: &str, path: &str, headers: &[(&str, &str)], body: Frames) -> Request<Frames> {
    let mut builder = Request::builder().method(method).uri(format!("http://api.example.com{path}"));
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(body).expect("a request")
}

fn code(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_key_in_a_cookie_is_found_among_crumbs() {
    let (upstream, key, gateway) = start("[keys]\nsources = [\"cookie:session\"]\n", "");
    let crumb = format!("session={}", key.text);
    let (one, two) = over_h2(gateway.addr(), async |h2| {
        let one = h2.send(request("GET", "/one", &[("cookie", "a=b"), ("cookie", &crumb), ("cookie", "c=d")])).await;
        (one, h2.send(request("GET", "/two", &[("cookie", &crumb), ("cookie", &crumb)])).await)
    });
    assert_eq!(one.status, 200);
    let seen = upstream.request("/one");
    assert_eq!(seen.all("cookie").join("; "), "a=b; c=d");
    assert!(!seen.raw().contains(key.secret().unwrap()));
    assert_eq!((two.status, code(&two).as_str()), (400, "duplicate_credential"));
}

#[test]
fn trailers_pass_both_ways() {
    let (upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "abc123".parse().unwrap());
    let (up, down) = over_h2(gateway.addr(), async |h2| {
        let headers = [("authorization", auth.as_str()), ("trailer", "x-checksum"), ("te", "trailers")];
        let up = h2.send(request_with("POST", "/up", &headers, Frames::of(b"hello", Some(trailers)))).await;
        (up, h2.send(request("GET", "/chunked", &headers)).await)
    });
    assert_eq!(up.status, 200);
    let seen = upstream.request("/up");
    assert_eq!((seen.body.as_slice(), seen.trailers.len()), (b"hello".as_slice(), 1), "{:?}", seen.trailers);
    assert_eq!((down.body.as_slice(), down.whole), (b"hello world".as_slice(), true));
    assert_eq!(down.trailers.expect("trailers")["x-checksum"], "abc123");
    assert!(down.headers.get("transfer-encoding").is_none());
}

#[test]
fn bodies_pass_both_ways() {
    let (_upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let body: Vec<u8> = (0..700_000_usize).map(|n| (n * 13 % 255) as u8).collect();
    let answer = over_h2(gateway.addr(), async |h2| {
        h2.send(request_with("POST", "/echo/x", &[("authorization", &auth)], Frames::of(&body, None))).await
    });
    assert!(answer.status == 200 && answer.body == body && answer.whole);
}

#[test]
fn a_refusal_ends_one_stream_and_not_the_connection() {
    let (_upstream, key, gateway) = start("", "limits = [\"2/h\"]");
    let auth = format!("Bearer {}", key.text);
    let statuses = over_h2(gateway.addr(), async |h2| {
        let mut statuses = Vec::new();
        for headers in [vec![("authorization", auth.as_str())], vec![], vec![("x-api-key", "nonsense")]] {
            for _ in 0..2 {
                statuses.push(h2.send(request("GET", "/", &headers)).await.status);
            }
        }
        statuses.push(h2.send(request("GET", "/", &[("authorization", &auth)])).await.status);
        statuses
    });
    assert_eq!(statuses, [200, 200, 401, 401, 401, 401, 429]);
}

#[test]
fn a_stream_that_its_client_leaves_has_its_line_and_the_others_go_on() {
    let (_upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let after = over_h2(gateway.addr(), async |h2| {
        let some = h2.send_some(request("GET", "/flood", &[("authorization", &auth)]), 1000).await.unwrap();
        assert!(!some.whole && some.body.len() >= 1000);
        h2.send(request("GET", "/after", &[("authorization", &auth)])).await
    });
    assert_eq!(after.status, 200);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/flood");
    assert_eq!(line["outcome"], "client_gone", "{line:#}");
    gateway.wait_decision("the line after", |l| l["url.path"] == "/after" && l["outcome"] == "complete");
}

#[test]
fn an_upstream_that_leaves_breaks_one_stream() {
    let (_upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let (cut, after) = over_h2(gateway.addr(), async |h2| {
        let cut = h2.send_some(request("GET", "/midway", &[("authorization", &auth)]), usize::MAX).await;
        (cut, h2.send(request("GET", "/", &[("authorization", &auth)])).await)
    });
    assert!(!cut.is_ok_and(|a| a.whole), "a cut body is never passed off as whole");
    assert_eq!(after.status, 200);
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/midway");
    assert_eq!(line["outcome"], "upstream_gone", "{line:#}");
}

#[test]
fn two_different_hosts_in_one_request_are_refused() {
    let (upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let answer = over_h2(gateway.addr(), async |h2| {
        let request = request("GET", "/host", &[("authorization", &auth), ("host", "admin.internal")]);
        h2.send_some(request, usize::MAX).await
    });
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(upstream.count("/host"), 0);
}

#[test]
fn streams_under_way_are_finished_when_the_gateway_stops() {
    let (upstream, key, mut gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let answer = over_h2(gateway.addr(), async |h2| {
        let headers = [("authorization", auth.as_str())];
        let (answer, ()) = tokio::join!(h2.send(request("GET", "/gate", &headers)), async {
            while upstream.count("/gate") == 0 {
                tokio::task::yield_now().await;
            }
            gateway.signal("TERM");
            while gateway.events("drain").is_empty() {
                tokio::task::yield_now().await;
            }
            upstream.open_gate();
        });
        answer
    });
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"released".as_slice()));
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn a_revocation_reaches_an_open_connection() {
    let (_upstream, key, gateway) = start("", "");
    let auth = format!("Bearer {}", key.text);
    let revoked = over_h2(gateway.addr(), async |h2| {
        let headers = [("authorization", auth.as_str())];
        assert_eq!(h2.send(request("GET", "/", &headers)).await.status, 200);
        std::fs::write(gateway.keys_path(), key.entry("a", "state = \"revoked\"")).unwrap();
        loop {
            let answer = h2.send(request("GET", "/", &headers)).await;
            if answer.status != 200 {
                return answer;
            }
        }
    });
    assert_eq!((revoked.status, code(&revoked).as_str()), (401, "invalid_key"));
}

#[test]
fn a_head_that_is_too_large_harms_one_stream_or_one_connection_only() {
    let (upstream, key, gateway) = start("[http]\nheader_bytes_max = \"8KiB\"\nheaders_max = 20\n", "");
    let auth = format!("Bearer {}", key.text);
    let long = "x".repeat(20_000);
    let refused = over_h2(gateway.addr(), async |h2| {
        h2.send_some(request("GET", "/long", &[("authorization", &auth), ("x-long", &long)]), usize::MAX).await
    });
    if let Ok(refused) = refused {
        assert!([400, 431].contains(&refused.status), "{refused:?}");
    }
    let names: Vec<String> = (0..40).map(|n| format!("x-h-{n}")).collect();
    let refused = over_h2(gateway.addr(), async |h2| {
        let mut headers = vec![("authorization", auth.as_str())];
        headers.extend(names.iter().map(|n| (n.as_str(), "1")));
        h2.send_some(request("GET", "/many", &headers), usize::MAX).await
    });
    if let Ok(refused) = refused {
        assert!([400, 431].contains(&refused.status), "{refused:?}");
    }
    assert_eq!((upstream.count("/long"), upstream.count("/many")), (0, 0));
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}
