//! Finds keys and hashes of keys in a text, and where one may begin that the text does not end.

use std::ops::Range;

use memchr::memmem::Finder;

use crate::credential::format::{BODY_CHARS, is_ours};
use crate::credential::{HASH_CHARS, Traces};
use crate::record::Leaked;

/// What is looked for.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    /// `PREFIX_`
    pub(super) mark: &'a Finder<'static>,
    /// Of the key of the request, if it had one.
    pub(super) traces: Option<&'a Traces>,
}

impl Search<'_> {
    /// Nothing shorter holds anything, in bytes.
    pub(super) fn shortest(&self) -> usize {
        let ours = self.mark.needle().len() + BODY_CHARS;
        let foreign = self.traces.and_then(Traces::needle).map_or(ours, |needle| needle.length());
        let hash = if self.traces.is_some() { HASH_CHARS } else { ours };
        ours.min(foreign).min(hash)
    }

    /// Gives everything that is found, in no order.
    pub(super) fn each(&self, text: &[u8], found: &mut dyn FnMut(Range<usize>, Leaked)) {
        self.each_of_ours(text, found);
        let Some(traces) = self.traces else { return };
        if let Some(needle) = traces.needle() {
            needle.each(text, |at| {
                let place = at..at + needle.length();
                if traces.is_key(&text[place.clone()]) {
                    found(place, Leaked::Presented);
                }
            });
        }
        each_hash(traces, text, &mut |place| found(place, Leaked::Hash));
    }

    fn each_of_ours(&self, text: &[u8], found: &mut dyn FnMut(Range<usize>, Leaked)) {
        let mark = self.mark.needle().len();
        let mut from = 0;
        while let Some(at) = text.get(from..).and_then(|rest| self.mark.find(rest)).map(|at| from + at) {
            let end = at + mark + BODY_CHARS;
            if text.get(at + mark..end).is_some_and(is_ours) {
                let is_presented = self.traces.is_some_and(|traces| traces.is_key(&text[at..end]));
                found(at..end, if is_presented { Leaked::Presented } else { Leaked::Ours });
            }
            // Behind a mark there may be the next: `kw_kw_…`.
            from = at + 1;
        }
    }

    /// From here to its end, `text` may be the beginning of something that would be found.
    pub(super) fn open_end(&self, text: &[u8]) -> usize {
        let Some(traces) = self.traces else { return self.open_end_of_ours(text) };
        let hexadecimal = open_run(text, HASH_CHARS, u8::is_ascii_hexdigit);
        let foreign =
            traces.needle().map_or(text.len(), |needle| open_run(text, needle.length(), u8::is_ascii_graphic));
        self.open_end_of_ours(text).min(hexadecimal).min(foreign)
    }

    fn open_end_of_ours(&self, text: &[u8]) -> usize {
        let mark = self.mark.needle();
        let may_begin = |at: &usize| {
            let rest = &text[*at..];
            match rest.split_at_checked(mark.len()) {
                Some((head, body)) => head == mark && body.iter().all(u8::is_ascii_alphanumeric),
                None => mark.starts_with(rest),
            }
        };
        let from = text.len().saturating_sub(mark.len() + BODY_CHARS - 1);
        (from..text.len()).find(may_begin).unwrap_or(text.len())
    }
}

/// Where the run of such characters begins that `text` ends with, if `length` of them would be a match: at most one less.
fn open_run(text: &[u8], length: usize, is_in: impl Fn(&u8) -> bool) -> usize {
    text.len() - text.iter().rev().take(length - 1).take_while(|byte| is_in(byte)).count()
}

/// Hexadecimal characters are read as they come; where as many as a hash has end like one, they are looked at.
fn each_hash(traces: &Traces, text: &[u8], found: &mut dyn FnMut(Range<usize>)) {
    let ends = traces.hash_ends();
    let (mut run, mut last) = (0, 0_u64);
    for (at, byte) in text.iter().enumerate() {
        let Some(digit) = char::from(*byte).to_digit(16) else {
            run = 0;
            continue;
        };
        run += 1;
        last = last << 4 | u64::from(digit);
        if run >= HASH_CHARS && ends.contains(&last) {
            let place = at + 1 - HASH_CHARS..at + 1;
            if traces.is_hash(&text[place.clone()]) {
                found(place);
            }
        }
    }
}
