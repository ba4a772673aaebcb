//! What holds of the bytes of every connection: how they are cut changes nothing, hyper's parser finds the same heads, and
//! what is allowed has a key where its route wants one, and one reading when it is written anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use keyward::config::gateway::{self, Auth, Insecure};
use keyward::config::keyfile;
use keyward::config::source::SourceFile;
use keyward::edge::strict::Strict;
use keyward::gate::decide::decide;
use keyward::request::target::canonical;
use keyward::request::{ConnFacts, Facts, Forwarded, RequestId, Transport};
use keyward::snapshot::{Builder, Parts, Snapshot};
use keyward::vocab::clock::Clock;

const KEY: &str = "a-key";
/// `printf a-key | sha256sum`
const KEYS: &str = "[[key]]\nid = \"a\"\nhash = \"sha256:@HASH@\"\n";
const HASH: &str = "2a8a1240f50636655520ac8ed22aa29473b8517b4abfdbc3bc03bcad73fc8849";
const CONFIG: &str = "upstream.default.servers = [\"http://127.0.0.1:1\"]\n[server]\ntrusted_proxies = [\"127.0.0.1\"]\n\
    [keys]\nsources = [\"bearer\", \"header:x-api-key\"]\n[[route]]\npath = \"/open/*\"\nauth = \"open\"\n\
    [[route]]\npath = \"/*\"\n";
const HEAD_MAX: usize = 32 * 1024;

thread_local! {
    static WORLD: (Snapshot, Clock) = world();
}

fn world() -> (Snapshot, Clock) {
    let clock = Clock::manual(Duration::from_secs(1_795_305_600));
    let mut builder = Builder::new(clock.clone(), &[3; 64]);
    let source = Arc::new(SourceFile::new("keyward.toml", CONFIG));
    let Ok((gateway, _)) = gateway::parse(&source) else { panic!("the configuration is good") };
    let source = Arc::new(SourceFile::new("keys.toml", KEYS.replace("@HASH@", HASH)));
    let Ok((keys, _)) = keyfile::parse(&source) else { panic!("the keys are good") };
    let upstream_tls = &BTreeMap::new();
    let parts = Parts { gateway: &gateway, keys: &keys, pepper: None, upstream_tls, entrances: Vec::new() };
    (builder.build(parts), clock)
}

pub(crate) fn check(data: &[u8]) {
    let mut whole = Strict::http1(HEAD_MAX);
    let verdict = whole.read(data);
    cut_makes_no_difference(data, verdict.is_ok());
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = request.parse(data) else { return };
    let mut strict = Strict::http1(HEAD_MAX);
    if strict.read(&data[..length]).is_err() {
        return;
    }
    assert!(!strict.is_in_head(), "hyper sees the end of a head where we do not");
    decided(&request, data);
}

fn cut_makes_no_difference(data: &[u8], is_good: bool) {
    let piece = usize::from(data.first().copied().unwrap_or(1)) % 13 + 1;
    let mut cut = Strict::http1(HEAD_MAX);
    let cut_is_good = data.chunks(piece).all(|piece| cut.read(piece).is_ok());
    // A line in pieces is judged at its end, which may not have come.
    assert!(cut_is_good == is_good || (cut_is_good && !cut.is_between_requests()), "pieces of {piece}");
}

/// As hyper makes a request of what its parser found. What it cannot make, it answers with 400 itself.
fn decided(request: &httparse::Request<'_, '_>, data: &[u8]) -> Option<()> {
    let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    let uri = Uri::try_from(request.path?).ok()?;
    let version = if request.version? == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut headers = HeaderMap::new();
    for field in request.headers.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    WORLD.with(|(snapshot, clock)| {
        let peer: std::net::SocketAddr = ([127, 0, 0, 1], 1).into();
        let conn = ConnFacts::new(peer.into(), Transport::Plain, Insecure::Allow);
        let (mut facts, readable) = Facts::read(clock.now(), RequestId::new(7), method.clone(), uri, version, &headers);
        facts.forwarded = Forwarded::read(&snapshot.trusted_proxies, &conn, &headers);
        let permit = decide(snapshot, &facts, readable, &conn, &headers).verdict.ok()?;
        let is_preflight = permit.admitted.key().is_none() && method == Method::OPTIONS;
        if permit.admitted.route().auth == Auth::Key && !is_preflight {
            let key = data.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(key && permit.admitted.key().is_some(), "nobody gets in without a key");
        }
        let path = permit.target.path();
        assert_eq!(canonical(path).as_deref(), Ok(path), "a path that servers read differently");
        let hosts = headers.get_all(HOST).iter().count();
        assert!(hosts == 1 || (hosts == 0 && version == Version::HTTP_10), "{hosts} hosts");
        written_anew(&method, permit.target.as_str(), &headers);
        Some(())
    })
}

/// What is forwarded, as far as it is the client's, has one reading.
fn written_anew(method: &Method, target: &str, headers: &HeaderMap) {
    let mut out = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    let mut strict = Strict::http1(usize::MAX);
    // An HTTP/1.0 client's request was good, too: nothing in it frames it otherwise.
    assert!(strict.read(&out).is_ok() && !strict.is_in_head(), "{:?}", String::from_utf8_lossy(&out));
}
