//! Connections of one worker to its servers: idle ones newest first, and who waits for one. Nothing here is shared between
//! threads but what [`Server`] counts.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::connect::{Connected, connect};
use super::server::{Opened, Server};
use super::{h1, http2};
use crate::timer::{TICK, Timers};

/// Idle connections kept per server and worker.
const IDLE_MAX: usize = 512;
/// How long one is kept. Shorter than the 60–75 s after which servers hang up, so that it is us who do.
const IDLE_FOR: Duration = Duration::from_secs(50);
/// How often idle connections are looked at, to close those that the server has closed.
const LOOK_EVERY_MS: u64 = 1_000;

/// The pools of one worker.
pub struct Pools {
    timers: Rc<Timers>,
    /// By [`Server::pool`].
    pools: RefCell<Vec<Rc<Pool>>>,
    looked_ms: Cell<u64>,
}

/// The connections to one server.
#[derive(Default)]
struct Pool {
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Rc<http2::Conn>>>,
    waiting: Cell<usize>,
    freed: Rc<Notify>,
    /// Whose turn it is when requests wait here and at other workers.
    is_theirs: Cell<bool>,
}

struct Idle {
    conn: Box<h1::Conn>,
    opened: Opened,
    since_ms: u64,
}

/// Where a request is sent.
pub(super) enum Link {
    /// A connection that it has to itself.
    Http1 { conn: Box<h1::Conn>, lease: Lease, is_reused: bool },
    /// One that it shares.
    Http2 { conn: Rc<http2::Conn>, is_reused: bool },
}

/// What a connection has to be.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    /// None that was there before.
    pub(super) fresh: bool,
    /// HTTP/1.1, where the server leaves the choice: a WebSocket wants one to itself.
    pub(super) http1: bool,
}

/// The place of an HTTP/1.1 connection in its pool.
pub struct Lease {
    opened: Opened,
    pools: Rc<Pools>,
}

/// Why there is no connection.
pub(super) enum NoLink {
    /// It cannot be made.
    Failed(io::Error),
    /// Too many wait for one already.
    QueueFull,
}

impl Pools {
    /// Empty pools.
    pub fn new(timers: Rc<Timers>) -> Self {
        Self { timers, pools: RefCell::default(), looked_ms: Cell::default() }
    }

    fn pool(&self, server: &Server) -> Rc<Pool> {
        let mut pools = self.pools.borrow_mut();
        if pools.len() <= server.pool {
            pools.resize_with(server.pool + 1, Rc::default);
        }
        Rc::clone(&pools[server.pool])
    }

    /// An idle connection to `server`, if there is one and nobody waits for it.
    pub(super) fn idle_link(self: &Rc<Self>, server: &Server, wish: Wish) -> Option<Link> {
        let pool = self.pool(server);
        if wish.fresh || pool.waiting.get() > 0 { None } else { self.checkout(&pool, wish) }
    }

    /// Another connection to `server`: a new one, or one that somebody gives back.
    ///
    /// # Errors
    /// [`NoLink`]
    pub(super) async fn link(
        self: &Rc<Self>,
        server: &Arc<Server>,
        (connect_timeout, queue_max): (Duration, usize),
        wish: Wish,
    ) -> Result<Link, NoLink> {
        let pool = self.pool(server);
        if pool.waiting.get() == 0
            && let Some(opened) = server.open()
        {
            return self.connect(&pool, opened, connect_timeout, wish).await.map_err(NoLink::Failed);
        }
        let _waiting = Waiting::begin(server, &pool, queue_max).ok_or(NoLink::QueueFull)?;
        loop {
            tokio::select! {
                () = pool.freed.notified() => {}
                () = server.released().notified() => {}
                // Whatever was missed, it is not missed for long.
                () = tokio::time::sleep(TICK) => {}
            }
            if let Some(link) = self.checkout(&pool, wish) {
                return Ok(link);
            }
            if let Some(opened) = server.open() {
                return self.connect(&pool, opened, connect_timeout, wish).await.map_err(NoLink::Failed);
            }
        }
    }

