//! The whole of `keys.toml`: its entries one by one, then what may stand only once in the file.
//!
//! A tree of the whole file would be twenty times its size. So the text is cut at every line that begins an entry, and
//! each piece is read alone and forgotten. A cut may have fallen into a string that goes on over lines; then the piece
//! before it does not end as TOML does, and the file is read as a whole. Where every piece is TOML on its own, the cuts
//! lie between statements, and the file is what its pieces are.

use std::ops::Range;
use std::sync::Arc;

use memchr::memmem;
use sha2::{Digest as _, Sha256};
use toml::de::{DeTable, DeValue};

use super::again::Again;
use super::entry::{self, Read};
use super::interner::Interner;
use super::plain::plain;
use super::{KeyFile, KeySpec, Quarantined, StoredHash, TextDigest, twins};
use crate::config::diagnostics::{Report, Severity};
use crate::config::gateway::Located;
use crate::config::problems::{self, Problems};
use crate::config::reader::Table;
use crate::config::source::SourceFile;
use crate::vocab::digest::Digest;

/// How an entry begins where files are cut.
pub(super) const HEADER: &str = "[[key]]";

/// Reads `keys.toml`. What is no list of `[[key]]` is refused as a whole, so that a half-written file is never half
/// applied; an entry that is wrong on its own is quarantined, and the report warns of it.
///
/// # Errors
/// What is wrong with the file as a whole.
pub fn parse(source: &Arc<SourceFile>) -> Result<(KeyFile, Report), Report> {
    parse_again(source, &KeyFile::default())
}

/// The same where `before` is what the file was. What has not changed in it is not read again.
///
/// # Errors
/// What is wrong with the file as a whole.
pub fn parse_again(source: &Arc<SourceFile>, before: &KeyFile) -> Result<(KeyFile, Report), Report> {
    let mut reading = Reading::new(source);
    match reading.pieces(source.text(), before) {
        Some(digest) => Ok(reading.finish(source, digest)),
        None => parse_whole(source),
    }
}

/// Reads the file as one tree.
pub(super) fn parse_whole(source: &Arc<SourceFile>) -> Result<(KeyFile, Report), Report> {
    let mut reading = Reading::new(source);
    reading.whole(source)?;
    let digest = Digest::sha256(source.text().as_bytes());
    Ok(reading.finish(source, digest))
}

/// One entry, good or not.
pub(super) enum Entry {
    /// Good, and nothing to be said of it.
    Good { spec: Arc<KeySpec>, block: Range<u32>, text: TextDigest },
    /// With all that is known of it.
    Read(Box<Read>),
}

/// A file that is being read.
struct Reading {
    entries: Vec<Entry>,
    /// What is wrong with entries on their own.
    single: Problems,
    interner: Interner,
}

impl Reading {
    fn new(source: &Arc<SourceFile>) -> Self {
        let single = Problems::new(source, Severity::Warning);
        Self { entries: Vec::new(), single, interner: Interner::default() }
    }

    /// Reads the file piece by piece. Gives a digest of all of them; `None` where only the whole can be read.
    fn pieces(&mut self, text: &str, before: &KeyFile) -> Option<Digest> {
        let mut again = Again::new(before);
        let mut starts = starts(text).peekable();
        let first = starts.peek().copied().unwrap_or(text.len());
        let (preamble, errors) = DeTable::parse_recoverable(&text[..first]);
        if !errors.is_empty() || !preamble.get_ref().is_empty() {
            return None;
        }
        let mut all = Sha256::new_with_prefix(&text[..first]);
        while let Some(start) = starts.next() {
            let end = starts.peek().copied().unwrap_or(text.len());
            let block = u32::try_from(start).ok()?..u32::try_from(end).ok()?;
            let digest = text_digest(&text[start..end]);
            all.update(digest);
            match again.find(&digest) {
                Some(spec) => self.entries.push(Entry::Good { spec, block, text: digest }),
                None => self.piece(&text[start..end], block, digest)?,
            }
        }
        Some(Digest::new(all.finalize().into()))
    }

    /// Reads one piece: mostly one entry, but a header may be written in other ways than the one that is cut at.
    fn piece(&mut self, text: &str, block: Range<u32>, digest: TextDigest) -> Option<()> {
        if let Some(spec) = plain(text, &mut self.interner) {
            self.entries.push(Entry::Good { spec: Arc::new(spec), block, text: digest });
            return Some(());
        }
        let (document, errors) = DeTable::parse_recoverable(text);
        let root = document.get_ref();
        let mut values = root.values();
        let (Some(keys), None, true) = (values.next(), values.next(), errors.is_empty()) else { return None };
        let DeValue::Array(tables) = keys.get_ref() else { return None };
        let start = block.start as usize;
        self.single.begin_at(start);
        let before = self.single.len();
        for table in tables {
            let DeValue::Table(entries) = table.get_ref() else { return None };
            let span = self.single.placed(table.span());
            let table = Table::new(&self.single, "key", entries, span);
            self.entries.push(Entry::Read(Box::new(entry::entry(table, &mut self.interner))));
        }
        // Nothing to be said of it, and nothing else in the piece.
        if (tables.len(), self.single.len()) == (1, before)
            && let Some(Entry::Read(read)) = self.entries.pop()
        {
            self.entries.push(match read.spec {
                Some(spec) => Entry::Good { spec: Arc::new(spec), block, text: digest },
                None => Entry::Read(read),
            });
        }
        Some(())
    }

