//! Programs of `tests/tools`, written in Python on libraries that none of us wrote: a test talks with them while they run.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::output::{Output, parse};
use super::{PATIENCE, Ran, eventually, poll, python};

/// A running program; ended by its id.
pub(crate) struct Program {
    child: Child,
    output: Output,
    errors: Output,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    /// `tests/tools/FILE ARGS`.
    pub(crate) fn python<S: AsRef<OsStr>>(file: &str, args: &[S]) -> Program {
        let mut command = python();
        command.arg("-u").arg(format!("{}/tests/tools/{file}", env!("CARGO_MANIFEST_DIR"))).args(args);
        Program::start(command)
    }

    pub(crate) fn start(mut command: Command) -> Program {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (output, errors) = (Output::default(), Output::default());
        let readers = vec![output.gather(child.stdout.take().unwrap()), errors.gather(child.stderr.take().unwrap())];
        Program { child, output, errors, readers }
    }

    /// The port of its line `port N`.
    pub(crate) fn port(&mut self) -> u16 {
        eventually("a program to name its port", || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended at start, {ended:?}: {}", self.errors.text());
            let text = self.output.text();
            text.lines().find_map(|l| l.strip_prefix("port ")?.parse().ok())
        })
    }

    /// Writes a line to its stdin.
    pub(crate) fn tell(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a program that still reads");
        stdin.write_all(format!("{line}\n").as_bytes()).unwrap_or_else(|e| panic!("{e}: {}", self.errors.text()));
    }

    /// Every JSON object it has printed.
    pub(crate) fn said(&self) -> Vec<Value> {
        parse(&self.output.lines().life)
    }

    /// The first object with a field of this name.
    pub(crate) fn word(&self, field: &str) -> Value {
        let found = poll(PATIENCE * 2, || self.said().into_iter().find(|l| !l[field].is_null()));
        found.unwrap_or_else(|| panic!("no {field} in {:#?}\n{}", self.said(), self.errors.text()))
    }

    /// Waits for its end and gives everything it printed.
    pub(crate) fn finish(mut self, limit: Duration) -> Ran {
        drop(self.child.stdin.take());
        let status = poll(limit, || self.child.try_wait().unwrap()).unwrap_or_else(|| {
            drop(self.child.kill());
            self.child.wait().unwrap()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ran { code: status.code().unwrap_or(-1), stdout: self.output.text(), stderr: self.errors.text() }
    }

    /// The same for a program that must succeed and prints objects.
    #[track_caller]
    pub(crate) fn all(self) -> Vec<Value> {
        let ran = self.finish(PATIENCE * 4).ok();
        parse(&ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
