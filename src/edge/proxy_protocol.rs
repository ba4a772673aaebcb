//! The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): whom a connection comes from, said before its first
//! byte by the proxy that passes it on. Read only where `listener.proxy_protocol` asks for it, and required there.
//!
//! The `ppp` crate knows the forms of addresses. What is held around it: a bound on the length, one line end in version 1,
//! and LOCAL, whose addresses nobody is to look at.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;

use super::stream::{Replayed, Wire};

/// What one header may have, TLVs included; as nginx's.
const HEADER_BYTES_MAX: usize = 4096;
/// The longest line of version 1.
const LINE_BYTES_MAX: usize = 107;
const LINE_START: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = v2::PROTOCOL_PREFIX;
/// The signature, the command, the family, and the length of what follows.
const FIXED_BYTES: usize = 16;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// The beginning of a header.
    Partial,
    /// A header.
    Header {
        /// How long it is.
        length: usize,
        /// Whom the connection comes from; `None` if from the proxy itself, or from nobody with an address.
        source: Option<SocketAddr>,
    },
    /// No header, and no beginning of one.
    Invalid,
}

/// Reads a header from the first bytes of a connection.
pub fn read(bytes: &[u8]) -> Read {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        read_v2(bytes)
    } else if begins(LINE_START) {
        read_v1(bytes)
    } else {
        Read::Invalid
    }
}

fn read_v1(bytes: &[u8]) -> Read {
    let bytes = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = bytes.iter().position(|b| !matches!(b, b' '..=b'~')) else {
        return if bytes.len() < LINE_BYTES_MAX { Read::Partial } else { Read::Invalid };
    };
    let line = match &bytes[end..] {
        [b'\r'] if bytes.len() < LINE_BYTES_MAX => return Read::Partial,
        [b'\r', b'\n', ..] => &bytes[..end + 2],
        _ => return Read::Invalid,
    };
    let Ok(header) = v1::Header::try_from(line) else { return Read::Invalid };
    let source = match header.addresses {
        v1::Addresses::Unknown => None,
        // Ports are digits alone; to Rust, so is `+80`.
        v1::Addresses::Tcp4(_) | v1::Addresses::Tcp6(_) if line.contains(&b'+') => return Read::Invalid,
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
    };
    Read::Header { length: line.len(), source }
}

