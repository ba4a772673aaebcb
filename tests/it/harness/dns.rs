//! A name server on loopback that knows what a test tells it (RFC 1035, as much of it as A records need).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

const TYPE_A: u16 = 1;
const NO_ERROR: u8 = 0;
const SERVER_FAILURE: u8 = 2;
const NAME_ERROR: u8 = 3;

#[derive(Default)]
struct Shared {
    /// Addresses and time to live, seconds.
    names: Mutex<HashMap<String, (Vec<Ipv4Addr>, u32)>>,
    asked: Mutex<Vec<String>>,
    failing: AtomicBool,
    silent: AtomicBool,
    stopping: AtomicBool,
}

/// The name server.
pub(crate) struct NameServer {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

impl NameServer {
    pub(crate) fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
        let addr = socket.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            let mut query = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if serving.stopping.load(Ordering::Relaxed) {
                    return;
                }
                if let Some(answer) = answer(&query[..length], &serving) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        NameServer { addr, shared }
    }

    /// Says from now on that `name` has these addresses, for `ttl` seconds.
    pub(crate) fn set(&self, name: &str, addresses: &[Ipv4Addr], ttl: u32) {
        self.shared.names.lock().unwrap().insert(name.to_owned(), (addresses.to_vec(), ttl));
    }

    /// Answers every question with a failure of its own.
    pub(crate) fn fail(&self, failing: bool) {
        self.shared.failing.store(failing, Ordering::Relaxed);
    }

    /// Answers nothing.
    pub(crate) fn be_silent(&self) {
        self.shared.silent.store(true, Ordering::Relaxed);
    }

    /// How often the addresses of a name were asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        drop(UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"end", self.addr)));
    }
}

fn answer(query: &[u8], shared: &Shared) -> Option<Vec<u8>> {
    let (name, end) = question(query)?;
    let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
    if kind == TYPE_A {
        shared.asked.lock().unwrap().push(name.clone());
    }
    if shared.silent.load(Ordering::Relaxed) {
        return None;
    }
    let known = shared.names.lock().unwrap().get(&name).cloned();
    let (code, (addresses, ttl)) = match known {
        _ if shared.failing.load(Ordering::Relaxed) => (SERVER_FAILURE, Default::default()),
        None => (NAME_ERROR, Default::default()),
        Some(_) if kind != TYPE_A => (NO_ERROR, Default::default()),
        Some(known) => (NO_ERROR, known),
    };
    let mut out = query[..2].to_vec();
    // An answer, recursion available; one question, so many answers.
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
    out.extend(&query[12..end + 4]);
    for address in addresses {
        // The name of the question, class IN.
        out.extend([0xc0, 12, 0, 1, 0, 1]);
        out.extend(ttl.to_be_bytes());
        out.extend([0, 4]);
        out.extend(address.octets());
    }
    Some(out)
}

/// The name that is asked for, in lower case, and where it ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_lowercase());
        at += length;
    }
}