    /// A connection that can take a request now, the most recently used first.
    fn checkout(self: &Rc<Self>, pool: &Pool, wish: Wish) -> Option<Link> {
        let shared = pool.shared.borrow().iter().find(|conn| !wish.http1 && conn.has_room()).cloned();
        if let Some(conn) = shared {
            conn.used_ms.set(self.timers.now_ms());
            return Some(Link::Http2 { conn, is_reused: true });
        }
        loop {
            let Idle { mut conn, opened, .. } = pool.idle.borrow_mut().pop()?;
            if conn.is_silent() {
                return Some(Link::Http1 { conn, lease: Lease { opened, pools: Rc::clone(self) }, is_reused: true });
            }
        }
    }

    async fn connect(self: &Rc<Self>, pool: &Pool, opened: Opened, timeout: Duration, wish: Wish) -> io::Result<Link> {
        let Connected { stream, address, is_http2 } = connect(opened.server(), timeout, wish.http1).await?;
        if is_http2 {
            let conn = Rc::new(http2::Conn::new(stream, address, opened, Rc::clone(&pool.freed)).await?);
            conn.used_ms.set(self.timers.now_ms());
            pool.shared.borrow_mut().push(Rc::clone(&conn));
            // It has room for more than the one that asked for it.
            pool.freed.notify_waiters();
            return Ok(Link::Http2 { conn, is_reused: false });
        }
        let lease = Lease { opened, pools: Rc::clone(self) };
        Ok(Link::Http1 { conn: Box::new(h1::Conn::new(stream, address)), lease, is_reused: false })
    }

    /// Hangs up on connections that nobody has used for [`IDLE_FOR`], that others wait for, or that lead to an address that
    /// the server's name has no more, and lets go of those that the server has closed.
    pub fn sweep(&self) {
        let now_ms = self.timers.now_ms();
        let oldest = now_ms.saturating_sub(IDLE_FOR.as_millis() as u64);
        let look = now_ms >= self.looked_ms.get() + LOOK_EVERY_MS;
        if look {
            self.looked_ms.set(now_ms);
        }
        for pool in self.pools.borrow().iter() {
            let is_wanted = |idle: &Idle| pool.waiting.get() == 0 && idle.opened.server().waiting() > 0;
            let is_good = |idle: &mut Idle| idle.conn.is_silent() && idle.opened.server().is_at(&idle.conn.address);
            pool.idle
                .borrow_mut()
                .retain_mut(|idle| idle.since_ms >= oldest && !is_wanted(idle) && (!look || is_good(idle)));
            let mut shared = pool.shared.borrow_mut();
            for conn in shared.iter().filter(|conn| look && !conn.server().is_at(&conn.address)) {
                conn.retire();
            }
            shared.retain(|conn| !conn.is_over() && (!conn.is_idle() || conn.used_ms.get() >= oldest));
        }
    }
}

impl Lease {
    /// Another exchange may use the connection: one that waits here, or at another worker, or one to come.
    pub(super) fn give_back(self, conn: Box<h1::Conn>) {
        let Self { opened, pools } = self;
        let pool = pools.pool(opened.server());
        let waiting_here = pool.waiting.get() > 0;
        if opened.server().waiting() > 0 {
            let is_theirs = pool.is_theirs.replace(!pool.is_theirs.get());
            if !waiting_here || (is_theirs && opened.server().waiting() > pool.waiting.get()) {
                // Closed, so that a worker that has none may open one.
                return;
            }
        }
        let mut idle = pool.idle.borrow_mut();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { conn, opened, since_ms: pools.timers.now_ms() });
        }
        if waiting_here {
            pool.freed.notify_one();
        }
    }
}

/// A request that waits for a connection, counted here and over all workers.
struct Waiting<'a> {
    server: &'a Server,
    pool: &'a Pool,
}

impl<'a> Waiting<'a> {
    fn begin(server: &'a Server, pool: &'a Pool, max: usize) -> Option<Self> {
        server.wait(max).then(|| {
            pool.waiting.set(pool.waiting.get() + 1);
            Self { server, pool }
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.waiting.set(self.pool.waiting.get() - 1);
        self.server.wait_no_more();
    }
}
