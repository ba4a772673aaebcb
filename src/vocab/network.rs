//! Networks: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// What is wrong with the text of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It is none.
    #[error("expected a network, as in \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.1\"")]
    Form,
    /// It is an address inside a network.
    #[error("the address has bits behind its prefix; its network is \"{0}\"")]
    HostBits(IpNet),
}

/// Reads a network in CIDR form (RFC 4632 §3.1, RFC 4291 §2.3) or a single address. IPv4 networks that are written as
/// IPv6 (`::ffff:10.0.0.0/104`) become IPv4, as addresses do.
///
/// # Errors
/// It is no network, or has bits behind its prefix, which are nearly always a slip.
pub fn parse_network(text: &str) -> Result<IpNet, NetworkError> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    // Not ipnet's own parser, which takes `010.0.0.0`: to others that is 8.0.0.0.
    let address: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
    let network = match prefix {
        None => address.into(),
        Some(prefix) => {
            let digits = prefix.bytes().all(|b| b.is_ascii_digit());
            let length = prefix.parse().ok().filter(|_| digits).ok_or(NetworkError::Form)?;
            IpNet::new(address, length).map_err(|_| NetworkError::Form)?
        }
    };
    if network.addr() != network.network() {
        return Err(NetworkError::HostBits(network.trunc()));
    }
    Ok(canonical(network))
}

fn canonical(network: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    match (network.addr().to_canonical(), network) {
        (IpAddr::V4(address), IpNet::V6(v6)) if v6.prefix_len() >= MAPPED => {
            Ipv4Net::new(address, v6.prefix_len() - MAPPED).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        for (text, expected) in [
            ("10.0.0.0/8", Ok("10.0.0.0/8")),
            ("192.0.2.1", Ok("192.0.2.1/32")),
            ("0.0.0.0/0", Ok("0.0.0.0/0")),
            ("2001:db8::/32", Ok("2001:db8::/32")),
            ("::1", Ok("::1/128")),
            ("::ffff:10.0.0.0/104", Ok("10.0.0.0/8")),
            ("::ffff:192.0.2.1", Ok("192.0.2.1/32")),
            ("::/0", Ok("::/0")),
            ("10.0.0.1/8", Err("10.0.0.0/8")),
            ("2001:db8::1/32", Err("2001:db8::/32")),
            ("", Err("expected a network")),
            ("10.0.0.0/33", Err("expected a network")),
            ("10.0.0/8", Err("expected a network")),
            ("10.0.0.0/", Err("expected a network")),
            ("10.0.0.0/+8", Err("expected a network")),
            ("10.0.0.0/255.0.0.0", Err("expected a network")),
            ("010.0.0.0/8", Err("expected a network")),
            ("10.0.0.0/8 ", Err("expected a network")),
            ("fe80::1%eth0", Err("expected a network")),
            ("localhost", Err("expected a network")),
        ] {
            match (parse_network(text), expected) {
                (Ok(network), Ok(expected)) => assert_eq!(network.to_string(), expected, "{text}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{text}: {error}"),
                (got, expected) => panic!("{text}: {got:?} instead of {expected:?}"),
            }
        }
    }
}
