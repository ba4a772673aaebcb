//! The commands as they are typed, in a scratch folder and under a clock that stands still.

mod change;
mod import;
mod make;
mod model;
mod show;

use std::io::Write;
use std::time::Duration;

use clap::Parser;
use toml_edit::DocumentMut;

use super::*;
use crate::cli::{Cli, Command};

/// 2026-11-21T10:00:00Z
const START: u64 = 1_795_255_200;
const DAY: Duration = Duration::from_secs(86_400);

struct Desk {
    folder: tempfile::TempDir,
    clock: Clock,
}

struct Answer {
    code: u8,
    out: String,
    err: String,
}

impl Desk {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a scratch folder"),
            clock: Clock::manual(Duration::from_secs(START)),
        }
    }

    fn with_keys(text: &str) -> Self {
        let desk = Self::new();
        desk.write("keys.toml", text);
        desk
    }

    fn with_config(text: &str) -> Self {
        let desk = Self::new();
        desk.write("keyward.toml", text);
        desk
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a scratch file");
    }

    fn keys(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("keys.toml")).expect("the key file")
    }

    fn keys_or_nothing(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("keys.toml")).unwrap_or_default()
    }

    fn field(&self, n: usize, name: &str) -> String {
        let document: DocumentMut = self.keys().parse().expect("the key file is TOML");
        let Some(item) = document["key"][n].get(name) else {
            return String::new();
        };
        item.as_str().map_or_else(|| item.to_string().trim().to_owned(), str::to_owned)
    }

    fn run(&self, args: &[&str]) -> Answer {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], stdin: &str) -> Answer {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = self.run_on(args, stdin, &mut out, &mut err, false);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Answer { code, out: text(out), err: text(err) }
    }

    fn run_on(&self, args: &[&str], stdin: &str, out: &mut dyn Write, err: &mut dyn Write, colour: bool) -> u8 {
        let config = self.folder.path().join("keyward.toml");
        let keys = self.folder.path().join("keys.toml");
        let mut line = vec!["keyward", "key"];
        line.extend(args);
        let cli = match Cli::try_parse_from(line) {
            Ok(cli) => cli,
            Err(error) => {
                let _ = write!(err, "{error}");
                return u8::try_from(error.exit_code()).expect("a small code");
            }
        };
        let files = Files {
            config: cli.files.config.or(config.exists().then_some(config)),
            keys: cli.files.keys.or((!self.folder.path().join("keyward.toml").exists()).then_some(keys)),
        };
        let Command::Key(command) = cli.command else { panic!("not a key command") };
        let mut console =
            Console { input: &mut stdin.as_bytes(), out, err, colour, colour_err: false, attended: false };
        run_in(&command, &files, &mut console, &self.clock, &[])
    }

    /// Runs what has to go well, and gives its output without the line end.
    fn good(&self, args: &[&str]) -> String {
        let answer = self.run(args);
        assert_eq!(answer.code, 0, "{args:?}: {}", answer.err);
        answer.out.trim_end().to_owned()
    }

    /// Runs what has to be refused without a change, and gives the message.
    fn refused(&self, args: &[&str], code: u8) -> String {
        let path = self.folder.path().join("keys.toml");
        let before = std::fs::read(&path).ok();
        let answer = self.run(args);
        assert_eq!(answer.code, code, "{args:?}: {}", answer.err);
        assert_eq!(answer.out, "", "{args:?}");
        assert!(std::fs::read(&path).ok() == before, "{args:?} changed the file");
        answer.err
    }

    fn identify(&self, key: &str) -> Answer {
        self.run_with(&["identify"], &format!("{key}\n"))
    }
}
