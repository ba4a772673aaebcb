//! Idle connections of one worker, newest first. Nothing here is shared between threads.
//!
//! A connection has no task of its own: whoever leases it drives it, in the task that serves the client. That saves two
//! wake-ups a request, and a client that leaves takes its upstream connection with it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Upstream;
use super::body::RequestBody;
use super::wire::Wire;
use crate::timer::Timers;

/// Idle connections kept per server and worker.
const IDLE_MAX: usize = 512;
/// How long one is kept. Shorter than the 60–75 s after which servers hang up, so that it is us who do.
const IDLE_FOR: Duration = Duration::from_secs(50);
/// Bytes of a connection's buffers, each way; a response head must fit into one.
const BUFFER_MAX: usize = 64 * 1024;

/// The pools of one worker.
pub struct Pools {
    timers: Rc<Timers>,
    idle: RefCell<Vec<Vec<Idle>>>,
}

struct Idle {
    channel: Channel,
    since_ms: u64,
}

/// One connection: hyper's two halves of it, and the wire under them.
struct Channel {
    sender: SendRequest<RequestBody>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Connection>>>,
    wire: Wire,
    address: Rc<str>,
}

type Connection = http1::Connection<TokioIo<Wire>, RequestBody>;

/// A connection that one exchange has to itself. Dropped, it is closed; given back, it is used again.
pub struct Lease {
    channel: Channel,
    pools: Rc<Pools>,
    pool: usize,
}

impl Pools {
    /// Empty pools.
    pub fn new(timers: Rc<Timers>) -> Self {
        Self { timers, idle: RefCell::default() }
    }

    /// An idle connection, the most recently used first. One on which something has come in the meantime, its end or an
    /// answer that nobody asked for, is closed.
    pub fn checkout(self: &Rc<Self>, upstream: &Upstream) -> Option<Lease> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(upstream.pool)?;
        loop {
            let Idle { channel, .. } = pool.pop()?;
            if channel.sender.is_ready() && channel.wire.is_silent() {
                return Some(Lease { channel, pools: Rc::clone(self), pool: upstream.pool });
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// The name does not resolve, nobody listens, or `connect_timeout` has passed.
    pub async fn connect(self: &Rc<Self>, upstream: &Upstream) -> io::Result<Lease> {
        let connecting = TcpStream::connect((&*upstream.host, upstream.port));
        let stream = tokio::time::timeout(upstream.connect_timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
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
        let channel = Channel { sender, connection: Some(Box::pin(connection)), wire, address };
        Ok(Lease { channel, pools: Rc::clone(self), pool: upstream.pool })
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
    /// The server's address, as the log has it.
    pub fn address(&self) -> Rc<str> {
        Rc::clone(&self.channel.address)
    }

    /// Hands `request` to the connection; [`Lease::drive`] sends it.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> + use<> {
        self.channel.sender.try_send_request(request)
    }

    /// Lets the connection do what it can: write the request, read the response.
    pub fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.channel.connection
            && connection.as_mut().poll(context).is_ready()
        {
            // How it ended is told to the exchange that used it.
            self.channel.connection = None;
        }
    }

    /// The response has been read to its end: another exchange may use the connection. Where a request body is still on
    /// its way, to a server that did not wait for it, the connection goes on alone until that is over.
    pub fn give_back(mut self, context: &mut Context<'_>) {
        self.drive(context);
        if self.channel.sender.is_closed() {
            return;
        }
        if !self.channel.sender.is_ready() {
            if let Some(connection) = self.channel.connection {
                tokio::task::spawn_local(connection);
            }
            return;
        }
        let mut pools = self.pools.idle.borrow_mut();
        if pools.len() <= self.pool {
            pools.resize_with(self.pool + 1, Vec::new);
        }
        let pool = &mut pools[self.pool];
        if pool.len() < IDLE_MAX {
            pool.push(Idle { channel: self.channel, since_ms: self.pools.timers.now_ms() });
        }
    }
}
