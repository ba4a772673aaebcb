//! What the parts of a request cost, without a socket, and what a reload costs.
//!
//! `cargo bench --bench parts` times them and counts their allocations; `-- decide` and the like choose. Instructions are
//! counted by `benches/instructions --parts`, which calls this program as `parts repeat PART TIMES`.

mod decide;
mod headers;
mod line;
mod path;
mod reload;
mod world;

use std::hint::black_box;

use divan::AllocProfiler;
use mimalloc::MiMalloc;

/// The allocator of the gateway, and divan's count of what it is asked for.
#[global_allocator]
static ALLOCATOR: AllocProfiler<MiMalloc> = AllocProfiler::new(MiMalloc);

/// Before anything is counted: what is rendered once and kept, a first buffer.
const WARM: usize = 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [repeat, part, times] if repeat == "repeat" => repeat_part(part, times.parse().expect("how many times")),
        _ => divan::main(),
    }
}

fn repeat_part(part: &str, times: usize) {
    match part {
        "decide" => repeated(times, decide::one_of(10_000, true)),
        "unknown" => repeated(times, decide::one_of(10_000, false)),
        "beside-locked-out" => repeated(times, decide::beside(1_000_000)),
        "path" => repeated(times, || path::read(path::PLAIN)),
        "path-escaped" => repeated(times, || path::read(path::ESCAPED)),
        "headers" => {
            let mut ready = vec![headers::sent_by_a_browser(); WARM + times];
            let mut rewrite = headers::rewriting();
            repeated(times, || rewrite(ready.pop().expect("as many as needed")));
        }
        "line" => repeated(times, line::written()),
        "reload" => repeated(times, reload::one_changed(1_000)),
        "start" => repeated(times, || reload::from_nothing(&reload::text(1_000, 0))),
        _ => panic!("no such part: {part}"),
    }
}

fn repeated<T>(times: usize, mut part: impl FnMut() -> T) {
    for _ in 0..WARM {
        black_box(part());
    }
    counted(times, || {
        black_box(part());
    });
}

/// callgrind is told to count in here, and nowhere else.
#[inline(never)]
fn counted(times: usize, mut part: impl FnMut()) {
    for _ in 0..times {
        part();
    }
}
