//! What each worker counts of every key, from the same records as the lines. No lock, and nothing shared: counts are the
//! worker's own until its tick hands them over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::Log;
use crate::keys::Key;
use crate::record::{Reader, Record, TunnelRecord, Verdict};
use crate::state::count::hour_of;
use crate::state::{Counted, Delta, Outlet, Used};
use crate::upstream::body::Progress;
use crate::vocab::denial::Denial;

/// Hours of keys that wait here while the thread that keeps them has no time; some 30 MB.
const ROWS_MAX: usize = 100_000;
/// How long the end of a worker waits for that thread.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// The counts of one worker.
pub struct Usage {
    log: Rc<Log>,
    outlet: Outlet,
    counts: RefCell<HashMap<(*const Key, u32), Counted>>,
}

impl Usage {
    /// Nothing counted yet. What is counted goes to `outlet`, but never before its lines have left `log`.
    pub fn new(log: Rc<Log>, outlet: Outlet) -> Self {
        Self { log, outlet, counts: RefCell::default() }
    }

    /// Hands over what there is, and before it the lines that tell of it. What the other end has no time for stays here.
    pub fn flush(&self) {
        self.log.flush();
        let mut counts = self.counts.borrow_mut();
        if counts.is_empty() {
            return;
        }
        let returned = self.outlet.hand_over(counts.drain().map(|(_, counted)| counted).collect());
        counts.extend(returned.into_iter().map(|counted| (place(&counted.key, counted.hour), counted)));
    }

    fn count(&self, key: &Arc<Key>, hour: u32, count: impl FnOnce(&mut Delta)) {
        let mut counts = self.counts.borrow_mut();
        if counts.len() >= ROWS_MAX && !counts.contains_key(&place(key, hour)) {
            self.outlet.lose(1);
            return;
        }
        let new = || Counted { key: Arc::clone(key), hour, delta: Delta::default() };
        count(&mut counts.entry(place(key, hour)).or_insert_with(new).delta);
    }
}

/// An entry holds its key, so that nothing else comes to stand where it is.
fn place(key: &Arc<Key>, hour: u32) -> (*const Key, u32) {
    (Arc::as_ptr(key), hour)
}

impl Reader for Usage {
    fn read(&self, record: &Record) {
        let Some(key) = &record.trail.key else { return };
        let at = record.facts.now.wall_us;
        self.count(key, hour_of(at), |delta| {
            judge(delta, record);
            delta.counts.bytes_in += record.transfer.request_body.as_deref().map_or(0, Progress::bytes);
            delta.counts.bytes_out += record.transfer.response_bytes;
            delta.add_use(Used { first_us: at, last_us: at, client: record.facts.client(&record.conn) });
        });
    }

    fn read_tunnel(&self, record: &TunnelRecord) {
        let Some(key) = &record.key else { return };
        let began_us = record.ended_us.saturating_sub_unsigned(record.duration_us);
        self.count(key, hour_of(began_us), |delta| {
            delta.counts.bytes_in += record.request_bytes;
            delta.counts.bytes_out += record.response_bytes;
        });
    }
}

/// As the line has it.
fn judge(delta: &mut Delta, record: &Record) {
    match (record.is_refused(), record.denial(), record.verdict) {
        (true, Some(denial), _) => refuse(delta, denial),
        (false, _, Verdict::Shadow(_)) => delta.counts.shadow_denied += 1,
        (..) => delta.counts.allowed += 1,
    }
    delta.counts.units += u64::from(record.trail.charged);
}

fn refuse(delta: &mut Delta, denial: Denial) {
    if denial.is_throttle() {
        delta.counts.throttled += 1;
    } else {
        delta.counts.refused += 1;
    }
    delta.add_reason(denial, 1);
}

impl Drop for Usage {
    /// Hands over the last of it, and waits for its turn if it has to.
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_MAX;
        self.flush();
        while !self.counts.get_mut().is_empty() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
            self.flush();
        }
        let lost = self.counts.get_mut().values().map(|counted| counted.delta.counts.requests()).sum();
        self.outlet.lose(lost);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::gateway::{self, OnFull, Output};
    use crate::config::keyfile;
    use crate::config::source::SourceFile;
    use crate::observe::sink::Writer;
    use crate::snapshot::{Builder, Parts};
    use crate::state::{History, State};
    use crate::vocab::clock::Clock;

    fn key() -> Arc<Key> {
        let source = Arc::new(SourceFile::new("keyward.toml", "upstream.default.servers = [\"http://127.0.0.1:1\"]\n"));
        let (gateway, _) = gateway::parse(&source).expect("a configuration");
        let text = format!("[[key]]\nid = \"a\"\nhash = \"sha256:{}\"\n", "ab".repeat(32));
        let (keys, _) = keyfile::parse(&Arc::new(SourceFile::new("keys.toml", text))).expect("a key file");
        let mut builder = Builder::new(Clock::system(), &[3; 64]);
        let upstream_tls = &BTreeMap::new();
        let parts = Parts { gateway: &gateway, keys: &keys, pepper: None, upstream_tls, entrances: Vec::new() };
        Arc::clone(&builder.build(parts).ring.keys()[0])
    }

    fn counted(path: &Path) -> u64 {
        let history = History::open(path).expect("a readable file").expect("tables");
        history.keys().expect("a read").iter().map(|key| key.counts.allowed).sum()
    }

    /// A state whose thread does nothing until what it waits for is dropped, and a worker's counts before it.
    fn held_up(folder: &Path) -> (std::sync::mpsc::Sender<()>, State, Writer, Usage) {
        let (go, wait) = channel::<()>();
        let await_log = Box::new(move |_: &dyn Fn() -> bool| {
            let _ = wait.recv();
        });
        let state = State::start(&folder.join("state.db"), Clock::system(), await_log, |_, _| {}).expect("a thread");
        let writer = Writer::start(Output::File(folder.join("log"))).expect("a writer");
        let usage = Usage::new(Rc::new(Log::new(writer.sink(), OnFull::Wait)), state.outlet());
        (go, state, writer, usage)
    }

    #[test]
    fn what_the_thread_has_no_time_for_is_kept_and_added_to() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (go, state, _writer, usage) = held_up(folder.path());
        let key = key();
        for _ in 0..1_000 {
            usage.count(&key, 500_000, |delta| delta.counts.allowed += 1);
            usage.flush();
        }
        // Whatever of it is still here, and whatever the thread has taken meanwhile, comes to the same sum.
        drop(go);
        drop(usage);
        drop(state);
        assert_eq!(counted(&folder.path().join("state.db")), 1_000);
    }

    #[test]
    fn there_is_a_limit_to_what_is_kept() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (go, state, _writer, usage) = held_up(folder.path());
        let (key, hours) = (key(), u32::try_from(ROWS_MAX).expect("so many"));
        for hour in 0..hours + 5 {
            usage.count(&key, hour, |delta| delta.counts.allowed += 1);
        }
        usage.count(&key, 0, |delta| delta.counts.allowed += 1);
        assert_eq!((usage.counts.borrow().len(), state.outlet().lost()), (ROWS_MAX, 5));
        drop(go);
    }
}
