//! `keyward explain` says what the gateway then does, of the same files, and knows what was used of quotas.

use serde_json::Value;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually, keyward, keyward_with};

const CONFIG: &str = "[server]\nstate = \"state.db\"\n[limits]\nfailures_per_ip = \"none\"\n\
    [plan.gold]\nlimits = [\"1000/s\"]\nquota = \"7/month\"\n\
    [[route]]\nname = \"orders\"\nhost = \"api.example.com\"\npath = \"/v1/orders/*\"\nroles = [\"orders\"]\ncost = 2\n\
    [[route]]\nname = \"tried\"\npath = \"/new/*\"\nmode = \"shadow\"\n\
    [[route]]\nname = \"health\"\npath = \"/health\"\nmethods = [\"GET\"]\nauth = \"open\"\n\
    [[route]]\nname = \"rest\"\npath = \"/rest/*\"\n";

fn explain(gateway: &Gateway, args: &[&str], stdin: &str) -> (i32, Value) {
    let mut all = vec!["explain", "-c", "keyward.toml", "--json"];
    all.extend(args);
    let ran = keyward_with(gateway.dir.path(), &all, stdin, &[]);
    (ran.code, serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}: {ran:?}")))
}

#[test]
fn it_says_what_the_gateway_does() {
    let upstream = Upstream::start();
    let keys: Vec<(&str, Key, &str)> = vec![
        ("billing", Key::new(), "roles = [\"orders\"]"),
        ("plain", Key::new(), ""),
        ("posts", Key::new(), "methods = [\"POST\"]\npaths = [\"/rest/a/*\"]"),
        ("elsewhere", Key::new(), "networks = [\"192.0.2.0/24\"]"),
        ("gone", Key::new(), "state = \"revoked\""),
        ("broken", Key::new(), "frobnicate = 1"),
    ];
    let entries: String = keys.iter().map(|(id, key, fields)| key.entry(id, fields)).collect();
    let gateway = Setup::with(&upstream, CONFIG, &entries).start();
    let urls = [
        ("GET", "api.example.com", "/v1/orders/1"),
        ("GET", "other.example", "/v1/orders/1"),
        ("GET", "other.example", "/new/x"),
        ("GET", "other.example", "/health"),
        ("POST", "other.example", "/health"),
        ("POST", "other.example", "/rest/a/b"),
        ("GET", "other.example", "/rest/x?q=1"),
        ("GET", "other.example", "/rest/../x"),
    ];
    for (id, key, _) in &keys {
        for (method, host, target) in urls {
            let reply = gateway.request(method, target).header("host", host).bearer(key).send();
            let line = gateway.line_of(&reply);
            let url = format!("http://{host}{target}");
            for (args, stdin) in [(vec!["--key-id", id], ""), (vec!["--key-stdin"], key.text.as_str())] {
                let mut all = vec![method, url.as_str()];
                all.extend(args);
                let (code, told) = explain(&gateway, &all, stdin);
                let what = format!("{method} {url} {id}: {told:#}\n{line:#}");
                assert_eq!((&told["decision"], &told["reason"]), (&line["decision"], &line["reason"]), "{what}");
                assert_eq!(told["route"].as_str(), line["http.route"].as_str(), "{what}");
                assert_eq!(code == 1, line["decision"] == "deny", "{what}");
                let status = told["answer"]["status"].as_u64().map(|status| status as u16);
                assert_eq!(status.unwrap_or(200), reply.status, "{what}");
                for (name, value) in told["answer"]["response_headers"].as_object().unwrap() {
                    assert_eq!(reply.header(name), value.as_str(), "{name}: {what}");
                }
            }
        }
    }
}

#[test]
fn it_knows_what_was_used_of_a_quota() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, CONFIG, &key.entry("a", "plan = \"gold\"")).start();
    let left = || explain(&gateway, &["GET", "/rest/", "--key-id", "a"], "").1["limits"][1].clone();
    let month = left();
    assert_eq!((month["policy"].as_str(), month["remaining"].as_u64()), (Some("month"), Some(6)), "one for the asking");
    for _ in 0..4 {
        assert_eq!(gateway.get("/rest/").bearer(&key).send().status, 200);
    }
    eventually("four to be counted", || (left()["remaining"] == 2).then_some(()));
    for _ in 0..3 {
        assert_eq!(gateway.get("/rest/").bearer(&key).send().status, 200);
    }
    eventually("the quota to be used up", || {
        let (code, told) = explain(&gateway, &["GET", "/rest/", "--key-id", "a"], "");
        (code == 1 && told["reason"] == "quota_exceeded").then_some(())
    });
    let ran = keyward(gateway.dir.path(), &["explain", "-c", "keyward.toml", "GET", "/rest/", "--key-id", "nobody"]);
    assert!(ran.exits(1).stderr.contains("no key \"nobody\""));
}
