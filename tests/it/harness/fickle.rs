//! A server that is well, sick, silent, rude or gone, as a test wants it from one moment to the next.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wire;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// 200 to everything.
    Well,
    /// 503 to everything.
    Sick,
    /// Takes requests and says nothing.
    Hanging,
    /// Resets the connection where an answer should come.
    Resetting,
}

struct Shared {
    mood: Mutex<Mood>,
    changed: Condvar,
    gone: AtomicBool,
    requests: AtomicUsize,
    checks: AtomicUsize,
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

/// The server; requests for `/healthz` are counted apart.
pub(crate) struct Fickle {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Fickle {
    pub(crate) fn start() -> Fickle {
        let shared = Arc::new(Shared {
            mood: Mutex::new(Mood::Well),
            changed: Condvar::new(),
            gone: AtomicBool::new(true),
            requests: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            streams: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let fickle = Fickle { addr: listener.local_addr().unwrap(), shared, accepting: Mutex::default() };
        fickle.accept(listener);
        fickle
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        self.shared.changed.notify_all();
    }

    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    pub(crate) fn checks(&self) -> usize {
        self.shared.checks.load(SeqCst)
    }

    /// As a process that ends: nobody listens any more, and every connection is gone.
    pub(crate) fn kill(&self) {
        self.shared.gone.store(true, SeqCst);
        self.shared.changed.notify_all();
        drop(TcpStream::connect(self.addr));
        if let Some(accepting) = self.accepting.lock().unwrap().take() {
            accepting.join().unwrap();
        }
        for stream in self.shared.streams.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// At the same address again.
    pub(crate) fn revive(&self) {
        self.accept(TcpListener::bind(self.addr).expect("the port that was ours"));
    }

    fn accept(&self, listener: TcpListener) {
        self.shared.gone.store(false, SeqCst);
        let shared = Arc::clone(&self.shared);
        *self.accepting.lock().unwrap() = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.gone.load(SeqCst) {
                    return;
                }
                let Ok(stream) = stream.map(Arc::new) else { continue };
                shared.streams.lock().unwrap().push(Arc::downgrade(&stream));
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(serve(&stream, &shared)));
            }
        }));
    }
}

impl Drop for Fickle {
    fn drop(&mut self) {
        self.kill();
    }
}

fn serve(mut stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut reader = BufReader::new(stream);
    while let Some(head) = wire::read_head(&mut reader)? {
        wire::read_sized(&mut reader, head.content_length().unwrap_or(0), &mut |_| {})?;
        let is_check = head.first.contains(" /healthz ");
        if is_check { &shared.checks } else { &shared.requests }.fetch_add(1, SeqCst);
        let mood = shared.mood.lock().unwrap();
        let is_silent = |mood: &mut Mood| *mood == Mood::Hanging && !shared.gone.load(SeqCst);
        let mood = *shared.changed.wait_while(mood, is_silent).unwrap();
        match mood {
            Mood::Well | Mood::Hanging => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?,
            Mood::Sick => stream.write_all(b"HTTP/1.1 503 Sick\r\nContent-Length: 4\r\n\r\nsick")?,
            Mood::Resetting => return socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
        }
    }
    Ok(())
}
