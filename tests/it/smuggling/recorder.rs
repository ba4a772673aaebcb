//! An upstream that keeps every byte, and answers every request that has one reading.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::reading::{Request, Rest, requests};

#[derive(Default)]
struct Shared {
    /// One for each connection.
    bytes: Mutex<Vec<Vec<u8>>>,
    stopping: AtomicBool,
}

/// The recording upstream.
pub(crate) struct Recorder {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Recorder {
    pub(crate) fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Recorder { addr, shared }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Every whole request with this path, on whatever connection.
    pub(crate) fn requests(&self, path: &str) -> Vec<Request> {
        let bytes = self.shared.bytes.lock().unwrap();
        let all = bytes.iter().flat_map(|bytes| requests(bytes).0);
        all.filter(|request| request.target.split('?').next() == Some(path)).collect()
    }

    /// What came that has no single reading.
    pub(crate) fn ambiguous(&self) -> Vec<String> {
        let bytes = self.shared.bytes.lock().unwrap();
        let rests = bytes.iter().map(|bytes| requests(bytes).1);
        rests
            .filter_map(|rest| match rest {
                Rest::Bad(why) => Some(format!("the upstream got {why}")),
                Rest::Nothing | Rest::Partial => None,
            })
            .collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.addr));
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    let number = {
        let mut bytes = shared.bytes.lock().unwrap();
        bytes.push(Vec::new());
        bytes.len() - 1
    };
    let (mut buffer, mut answered) = ([0; 16 * 1024], 0);
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        let (whole, rest) = {
            let mut bytes = shared.bytes.lock().unwrap();
            bytes[number].extend_from_slice(&buffer[..length]);
            requests(&bytes[number])
        };
        for request in &whole[answered..] {
            let body = if request.method == "HEAD" { "" } else { "ok" };
            // At once: a body that waits for an acknowledgement of its head costs 40 ms.
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
        answered = whole.len();
        if matches!(rest, Rest::Bad(_)) {
            return;
        }
    }
}
