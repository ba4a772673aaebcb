//! `keyward health`: asks a running gateway's `/readyz`, as its configuration says where that is. For HEALTHCHECK and scripts
//! where there is no curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::console::{Console, Failure};
use crate::cli::{Files, HealthArgs};
use crate::config::gateway::{self, Admin, Gateway, ListenAddress};
use crate::config::load::{find_config, read_gateway};

/// For the connection, and then for every piece of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has problems and servers in it, and no more than this of them.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Whatever can be spoken to.
trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// Exits with 0 if it is ready.
pub fn run(args: &HealthArgs, files: &Files, console: &mut Console<'_>) -> u8 {
    let outcome = health(args, files, console);
    console.finish(outcome)
}

fn health(args: &HealthArgs, files: &Files, console: &mut Console<'_>) -> Result<(), Failure> {
    let address = args.address.clone().map_or_else(|| address_in(files), Ok)?;
    let (status, text) = ask(&address).map_err(Failure::because(format_args!("failed to ask {address}")))?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(Failure::because(format_args!("{address} answers {status}, and not as keyward does")))?;
    if args.json {
        console.line(&answer)?;
    }
    match (status, answer["reason"].as_str()) {
        (200, _) if args.json => Ok(()),
        (200, _) => console.line("ready"),
        (_, Some(reason)) => Err(Failure::No(format!("not ready: {reason}"))),
        (_, None) => Err(Failure::No(format!("not ready: {address} answers {status}"))),
    }
}

/// A file with mistakes will do: the gateway goes on with what it was before.
fn address_in(files: &Files) -> Result<ListenAddress, Failure> {
    let source = read_gateway(&find_config(files.config.clone())?)?;
    match gateway::read(&source) {
        (Some(Gateway { admin: Admin { address: Some(address) }, .. }), _) => Ok(address),
        (Some(_), report) if !report.has_errors() => {
            let path = source.path().display();
            Err(Failure::No(format!("{path} has no `admin.address`: there is nobody to ask")))
        }
        (_, report) => Err(Failure::Report(report)),
    }
}

/// The status, and the body.
fn ask(address: &ListenAddress) -> io::Result<(u16, String)> {
    let mut wire: Box<dyn Wire> = match address {
        ListenAddress::Ip(address) => {
            let stream = TcpStream::connect_timeout(&reachable(*address), PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
        ListenAddress::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Box::new(stream)
        }
    };
    wire.write_all(b"GET /readyz HTTP/1.1\r\nHost: keyward\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    wire.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    read(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// Where it can be asked from here: any address is on this machine, too.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Of an answer that ends with its connection.
fn read(answer: &[u8]) -> Option<(u16, String)> {
    let answer = std::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_status_and_what_comes_behind_its_head() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read(answer), Some((503, "{}".to_owned())));
        for broken in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 2\r\n\r\n", b"\xff\r\n\r\n"] {
            assert_eq!(read(broken), None);
        }
    }

    #[test]
    fn any_address_is_asked_on_loopback() {
        for (bound, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1"), ("[::1]:1", "[::1]:1")]
        {
            let bound: SocketAddr = bound.parse().expect("an address");
            assert_eq!(reachable(bound).to_string(), asked);
        }
    }
}
