//! Problems as values: each with its place, what is wrong and what to do about it, and the three ways to show them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::mask;
use super::source::{Position, SourceFile};

/// How many problems [`Report::render`] shows; the rest are counted.
pub const RENDERED_MAX: usize = 50;

/// The code of what is not TOML; see [`mask::line`] for what it changes.
pub(super) const SYNTAX: &str = "syntax";

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used, though perhaps without one of its entries.
    Warning,
}

/// One problem. No part of it ever holds a key, a stored hash or another secret.
#[derive(Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable kebab-case word for programs.
    pub code: &'static str,
    /// The file that it is about.
    pub file: Arc<SourceFile>,
    /// The byte range of the file that it is about; `None` = the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Problems in the order of the file.
#[derive(Clone, Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Severity {
    /// `error` or `warning`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }

    const fn level(self) -> Level<'static> {
        match self {
            Self::Error => Level::ERROR,
            Self::Warning => Level::WARNING,
        }
    }
}

impl Diagnostic {
    /// Where it starts, unless it is about the file as a whole.
    pub fn position(&self) -> Option<Position> {
        let span = self.span.as_ref()?;
        Some(self.file.position(span.start))
    }

    /// `path:line:col: message`, for a log line.
    pub fn location(&self) -> String {
        let path = self.file.path().display();
        match self.position() {
            Some(Position { line, column }) => {
                format!("{path}:{line}:{column}: {}", self.message)
            }
            None => format!("{path}: {}", self.message),
        }
    }

    fn render(&self, renderer: &Renderer) -> String {
        let path = self.file.path().display().to_string();
        let title = self.severity.level().primary_title(self.message.as_str()).id(self.code);
        let mut group = Group::with_title(title);
        let mut place = None;
        match &self.span {
            None => group = group.element(Origin::path(path)),
            Some(span) => {
                let (line, start) = self.file.line(span.start);
                let shown = mask::line(line, self.code == SYNTAX);
                let within = |offset: usize| {
                    let offset = offset.saturating_sub(start).min(line.len());
                    shown.map(line.floor_char_boundary(offset))
                };
                let marked = within(span.start)..within(span.end);
                let Position { line, column } = self.file.position(span.start);
                let shown_column = shown.text[..marked.start].chars().count() + 1;
                place = Some((format!("{path}:{line}:{shown_column}"), format!("{path}:{line}:{column}")));
                let mark = AnnotationKind::Primary.span(marked);
                let snippet = Snippet::source(shown.text).path(path);
                group = group.element(snippet.line_start(line).annotation(mark));
            }
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        let rendered = renderer.render(&[group]);
        match place {
            // The renderer counts columns in the line as it is shown; people count them in their file.
            Some((shown, real)) if shown != real => rendered.replacen(&shown, &real, 1),
            _ => rendered,
        }
    }

    fn to_json(&self) -> serde_json::Value {
        let position = self.position();
        serde_json::json!({
            "path": self.file.path().display().to_string(),
            "line": position.map(|at| at.line),
            "column": position.map(|at| at.column),
            "severity": self.severity.as_str(),
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        })
    }
}

impl Report {
    /// One problem.
    pub fn from_one(diagnostic: Diagnostic) -> Self {
        Self { diagnostics: vec![diagnostic] }
    }

    /// Problems of one file, put in the order of the file.
    pub(super) fn of_file(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|diagnostic| diagnostic.span.as_ref().map(|span| span.start));
        Self { diagnostics }
    }

    /// Adds one problem.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Adds the problems of another report behind these.
    pub fn extend(&mut self, other: Self) {
        self.diagnostics.extend(other.diagnostics);
    }

    /// Makes every problem an error.
    pub fn raise(&mut self) {
        self.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.severity = Severity::Error);
    }

    /// The problems, in order.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether there is no problem at all.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// Whether any problem is an error.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many problems are of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// The problems as people read them, errors first: the first [`RENDERED_MAX`] and the number of the rest.
    pub fn render(&self, color: bool) -> String {
        let renderer = match color {
            true => Renderer::styled(),
            false => Renderer::plain(),
        }
        .decor_style(DecorStyle::Ascii);
        let of = |severity| self.diagnostics.iter().filter(move |diagnostic| diagnostic.severity == severity);
        let mut out = String::new();
        for diagnostic in of(Severity::Error).chain(of(Severity::Warning)).take(RENDERED_MAX) {
            out.push_str(&diagnostic.render(&renderer));
            out.push_str("\n\n");
        }
        let rest = self.diagnostics.len().saturating_sub(RENDERED_MAX);
        if rest > 0 {
            out.push_str(&format!("… and {rest} more\n\n"));
        }
        out
    }

    /// An array of `{ path, line, column, severity, code, message, hint }`.
    pub fn to_json(&self) -> serde_json::Value {
        self.diagnostics.iter().map(Diagnostic::to_json).collect()
    }

    /// `path:line:col: message` of each problem, for log lines.
    pub fn locations(&self) -> impl Iterator<Item = String> {
        self.diagnostics.iter().map(Diagnostic::location)
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.locations()).finish()
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.location())
    }
}
