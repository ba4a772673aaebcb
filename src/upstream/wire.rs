//! The socket to a server, seen from two sides: hyper reads and writes it, and the pool looks whether something has come
//! that nobody asked for.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// One connection. Clones are the same connection.
#[derive(Clone, Debug)]
pub(super) struct Wire(Rc<RefCell<TcpStream>>);

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    /// Whether the connection is silent, as one between two exchanges has to be: no bytes, no end. An answer that comes
    /// before its question would be taken for the answer to somebody else's. This asks what the last poll of the
    /// operating system has told; it costs no system call, and wakes and keeps nobody from being woken.
    pub(super) fn is_silent(&self) -> bool {
        self.0.borrow().try_io(Interest::READABLE, || Ok(())).is_err()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write as _;

    #[test]
    fn unread_bytes_are_seen_and_read_ones_are_not() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        runtime.block_on(async {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
            let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("a connection");
            let (mut server, _) = listener.accept().expect("a connection");
            let mut wire = Wire::new(stream);
            assert!(wire.is_silent());
            server.write_all(b"hello").expect("room");
            // Waiting for it is what lets the runtime hear of it.
            poll_fn(|context| wire.0.borrow().poll_read_ready(context)).await.expect("bytes");
            assert!(!wire.is_silent());
            let mut bytes = [0; 64];
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|context| Pin::new(&mut wire).poll_read(context, &mut buffer)).await.expect("bytes");
            assert_eq!(buffer.filled(), b"hello");
            assert!(wire.is_silent());
        });
    }
}
