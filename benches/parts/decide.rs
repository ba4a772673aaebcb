//! A decision: facts to verdict, over key rings of several sizes.

use std::time::Duration;

use divan::Bencher;
use http::header::{AUTHORIZATION, HeaderValue};
use keyward::gate::decide::decide;
use keyward::vocab::fields::Fields;

use crate::world::{self, World};

const SIZES: [usize; 3] = [10, 10_000, 1_000_000];
/// Spread over the ring as real traffic is: a lone key would stay in the cache.
const REQUESTS_MAX: usize = 10_000;

/// Decides one request after the other; true where it may pass. Each has another key, one of the ring's or none of them.
pub(crate) fn one_of(count: usize, known: bool) -> impl FnMut() -> bool {
    let keys: String = (0..count).map(|n| world::entry(n, "")).collect();
    let mut world = World::new(&keys);
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
