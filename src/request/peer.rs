//! Who is at the other end of a connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// One end of a connection. Addresses are canonical: an IPv4 address that came over an IPv6 socket is an IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// An address and its port.
    Ip(SocketAddr),
    /// Somebody on this machine, over a Unix socket; there is no address.
    Unix,
}

impl Peer {
    /// The address, if it has one.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(address.ip()),
            Self::Unix => None,
        }
    }

    /// The port, if it has one.
    pub const fn port(self) -> Option<u16> {
        match self {
            Self::Ip(address) => Some(address.port()),
            Self::Unix => None,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl fmt::Display for Peer {
    /// The address without its port; `unix:` as in nginx's `$remote_addr` where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.ip().fmt(f),
            Self::Unix => f.write_str("unix:"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_of_by_its_canonical_address() {
        for (address, shown) in
            [("192.0.2.1:80", "192.0.2.1"), ("[::ffff:192.0.2.1]:80", "192.0.2.1"), ("[2001:db8::1]:80", "2001:db8::1")]
        {
            let peer = Peer::from(address.parse::<SocketAddr>().expect("an address"));
            assert_eq!((peer.to_string().as_str(), peer.port()), (shown, Some(80)));
        }
        assert_eq!((Peer::Unix.to_string().as_str(), Peer::Unix.port(), Peer::Unix.ip()), ("unix:", None, None));
    }
}
