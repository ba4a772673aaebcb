//! The bytes of one connection, and what they tell of it: whether it is idle, in the middle of a head, or blocked.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;
use crate::config::gateway::Http;
use crate::request::Activity;
use crate::timer::{TICK, Timers};

/// Read and thrown away after our last byte, so that a client that is still sending gets to read the answer instead of a
/// reset (RFC 9112 §9.6).
const LINGER_BYTES: usize = 1 << 20;
const LINGER_FOR: Duration = Duration::from_secs(2);
/// How long a connection is kept through a drain after its last use: until then the client's next request may be on the
/// wire, and would meet a closed connection.
const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// What a connection is waiting for, in milliseconds of the worker's timers.
pub struct Progress {
    timers: Rc<Timers>,
    activity: Rc<Activity>,
    head_since: Cell<Option<u64>>,
    /// A part of a head has come: of the next request, or of one behind those that are being served.
    in_head: Cell<bool>,
    was_busy: Cell<bool>,
    idle_since: Cell<u64>,
    write_blocked_since: Cell<Option<u64>>,
    lingering_since: Cell<Option<u64>>,
    multiplexed: Cell<bool>,
}

impl Progress {
    /// A connection that was just accepted. `multiplexed` if it is known to speak HTTP/2.
    pub fn new(timers: Rc<Timers>, activity: Rc<Activity>, multiplexed: bool) -> Self {
        let now = timers.now_ms();
        Self {
            timers,
            activity,
            head_since: Cell::new(Some(now)),
            in_head: Cell::new(false),
            was_busy: Cell::new(false),
            idle_since: Cell::new(now),
            write_blocked_since: Cell::new(None),
            lingering_since: Cell::new(None),
            multiplexed: Cell::new(multiplexed),
        }
    }

    /// A request head is whole.
    pub fn head_is_whole(&self, multiplexed: bool) {
        let now = self.timers.now_ms();
        self.head_since.set(self.in_head.get().then_some(now));
        self.idle_since.set(now);
        self.multiplexed.set(multiplexed);
    }

    /// Bytes have come of a request whose head is not whole.
    pub fn has_partial_head(&self) -> bool {
        self.in_head.get()
    }

    /// When the connection has kept us waiting for too long; `None` while it is for us to move.
    pub fn deadline_ms(&self, http: &Http) -> Option<u64> {
        // A tick more: `since` may lie almost a tick before what it stands for.
        let after = |since: u64, limit: Duration| since.saturating_add((limit + TICK).as_millis() as u64);
        let blocked = self.write_blocked_since.get().map(|since| after(since, http.body_idle_timeout));
        let lingering = self.lingering_since.get().map(|since| after(since, LINGER_FOR));
        if let Some(deadline) = lingering.or(blocked) {
            return Some(deadline);
        }
        if self.activity.requests() > 0 {
            self.was_busy.set(true);
            let untaken = self.activity.untaken_since_ms().filter(|_| self.multiplexed.get());
            return untaken.map(|since| after(since, http.body_idle_timeout));
        }
        if self.was_busy.take() {
            self.idle_since.set(self.timers.now_ms());
        }
        match self.head_since.get().filter(|_| !self.multiplexed.get()) {
            // Nobody read on while earlier requests were served: that time is not the client's.
            Some(since) => Some(after(since.max(self.idle_since.get()), http.header_timeout)),
            None => Some(after(self.idle_since.get(), http.idle_timeout)),
        }
    }

    /// When a connection may be closed that waits for no more than its next request; `None` while it does not.
    ///
    /// At once over HTTP/2, where closing loses no request: GOAWAY says which were taken (RFC 9113 §6.8).
    pub fn drained_at_ms(&self) -> Option<u64> {
        if self.multiplexed.get() {
            return Some(0);
        }
        let is_idle = self.activity.requests() == 0 && !self.was_busy.get() && !self.in_head.get();
        is_idle.then(|| self.idle_since.get().saturating_add((DRAIN_IDLE + TICK).as_millis() as u64))
    }

    /// Whether now is such a moment.
    pub fn is_drained(&self) -> bool {
        self.drained_at_ms().is_some_and(|at| at <= self.timers.now_ms())
    }

    /// Its time is over: the connection ends with whatever result it has.
    fn has_lingered(&self) -> bool {
        let over = |since: u64| since.saturating_add((LINGER_FOR + TICK).as_millis() as u64) <= self.timers.now_ms();
        self.lingering_since.get().is_some_and(over)
    }

    /// Something was read; what there is ends in the middle of a head, or not.
    pub fn has_read(&self, in_head: bool) {
        self.in_head.set(in_head);
        if in_head && self.head_since.get().is_none() {
            self.head_since.set(Some(self.timers.now_ms()));
        }
    }

    fn has_written<T>(&self, written: &Poll<T>) {
        match written {
            Poll::Ready(_) => self.write_blocked_since.set(None),
            Poll::Pending if self.write_blocked_since.get().is_none() => {
                self.write_blocked_since.set(Some(self.timers.now_ms()));
            }
            Poll::Pending => {}
        }
    }
}

/// A stream that keeps its [`Progress`] true.
pub struct Socket {
    stream: Stream,
    progress: Rc<Progress>,
    /// Read to find out the protocol, and not yet by whoever speaks it.
    first: Bytes,
    lingered: usize,
}

impl Socket {
    /// Wraps a stream.
    pub const fn new(stream: Stream, progress: Rc<Progress>) -> Self {
        Self { stream, progress, first: Bytes::new(), lingered: 0 }
    }

    /// Gives back what was read, to be read again.
    pub fn unread(&mut self, bytes: Bytes) {
        self.first = bytes;
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0; 4096];
        while self.lingered < LINGER_BYTES && !self.progress.has_lingered() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let take = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(take));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.progress.has_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.progress.has_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.progress.has_written(&flushed);
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.progress.lingering_since.get().is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.progress.lingering_since.set(Some(self.progress.timers.now_ms()));
        }
        self.poll_linger(context)
    }
}
