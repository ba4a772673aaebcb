//! A tunnel: bytes both ways between a client and an upstream that have agreed on another protocol.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::frames::{Frames, GOING_AWAY};
use crate::record::{OpenTunnel, Outcome};
use crate::request::Busy;
use crate::timer::{Timers, Watch};
use crate::upstream::answer::Far;
use crate::vocab::denial::Fault;

/// Room for what one side has sent and the other not taken.
const BUFFER: usize = 16 << 10;
/// A tunnel in which nothing moves for so long is dead. Peers that mean to be silent for longer send pings.
const SILENCE_MAX: Duration = Duration::from_secs(3600);
/// How long the upstream may go on once the client has said its last.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(10);

/// How long the end may take.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// A tunnel whose client has been told of it, and is to be connected to it.
pub struct Tunnel {
    far: Far,
    record: OpenTunnel,
    timers: Rc<Timers>,
    ending: Rc<Cell<bool>>,
    _busy: Busy,
}

/// One direction.
struct Pipe {
    buffer: BytesMut,
    has_ended: bool,
    bytes: u64,
}

/// Who broke off.
enum Gone {
    Reader,
    Writer,
}

impl Tunnel {
    pub(super) const fn new(
        far: Far,
        record: OpenTunnel,
        timers: Rc<Timers>,
        ending: Rc<Cell<bool>>,
        busy: Busy,
    ) -> Self {
        Self { far, record, timers, ending, _busy: busy }
    }

    /// Runs to the end of either side. `early` is what the client has sent already.
    pub async fn run(mut self, mut client: impl AsyncRead + AsyncWrite + Unpin, early: Bytes) {
        let (mut up, mut down) = (Pipe::new(early), Pipe::new(std::mem::take(&mut self.far.early)));
        let mut frames = Frames::default();
        frames.follow(&down.buffer);
        let outcome = self.pump(&mut client, (&mut up, &mut down), &mut frames).await;
        let is_going_away = self.ending.get() && down.buffer.is_empty() && frames.is_between();
        if is_going_away && client.write_all(&GOING_AWAY).await.is_ok() {
            down.bytes += GOING_AWAY.len() as u64;
        }
        let record = &mut self.record.record;
        (record.request_bytes, record.response_bytes, record.outcome) = (up.bytes, down.bytes, outcome);
        // Whoever is still there hears of it; whoever is not has no need to.
        let closing = async { (self.far.stream.shutdown().await, client.shutdown().await) };
        let _ = tokio::time::timeout(CLOSE_MAX, closing).await;
    }

    async fn pump(
        &mut self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        (up, down): (&mut Pipe, &mut Pipe),
        frames: &mut Frames,
    ) -> Outcome {
        let Self { far, record, ending, timers, .. } = self;
        let (server, record) = (&mut far.stream, &mut record.record);
        let mut watch = Watch::new(Rc::clone(timers));
        let (mut moved, mut half_closed, mut is_told) = (u64::MAX, false, false);
        poll_fn(|context| {
            match up.poll(client, server, context, |_| ()) {
                Poll::Ready(Ok(())) => {
                    if !half_closed {
                        half_closed = true;
                        watch.arm(HALF_CLOSED_MAX);
                    }
                    // Until it is told: TLS may hold back the client's last words. If it cannot be, that will be noticed.
                    is_told = is_told || Pin::new(&mut *server).poll_shutdown(context).is_ready();
                }
                Poll::Ready(Err(Gone::Reader)) => return Poll::Ready(Outcome::ClientGone),
                Poll::Ready(Err(Gone::Writer)) => return Poll::Ready(Outcome::UpstreamGone),
                Poll::Pending => {}
            }
            match down.poll(server, client, context, |bytes| frames.follow(bytes)) {
                Poll::Ready(Ok(())) => return Poll::Ready(Outcome::Complete),
                Poll::Ready(Err(Gone::Reader)) => return Poll::Ready(Outcome::UpstreamGone),
                Poll::Ready(Err(Gone::Writer)) => return Poll::Ready(Outcome::ClientGone),
                Poll::Pending => {}
            }
            // Kept true as it goes: a tunnel may be dropped at any time.
            (record.request_bytes, record.response_bytes) = (up.bytes, down.bytes);
            if ending.get() {
                record.outcome = Outcome::Timeout(Fault::Gateway);
                if down.buffer.is_empty() && frames.is_between() {
                    return Poll::Ready(Outcome::Complete);
                }
            }
            if !half_closed && moved != up.bytes + down.bytes {
                moved = up.bytes + down.bytes;
                watch.arm(SILENCE_MAX);
            }
            let end = if half_closed { Outcome::Complete } else { Outcome::Timeout(Fault::Client) };
            watch.poll_expired(context).map(|()| end)
        })
        .await
    }
}

impl Pipe {
    fn new(early: Bytes) -> Self {
        Self { buffer: BytesMut::from(early), has_ended: false, bytes: 0 }
    }

    /// Moves what can be moved; ready when `from` has ended and all of it was passed on.
    fn poll<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        from: &mut R,
        to: &mut W,
        context: &mut Context<'_>,
        mut seen: impl FnMut(&[u8]),
    ) -> Poll<Result<(), Gone>> {
        loop {
            while !self.buffer.is_empty() {
                match ready!(Pin::new(&mut *to).poll_write(context, &self.buffer)) {
                    Ok(0) | Err(_) => return Poll::Ready(Err(Gone::Writer)),
                    Ok(written) => {
                        drop(self.buffer.split_to(written));
                        self.bytes += written as u64;
                    }
                }
            }
            if self.has_ended {
                return Poll::Ready(Ok(()));
            }
            self.buffer.reserve(BUFFER);
            match tokio_util::io::poll_read_buf(Pin::new(&mut *from), context, &mut self.buffer) {
                Poll::Ready(Ok(0)) => self.has_ended = true,
                Poll::Ready(Ok(_)) => seen(&self.buffer),
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone::Reader)),
                Poll::Pending => {
                    ready!(Pin::new(to).poll_flush(context)).map_err(|_| Gone::Writer)?;
                    return Poll::Pending;
                }
            }
        }
    }
}
