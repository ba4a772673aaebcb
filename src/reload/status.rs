//! How reading the files went the last time: told to whoever asks, for as long as it is so.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What became of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// What they say is what serves.
    #[default]
    Applied,
    /// A file cannot be used: its last good version serves.
    Rejected,
}

impl Outcome {
    /// As a `reload` line has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// How it is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Whether every file is in use as it is.
    pub outcome: Outcome,
    /// Since when, microseconds since the epoch.
    pub since_us: i64,
    /// When files were last read that are all in use, microseconds since the epoch.
    pub success_us: i64,
    /// What keeps files from being used, each as `path:line:col: message`.
    pub problems: Vec<String>,
    /// What is wrong in files that are in use, likewise.
    pub warnings: Vec<String>,
}

/// The same, shared.
#[derive(Debug)]
pub struct Status(Mutex<Standing>);

impl Status {
    /// Of files that were read for the first time: they serve.
    pub fn new(now_us: i64, warnings: Vec<String>) -> Self {
        let standing = Standing { since_us: now_us, success_us: now_us, warnings, ..Standing::default() };
        Self(Mutex::new(standing))
    }

    /// How it is now.
    pub fn standing(&self) -> Standing {
        self.lock().clone()
    }

    /// Every file was read again, but perhaps for one that is `unread`; `problems` keep some of them from being used.
    pub(super) fn note(&self, now_us: i64, mut problems: Vec<String>, unread: Option<&Path>) {
        let mut standing = self.lock();
        if let Some(unread) = unread {
            // What was wrong with it is so still, as far as anybody knows.
            let place = format!("{}:", unread.display());
            problems.extend(standing.problems.drain(..).filter(|problem| problem.starts_with(&place)));
        }
        let outcome = if problems.is_empty() { Outcome::Applied } else { Outcome::Rejected };
        if standing.outcome != outcome {
            standing.since_us = now_us;
        }
        if outcome == Outcome::Applied {
            standing.success_us = now_us;
        }
        (standing.outcome, standing.problems) = (outcome, problems);
    }

    /// A change was applied, with these warnings about it.
    pub(super) fn note_applied(&self, now_us: i64, warnings: Vec<String>) {
        let mut standing = self.lock();
        standing.warnings = warnings;
        if standing.outcome == Outcome::Applied {
            standing.since_us = now_us;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: &Status) -> (Outcome, i64, i64, Vec<String>) {
        let standing = status.standing();
        (standing.outcome, standing.since_us, standing.success_us, standing.problems)
    }

    #[test]
    fn what_was_rejected_is_told_since_then_until_it_is_mended() {
        let status = Status::new(1, vec!["w".into()]);
        assert_eq!(told(&status), (Outcome::Applied, 1, 1, vec![]));
        let bad = || vec!["keyward.toml:1:1: bad".to_owned()];
        status.note(2, bad(), None);
        status.note(3, bad(), None);
        assert_eq!(told(&status), (Outcome::Rejected, 2, 1, bad()), "since the first time");
        status.note_applied(4, vec![]);
        assert_eq!(told(&status), (Outcome::Rejected, 2, 1, bad()), "another file has changed");
        status.note(5, vec![], None);
        assert_eq!(told(&status), (Outcome::Applied, 5, 5, vec![]), "mended, though nothing was applied");
        status.note(6, vec![], None);
        assert_eq!(told(&status), (Outcome::Applied, 5, 6, vec![]));
        assert!(status.standing().warnings.is_empty());
        status.note_applied(7, vec!["w".into()]);
        assert_eq!((status.standing().since_us, status.standing().warnings), (7, vec!["w".to_owned()]));
    }

    #[test]
    fn a_file_that_is_being_written_is_as_bad_as_it_was() {
        let status = Status::new(1, vec![]);
        let (keys, config) = ("k/keys.toml:1:1: bad".to_owned(), "k/keyward.toml:1:1: bad".to_owned());
        status.note(2, vec![config, keys.clone()], None);
        status.note(3, vec![], Some(Path::new("k/keys.toml")));
        assert_eq!(told(&status), (Outcome::Rejected, 2, 1, vec![keys]));
        status.note(4, vec![], None);
        assert_eq!(told(&status), (Outcome::Applied, 4, 4, vec![]));
    }
}
