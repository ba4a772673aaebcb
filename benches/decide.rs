//! What a decision costs: facts to verdict, without a socket, over key rings of several sizes.
//!
//! `cargo bench --bench decide`

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Version};
use keyward::config::gateway::{self, Insecure};
use keyward::config::keyfile;
use keyward::config::source::SourceFile;
use keyward::gate::decide::decide;
use keyward::request::{ConnFacts, Facts, RequestId, Transport};
use keyward::snapshot::{Builder, Parts, Snapshot};
use keyward::vocab::clock::Clock;
use keyward::vocab::digest::Digest;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [10, 1_000, 100_000];

fn main() {
    divan::main();
}

/// A snapshot with `count` keys, each with a limit that is never reached.
fn world(count: usize) -> (Snapshot, Clock) {
    let clock = Clock::system();
    let mut builder = Builder::new(clock.clone(), &[9; 64]);
    let config = "upstream.default.servers = [\"http://127.0.0.1:1\"]";
    let source = Arc::new(SourceFile::new("keyward.toml", config));
    let Ok((gateway, _)) = gateway::parse(&source) else { panic!("the configuration is good") };
    let text: String = (0..count).map(entry).collect();
    let source = Arc::new(SourceFile::new("keys.toml", text));
    let Ok((keys, _)) = keyfile::parse(&source) else { panic!("the keys are good") };
    let upstream_tls = &BTreeMap::new();
    let parts = Parts { gateway: &gateway, keys: &keys, pepper: None, upstream_tls, entrances: Vec::new() };
    (builder.build(parts), clock)
}

fn secret(number: usize) -> String {
    format!("a-key-that-somebody-brought-along-{number:016}")
}

fn entry(number: usize) -> String {
    let hash = Digest::sha256(secret(number).as_bytes()).to_hex();
    format!("[[key]]\nid = \"key-{number}\"\nhash = \"sha256:{hash}\"\nlimits = [\"1000000/s\"]\n")
}

fn request(key: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("api.example.com"));
    headers.insert(USER_AGENT, HeaderValue::from_static("bench/1"));
    let value = HeaderValue::try_from(format!("Bearer {key}")).expect("a header value");
    headers.insert(AUTHORIZATION, value);
    headers
}

fn bench_decision(bencher: Bencher<'_, '_>, count: usize, known: bool) {
    let (snapshot, clock) = world(count);
    let peer = SocketAddr::from(([192, 0, 2, 1], 5000));
    let conn = ConnFacts::new(peer.into(), Transport::Tls("1.3"), Insecure::Refuse);
    // Spread over the ring as real traffic is: a lone key would stay in the cache.
    let requests: Vec<HeaderMap> = (0..count.min(10_000))
        .map(|n| request(&secret(n * (count / count.min(10_000)) + if known { 0 } else { count })))
        .collect();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 1) % requests.len();
        let headers = &requests[turn];
        let uri = http::Uri::from_static("/v1/orders?page=2");
        let id = RequestId::new(7);
        let (facts, readable) = Facts::read(clock.now(), id, Method::GET, uri, Version::HTTP_11, headers);
        black_box(decide(&snapshot, &facts, readable, &conn, headers)).verdict.is_ok()
    });
}

#[divan::bench(args = SIZES, min_time = Duration::from_secs(1))]
fn allowed(bencher: Bencher<'_, '_>, keys: usize) {
    bench_decision(bencher, keys, true);
}

#[divan::bench(args = SIZES, min_time = Duration::from_secs(1))]
fn unknown_key(bencher: Bencher<'_, '_>, keys: usize) {
    bench_decision(bencher, keys, false);
}
