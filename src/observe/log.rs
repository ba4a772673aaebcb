//! A worker's own end of the log: lines are written into a buffer that no other thread touches.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::decision;
use super::leaks::{self, Leaks};
use super::line::{Line, TimeText};
use super::sink::Sink;
use crate::config::gateway::OnFull;
use crate::record::{Reader, Record, TunnelRecord};
use crate::request::{ConnFacts, RequestId};

/// A buffer is handed to the writer when it is this full, and at least every 100 ms by the worker's tick.
const BUFFER: usize = 64 * 1024;

/// The buffer of one worker.
pub struct Log {
    sink: Sink,
    on_full: Cell<OnFull>,
    buffer: RefCell<Buffer>,
    leaks: Arc<Leaks>,
}

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    count: u64,
    times: TimeText,
}

impl Log {
    /// An empty buffer in front of `sink`.
    pub fn new(sink: Sink, on_full: OnFull) -> Self {
        Self { sink, on_full: Cell::new(on_full), buffer: RefCell::default(), leaks: Arc::default() }
    }

    /// The same, telling of leaks what no other has told.
    #[must_use]
    pub fn beside(mut self, leaks: &Arc<Leaks>) -> Self {
        self.leaks = Arc::clone(leaks);
        self
    }

    /// Takes over `log.on_full` of a new configuration.
    pub fn set_on_full(&self, on_full: OnFull) {
        self.on_full.set(on_full);
    }

    /// Writes the line of a request that could not be read at all; `end` is the status that was answered, if one was, and the outcome.
    pub fn unreadable(
        &self,
        conn: &ConnFacts,
        (wall_us, id): (i64, &RequestId),
        end: (Option<u16>, &str),
        generation: u64,
    ) {
        self.line(wall_us, ("info", "decision"), |line| decision::write_unreadable(line, conn, id, end, generation));
    }

    fn line(&self, wall_us: i64, (level, event): (&str, &str), write: impl FnOnce(&mut Line<'_>)) {
        let mut buffer = self.buffer.borrow_mut();
        let buffer = &mut *buffer;
        if buffer.bytes.capacity() == 0 {
            buffer.bytes.reserve(BUFFER + 4096);
        }
        let mut line = Line::open(&mut buffer.bytes, &mut buffer.times, wall_us, level, event);
        write(&mut line);
        line.close();
        buffer.count += 1;
        if buffer.bytes.len() >= BUFFER {
            self.hand_over(buffer);
        }
    }

    /// Hands what there is to the writer.
    pub fn flush(&self) {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.count > 0 {
            self.hand_over(&mut buffer);
        }
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        let bytes = std::mem::take(&mut buffer.bytes);
        let count = std::mem::take(&mut buffer.count);
        self.sink.write(bytes, count, self.on_full.get());
    }
}

impl Reader for Log {
    /// Writes the one line of an exchange.
    fn read(&self, record: &Record) {
        let event = decision::event(record);
        self.line(record.ended_us, ("info", event), |line| decision::write(line, record));
        if let Some(alert) = self.leaks.alert(record) {
            self.line(record.ended_us, ("error", "alert"), |line| leaks::write(line, &alert));
            self.leaks.send(alert);
        }
    }

    fn read_tunnel(&self, record: &TunnelRecord) {
        self.line(record.ended_us, ("info", "tunnel"), |line| decision::write_tunnel(line, record));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.flush();
    }
}