    /// Reads the file as a whole.
    fn whole(&mut self, source: &Arc<SourceFile>) -> Result<(), Report> {
        let document = problems::document(source)?;
        let whole = Problems::new(source, Severity::Error);
        let mut file = Table::new(&whole, "", document.get_ref(), 0..0);
        let tables = file.tables("key").unwrap_or_default();
        file.finish();
        if whole.len() > 0 {
            return Err(whole.into_report());
        }
        let entries = tables.into_iter().map(|table| entry::entry(table.under(&self.single), &mut self.interner));
        self.entries = entries.map(|read| Entry::Read(Box::new(read))).collect();
        Ok(())
    }

    fn finish(mut self, source: &Arc<SourceFile>, digest: Digest) -> (KeyFile, Report) {
        twins::quarantine(&mut self.entries, &self.single, source);
        (KeyFile::of(self.entries, digest), self.single.into_report())
    }
}

/// Where a line begins that looks like the beginning of an entry.
fn starts(text: &str) -> impl Iterator<Item = usize> {
    let finder = memmem::find_iter(text.as_bytes(), HEADER);
    finder.filter(|at| at.checked_sub(1).is_none_or(|before| text.as_bytes()[before] == b'\n'))
}

fn text_digest(text: &str) -> TextDigest {
    Digest::sha256(text.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}

impl Entry {
    pub(super) fn id(&self) -> Option<&str> {
        match self {
            Self::Good { spec, .. } => Some(&spec.id),
            Self::Read(read) => read.id.as_ref().map(|id| &*id.value),
        }
    }

    /// Every hash of it that can be read.
    pub(super) fn hashes(&self) -> impl Iterator<Item = StoredHash> {
        let (good, read) = match self {
            Self::Good { spec, .. } => (Some(spec.hashes()), None),
            Self::Read(read) => (None, Some(read.hashes.iter().map(|hash| hash.value))),
        };
        good.into_iter().flatten().chain(read.into_iter().flatten())
    }

    /// Where it begins.
    pub(super) fn start(&self) -> usize {
        match self {
            Self::Good { block, .. } => block.start as usize,
            Self::Read(read) => read.span.start,
        }
    }

    /// Makes it one with all that is known of it, also where its parts stand: a good one is read again for that.
    pub(super) fn open(&mut self, source: &Arc<SourceFile>) {
        let Self::Good { spec, block, .. } = self else { return };
        let range = block.start as usize..block.end as usize;
        let (document, _) = DeTable::parse_recoverable(&source.text()[range.clone()]);
        let problems = Problems::new(source, Severity::Warning);
        problems.begin_at(range.start);
        let mut root = Table::new(&problems, "", document.get_ref(), 0..0);
        let table = root.tables("key").and_then(|tables| tables.into_iter().next());
        let read = table.map(|table| entry::entry(table, &mut Interner::default()));
        // It was read from the same text before. If it were not there now, it would not be good any more.
        let unread = || Read {
            spec: None,
            id: None,
            hashes: spec.hashes().map(|value| Located { value, span: range.clone() }).collect(),
            problem: None,
            span: range.clone(),
        };
        *self = Self::Read(Box::new(read.unwrap_or_else(unread)));
    }
}

impl KeyFile {
    fn of(entries: Vec<Entry>, digest: Digest) -> Self {
        let mut file = Self { digest, ..Self::default() };
        file.keys.reserve_exact(entries.len());
        file.places.reserve_exact(entries.len());
        file.texts.reserve_exact(entries.len());
        let short = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        for entry in entries {
            let (spec, place, text) = match entry {
                Entry::Good { spec, block, text } => (spec, block.start..block.start + short(HEADER.len()), Some(text)),
                Entry::Read(read) => match (read.spec, read.problem) {
                    (Some(spec), None) => (Arc::new(spec), short(read.span.start)..short(read.span.end), None),
                    (_, problem) => {
                        file.quarantined.push(Quarantined {
                            id: read.id.map(|id| id.value.into()),
                            hashes: read.hashes.into_iter().map(|hash| hash.value).collect(),
                            problem: problem.unwrap_or_default(),
                        });
                        continue;
                    }
                },
            };
            file.keys.push(spec);
            file.places.push(place);
            file.texts.push(text);
        }
        file
    }
}
