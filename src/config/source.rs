//! One file's text and where its lines begin, so that a byte offset becomes a line and a column.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A file as it was read. It has no `Debug`: its text may hold what must not be shown.
pub struct SourceFile {
    path: PathBuf,
    text: String,
    /// Counted once somebody asks for a line: most files are read without a word about them.
    line_starts: OnceLock<Vec<usize>>,
}

/// A place in a file as people count: both from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

impl SourceFile {
    /// `text` as it was read from `path`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into(), line_starts: OnceLock::new() }
    }

    /// What stands for a file where settings came as flags.
    pub fn command_line() -> Self {
        Self::new("command line", "")
    }

    /// The path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// `path` as it is meant in this file: relative ones start at the file's folder.
    pub fn resolve(&self, path: &str) -> PathBuf {
        match self.path.parent() {
            Some(folder) => folder.join(path),
            None => PathBuf::from(path),
        }
    }

    /// The line and column of a byte offset; offsets past the end are the end.
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.floor(offset);
        let (line, start) = self.line_at(offset);
        Position { line: line + 1, column: self.text[start..offset].chars().count() + 1 }
    }

    /// The line that holds `offset`, without its line end, and the offset at which it begins.
    pub(super) fn line(&self, offset: usize) -> (&str, usize) {
        let (line, start) = self.line_at(self.floor(offset));
        let end = self.line_starts().get(line + 1).map_or(self.text.len(), |next| next - 1);
        let text = &self.text[start..end];
        (text.strip_suffix('\r').unwrap_or(text), start)
    }

    /// The largest character boundary that is not past `offset`.
    fn floor(&self, offset: usize) -> usize {
        self.text.floor_char_boundary(offset)
    }

    /// The index of the line that holds `offset` and where it begins.
    fn line_at(&self, offset: usize) -> (usize, usize) {
        let starts = self.line_starts();
        let line = starts.partition_point(|start| *start <= offset).saturating_sub(1);
        (line, starts.get(line).copied().unwrap_or(0))
    }

    fn line_starts(&self) -> &[usize] {
        let newlines = || memchr::memchr_iter(b'\n', self.text.as_bytes());
        self.line_starts.get_or_init(|| std::iter::once(0).chain(newlines().map(|newline| newline + 1)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_lines_and_columns_in_characters() {
        let file = SourceFile::new("a.toml", "a = 1\r\nüb = 2\n\nend");
        let at = |offset| {
            let Position { line, column } = file.position(offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(4), (1, 5));
        assert_eq!(at(7), (2, 1));
        assert_eq!(at(8), (2, 1), "inside the ü");
        assert_eq!(at(9), (2, 2));
        assert_eq!(at(15), (3, 1));
        assert_eq!(at(16), (4, 1));
        assert_eq!(at(9_999), (4, 4));
        assert_eq!(file.line(9), ("üb = 2", 7));
        assert_eq!(file.line(2), ("a = 1", 0));
        assert_eq!(file.line(15), ("", 15));
        assert_eq!(file.line(9_999), ("end", 16));
    }

    #[test]
    fn relative_paths_start_at_the_folder_of_the_file() {
        let file = SourceFile::new("/etc/keyward/keyward.toml", "");
        assert_eq!(file.resolve("keys.toml"), Path::new("/etc/keyward/keys.toml"));
        assert_eq!(file.resolve("/run/k.toml"), Path::new("/run/k.toml"));
        let bare = SourceFile::new("keyward.toml", "");
        assert_eq!(bare.resolve("keys.toml"), Path::new("keys.toml"));
    }
}
