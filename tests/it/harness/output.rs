//! Everything a process says, line by line, kept for later.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;

/// Lines gathered from one or more pipes. Lines of requests, of which there may be very many, are kept apart.
#[derive(Clone, Default)]
pub(crate) struct Output {
    lines: Arc<Mutex<Lines>>,
}

/// What was said so far.
#[derive(Clone, Default)]
pub(crate) struct Lines {
    /// `decision` and `throttle` lines.
    pub(crate) requests: Vec<String>,
    /// All others.
    pub(crate) life: Vec<String>,
}

impl Lines {
    pub(crate) fn push(&mut self, line: String) {
        let is_request = ["decision", "throttle"].iter().any(|e| line.contains(&format!("\"event\":\"{e}\"")));
        if is_request {
            self.requests.push(line);
        } else {
            self.life.push(line);
        }
    }

    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.life.join("\n"), self.requests.join("\n"))
    }
}

impl Output {
    /// Gathers from `pipe` until it ends.
    pub(crate) fn gather(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let lines = Arc::clone(&self.lines);
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.lock().unwrap().push(line);
            }
        })
    }

    pub(crate) fn lines(&self) -> Lines {
        self.lines.lock().unwrap().clone()
    }

    /// Looks at the lines without copying them.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Lines) -> T) -> T {
        at(&self.lines.lock().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        self.look(|l| l.life.join("\n"))
    }
}

/// The lines that are JSON objects.
pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a String>) -> Vec<Value> {
    let objects = lines.into_iter().filter(|l| l.starts_with('{'));
    objects.filter_map(|l| serde_json::from_str(l).ok()).collect()
}
