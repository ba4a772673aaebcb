//! The way to a server: TCP, a Unix socket, or TLS over TCP.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// One connection.
#[derive(Debug)]
pub enum Stream {
    /// `http://`, `h2c://`
    Tcp(TcpStream),
    /// `unix:`
    Unix(UnixStream),
    /// `https://`
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Whether the connection is silent, as one between two exchanges has to be: no bytes, no end. An answer that comes
    /// before its question would be taken for the answer to somebody else's. Where the operating system has told nothing
    /// new, this asks it nothing.
    pub fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let read = match self {
            Self::Tcp(stream) => stream.try_read(&mut byte),
            Self::Unix(stream) => stream.try_read(&mut byte),
            // Session tickets come whenever they like, and are no bytes of an answer. Without tokio's budget, which would
            // make a connection look silent that is not.
            Self::Tls(stream) => {
                let mut buffer = ReadBuf::new(&mut byte);
                let reading = std::future::poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer));
                let reading = pin!(tokio::task::unconstrained(reading));
                return reading.poll(&mut Context::from_waker(Waker::noop())).is_pending();
            }
        };
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
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
            let mut stream = Stream::Tcp(stream);
            assert!(stream.is_silent());
            server.write_all(b"hello").expect("room");
            let mut bytes = [0; 64];
            let mut buffer = ReadBuf::new(&mut bytes);
            poll_fn(|context| Pin::new(&mut stream).poll_read(context, &mut buffer)).await.expect("bytes");
            assert_eq!(buffer.filled(), b"hello");
            assert!(stream.is_silent());
            server.write_all(b"again").expect("room");
            let Stream::Tcp(tcp) = &stream else { unreachable!("it is one") };
            // Waiting for it is what lets the runtime hear of it.
            tcp.readable().await.expect("bytes");
            assert!(!stream.is_silent());
        });
    }
}
