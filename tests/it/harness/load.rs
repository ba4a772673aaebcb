//! Load by wrk, for as long as a test needs it.

use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use super::output::Output;
use super::{eventually, tool};

/// A running wrk; ended by its id.
pub(crate) struct Wrk {
    child: Child,
    said: Output,
    reading: Vec<JoinHandle<()>>,
}

impl Wrk {
    /// Asks for `url` over `connections` connections, with these header lines, until it is stopped.
    pub(crate) fn start(url: &str, connections: usize, headers: &[String]) -> Wrk {
        let mut command = tool("wrk");
        // The duration bounds a broken run. What takes longer than the timeout counts as an error.
        command.args(["-t1", "-d60s", "--timeout", "15s", "-c", &connections.to_string()]);
        for header in headers {
            command.args(["-H", header]);
        }
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("wrk starts");
        let said = Output::default();
        let reading = vec![said.gather(child.stdout.take().unwrap()), said.gather(child.stderr.take().unwrap())];
        Wrk { child, said, reading }
    }

    /// Ends it. Every request it made must have been answered, and answered well.
    pub(crate) fn stop_without_a_failure(&mut self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
        eventually("wrk to end", || self.child.try_wait().unwrap());
        self.reading.drain(..).for_each(|reader| reader.join().unwrap());
        let said = self.said.text();
        assert!(said.contains("requests in"), "no summary: {said}");
        assert!(!said.contains("Socket errors") && !said.contains("Non-2xx"), "{said}");
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
