//! Keys in responses: an upstream that echoes what it was sent, or prints what it should not know.
//!
//! Looked for in the values of header fields and trailers, and on routes with `scan_response` in text bodies as they come:
//! - any key of our form (`PREFIX_`, 43 and 6 characters, the right checksum), whatever stands around it;
//! - the key of the request, if it is of another make and has 12 characters or more, none of them a space;
//! - a hash of the request's key as the key file has it, 64 hexadecimal characters.
//!
//! Not found: what is encoded (base64, percent, escapes of JSON, `Content-Encoding`), a part of a key, keys of another make
//! that are not the request's, and what stands in the name of a field, in the bytes of a tunnel, or beyond the first MiB.
//!
//! To find a key split over two pieces, the end of a piece that may be the beginning of one is kept: a copy of it where
//! nothing is changed, else the bytes themselves, which then go out with the next piece.

mod search;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use zeroize::Zeroizing;

use self::search::Search;
use crate::config::gateway::LeakAction;
use crate::record::{Leaked, Open, Place, Record};
use crate::vocab::fields::Fields;

/// Bytes of a body that are looked through.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Stands where something was found, as often as that had bytes.
const MASK: u8 = b'*';

/// Something was found that must not pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Blocked;

/// Looks through a body as it comes.
pub(super) struct Scanner {
    action: LeakAction,
    /// What the last piece ended with.
    tail: Zeroizing<Vec<u8>>,
    left: usize,
    /// Wait for what was before them.
    trailers: Option<Frame<Bytes>>,
}

/// Looks through the fields of a response's head, and takes out what is to be taken out.
pub(super) fn inspect_head(fields: &mut Fields, open: &mut Open) -> Result<(), Blocked> {
    inspect(fields.iter_mut(), open, Place::Header)
}

/// Likewise its trailers.
pub(super) fn inspect_trailers(trailers: &mut HeaderMap, open: &mut Open) -> Result<(), Blocked> {
    inspect(trailers.iter_mut(), open, Place::Trailer)
}

impl Scanner {
    /// For the body behind such a head, if its route wants that and it is one to be read.
    pub(super) fn new(fields: &Fields, record: &Record) -> Option<Box<Self>> {
        let action = record.settings.leaks.action?;
        let is_wanted = record.trail.route.as_ref().is_some_and(|route| route.scan_response);
        (is_wanted && is_plain_text(fields)).then(|| Box::new(Self::with(action)))
    }

    fn with(action: LeakAction) -> Self {
        Self { action, tail: Zeroizing::default(), left: BODY_BYTES_MAX, trailers: None }
    }

    /// Takes a piece, and gives what may go out: as much, unless something is kept for later or was kept before.
    pub(super) fn piece(&mut self, data: Bytes, open: &mut Open) -> Result<Bytes, Blocked> {
        if self.left == 0 {
            return Ok(data);
        }
        let (out, found) = self.look(data, search(open.record()));
        note(open, Place::Body, &found)?;
        Ok(out)
    }

    /// What was kept, at the end of the body.
    pub(super) fn rest(&mut self) -> Option<Bytes> {
        self.left = 0;
        let rest = std::mem::take(&mut *self.tail);
        (self.changes() && !rest.is_empty()).then(|| rest.into())
    }

    /// Keeps trailers, if something has to go out before them; then gives that, else the trailers.
    pub(super) fn before(&mut self, trailers: Frame<Bytes>) -> Frame<Bytes> {
        let Some(rest) = self.rest() else { return trailers };
        self.trailers = Some(trailers);
        Frame::data(rest)
    }

    /// Trailers that were kept.
    pub(super) const fn take_trailers(&mut self) -> Option<Frame<Bytes>> {
        self.trailers.take()
    }

    /// Whether nothing is kept.
    pub(super) fn is_empty(&self) -> bool {
        self.kept() == 0 && self.trailers.is_none()
    }

    /// Bytes that are still to go out.
    pub(super) fn kept(&self) -> usize {
        if self.changes() { self.tail.len() } else { 0 }
    }

