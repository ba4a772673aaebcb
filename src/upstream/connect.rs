//! A new connection to a server: its addresses, a socket, TLS, and the protocol that comes of it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::server::{Server, ServerTls};
use super::stream::Stream;
use crate::config::gateway::{Endpoint, Protocol};

/// A connection that was just made.
pub(super) struct Connected {
    pub(super) stream: Stream,
    /// The server's address, as the log has it.
    pub(super) address: Rc<str>,
    /// HTTP/2 is spoken on it; otherwise HTTP/1.1.
    pub(super) is_http2: bool,
}

/// Connects within `limit`, trying one address after the other; with `http1` that is what is spoken if TLS has the choice.
///
/// # Errors
/// The name does not resolve, nobody listens, the certificate is not the server's, or `limit` has passed.
pub(super) async fn connect(server: &Server, limit: Duration, http1: bool) -> io::Result<Connected> {
    timeout(limit, connect_any(server, limit, http1)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn connect_any(server: &Server, limit: Duration, http1: bool) -> io::Result<Connected> {
    if let Endpoint::Unix(path) = &server.endpoint {
        let stream = Stream::Unix(UnixStream::connect(path).await?);
        let address = server.endpoint.to_string().into();
        return Ok(Connected { stream, address, is_http2: server.protocol == Protocol::H2 });
    }
    let deadline = Instant::now() + limit;
    let addresses = server.addresses().await?;
    let mut failed = io::Error::new(io::ErrorKind::AddrNotAvailable, "the server's name has no address");
    for (at, address) in addresses.iter().enumerate() {
        // One that swallows packets must leave time for the others.
        let share = deadline.saturating_duration_since(Instant::now()) / (addresses.len() - at) as u32;
        match timeout(share, connect_to(server, *address, http1)).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

async fn connect_to(server: &Server, address: SocketAddr, http1: bool) -> io::Result<Connected> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let address = address.to_string().into();
    let Some(ServerTls { config, name }) = &server.tls else {
        return Ok(Connected { stream: Stream::Tcp(stream), address, is_http2: server.protocol == Protocol::H2 });
    };
    let mut config = Arc::clone(config);
    if http1 && server.protocol == Protocol::Auto {
        Arc::make_mut(&mut config).alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let stream = TlsConnector::from(config).connect(name.clone(), stream).await?;
    let is_http2 = match (server.protocol, stream.get_ref().1.alpn_protocol()) {
        (Protocol::H2, _) | (Protocol::Auto, Some(b"h2")) => true,
        (Protocol::Http1 | Protocol::Auto, _) => false,
    };
    Ok(Connected { stream: Stream::Tls(Box::new(stream)), address, is_http2 })
}
