//! Sockets that listen: one per worker and address, all bound before the first connection is taken.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpStream, UnixStream};

use super::stream::Wire;
use crate::config::gateway::ListenAddress;
use crate::request::Peer;

/// Connections the kernel holds for us while a worker is busy.
pub(super) const BACKLOG: i32 = 4096;

/// A socket that listens.
pub enum ListeningSocket {
    /// For TCP.
    Tcp(TcpListener),
    /// For a path.
    Unix(UnixListener),
}

/// The same, registered with a worker's runtime.
pub enum Listener {
    /// For TCP.
    Tcp(tokio::net::TcpListener),
    /// For a path.
    Unix(tokio::net::UnixListener),
}

/// Binds `address` once per worker (SO_REUSEPORT: the kernel spreads connections, and a new process can bind beside this
/// one). Port 0 becomes one port, the same for all.
///
/// # Errors
/// The address cannot be had.
pub fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<Vec<ListeningSocket>> {
    let first = bind_one(address)?;
    let bound = first.local_addr()?;
    let mut listeners = vec![ListeningSocket::Tcp(first)];
    for _ in 1..workers {
        listeners.push(ListeningSocket::Tcp(bind_one(bound)?));
    }
    Ok(listeners)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, as people expect of it; addresses are shown unmapped.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl ListeningSocket {
    /// One handle per worker on one socket: whichever comes first takes a connection.
    ///
    /// # Errors
    /// No more descriptors.
    pub fn shared(self, workers: usize) -> io::Result<Vec<Self>> {
        let mut handles = Vec::with_capacity(workers);
        for _ in 1..workers {
            handles.push(match &self {
                Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
                Self::Unix(listener) => Self::Unix(listener.try_clone()?),
            });
        }
        handles.push(self);
        Ok(handles)
    }

    /// Where it listens: port 0 has become one that was free.
    ///
    /// # Errors
    /// It is no socket of ours.
    pub fn address(&self, configured: &ListenAddress) -> io::Result<ListenAddress> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddress::Ip),
            Self::Unix(_) => Ok(configured.clone()),
        }
    }

    /// Takes a connection that waits; never waits for one.
    pub(super) fn accept(&self) -> io::Result<(Wire, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(tcp(TcpStream::from_std(stream)?, peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok((Wire::Unix(UnixStream::from_std(stream)?), Peer::Unix))
            }
        }
    }

    /// From now on no handshake begins: its first packet is dropped, so that the client's system sends it again and finds
    /// whoever listens on the address by then. What has begun goes on. False where that cannot be had.
    ///
    /// Only for a socket of our own: one that was handed to us is not ours to close for others.
    pub(super) fn refuse_handshakes(&self) -> bool {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).attach_filter(&drop_syn()).is_ok(),
            Self::Unix(_) => false,
        }
    }
}

/// A classic BPF program over a TCP segment (Linux shows it from its header on; RFC 9293 §3.1: flags are byte 13): SYN
/// without ACK is dropped, anything else passes whole.
fn drop_syn() -> [SockFilter; 5] {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const SYN: u32 = 0x02;
    const ACK: u32 = 0x10;
    [
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ]
}

impl Listener {
    /// Registers it.
    ///
    /// # Errors
    /// The runtime does not take it.
    pub fn new(socket: ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(listener) => Self::Tcp(tokio::net::TcpListener::from_std(listener)?),
            ListeningSocket::Unix(listener) => Self::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// As accept(2) has them; most pass.
    pub async fn accept(&self) -> io::Result<(Wire, Peer)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| tcp(stream, peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Wire::Unix(stream), Peer::Unix)),
        }
    }

    pub(super) fn into_socket(self) -> io::Result<ListeningSocket> {
        Ok(match self {
            Self::Tcp(listener) => ListeningSocket::Tcp(listener.into_std()?),
            Self::Unix(listener) => ListeningSocket::Unix(listener.into_std()?),
        })
    }
}

fn tcp(stream: TcpStream, peer: SocketAddr) -> (Wire, Peer) {
    // It only speeds things up; a socket that is gone already fails at its first read.
    let _ = stream.set_nodelay(true);
    (Wire::Tcp(stream), peer.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_handshake_that_is_refused_finds_the_successor() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let old = bind_tcp(any, 1).expect("a port").remove(0);
        let Ok(ListenAddress::Ip(address)) = old.address(&ListenAddress::Ip(any)) else { panic!("it is TCP") };
        let queued = TcpStream::connect(address).expect("it listens");
        assert!(old.refuse_handshakes());
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.expect_err("turned away").kind(), io::ErrorKind::TimedOut);

        let next = bind_tcp(address, 1).expect("a place beside it");
        let client = std::thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_secs(20)));
        let ListeningSocket::Tcp(socket) = old else { panic!("it is TCP") };
        assert_eq!(socket.accept().expect("what was queued").1, queued.local_addr().expect("an address"));
        drop(socket);
        client.join().expect("no panic").expect("its second try is answered");
        drop(next);
    }
}
