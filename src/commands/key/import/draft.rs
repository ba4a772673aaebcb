//! What a file says of its keys. The keys themselves are hashed as soon as they are met, and not kept.

use std::collections::HashSet;
use std::fmt::{self, Display};

use jiff::Timestamp;

use super::references::is_reference;
use crate::commands::console::Failure;
use crate::commands::key::secret::hopeless;
use crate::commands::key::settings::Settings;
use crate::config::mask::typed;
use crate::vocab::digest::{Digest, Pepper};

/// Most keys of one import.
const KEYS_MAX: usize = 1_000_000;
/// Longest text that is taken over, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest owner: it is sent to upstreams in a header.
const OWNER_BYTES_MAX: usize = 256;
/// What is shorter can be guessed.
const WEAK_BELOW: usize = 16;
/// From here on it is no accident that a text contains the key.
const TELLTALE_FROM: usize = 8;

/// Where in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Line(usize),
    Row(usize),
}

/// One key to be, without the key. What stays behind of it is among its remarks.
#[derive(Default)]
pub(super) struct Draft {
    /// What its id is made of.
    pub(super) name: String,
    pub(super) owner: Option<String>,
    pub(super) note: Option<String>,
    pub(super) created: Option<Timestamp>,
    pub(super) expires: Option<Timestamp>,
    /// Why it is not active; `None` where it is.
    pub(super) disabled: Option<&'static str>,
    pub(super) limits: Vec<String>,
    pub(super) quota: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) meta: Vec<(String, String)>,
    pub(super) remarks: Vec<String>,
}

/// What a key is known by from here on.
pub(super) struct Hashes {
    pub(super) plain: Digest,
    /// Where there is a pepper; then it is what is stored.
    pub(super) peppered: Option<Digest>,
}

/// One key of the file, or why it cannot be one here.
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) draft: Draft,
    pub(super) key: Result<Hashes, String>,
}

/// Something that stays behind and is no key's own.
pub(super) struct Remark {
    pub(super) place: Option<Place>,
    pub(super) text: String,
}

/// All that was found in a file.
pub(super) struct Gathered {
    /// Of the file, for messages.
    pub(super) file: String,
    pub(super) now: Timestamp,
    pub(super) expires_default: Option<Timestamp>,
    pub(super) entries: Vec<Entry>,
    pub(super) remarks: Vec<Remark>,
    /// The SHA-256 of every key of the file, also of those that are not taken over.
    pub(super) secrets: HashSet<[u8; 32]>,
    prefix: String,
    pepper: Option<Pepper>,
}

impl Gathered {
    pub(super) fn new(file: String, now: Timestamp, settings: &Settings) -> Result<Self, Failure> {
        let after = |default| crate::cli::when::later(now, default);
        Ok(Self {
            file,
            now,
            expires_default: settings.expires_default.map(after).transpose()?,
            entries: Vec::new(),
            remarks: Vec::new(),
            secrets: HashSet::new(),
            prefix: settings.prefix.clone(),
            pepper: settings.pepper()?,
        })
    }

    /// Notes a key. `key` is not kept.
    pub(super) fn key(&mut self, place: Place, mut draft: Draft, key: &str) -> Result<(), Failure> {
        let plain = Digest::sha256(key.as_bytes());
        self.secrets.insert(*plain.as_bytes());
        let key = match self.unfit(&draft, key) {
            Some(why) => Err(why),
            None => {
                tidy(&mut draft);
                remark_on(key, &mut draft);
                Ok(Hashes { plain, peppered: self.pepper.as_ref().map(|pepper| pepper.digest(key.as_bytes())) })
            }
        };
        self.push(Entry { place, draft, key })
    }

    /// Notes an entry that holds no key, or none that can be understood.
    pub(super) fn refuse(&mut self, place: Place, name: &str, why: impl Into<String>) -> Result<(), Failure> {
        let draft = Draft { name: name.to_owned(), ..Draft::default() };
        self.push(Entry { place, draft, key: Err(why.into()) })
    }

    /// Notes what stays behind and is no key's own.
    pub(super) fn remark(&mut self, place: Option<Place>, text: impl Into<String>) {
        self.remarks.push(Remark { place, text: text.into() });
    }

    /// The file as a whole is not what it was said to be.
    pub(super) fn broken(&self, place: Option<Place>, why: impl Display) -> Failure {
        match place {
            Some(place) => Failure::No(format!("{}:{place}: {why}", self.file)),
            None => Failure::No(format!("{}: {why}", self.file)),
        }
    }

