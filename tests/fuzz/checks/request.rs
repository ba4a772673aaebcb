//! What holds of the bytes of every connection: how they are cut changes nothing, another parser finds the same heads, and
//! what is allowed has a key where its route wants one, and one reading when it is written anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::header::HOST;
use http::{Method, Uri, Version};
use keyward::config::gateway::{self, Auth, Insecure};
use keyward::config::keyfile;
use keyward::config::source::SourceFile;
use keyward::edge::h1::head::Head;
use keyward::edge::h1::reader::Reader;
use keyward::gate::decide::decide;
use keyward::request::target::canonical;
use keyward::request::{ConnFacts, Facts, Forwarded, RequestId, Transport};
use keyward::snapshot::{Builder, Parts, Snapshot};
use keyward::vocab::clock::Clock;
use keyward::vocab::fields::Fields;

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
    let whole = read(data, usize::MAX);
    cut_makes_no_difference(data, &whole);
    let mut input = BytesMut::from(data);
    let Ok(Some(head)) = Reader::new(HEAD_MAX, 100).head(&mut input) else { return };
    same_as_another_parser(&head, data, data.len() - input.len());
    decided(&head, data);
}

/// Whether all of it is good, and whether it ends between two requests.
fn read(data: &[u8], piece: usize) -> (bool, bool) {
    let (mut reader, mut input) = (Reader::new(HEAD_MAX, 100), BytesMut::new());
    for piece in data.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let more = if reader.is_in_body() {
                reader.piece(&mut input).map(|it| it.is_some()).map_err(drop)
            } else {
                reader.head(&mut input).map(|it| it.is_some()).map_err(drop)
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(()) => return (false, false),
            }
        }
    }
    (true, !reader.is_in_body() && input.is_empty())
}

fn cut_makes_no_difference(data: &[u8], (is_good, _): &(bool, bool)) {
    let piece = usize::from(data.first().copied().unwrap_or(1)) % 13 + 1;
    let (cut_is_good, is_between) = read(data, piece);
    // A line in pieces is judged at its end, which may not have come.
    assert!(cut_is_good == *is_good || (cut_is_good && !is_between), "pieces of {piece}");
}

/// What we take for a head is one to others, and means the same to them.
fn same_as_another_parser(head: &Head, data: &[u8], length: usize) {
    let mut fields = [httparse::EMPTY_HEADER; 101];
    let mut request = httparse::Request::new(&mut fields);
    assert_eq!(request.parse(data), Ok(httparse::Status::Complete(length)), "another end of the head");
    assert_eq!(request.method, Some(head.method.as_str()));
    assert_eq!(request.version == Some(1), head.version == Version::HTTP_11);
    assert_eq!(request.path.and_then(|path| Uri::try_from(path).ok()).as_ref(), Some(&head.uri));
    let ours = head.fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes()));
    let theirs = request.headers.iter().map(|field| (field.name.to_lowercase(), field.value));
    assert!(ours.eq(theirs), "other fields");
}

fn decided(head: &Head, data: &[u8]) -> Option<()> {
    let Head { method, uri, version, fields, .. } = head;
    WORLD.with(|(snapshot, clock)| {
        let peer: std::net::SocketAddr = ([127, 0, 0, 1], 1).into();
        let conn = ConnFacts::new(peer.into(), Transport::Plain, Insecure::Allow);
        let id = RequestId::new(7);
        let (mut facts, readable) = Facts::read(clock.now(), id, method.clone(), uri.clone(), *version, fields);
        facts.forwarded = Forwarded::read(&snapshot.trusted_proxies, &conn, fields);
        let permit = decide(snapshot, &facts, readable, &conn, fields).verdict.ok()?;
        let is_preflight = permit.admitted.key().is_none() && *method == Method::OPTIONS;
        if permit.admitted.route().auth == Auth::Key && !is_preflight {
            let key = data.windows(KEY.len()).any(|window| window == KEY.as_bytes());
            assert!(key && permit.admitted.key().is_some(), "nobody gets in without a key");
        }
        let path = permit.target.path();
        assert_eq!(canonical(path).as_deref(), Ok(path), "a path that servers read differently");
        let hosts = fields.get_all(HOST).count();
        assert!(hosts == 1 || (hosts == 0 && *version == Version::HTTP_10), "{hosts} hosts");
        written_anew(method, permit.target.as_str(), fields);
        Some(())
    })
}

/// What is forwarded, as far as it is the client's, has one reading.
fn written_anew(method: &Method, target: &str, fields: &Fields) {
    let mut out = BytesMut::from(format!("{method} {target} HTTP/1.1\r\n").as_bytes());
    for (name, value) in fields.iter() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    // An HTTP/1.0 client's request was good, too: nothing in it frames it otherwise.
    assert!(matches!(Reader::new(usize::MAX, 101).head(&mut out), Ok(Some(_))), "{target:?}");
}