    /// Whether bytes are kept from the client until it is known that they may pass.
    const fn changes(&self) -> bool {
        match self.action {
            LeakAction::Alert => false,
            LeakAction::Redact | LeakAction::Block => true,
        }
    }

    fn look(&mut self, mut data: Bytes, search: Search<'_>) -> (Bytes, Vec<Leaked>) {
        let beyond = data.split_off(data.len().min(self.left));
        self.left -= data.len();
        let looked_at = self.tail.len();
        let mut text = std::mem::take(&mut self.tail);
        text.extend_from_slice(&data);
        let (places, found) = each(search, &text, looked_at);
        if self.action == LeakAction::Redact {
            mask(&mut text, &places);
        }
        let open_end = if self.left > 0 { search.open_end(&text) } else { text.len() };
        self.tail = Zeroizing::new(text[open_end..].to_vec());
        if !self.changes() {
            let whole = if beyond.is_empty() { data } else { [data, beyond].concat().into() };
            return (whole, found);
        }
        text.truncate(open_end);
        text.extend_from_slice(&beyond);
        (std::mem::take(&mut *text).into(), found)
    }
}

/// What is looked for in the response to this request.
fn search(record: &Record) -> Search<'_> {
    Search { mark: record.settings.redactor.mark(), traces: record.trail.traces.as_ref() }
}

/// Everything in `text` that ends behind what was looked at before.
fn each(search: Search<'_>, text: &[u8], looked_at: usize) -> (Vec<Range<usize>>, Vec<Leaked>) {
    let (mut places, mut found) = (Vec::new(), Vec::new());
    search.each(text, &mut |place, what| {
        if place.end > looked_at {
            places.push(place);
            found.push(what);
        }
    });
    (places, found)
}

fn mask(text: &mut [u8], places: &[Range<usize>]) {
    for place in places {
        text[place.clone()].fill(MASK);
    }
}

fn inspect<'a>(
    lines: impl Iterator<Item = (&'a HeaderName, &'a mut HeaderValue)>,
    open: &mut Open,
    place: impl Fn(HeaderName) -> Place,
) -> Result<(), Blocked> {
    let Some(action) = open.record().settings.leaks.action else { return Ok(()) };
    let search = search(open.record());
    let shortest = search.shortest();
    // Nearly always nothing is so long, and then nothing more is done.
    let mut leaks = Vec::new();
    for (name, value) in lines.filter(|(_, value)| value.len() >= shortest) {
        let (places, found) = each(search, value.as_bytes(), 0);
        if found.is_empty() {
            continue;
        }
        leaks.push((name.clone(), found));
        if action == LeakAction::Redact {
            let mut text = value.as_bytes().to_vec();
            mask(&mut text, &places);
            // Asterisks can stand in any value.
            *value = HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("*"));
        }
    }
    let mut verdict = Ok(());
    for (name, found) in leaks {
        verdict = verdict.and(note(open, place(name), &found));
    }
    verdict
}

/// Puts on record what was found.
fn note(open: &mut Open, place: Place, found: &[Leaked]) -> Result<(), Blocked> {
    let Some(action) = open.record().settings.leaks.action else { return Ok(()) };
    let Some(what) = found.first() else { return Ok(()) };
    open.transfer().note_leak(*what, place, found.len() as u64, action);
    if action == LeakAction::Block { Err(Blocked) } else { Ok(()) }
}

/// Text by its type, and not compressed.
fn is_plain_text(fields: &Fields) -> bool {
    let is_encoded = fields.get_all(CONTENT_ENCODING).any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    !is_encoded && fields.get(CONTENT_TYPE).is_some_and(|value| is_text(value.as_bytes()))
}

fn is_text(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let Ok(essence) = std::str::from_utf8(&essence) else { return false };
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let names = ["json", "x-ndjson", "xml", "javascript", "x-javascript", "x-www-form-urlencoded", "yaml"];
    let is_of_text = |suffix: &&str| subtype.ends_with(*suffix);
    kind == "text" || ["+json", "+xml"].iter().any(is_of_text) || (kind == "application" && names.contains(&subtype))
}
