//! The streams of a command, its exit codes, and how it fails.

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Read, Write};

use crate::cli::when::TooFar;
use crate::config::diagnostics::Report;
use crate::config::edit::EditError;

/// 0: done.
pub const OK: u8 = 0;
/// 1: the answer is no: problems found, not found, denied.
pub const NO: u8 = 1;
pub use crate::cli::USAGE;

/// Where a command reads and writes.
pub struct Console<'a> {
    /// Secrets come in here.
    pub input: &'a mut dyn Read,
    /// Answers, for programs too.
    pub out: &'a mut dyn Write,
    /// Everything meant for people alone.
    pub err: &'a mut dyn Write,
    /// Whether answers may be coloured: stdout is a terminal and `NO_COLOR` is not set.
    pub colour: bool,
    /// The same of what is meant for people.
    pub colour_err: bool,
    /// Whether a person reads stderr: it is a terminal.
    pub attended: bool,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no.
    No(String),
    /// It was asked wrongly.
    Usage(String),
    /// A file could not be changed.
    Edit(EditError),
    /// A file has mistakes.
    Report(Report),
    /// Something else underneath failed while doing what the text says.
    Cause(String, Box<dyn Error + Send + Sync>),
    /// stdout does not take the answer.
    Output(io::Error),
}

/// Runs a command on the streams of this process.
pub fn on_stdio(command: impl FnOnce(&mut Console<'_>) -> u8) -> u8 {
    let (mut input, mut out, mut err) = (io::stdin().lock(), io::stdout().lock(), io::stderr().lock());
    // https://no-color.org: any value but the empty one.
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colour = out.is_terminal() && !no_colour;
    let attended = err.is_terminal();
    command(&mut Console {
        input: &mut input,
        out: &mut out,
        err: &mut err,
        colour,
        colour_err: attended && !no_colour,
        attended,
    })
}

impl Console<'_> {
    /// Writes one line of the answer.
    pub fn line(&mut self, line: impl Display) -> Result<(), Failure> {
        writeln!(self.out, "{line}").map_err(Failure::Output)
    }

    /// Writes one line for people; where stderr is gone there is nobody to tell.
    pub fn tell(&mut self, line: impl Display) {
        let _ = writeln!(self.err, "{line}");
    }

    /// The exit code of a command that can fail only by having nowhere to write to.
    pub fn answered(&mut self, outcome: io::Result<u8>) -> u8 {
        match outcome {
            Ok(code) => self.finish(Ok(())).max(code),
            Err(error) => self.finish(Err(Failure::Output(error))),
        }
    }

    /// The exit code of a command, after saying why it failed.
    pub fn finish(&mut self, outcome: Result<(), Failure>) -> u8 {
        let outcome = outcome.and_then(|()| self.out.flush().map_err(Failure::Output));
        match outcome {
            Ok(()) => OK,
            // The reader has what it wanted, as in `keyward key list | head -1`.
            Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => OK,
            Err(Failure::Report(report)) => {
                let _ = write!(self.err, "{}", report.render(self.colour_err));
                NO
            }
            Err(failure) => {
                self.tell(format_args!("error: {failure}"));
                failure.code()
            }
        }
    }
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::No(_) | Self::Edit(_) | Self::Report(_) | Self::Cause(..) | Self::Output(_) => NO,
            Self::Usage(_) => USAGE,
        }
    }

    /// For `map_err`: what was being done when the error came.
    pub fn because<E: Error + Send + Sync + 'static>(doing: impl Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Cause(doing.to_string(), Box::new(error))
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Invalid(report) => Self::Report(report),
            error @ (EditError::Io { .. } | EditError::Busy { .. }) => Self::Edit(error),
        }
    }
}

impl From<TooFar> for Failure {
    fn from(error: TooFar) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<Report> for Failure {
    fn from(report: Report) -> Self {
        Self::Report(report)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chain = |f: &mut fmt::Formatter<'_>, first: &dyn Error| {
            write!(f, "{first}")?;
            let mut next = first.source();
            while let Some(error) = next {
                write!(f, ": {error}")?;
                next = error.source();
            }
            Ok(())
        };
        match self {
            Self::No(text) | Self::Usage(text) => f.write_str(text),
            Self::Edit(error) => chain(f, error),
            Self::Report(report) => write!(f, "{report:?}"),
            Self::Cause(doing, error) => {
                write!(f, "{doing}: ")?;
                chain(f, error.as_ref())
            }
            Self::Output(error) => write!(f, "failed to write the answer: {error}"),
        }
    }
}
