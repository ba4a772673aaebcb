//! Idle connections of one worker, newest first. Nothing here is shared between threads.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::body::RequestBody;
use super::server::{Opened, Server};
use super::wire::Wire;
use crate::timer::Timers;

/// Idle connections kept per server and worker.
const IDLE_MAX: usize = 512;
/// How long one is kept. Shorter than the 60–75 s after which servers hang up, so that it is us who do.
const IDLE_FOR: Duration = Duration::from_secs(50);

/// Of a connection, each way; a response head must fit into it.
const BUFFER_MAX: usize = 64 * 1024;
/// The pools of one worker.
pub struct Pools {
    timers: Rc<Timers>,
    idle: RefCell<Vec<Vec<Idle>>>,
}

struct Idle {
    opened: Opened,
    task: Task,
    sender: SendRequest<RequestBody>,
    wire: Wire,
    address: Rc<str>,
    since_ms: u64,
}

/// The task that drives a connection. It ends with whoever holds the connection: one that nobody waits for any more must
/// not go on with an upload that nobody reads.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection that one exchange has to itself. Dropped, it is closed; given back, it is used again.
pub struct Lease {
    opened: Opened,
    task: Task,
    pub(super) sender: SendRequest<RequestBody>,
    wire: Wire,
    /// The server's address, as the log has it.
    pub address: Rc<str>,
    pools: Rc<Pools>,
}

impl Pools {
    /// Empty pools.
    pub fn new(timers: Rc<Timers>) -> Self {
        Self { timers, idle: RefCell::default() }
    }

    /// An idle connection that can take a request now, the most recently used first. One that is still busy with its last
    /// exchange (a request body that the server did not wait for) is not worth waiting for.
    pub fn checkout(self: &Rc<Self>, server: &Server) -> Option<Lease> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(server.pool)?;
        loop {
            let idle = pool.pop()?;
            if idle.sender.is_ready() && idle.wire.is_silent() {
                return Some(Lease {
                    opened: idle.opened,
                    task: idle.task,
                    sender: idle.sender,
                    wire: idle.wire,
                    address: idle.address,
                    pools: Rc::clone(self),
                });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// The name does not resolve, nobody listens, `timeout` has passed, or there are as many connections as there may be.
    pub async fn connect(self: &Rc<Self>, server: &Arc<Server>, timeout: Duration) -> io::Result<Lease> {
        let opened = server.open().ok_or_else(|| io::Error::other("connections_max are open"))?;
        let connecting = async { TcpStream::connect(&*server.addresses().await?).await };
        let stream =
            tokio::time::timeout(timeout, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        stream.set_nodelay(true)?;
        let address = stream.peer_addr()?.to_string().into();
        let wire = Wire::new(stream);
        // Small heads and bodies are cheaper copied into one buffer than gathered.
        let (sender, connection) = http1::Builder::new()
            .writev(false)
            .max_buf_size(BUFFER_MAX)
            .handshake(TokioIo::new(wire.clone()))
            .await
            .map_err(io::Error::other)?;
        let driving = tokio::task::spawn_local(async move {
            // How it ended is told to the exchange that used it.
            let _ = connection.await;
        });
        let task = Task(driving.abort_handle());
        Ok(Lease { opened, task, sender, wire, address, pools: Rc::clone(self) })
    }

    /// Hangs up on connections that nobody has used for [`IDLE_FOR`]. They stand oldest first.
    pub fn sweep(&self) {
        let oldest = self.timers.now_ms().saturating_sub(IDLE_FOR.as_millis() as u64);
        for pool in self.idle.borrow_mut().iter_mut() {
            let expired = pool.iter().take_while(|idle| idle.since_ms < oldest).count();
            pool.drain(..expired);
        }
    }
}

impl Lease {
    /// The response has been read to its end: another exchange may use the connection.
    pub fn give_back(self) {
        let Self { opened, task, sender, wire, address, pools } = self;
        let (mut idle, number) = (pools.idle.borrow_mut(), opened.server().pool);
        if idle.len() <= number {
            idle.resize_with(number + 1, Vec::new);
        }
        let pool = &mut idle[number];
        if !sender.is_closed() && pool.len() < IDLE_MAX {
            pool.push(Idle { opened, task, sender, wire, address, since_ms: pools.timers.now_ms() });
        }
    }
}
