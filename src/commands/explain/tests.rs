use proptest::prelude::*;

use super::*;
use crate::config::source::SourceFile;
use crate::vocab::digest::Digest;

const CONFIG: &str = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n\
    [plan.gold]\nlimits = [\"100/s burst 200\"]\nquota = \"5000/month\"\nconcurrency = 8\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"allow\"\n\
    [[route]]\nname = \"orders\"\nhost = \"api.example.com\"\npath = \"/v1/orders/*\"\nroles = [\"orders\"]\nlimits = [\"5/m\"]\ncost = 2\n\
    [[route]]\nname = \"tried\"\npath = \"/new/*\"\nmode = \"shadow\"\n\
    [[route]]\nname = \"health\"\npath = \"/health\"\nmethods = [\"GET\"]\nauth = \"open\"\n\
    [[route]]\nname = \"rest\"\npath = \"/rest/*\"\n";

/// Each key's text is its id.
fn keys() -> String {
    let entry = |(id, rest): (&str, &str)| {
        format!("[[key]]\nid = \"{id}\"\nhash = \"sha256:{}\"\n{rest}\n", Digest::sha256(id.as_bytes()).to_hex())
    };
    [
        ("billing", "owner = \"payments\"\nplan = \"gold\"\nroles = [\"orders\"]"),
        ("plain", ""),
        ("office", "networks = [\"10.0.0.0/8\"]\nmethods = [\"GET\"]"),
        ("gone", "state = \"revoked\""),
        ("later", "not_before = 2027-01-01T00:00:00Z"),
        ("bad", "frobnicate = 1"),
    ]
    .map(entry)
    .concat()
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("keyward.toml"), CONFIG).expect("a file");
        std::fs::write(folder.path().join("keys.toml"), keys()).expect("a file");
        Self { folder }
    }

    /// The exit code and what was printed, on stdout and stderr.
    fn run(&self, words: &[&str], stdin: &str) -> (u8, String, String) {
        use clap::Parser as _;
        let config = self.folder.path().join("keyward.toml");
        let config = config.to_str().expect("a path");
        let words = ["keyward", "-c", config, "explain"].into_iter().chain(words.iter().copied());
        let cli = crate::cli::Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let crate::cli::Command::Explain(args) = cli.command else { panic!("it is explain") };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut console = Console {
            input: &mut stdin.as_bytes(),
            out: &mut out,
            err: &mut err,
            colour: false,
            colour_err: false,
            attended: false,
        };
        // 2026-11-28T12:00:00Z
        let clock = Clock::manual(Duration::from_secs(1_795_867_200));
        let code = run(&args, &cli.files, &mut console, &clock);
        (code, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
    }
}

#[test]
fn a_request_that_passes() {
    let (code, out, _) = Files::new()
        .run(&["GET", "https://api.example.com/v1/orders/7?x=1", "--key-id", "billing", "--at", "2026-12-01"], "");
    assert_eq!(code, 0);
    insta::assert_snapshot!(out);
}

#[test]
fn a_request_that_is_refused() {
    let (code, out, _) = Files::new().run(&["POST", "/rest/", "--key-id", "office", "--from", "10.1.2.3"], "");
    assert_eq!(code, 1);
    insta::assert_snapshot!(out);
}

#[test]
fn a_request_that_only_shadow_mode_lets_pass() {
    let (code, out, _) = Files::new().run(&["GET", "/new/thing", "--key-stdin"], "nobody's key\n");
    assert_eq!(code, 0);
    insta::assert_snapshot!(out);
}

#[test]
fn as_json_it_is_the_same() {
    let (code, out, _) = Files::new().run(&["GET", "/rest/", "--key-id", "gone", "--json"], "");
    let told: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &told["reason"], &told["answer"]["status"]), (1, &"revoked".into(), &401.into()));
    assert_eq!(told["answer"]["response_headers"]["www-authenticate"], "Bearer realm=\"api\", error=\"invalid_token\"");
}

#[test]
fn what_cannot_be_explained_is_said() {
    let files = Files::new();
    let (code, _, err) = files.run(&["GET", "/rest/", "--key-id", "nobody"], "");
    assert!(code == 1 && err.contains("no key \"nobody\""), "{err}");
    let (code, _, err) = files.run(&["GET", "ftp://x/", "--key-id", "plain"], "");
    assert!(code == 2 && err.contains("https://"), "{err}");
    let (code, _, _) = files.run(&["GET", "/rest/", "--key-id", "later", "--at", "2027-01-01"], "");
    assert_eq!(code, 0, "then it is valid");
}

/// The gateway's reason for a request that really carries the key.
fn decided(method: &str, url: &str, key: &str, from: &str) -> &'static str {
    use crate::config::{gateway, keyfile};
    use crate::request::{ConnFacts, Facts, RequestId, Transport};
    let (gateway, _) =
        gateway::parse(&std::sync::Arc::new(SourceFile::new("keyward.toml", CONFIG))).expect("a good file");
    let (keys, _) = keyfile::parse(&std::sync::Arc::new(SourceFile::new("keys.toml", keys()))).expect("a good file");
    let clock = Clock::manual(Duration::from_secs(1_795_867_200));
    let snapshot = crate::snapshot::Builder::new(clock.clone(), &[1; 64]).build(crate::snapshot::Parts {
        gateway: &gateway,
        keys: &keys,
        pepper: None,
        upstream_tls: &BTreeMap::new(),
        entrances: Vec::new(),
    });
    let uri: http::Uri = url.parse().expect("a URL");
    let mut fields = Fields::with_capacity(2);
    let host = uri.authority().map_or("localhost", |it| it.as_str());
    fields.set(http::header::HOST, HeaderValue::try_from(host).expect("a host"));
    fields.set(http::HeaderName::from_static("x-api-key"), HeaderValue::try_from(key).expect("a key"));
    let target = uri.path_and_query().map_or("/", |it| it.as_str()).parse().expect("a target");
    let method = method.parse().expect("a method");
    let (facts, readable) =
        Facts::read(clock.now(), RequestId::new(1), method, target, http::Version::HTTP_11, &fields);
    let peer = std::net::SocketAddr::new(from.parse().expect("an address"), 1);
    let conn = ConnFacts::new(peer.into(), Transport::Tls("1.3"), crate::config::gateway::Insecure::Refuse);
    let decision = crate::gate::decide::decide(&snapshot, &facts, readable, &conn, &fields);
    match (decision.verdict, decision.trail.shadow) {
        (Ok(_), None) => "allowed",
        (Ok(_), Some(denial)) => denial.reason(),
        (Err(refusal), _) => refusal.denial.reason(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn it_agrees_with_the_gateway(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "TRACE"]),
        host in prop::sample::select(vec!["https://api.example.com", "https://other.example"]),
        path in prop::sample::select(vec!["/v1/orders/1", "/new/x", "/health", "/rest/x", "/rest/../x", "/", "/none?q=1"]),
        key in prop::sample::select(vec!["billing", "plain", "office", "gone", "later", "bad"]),
        from in prop::sample::select(vec!["10.0.0.1", "192.0.2.1", "2001:db8::1"]),
    ) {
        let url = format!("{host}{path}");
        let (_, out, err) = Files::new().run(&[method, &url, "--key-id", key, "--from", from, "--json"], "");
        let told: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        prop_assert_eq!(told["reason"].as_str(), Some(decided(method, &url, key, from)), "{}", out);
    }
}