fn read_v2(bytes: &[u8]) -> Read {
    const LOCAL: u8 = 0x20;
    let Some(fixed) = bytes.get(..FIXED_BYTES) else { return Read::Partial };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_BYTES_MAX {
        return Read::Invalid;
    }
    let Some(whole) = bytes.get(..length) else { return Read::Partial };
    if fixed[12] == LOCAL {
        return Read::Header { length, source: None };
    }
    let Ok(header) = v2::Header::try_from(whole) else { return Read::Invalid };
    let source = match (header.protocol, header.addresses) {
        (v2::Protocol::Datagram, _) => return Read::Invalid,
        (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        (_, v2::Addresses::IPv4(ip)) => Some((ip.source_address, ip.source_port).into()),
        (_, v2::Addresses::IPv6(ip)) => Some((ip.source_address, ip.source_port).into()),
    };
    Read::Header { length, source }
}

/// Why a connection is closed before its first request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// It was opened and closed, as health checks do.
    #[error("nothing was sent")]
    Silent,
    /// The connection broke off.
    #[error("it ended in the middle of a PROXY header")]
    Ended,
    /// What came is something else.
    #[error("what it begins with is no PROXY header")]
    Invalid,
    /// [`Http::header_timeout`](crate::config::gateway::Http::header_timeout) was over.
    #[error("its PROXY header did not come in time")]
    Slow,
    /// The socket failed.
    #[error("failed to read a PROXY header")]
    Io(#[source] io::Error),
}

/// Takes the header off a connection. Gives the connection as it is behind it, and whom it comes from.
pub(super) async fn take(mut wire: Wire) -> Result<(Wire, Option<SocketAddr>), Refused> {
    let mut bytes = Vec::with_capacity(256);
    loop {
        let got = wire.read_buf(&mut bytes).await.map_err(Refused::Io)?;
        match read(&bytes) {
            Read::Header { length, source } => {
                bytes.drain(..length);
                let wire = if bytes.is_empty() { wire } else { Wire::Replayed(Box::new(Replayed::new(bytes, wire))) };
                return Ok((wire, source));
            }
            Read::Invalid => return Err(Refused::Invalid),
            Read::Partial if got > 0 => {}
            Read::Partial if bytes.is_empty() => return Err(Refused::Silent),
            Read::Partial => return Err(Refused::Ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("a short one").to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xc8, 0x01, 0, 80];

    fn six() -> Vec<u8> {
        let address = "2001:db8::1".parse::<std::net::Ipv6Addr>().expect("an address").octets();
        [&address[..], &[0; 16], &[0xc8, 0x01, 0, 80]].concat()
    }

    /// A header, and whom it names.
    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let tlvs = [&FOUR[..], &[0x20, 0, 3, 1, 2, 3], &[0xe0; 300]].concat();
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0, 1, 0, 2]].concat();
        let line = |text: &str| text.as_bytes().to_vec();
        vec![
            (line("PROXY TCP4 192.0.2.1 198.51.100.2 51201 80\r\n"), Some("192.0.2.1:51201")),
            (line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), Some("255.255.255.255:65535")),
            (line("PROXY TCP6 2001:db8::1 ::1 51201 0\r\n"), Some("[2001:db8::1]:51201")),
            (line("PROXY UNKNOWN\r\n"), None),
            (line("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), None),
            (v2(0x21, 0x11, &FOUR), Some("192.0.2.1:51201")),
            (v2(0x21, 0x11, &tlvs), Some("192.0.2.1:51201")),
            (v2(0x21, 0x21, &six()), Some("[2001:db8::1]:51201")),
            (v2(0x21, 0x21, &mapped), Some("[::ffff:192.0.2.1]:1")),
            (v2(0x21, 0x31, &[b'/'; 216]), None),
            (v2(0x21, 0x00, &[]), None),
            (v2(0x21, 0x00, &[1, 2, 3]), None),
            // Of LOCAL nothing but the length is looked at.
            (v2(0x20, 0x00, &[]), None),
            (v2(0x20, 0x11, &FOUR), None),
            (v2(0x20, 0xff, &[7; 99]), None),
        ]
    }

    fn bad() -> Vec<Vec<u8>> {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let lines = [
            "",
            "G",
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "PROXYTCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            " PROXY UNKNOWN\r\n",
            "proxy UNKNOWN\r\n",
            "PROXY UNKNOWN\n",
            "PROXY UNKNOWN\r\r\n",
            "PROXY UNKNOWN \0\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2  1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 -1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
            "PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
            "PROXY TCP4 192.0.02.1 198.51.100.2 1 2\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.2 1 2\r\n",
            "PROXY TCP6 2001:db8::1%eth0 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 2\rX",
            "PROXY\tTCP4 192.0.2.1 198.51.100.2 1 2\r\n",
            &long,
        ];
        let mut broken = SIGNATURE.to_vec();
        broken[11] = 0;
        let mut all: Vec<Vec<u8>> = lines[1..].iter().map(|line| line.as_bytes().to_vec()).collect();
        all.extend([
            [&broken[..], &[0x21, 0x11, 0, 12], &FOUR].concat(),
            v2(0x11, 0x11, &FOUR),
            v2(0x31, 0x11, &FOUR),
            v2(0x22, 0x11, &FOUR),
            v2(0x21, 0x41, &FOUR),
            v2(0x21, 0x13, &FOUR),
            v2(0x21, 0x12, &FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, &FOUR),
            v2(0x21, 0x11, &[0; HEADER_BYTES_MAX]),
            v2(0x20, 0x00, &[0; HEADER_BYTES_MAX]),
        ]);
        all
    }

    #[test]
    fn a_header_is_read_however_it_is_cut_and_whatever_follows() {
        for (bytes, source) in good() {
            let source = source.map(|address| address.parse().expect("an address"));
            let whole = Read::Header { length: bytes.len(), source };
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Read::Partial, "{:?}", bytes[..end].escape_ascii().to_string());
            }
            assert_eq!(read(&bytes), whole, "{}", bytes.escape_ascii());
            for more in [&b"GET / HTTP/1.1\r\n"[..], b"\r\n", b"\0", &bytes] {
                assert_eq!(read(&[&bytes, more].concat()), whole, "{}", bytes.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_and_never_half_believed() {
        for bytes in bad() {
            assert_eq!(read(&bytes), Read::Invalid, "{}", bytes.escape_ascii());
            for end in 0..bytes.len() {
                let cut = read(&bytes[..end]);
                assert!(matches!(cut, Read::Partial | Read::Invalid), "{}", bytes[..end].escape_ascii());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn more_bytes_never_change_what_is_decided(bytes: Vec<u8>, line in "PROXY [A-Z0-9:. +\r\n]{0,120}", v2: bool) {
            let bytes = if v2 { [SIGNATURE, &bytes].concat() } else { line.into_bytes() };
            let decided = (0..=bytes.len()).map(|end| read(&bytes[..end])).find(|read| *read != Read::Partial);
            proptest::prop_assert_eq!(read(&bytes), decided.unwrap_or(Read::Partial));
            if let Some(Read::Header { length, .. }) = decided {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }
}
