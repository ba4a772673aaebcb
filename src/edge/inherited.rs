//! Listening sockets that whoever started the process has passed on (sd_listen_fds(3)): systemd, or an old process's parent.
//! A listener takes the one that listens on its own address.

use std::io;
use std::path::Path;

use listenfd::ListenFd;
use socket2::SockRef;

use super::listener::ListeningSocket;
use crate::config::gateway::ListenAddress;

/// More than anybody passes.
const SOCKETS_MAX: usize = 1024;

/// The sockets nobody has taken yet.
#[derive(Default)]
pub struct Inherited(Vec<(ListenAddress, ListeningSocket)>);

impl Inherited {
    /// What `LISTEN_FDS` speaks of, if `LISTEN_PID` is this process or says nothing. Takes both out of the environment:
    /// to be called before the first thread, and once.
    ///
    /// # Errors
    /// A descriptor that is no listening socket of TCP or of a path.
    pub fn from_environment() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for at in 0..passed.len().min(SOCKETS_MAX) {
            let wrong = |error: io::Error| {
                let message = format!("descriptor {} of LISTEN_FDS is no listening socket: {error}", at + 3);
                io::Error::new(error.kind(), message)
            };
            sockets.push(take(&mut passed, at).map_err(wrong)?);
        }
        Ok(Self(sockets))
    }

    /// The socket for a listener with this address.
    pub fn take(&mut self, address: &ListenAddress) -> Option<ListeningSocket> {
        let at = self.0.iter().position(|(passed, _)| is_for(passed, address))?;
        Some(self.0.swap_remove(at).1)
    }

    /// The addresses of those that no listener has taken: what connects there waits in vain.
    pub fn left(&self) -> impl Iterator<Item = &ListenAddress> {
        self.0.iter().map(|(address, _)| address)
    }
}

fn take(passed: &mut ListenFd, at: usize) -> io::Result<(ListenAddress, ListeningSocket)> {
    let missing = || io::Error::other("it was taken");
    // Which of both it is shows when it is asked for.
    if let Ok(Some(tcp)) = passed.take_tcp_listener(at) {
        tcp.set_nonblocking(true)?;
        is_listening(&SockRef::from(&tcp))?;
        return Ok((ListenAddress::Ip(tcp.local_addr()?), ListeningSocket::Tcp(tcp)));
    }
    let unix = passed.take_unix_listener(at)?.ok_or_else(missing)?;
    unix.set_nonblocking(true)?;
    is_listening(&SockRef::from(&unix))?;
    let address = unix.local_addr()?;
    let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
    Ok((ListenAddress::Unix(path.to_owned()), ListeningSocket::Unix(unix)))
}

fn is_listening(socket: &SockRef<'_>) -> io::Result<()> {
    if socket.is_listener()? { Ok(()) } else { Err(io::Error::other("it does not listen")) }
}

/// Whether a socket on `passed` is what a listener on `wanted` would have bound. `ListenStream=8443` makes one on `[::]`,
/// which takes IPv4 as well.
fn is_for(passed: &ListenAddress, wanted: &ListenAddress) -> bool {
    match (passed, wanted) {
        (ListenAddress::Ip(passed), ListenAddress::Ip(wanted)) => {
            let is_any = passed.is_ipv6() && passed.ip().is_unspecified() && wanted.ip().is_unspecified();
            passed == wanted || (is_any && passed.port() == wanted.port())
        }
        // The same file by whatever way: `/var/run` is `/run`.
        (ListenAddress::Unix(passed), ListenAddress::Unix(wanted)) => {
            let real = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
            real(passed) == real(wanted)
        }
        (ListenAddress::Ip(_), ListenAddress::Unix(_)) | (ListenAddress::Unix(_), ListenAddress::Ip(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_takes_the_socket_on_its_own_address() {
        let ip = |text: &str| ListenAddress::Ip(text.parse().expect("an address"));
        let unix = |text: &str| ListenAddress::Unix(text.into());
        for (passed, wanted) in [
            (ip("127.0.0.1:80"), ip("127.0.0.1:80")),
            (ip("[::]:80"), ip("[::]:80")),
            (ip("[::]:80"), ip("0.0.0.0:80")),
            (unix("/run/a"), unix("/run/a")),
        ] {
            assert!(is_for(&passed, &wanted), "{passed} {wanted}");
        }
        for (passed, wanted) in [
            (ip("127.0.0.1:80"), ip("127.0.0.1:81")),
            (ip("0.0.0.0:80"), ip("127.0.0.1:80")),
            (ip("0.0.0.0:80"), ip("[::]:80")),
            (ip("[::1]:80"), ip("127.0.0.1:80")),
            (unix("/run/a"), unix("/run/b")),
            (unix("/run/a"), ip("127.0.0.1:80")),
        ] {
            assert!(!is_for(&passed, &wanted), "{passed} {wanted}");
        }
    }
}
