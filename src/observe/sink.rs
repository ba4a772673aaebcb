//! The one writer: a thread that takes chunks of whole lines and writes them out. A failing disk or a closed pipe is
//! counted and told of once a minute; it never stops a request.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::gateway::{OnFull, Output};

/// Chunks waiting for the writer: with chunks of 64 KiB, 8 MiB.
const CHUNKS_MAX: usize = 128;
/// Between two tries of somebody who waits for a full queue.
const PAUSE: Duration = Duration::from_millis(1);
/// How long the end of the process waits for the output.
const CLOSE_MAX: Duration = Duration::from_secs(2);
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where lines go. Clones share one writer.
#[derive(Clone)]
pub struct Sink {
    to_writer: SyncSender<Message>,
    losses: Arc<Losses>,
}

/// Lines that never reached the output.
#[derive(Debug, Default)]
pub struct Losses {
    failed: AtomicU64,
    dropped: AtomicU64,
    /// The process is ending: nobody waits for the writer any more.
    closing: AtomicBool,
    written: AtomicU64,
    writing: Writing,
}

/// What became of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// They are where they should be.
    pub written: u64,
    /// The output did not take them.
    pub failed: u64,
    /// The writer had no room for them.
    pub dropped: u64,
}

/// Since when the writer has been at one chunk.
#[derive(Debug)]
struct Writing {
    origin: Instant,
    /// Milliseconds from `origin`, at least 1; 0 = it is not writing.
    since_ms: AtomicU64,
}

impl Default for Writing {
    fn default() -> Self {
        Self { origin: Instant::now(), since_ms: AtomicU64::new(0) }
    }
}

impl Writing {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn begin(&self) {
        self.since_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    fn end(&self) {
        self.since_ms.store(0, Ordering::Relaxed);
    }

    fn lasts(&self) -> Duration {
        match self.since_ms.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now_ms().saturating_sub(since)),
        }
    }
}

impl Losses {
    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

enum Message {
    Lines { bytes: Vec<u8>, count: u64 },
    Reopen(Option<Output>),
    Flush(SyncSender<()>),
    Stop,
}

/// Keeps the writer alive; dropping it writes what is left and ends the thread.
pub struct Writer {
    sink: Sink,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Opens the output and starts the thread.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread can be had.
    pub fn start(output: Output) -> io::Result<Self> {
        let target = open(&output)?;
        let (to_writer, inbox) = sync_channel(CHUNKS_MAX);
        let losses = Arc::new(Losses::default());
        let state = Loop { inbox, target, output, torn: false, losses: Arc::clone(&losses), told: None };
        let thread = std::thread::Builder::new().name("log".into()).spawn(move || state.run())?;
        Ok(Self { sink: Sink { to_writer, losses }, thread: Some(thread) })
    }

