//! What the tests stand on: the gateway as a process, upstreams that record or misbehave, a client that says exactly
//! what it is told to, keys, and the real tools nobody here wrote.

mod cli;
mod client;
mod dns;
mod fickle;
pub(crate) mod frames;
mod front;
mod gateway;
mod h2;
mod keys;
mod load;
mod metrics;
mod output;
mod program;
mod setup;
mod tools;
mod upstream;
mod wire;

pub(crate) use cli::{Ran, keyward, keyward_with, wait_within};
pub(crate) use client::{Conn, Reply, Req, raw};
pub(crate) use dns::NameServer;
pub(crate) use fickle::{Fickle, Mood};
pub(crate) use frames::{Fate, RawH2};
pub(crate) use front::{haproxy, nginx_stream};
pub(crate) use gateway::Gateway;
pub(crate) use h2::{Answer, Frames, over_h2};
pub(crate) use keys::{Key, base62_crc, filler_entries, secrets_in};
pub(crate) use load::Wrk;
pub(crate) use metrics::Scrape;
pub(crate) use program::Program;
pub(crate) use setup::{Setup, free_port, write_certificate};
pub(crate) use tools::test_tools;
pub(crate) use tools::{
    Server, curl, curl_ok, nginx, nginx_with, python, python_http_server, served_by, server_that_names_its_port,
    sha256_hex, tool,
};
pub(crate) use upstream::Upstream;

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it a failure. Generous: this bounds a broken run, it measures nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Polls until `probe` has an answer, which it must have in time.
pub(crate) fn eventually<T>(what: &str, probe: impl FnMut() -> Option<T>) -> T {
    poll(PATIENCE, probe).unwrap_or_else(|| panic!("gave up waiting for {what}"))
}

/// Polls until `probe` has an answer or the time is over; the one place in this suite that sleeps.
pub(crate) fn poll<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    loop {
        let found = probe();
        if found.is_some() || started.elapsed() > limit {
            return found;
        }
        thread::sleep(Duration::from_millis(4));
    }
}
