//! Keyward is an API-key gateway: one binary in front of an HTTP service that knows nothing of keys.
//!
//! # One request, one way through
//!
//! ```text
//! socket ─ edge ─ facts ─ route ─ credential ─ keys ─ access ─ limits ─ upstream ─ respond ─ record ─ log
//!         └ TLS, HTTP ┘└────── decide: synchronous, no await, no I/O ───────┘└ await ┘        └ one record, one line
//! ```
//!
//! | stage | where | gives | may refuse with |
//! |---|---|---|---|
//! | edge | [`edge::bindings`] binds, [`edge::accept`] accepts, [`edge::conn`] serves, [`edge::h1`] reads | [`request::ConnFacts`] | `malformed_request`; connection limits, a missing PROXY header and TLS failures close the connection |
//! | facts | [`request::facts`], [`request::forwarded`], [`request::target`] | [`request::Facts`] | `malformed_request` |
//! | transport | [`gate::decide`] | – | `insecure_transport` |
//! | wide limits, first look | [`admit`] | – | `ip_limited`, `total_limited` |
//! | lock-out | [`limits::lockout`], asked and told by [`gate::decide`] | – | `locked_out` |
//! | route | [`route`] | [`route::Routed`] | `no_route`, `method_not_allowed`, `missing_key` |
//! | credential | [`credential`] | [`credential::Presented`] | `duplicate_credential` |
//! | keys | [`keys::ring`] finds, [`keys::lifecycle`] judges | [`keys::Identified`] | the eleven reasons whose code is `invalid_key` |
//! | access | [`access`] | [`access::Authorized`] | `route_denied`, `method_denied`, `path_denied`, `network_denied`, `role_denied` |
//! | limits | [`admit`] | [`admit::Admitted`] | `rate_limited`, `quota_exceeded`, `concurrency_limited`, `ip_limited`, `total_limited`, `body_too_large` |
//! | upstream | [`upstream::forward`] | a response head | `upstream_unavailable`, `upstream_timeout`, `upstream_error`, `upstream_busy` |
//! | respond | [`gate::respond`] | a response whose body carries the open record | – |
//! | tunnel | [`gate::tunnel`], after a 101 | bytes both ways, and a line when they end | – |
//! | record | [`gate::response_body`], or dropping [`record::Open`] | exactly one line, [`observe::decision`]; with `server.state` counts of the key, [`observe::usage`]; with `admin.address` metrics, [`observe::metrics`] | – |
//!
//! [`gate::handle`] tells this story in code, and [`gate::explain`] names its checks for `keyward explain`. What each refusal says to the client and to the log is the table in
//! [`vocab::denial`].
//!
//! # What holds everywhere
//!
//! - **A stage's output is its proof.** `Identified`, `Authorized` and `Admitted` have private fields and one constructor
//!   each, and [`upstream::forward::Journey`] takes `Admitted`: leaving out a check does not compile. Shadow mode has its own
//!   way to an `Admitted`, which asks for the proof that the route is in shadow mode.
//! - **A refusal is data.** [`vocab::denial::Denial`] is one closed enum; the client's words and the log's are two methods.
//! - **One snapshot, one swap.** A request consults one [`snapshot::Snapshot`] and never holds it across an await.
//!   [`reload`] builds the next one from the last good version of each file; until the swap nothing has changed.
//! - **Counters outlive configuration.** A key's buckets go from one [`keys::Ring`] to the next, and what no key has any
//!   more waits in [`limits::Ledger`] until it is full; what else a key has used is in its [`limits::account`], by its id. A
//!   reload refills nothing.
//! - **What has not changed is not made again.** An entry of the key file whose text is the same is the same one, and so
//!   is its key: a reload of a million keys costs what changed of them, and a look at the rest.
//! - **Check all, then take, narrow before wide**, and give back what was taken if another thread was faster: a refusal
//!   costs nothing anywhere.
//! - **Thread per core.** Each [`edge::worker`] has its own runtime, accept sockets, upstream pool, timers and log buffer.
//!   Workers share a snapshot to read, atomics in the buckets and in the upstreams' servers, and the log's writer. What
//!   takes its time beside requests, names to resolve and servers to check, is [`upstream::monitor`]'s, on a thread of its own.
//! - **One record, one line.** A record is closed by being dropped, so that there is no way to forget it.
//! - **Metrics are what the lines say.** They are counted from the same records, by each worker for itself, and asked for on a
//!   thread of its own ([`admin`]). Nobody waits for a scrape.
//! - **Counts follow lines.** Workers count uses of keys by themselves, from the same records, and hand over what they have
//!   after its lines. [`state`] waits for the log and then commits, on a thread of its own: a kill leaves the file at most a
//!   second behind the lines, and never ahead of them. No failure of it reaches a request.
//! - **Nobody waits for a receiver of alerts.** [`webhook`] has a thread of its own, and what it has not sent is in the state
//!   file.
//! - **Time is a parameter.** [`vocab::clock::Clock`] is handed in; [`timer`] finds whoever is silent for too long.
//! - **A secret has no `Debug`.** Keys are digested where they are found; their bytes are not kept.
//!
//! # Floors
//!
//! A module uses only modules above it in this file. `tests/it/tidy.rs` keeps that true.
//!
//! # Deliberately absent
//!
//! - No serde for the two files: serde stops at the first mistake and loses its place. [`config`] walks toml's spanned
//!   tree and reports all of them.
//! - No Tower: [`gate::handle`] is one function, and one future behind it.
//! - No hyper for HTTP/1.1: [`edge::h1`] and [`upstream::h1`] say why. HTTP/2 has it, on both sides.
//! - No `http::HeaderMap` on a request's way: [`vocab::fields`] says why.
//! - No background task that ends quotas: a count carries the number of its period, and the first request of the next one
//!   finds it to be another ([`limits::quota`]).

pub mod vocab;

pub mod config;

pub mod request;

pub mod limits;

pub mod route;

pub mod credential;

pub mod redact;

pub mod keys;

pub mod access;

pub mod admit;

pub mod timer;

pub mod task;

pub mod upstream;

pub mod snapshot;

pub mod record;

pub mod state;

pub mod webhook;

pub mod observe;

pub mod gate;

pub mod edge;

pub mod reload;

pub mod admin;

pub mod app;

pub mod cli;

pub mod commands;
