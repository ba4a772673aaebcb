//! Probes and metrics, on an address and a thread of their own (`[admin]`): no worker has anything to do with them, and none of what
//! comes in here is a decision or gets a line.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200 while every worker's timers tick, else 503: the process should be ended |
//! | `/readyz` | 200 while requests are taken, else 503: from the begin of a drain, and where a worker stands still. The JSON says more: how reading the files went, how the upstreams' servers are doing, whether the log is written, and the state file |
//! | `/metrics` | what [`crate::observe::metrics`] has counted, and how everything is now: as Prometheus's text, or as OpenMetrics where `Accept` says so |
//!
//! An upstream that is down, or a file with a mistake, makes nobody unready: whoever takes all gateways out for the one
//! mistake that all of them have takes the service down.
//!
//! Whoever reaches it may ask. So it is bounded like any listener: connections, the size of a head, and how long either may
//! take.

mod metrics;
mod page;
mod ready;
mod server;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::config::gateway::ListenAddress;
use crate::edge::inherited::Inherited;
use crate::edge::listener::{Listener, ListeningSocket, bind_tcp};
use crate::edge::unix::{SocketFile, bind_unix};
use crate::edge::worker::{Phase, Shared};
use crate::observe::sink::Sink;
use crate::reload::status::Status;

/// Permissions of a Unix socket's file: nobody's but its owner's.
const UNIX_MODE: u32 = 0o600;
/// A worker whose timers have not ticked for so long stands still; they tick every 100 ms.
const STANDS_STILL: Duration = Duration::from_secs(5);

/// What is told of.
pub struct View {
    /// The workers and what serves.
    pub shared: Arc<Shared>,
    /// How far the process is on its way out.
    pub phase: watch::Receiver<Phase>,
    /// How reading the files went.
    pub files: Arc<Status>,
    /// The log.
    pub sink: Sink,
}

impl View {
    fn are_workers_alive(&self) -> bool {
        self.shared.beats.are_alive(self.now_ms(), STANDS_STILL)
    }

    fn now_ms(&self) -> u64 {
        self.shared.clock.mono() / 1_000_000
    }
}

/// The socket, before anybody serves it.
pub struct Entrance {
    socket: ListeningSocket,
    file: Option<SocketFile>,
    address: ListenAddress,
}

impl Entrance {
    /// Binds `address`, or takes the socket that was passed on for it. A second process may bind beside this one.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn bind(address: &ListenAddress, inherited: &mut Inherited) -> io::Result<Self> {
        let (socket, file) = match (inherited.take(address), address) {
            (Some(socket), _) => (socket, None),
            (None, ListenAddress::Ip(address)) => {
                let bound = bind_tcp(*address, 1)?.pop();
                (bound.ok_or_else(|| io::Error::other("no socket"))?, None)
            }
            (None, ListenAddress::Unix(path)) => {
                let (socket, file) = bind_unix(path, UNIX_MODE)?;
                (socket, Some(file))
            }
        };
        let address = socket.address(address)?;
        Ok(Self { socket, file, address })
    }

    /// Where it listens: port 0 has become one that was free.
    pub const fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Answers on a thread of its own until the process stops.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn serve(self, view: View) -> io::Result<JoinHandle<()>> {
        let run = move || {
            if let Err(error) = self.answer(view) {
                tracing::error!(event = "admin_failed", error = %error);
            }
        };
        std::thread::Builder::new().name("admin".to_owned()).spawn(run)
    }

    fn answer(self, view: View) -> io::Result<()> {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        let Self { socket, file: _until_the_end, .. } = self;
        runtime.block_on(async {
            server::serve(Listener::new(socket)?, view).await;
            Ok(())
        })
    }
}
