//! The command line, one command at a time.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{poll, secrets_in};

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Both outputs: diagnostics may stand in either.
    pub(crate) fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Ran {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "{self:?}");
        self
    }
}

/// Runs `keyward ARGS` in `dir`.
pub(crate) fn keyward<S: AsRef<OsStr>>(dir: &Path, args: &[S]) -> Ran {
    keyward_with(dir, args, "", &[])
}

/// The same with something on stdin and more in the environment.
pub(crate) fn keyward_with<S: AsRef<OsStr>>(dir: &Path, args: &[S], stdin: &str, env: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    command.args(args).current_dir(dir);
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("KEYWARD_")) {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    let prints_a_key = args.iter().any(|a| a.as_ref() == "new" || a.as_ref() == "rotate" || a.as_ref() == "hash");
    let ran = run(command, stdin);
    if !prints_a_key {
        let found = secrets_in(&ran.all());
        assert!(found.is_empty(), "secrets printed: {found:?} in {ran:?}");
    }
    ran
}

fn run(mut command: Command, stdin: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    // A command that reads no stdin may be gone already.
    drop(child.stdin.take().unwrap().write_all(stdin.as_bytes()));
    let done = child.wait_with_output().expect("the command ends");
    Ran {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Runs any command, ended by its id when it takes longer than `limit`.
pub(crate) fn wait_within(mut command: Command, limit: Duration) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let output = super::output::Output::default();
    let errors = super::output::Output::default();
    let readers = [output.gather(child.stdout.take().unwrap()), errors.gather(child.stderr.take().unwrap())];
    let status = poll(limit, || child.try_wait().unwrap()).unwrap_or_else(|| {
        drop(child.kill());
        child.wait().unwrap()
    });
    for reader in readers {
        reader.join().unwrap();
    }
    Ran { code: status.code().unwrap_or(-1), stdout: output.text(), stderr: errors.text() }
}
