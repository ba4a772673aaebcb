//! Memory that a worker lends to its connections, so that those that wait need none of their own. What was just used is
//! still in the processor's cache.

use std::cell::{Cell, RefCell};

/// Bytes that are read at once: more than nearly every head has.
const SCRATCH: usize = 16 << 10;
/// A new buffer for responses: nearly every head fits, and a small body.
const OUTPUT: usize = 4 << 10;

/// The buffers of one worker.
pub(super) struct Buffers {
    scratch: RefCell<Box<[u8]>>,
    output: Cell<Vec<u8>>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { scratch: RefCell::new(vec![0; SCRATCH].into()), output: Cell::default() }
    }
}

impl Buffers {
    /// What is read into, to be copied from there at once.
    pub(super) const fn scratch(&self) -> &RefCell<Box<[u8]>> {
        &self.scratch
    }

    /// An empty buffer for a response.
    pub(super) fn take_output(&self) -> Vec<u8> {
        let output = self.output.take();
        if output.capacity() > 0 { output } else { Vec::with_capacity(OUTPUT) }
    }

    /// Takes one back, unless it has grown large.
    pub(super) fn give_output(&self, mut output: Vec<u8>) {
        if output.capacity() <= SCRATCH {
            output.clear();
            self.output.set(output);
        }
    }
}