    fn push(&mut self, entry: Entry) -> Result<(), Failure> {
        if self.entries.len() == KEYS_MAX {
            return Err(self.broken(Some(entry.place), format_args!("more than {KEYS_MAX} keys: split the file")));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Why a key cannot be taken over, without a word of the key.
    fn unfit(&self, draft: &Draft, key: &str) -> Option<String> {
        if is_reference(key) {
            return Some("its key is not in the file: there is a reference to it, or a mask".into());
        }
        if let Some(why) = hopeless(&self.prefix, key.as_bytes()) {
            return Some(format!("no gateway takes its key: {why}"));
        }
        if draft.texts().any(|text| tells(text, key)) {
            return Some("its key stands in its name or in another text, which would be stored as it is".into());
        }
        // A file with its columns the other way round.
        if typed(&draft.name) != draft.name && typed(key) == key {
            return Some("its name looks like a key, and its key does not: are they the right way round?".into());
        }
        None
    }
}

impl Draft {
    /// One that belongs to whom it is named after.
    pub(super) fn of(name: &str) -> Self {
        let owner = (!name.trim().is_empty()).then(|| name.trim().to_owned());
        Self { name: name.to_owned(), owner, ..Self::default() }
    }

    /// Every text that would be stored as it is.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        let single = [Some(&self.name), self.owner.as_ref(), self.note.as_ref()].into_iter().flatten();
        let meta = self.meta.iter().flat_map(|(name, value)| [name, value]);
        single.chain(&self.roles).chain(meta).map(String::as_str)
    }

    /// Adds a limit once.
    pub(super) fn limit(&mut self, rate: String) {
        if !self.limits.contains(&rate) {
            self.limits.push(rate);
        }
    }

    /// Adds a role once.
    pub(super) fn role(&mut self, role: &str) {
        if !self.roles.iter().any(|known| known == role) {
            self.roles.push(role.to_owned());
        }
    }

    /// Adds a pair, in the place of one with the same name.
    pub(super) fn meta(&mut self, name: &str, value: &str) {
        self.meta.retain(|(known, _)| known != name);
        self.meta.push((name.to_owned(), value.to_owned()));
    }

    /// Adds a remark.
    pub(super) fn remark(&mut self, text: impl Into<String>) {
        self.remarks.push(text.into());
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "{line}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// Whether who reads `text` knows the key. Ids are in lower case, so case makes no difference.
fn tells(text: &str, key: &str) -> bool {
    text.trim().eq_ignore_ascii_case(key.trim())
        || (key.len() >= TELLTALE_FROM && text.to_ascii_lowercase().contains(&key.to_ascii_lowercase()))
}

/// Makes texts such as the gateway takes them, and says where they had to change.
fn tidy(draft: &mut Draft) {
    let Draft { owner, note, roles, meta, remarks, .. } = draft;
    if let Some(owner) = owner {
        shorten("owner", owner, OWNER_BYTES_MAX, remarks);
        if owner.contains(char::is_control) {
            *owner = owner.replace(char::is_control, " ");
            remarks.push("its owner is without control characters here".into());
        }
    }
    if let Some(note) = note {
        shorten("note", note, TEXT_BYTES_MAX, remarks);
    }
    for (name, value) in meta {
        shorten("meta", name, TEXT_BYTES_MAX, remarks);
        shorten("meta", value, TEXT_BYTES_MAX, remarks);
    }
    roles.retain(|role| {
        let good =
            !role.is_empty() && role.len() <= OWNER_BYTES_MAX && !role.contains(|c: char| c == ',' || c.is_control());
        if !good {
            remarks.push("one of its groups is not carried over: a role is not empty and has no comma".into());
        }
        good
    });
}

fn shorten(what: &str, text: &mut String, longest: usize, remarks: &mut Vec<String>) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest));
        remarks.push(format!("its {what} is cut to {longest} bytes"));
    }
}

fn remark_on(key: &str, draft: &mut Draft) {
    if key.len() < WEAK_BELOW {
        draft.remark(format!("warning: its key has fewer than {WEAK_BELOW} characters: `keyward key rotate` it soon"));
    }
    if key.trim() != key {
        draft.remark("warning: its key begins or ends with a space, which no header keeps");
    }
}
