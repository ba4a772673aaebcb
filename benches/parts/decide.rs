//! A decision: facts to verdict, over key rings of several sizes.

use std::time::Duration;

use divan::Bencher;
use http::header::{AUTHORIZATION, HeaderValue};
use keyward::gate::decide::decide;
use keyward::limits::address::Client;
use keyward::request::ConnFacts;
use keyward::vocab::fields::Fields;

use crate::world::{self, World};

const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
/// Spread over the ring as real traffic is: a lone key would stay in the cache.
const REQUESTS_MAX: usize = 10_000;

/// Decides one request after the other; true where it may pass. Each has another key, one of the ring's or none of them.
pub(crate) fn one_of(count: usize, known: bool) -> impl FnMut() -> bool {
    let keys: String = (0..count).map(|n| world::entry(n, "")).collect();
    // The answer to a key that nobody has, and not that to too many of them.
    let mut world = World::with(if known { "" } else { "limits.failures_per_ip = \"none\"\n" }, &keys);
    drop(keys);
    let (snapshot, conn) = (world.build(), world::conn());
    let requests = count.min(REQUESTS_MAX);
    let first = if known { 0 } else { count };
    let requests: Vec<Fields> = (0..requests).map(|n| request(first + n * (count / requests))).collect();
    let mut turn = 0;
    move || {
        turn = (turn + 1) % requests.len();
        let headers = &requests[turn];
        let (facts, readable) = world::facts(&world.clock, headers);
        decide(&snapshot, &facts, readable, &conn, headers).verdict.is_ok()
    }
}

/// Decides requests of clients who have done nothing, each another one, after so many others have guessed keys until they
/// were locked out; a million of them are more than the gateway remembers.
pub(crate) fn beside(locked_out: u32) -> impl FnMut() -> bool {
    let keys: String = (0..REQUESTS_MAX).map(|n| world::entry(n, "")).collect();
    let mut world = World::new(&keys);
    let (snapshot, now) = (world.build(), world.clock.mono());
    let lockout = snapshot.wide.lockout.as_ref().expect("there is one by default");
    for n in 0..locked_out {
        let client = Client::V4((0x0a00_0000 + n).to_be_bytes());
        while lockout.locked(client, now).is_none() {
            let _ = lockout.failed(client, now);
        }
    }
    let requests: Vec<(Fields, ConnFacts)> =
        (0..REQUESTS_MAX).map(|n| (request(n), world::conn_from([172, 16, (n >> 8) as u8, n as u8]))).collect();
    let mut turn = 0;
    move || {
        turn = (turn + 1) % requests.len();
        let (headers, conn) = &requests[turn];
        let (facts, readable) = world::facts(&world.clock, headers);
        decide(&snapshot, &facts, readable, conn, headers).verdict.is_ok()
    }
}

fn request(number: usize) -> Fields {
    let mut headers = world::plain_headers();
    let value = HeaderValue::try_from(format!("Bearer {}", world::secret(number))).expect("a header value");
    headers.set(AUTHORIZATION, value);
    headers
}

#[divan::bench(args = SIZES, min_time = Duration::from_secs(1))]
fn allowed(bencher: Bencher<'_, '_>, keys: usize) {
    let mut decide = one_of(keys, true);
    assert!(decide());
    bencher.bench_local(decide);
}

#[divan::bench(args = SIZES, min_time = Duration::from_secs(1))]
fn unknown_key(bencher: Bencher<'_, '_>, keys: usize) {
    let mut decide = one_of(keys, false);
    assert!(!decide());
    bencher.bench_local(decide);
}

#[divan::bench(args = [0, 1_000_000], min_time = Duration::from_secs(1))]
fn allowed_beside_locked_out(bencher: Bencher<'_, '_>, locked_out: u32) {
    let mut decide = beside(locked_out);
    assert!(decide());
    bencher.bench_local(decide);
}