    /// A handle for one producer.
    pub fn sink(&self) -> Sink {
        self.sink.clone()
    }
}

impl Drop for Writer {
    /// Writes what is left, for at most [`CLOSE_MAX`]: an output that takes nothing is left to its fate.
    fn drop(&mut self) {
        let deadline = Instant::now() + CLOSE_MAX;
        while let Err(TrySendError::Full(_)) = self.sink.to_writer.try_send(Message::Stop)
            && Instant::now() < deadline
        {
            std::thread::sleep(PAUSE);
        }
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

impl Sink {
    /// Hands over a chunk of `count` whole lines. With [`OnFull::Wait`] this blocks while the writer is behind, until the
    /// process ends.
    pub fn write(&self, bytes: Vec<u8>, count: u64, on_full: OnFull) {
        let mut message = Message::Lines { bytes, count };
        loop {
            match self.to_writer.try_send(message) {
                Ok(()) => return,
                Err(TrySendError::Full(unsent)) if on_full == OnFull::Wait && !self.is_closing() => {
                    message = unsent;
                    std::thread::sleep(PAUSE);
                }
                Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => break,
            }
        }
        self.losses.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// From now on nobody waits for the writer.
    pub fn close(&self) {
        self.losses.closing.store(true, Ordering::Relaxed);
    }

    fn is_closing(&self) -> bool {
        self.losses.is_closing()
    }

    /// Opens the file again (SIGUSR1), or another output.
    pub fn reopen(&self, output: Option<Output>) {
        // With a full queue the output is stuck, and opening it again would be, too.
        let _ = self.to_writer.try_send(Message::Reopen(output));
    }

    /// Returns when everything handed over so far is written.
    pub fn flush(&self) {
        self.flush_while(&|| true);
    }

    /// The same, but gives up when `patient` says no.
    pub fn flush_while(&self, patient: &dyn Fn() -> bool) {
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(unsent)) = self.to_writer.try_send(message) {
            if !patient() {
                return;
            }
            message = unsent;
            std::thread::sleep(PAUSE);
        }
        while wait.recv_timeout(PAUSE * 10) == Err(RecvTimeoutError::Timeout) && patient() {}
    }

    /// Lines lost so far, for whatever reason.
    pub fn lost(&self) -> u64 {
        let Fate { failed, dropped, .. } = self.fate();
        failed + dropped
    }

    /// What became of the lines so far.
    pub fn fate(&self) -> Fate {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Losses { failed, dropped, written, .. } = &*self.losses;
        Fate { written: read(written), failed: read(failed), dropped: read(dropped) }
    }

    /// How long the output has been taking nothing of what the writer has for it.
    pub fn is_stuck_for(&self) -> Duration {
        self.losses.writing.lasts()
    }
}

/// The output as a plain file, so that no buffer of the standard library hides what was not written.
fn open(output: &Output) -> io::Result<File> {
    Ok(match output {
        Output::Stdout => io::stdout().as_fd().try_clone_to_owned()?.into(),
        Output::Stderr => io::stderr().as_fd().try_clone_to_owned()?.into(),
        Output::File(path) => open_append(path)?,
    })
}

/// Readable by its owner and group: lines name who called what.
fn open_append(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

struct Loop {
    inbox: Receiver<Message>,
    target: File,
    output: Output,
    /// A line was cut short: the next one must not be glued to its rest.
    torn: bool,
    losses: Arc<Losses>,
    told: Option<(Instant, u64)>,
}

impl Loop {
    fn run(mut self) {
        loop {
            match self.inbox.recv_timeout(REPORT_EVERY) {
                Ok(Message::Lines { bytes, count }) => self.lines(&bytes, count),
                Ok(Message::Reopen(output)) => self.reopen(output),
                Ok(Message::Flush(done)) => {
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.tell_of_losses();
        }
    }

    fn lines(&mut self, bytes: &[u8], count: u64) {
        self.losses.writing.begin();
        if self.torn && self.target.write(b"\n").is_ok() {
            self.torn = false;
        }
        let written = self.write_all(bytes);
        self.losses.writing.end();
        if written < bytes.len() {
            let whole = bytes[..written].iter().filter(|b| **b == b'\n').count() as u64;
            self.torn = written > 0 && bytes[written - 1] != b'\n';
            self.losses.failed.fetch_add(count.saturating_sub(whole), Ordering::Relaxed);
            self.losses.written.fetch_add(whole, Ordering::Relaxed);
        } else {
            self.losses.written.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// How many bytes were written before the first error.
    fn write_all(&mut self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while written < bytes.len() {
            match self.target.write(&bytes[written..]) {
                Ok(0) => return written,
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that somebody made non-blocking: full for the moment.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.losses.is_closing() => {
                    std::thread::sleep(PAUSE);
                }
                Err(_) => return written,
            }
        }
        written
    }

    fn reopen(&mut self, output: Option<Output>) {
        let output = output.unwrap_or_else(|| self.output.clone());
        match open(&output) {
            Ok(target) => (self.target, self.output, self.torn) = (target, output, false),
            Err(error) => tell(format_args!("keyward: failed to open the log: {error}")),
        }
    }

    fn tell_of_losses(&mut self) {
        let failed = self.losses.failed.load(Ordering::Relaxed);
        let lost = failed + self.losses.dropped.load(Ordering::Relaxed);
        let (at, told) = self.told.unzip();
        if lost > told.unwrap_or(0) && at.is_none_or(|at: Instant| at.elapsed() >= REPORT_EVERY) {
            self.told = Some((Instant::now(), lost));
            tell(format_args!("keyward: {lost} log lines lost so far ({failed} could not be written)"));
        }
    }
}

/// The log itself is what failed: standard error is the place that is left.
fn tell(message: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_arrive_in_order_and_a_reopened_file_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let writer = Writer::start(Output::File(path.clone())).expect("a writer");
        let sink = writer.sink();
        sink.write(b"1\n2\n".to_vec(), 2, OnFull::Wait);
        sink.flush();
        std::fs::rename(&path, folder.path().join("log.1")).expect("a rename");
        sink.reopen(None);
        sink.write(b"3\n".to_vec(), 1, OnFull::Wait);
        drop(writer);
        assert_eq!(std::fs::read(folder.path().join("log.1")).expect("the old file"), b"1\n2\n");
        assert_eq!(std::fs::read(&path).expect("the new file"), b"3\n");
        assert_eq!(sink.lost(), 0);
    }

    #[test]
    fn a_full_disk_is_counted_and_survived() {
        let writer = Writer::start(Output::File("/dev/full".into())).expect("a writer");
        let sink = writer.sink();
        sink.write(b"1\n2\n".to_vec(), 2, OnFull::Wait);
        sink.write(b"3\n".to_vec(), 1, OnFull::Drop);
        sink.flush();
        assert_eq!(sink.fate(), Fate { written: 0, failed: 3, dropped: 0 });
    }
}
