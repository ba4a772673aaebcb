//! The problems of one file while it is read, and the tree of a file that is TOML.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeTable;

use super::diagnostics::{Diagnostic, Report, SYNTAX, Severity};
use super::source::SourceFile;
use crate::vocab::units::UnitError;

/// How many mistakes of syntax are noted: after the first few, one only follows from another.
const SYNTAX_MAX: usize = 10;

/// What is wrong with a value, before its place is known.
#[derive(Debug)]
pub(super) struct Wrong {
    code: &'static str,
    message: Cow<'static, str>,
    hint: Option<String>,
}

impl Wrong {
    pub(super) fn new(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// A value that is not what it should be.
    pub(super) fn value(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("invalid-value", message)
    }

    /// An option of later versions.
    pub(super) fn later(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new("not-supported-yet", message)
    }

    /// The same, said of the setting `name`.
    pub(super) fn about(mut self, name: &impl Display) -> Self {
        self.message = format!("`{name}`: {}", self.message).into();
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl Display for Wrong {
    /// For where no place has to be shown: `what is wrong; what to do about it`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        self.hint.iter().try_for_each(|hint| write!(f, "; {hint}"))
    }
}

impl From<UnitError> for Wrong {
    fn from(UnitError(message): UnitError) -> Self {
        Self::value(message)
    }
}

/// The problems of one file, gathered while it is read.
pub(super) struct Problems {
    source: Arc<SourceFile>,
    severity: Severity,
    list: RefCell<Vec<Diagnostic>>,
    /// Where the part of the file begins that is being read.
    base: Cell<usize>,
}

impl Problems {
    /// Problems of `source`; those added without a severity are of `severity`.
    pub(super) fn new(source: &Arc<SourceFile>, severity: Severity) -> Self {
        Self { source: Arc::clone(source), severity, list: RefCell::default(), base: Cell::new(0) }
    }

    /// From now on a part of the file is read that begins at byte `base`.
    pub(super) fn begin_at(&self, base: usize) {
        self.base.set(base);
    }

    /// A place in the part that is being read as a place in the file.
    pub(super) fn placed(&self, span: Range<usize>) -> Range<usize> {
        let base = self.base.get();
        base + span.start..base + span.end
    }

    pub(super) fn add(&self, span: Range<usize>, wrong: Wrong) {
        self.put(self.severity, span, wrong);
    }

    pub(super) fn warn(&self, span: Range<usize>, wrong: Wrong) {
        self.put(Severity::Warning, span, wrong);
    }

    fn put(&self, severity: Severity, span: Range<usize>, wrong: Wrong) {
        self.list.borrow_mut().push(Diagnostic {
            severity,
            code: wrong.code,
            file: Arc::clone(&self.source),
            span: Some(span),
            message: wrong.message.into_owned(),
            hint: wrong.hint,
        });
    }

    pub(super) fn source(&self) -> &SourceFile {
        &self.source
    }

    pub(super) fn len(&self) -> usize {
        self.list.borrow().len()
    }

    /// The place and text of the first problem at or behind number `from`, for a log line.
    pub(super) fn location(&self, from: usize) -> Option<String> {
        self.list.borrow().get(from).map(Diagnostic::location)
    }

    pub(super) fn into_report(self) -> Report {
        Report::of_file(self.list.into_inner())
    }
}

/// The tree of a file, or what is not TOML in it.
pub(super) fn document(source: &Arc<SourceFile>) -> Result<Spanned<DeTable<'_>>, Report> {
    let (document, errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return Ok(document);
    }
    let problems = Problems::new(source, Severity::Error);
    for error in errors.iter().take(SYNTAX_MAX) {
        // Only the message: it is made of fixed words, while the whole error shows the line as it is.
        let message = error.message().to_owned();
        let span = error.span().unwrap_or(0..0);
        problems.add(span, Wrong::new(SYNTAX, message));
    }
    Err(problems.into_report())
}
