//! The log line of one exchange, written into a worker's buffer; a full buffer goes to the writer, which throws it away.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use divan::Bencher;
use keyward::config::gateway::{OnFull, Output};
use keyward::gate::decide::decide;
use keyward::observe::log::Log;
use keyward::observe::sink::Writer;
use keyward::record::{Outcome, Reader as _, Record, Transfer, Verdict};
use keyward::upstream::forward::Attempts;

use crate::world::{self, World};

/// Writes the same line again and again.
pub(crate) fn written() -> impl FnMut() {
    let writer = Writer::start(Output::File(PathBuf::from("/dev/null"))).expect("the file that takes everything");
    let log = Log::new(writer.sink(), OnFull::Wait);
    let record = record();
    move || {
        // The writer lives as long as what writes.
        let _ = &writer;
        log.read(&record);
    }
}

fn record() -> Record {
    let mut world = World::new(&world::entry(0, "payments team"));
    let snapshot = world.build();
    let mut headers = world::plain_headers();
    headers.set(http::HeaderName::from_static("x-api-key"), world::secret(0).parse().expect("a header value"));
    let conn = world::conn();
    let (facts, readable) = world::facts(&world.clock, &headers);
    let decision = decide(&snapshot, &facts, readable, &conn, &headers);
    let Ok(permit) = decision.verdict else { panic!("the key is good") };
    let transfer = Transfer {
        status: Some(200),
        upstream: Some(permit.upstream),
        attempts: Attempts { count: 1, address: Some("127.0.0.1:3000".into()) },
        upstream_us: Some(85),
        response_bytes: 2,
        outcome: Outcome::Complete,
        ..Transfer::default()
    };
    Record {
        ended_us: facts.now.wall_us,
        facts,
        conn: Rc::new(conn),
        settings: Arc::clone(&snapshot.settings),
        trail: decision.trail,
        verdict: Verdict::Allow,
        transfer,
        duration_us: 120,
    }
}

#[divan::bench(min_time = Duration::from_secs(1))]
fn log_line(bencher: Bencher<'_, '_>) {
    bencher.bench_local(written());
}
