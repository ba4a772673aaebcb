//! How an import went: for people a line on stderr for each thing to know, and a line on stdout that sums up; for programs
//! one JSON document.

use serde::Serialize;
use serde_json::{Map, Value};

use super::draft::{Draft, Entry, Gathered, Remark};
use super::plan::{Outcome, named};
use crate::cli::ImportArgs;
use crate::commands::console::{Console, Failure};
use crate::config::keyfile::KeyState;
use crate::config::mask::quoted;

/// What was done, or would be.
pub(super) struct Report<'r> {
    pub(super) args: &'r ImportArgs,
    pub(super) gathered: &'r Gathered,
    pub(super) outcomes: &'r [Outcome],
}

/// How many entries went which way.
#[derive(Default)]
struct Counts {
    imported: usize,
    present: usize,
    refused: usize,
}

impl Report<'_> {
    pub(super) fn print(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let counts = self.counts();
        if self.args.json {
            self.json(&counts, console)?;
        } else {
            self.lines(&counts, console)?;
        }
        match counts.refused {
            0 => Ok(()),
            refused => Err(Failure::No(format!("{} could not be imported", keys(refused)))),
        }
    }

    fn entries(&self) -> impl Iterator<Item = (&Entry, &Outcome)> {
        self.gathered.entries.iter().zip(self.outcomes)
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in self.outcomes {
            match outcome {
                Outcome::New { .. } => counts.imported += 1,
                Outcome::Present { .. } | Outcome::Again { .. } => counts.present += 1,
                Outcome::Refused(_) => counts.refused += 1,
            }
        }
        counts
    }

    fn lines(&self, counts: &Counts, console: &mut Console<'_>) -> Result<(), Failure> {
        let file = &self.gathered.file;
        for remark in &self.gathered.remarks {
            remark_line(file, remark, console);
        }
        for (entry, outcome) in self.entries() {
            let (place, name) = (entry.place, quoted(&entry.draft.name));
            match outcome {
                Outcome::Refused(why) => console.tell(format_args!("{file}:{place}: {name} is not imported: {why}")),
                Outcome::New { .. } | Outcome::Present { .. } | Outcome::Again { .. } => {
                    for note in notes(entry, outcome) {
                        console.tell(format_args!("{file}:{place}: {name}: {note}"));
                    }
                }
            }
            if let (true, Outcome::New { id }) = (self.args.dry_run, outcome) {
                console.line(described(id, &entry.draft))?;
            }
        }
        console.line(self.summary(counts))
    }

    fn summary(&self, counts: &Counts) -> String {
        let would = if self.args.dry_run { "would import" } else { "imported" };
        let mut text = match counts.imported {
            0 => "nothing to import".into(),
            imported => format!("{would} {}", keys(imported)),
        };
        if counts.present > 0 {
            text.push_str(&format!(", {} there already", be(counts.present)));
        }
        if counts.refused > 0 {
            text.push_str(&format!(", {} could not be imported", counts.refused));
        }
        text
    }

    fn json(&self, counts: &Counts, console: &mut Console<'_>) -> Result<(), Failure> {
        let document = Document {
            format: self.args.format.as_str(),
            file: &self.gathered.file,
            dry_run: self.args.dry_run,
            imported: counts.imported,
            present: counts.present,
            refused: counts.refused,
            keys: self.entries().map(|(entry, outcome)| shown(entry, outcome)).collect(),
            notes: self.gathered.remarks.iter().map(Note::of).collect(),
        };
        let text = serde_json::to_string_pretty(&document).map_err(Failure::because("failed to write JSON"))?;
        console.line(text)
    }
}

/// What is to be known of a file in which there is no key.
pub(super) fn remarks_alone(gathered: &Gathered, console: &mut Console<'_>) {
    gathered.remarks.iter().for_each(|remark| remark_line(&gathered.file, remark, console));
}

fn remark_line(file: &str, remark: &Remark, console: &mut Console<'_>) {
    match remark.place {
        Some(place) => console.tell(format_args!("{file}:{place}: {}", remark.text)),
        None => console.tell(format_args!("{file}: {}", remark.text)),
    }
}

/// What is to be known of an entry that is a key here.
fn notes(entry: &Entry, outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::New { id } if *id != entry.draft.name => {
            let renamed = format!("its id is {id:?} here");
            std::iter::once(renamed).chain(entry.draft.remarks.iter().cloned()).collect()
        }
        Outcome::New { .. } => entry.draft.remarks.clone(),
        Outcome::Present { id, former: false } => vec![format!("it is there already, as {id:?}")],
        Outcome::Present { id, former: true } => {
            vec![format!("its key was rotated out of {id:?}, and is not brought back")]
        }
        Outcome::Again { first } => vec![format!("it is the same as the one of {}", named(*first))],
        Outcome::Refused(_) => Vec::new(),
    }
}

/// A new key, in one line.
fn described(id: &str, draft: &Draft) -> String {
    let mut parts = vec![id.to_owned()];
    let mut part = |name: &str, value: String| parts.push(format!("{name} {value}"));
    if let Some(owner) = &draft.owner {
        part("owner", quoted(owner));
    }
    if let Some(expires) = draft.expires {
        part("expires", expires.to_string());
    }
    if draft.disabled.is_some() {
        part("state", KeyState::Disabled.as_str().into());
    }
    if !draft.limits.is_empty() {
        part("limits", draft.limits.join(" "));
    }
    if let Some(quota) = &draft.quota {
        part("quota", quota.clone());
    }
    if !draft.roles.is_empty() {
        part("roles", draft.roles.iter().map(|role| quoted(role)).collect::<Vec<_>>().join(" "));
    }
    for (name, value) in &draft.meta {
        part("meta", format!("{}={}", quoted(name), quoted(value)));
    }
    parts.join(", ")
}

#[derive(Serialize)]
struct Document<'r> {
    format: &'static str,
    file: &'r str,
    dry_run: bool,
    imported: usize,
    present: usize,
    refused: usize,
    keys: Vec<Shown<'r>>,
    notes: Vec<Note<'r>>,
}

#[derive(Serialize)]
struct Note<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    text: &'r str,
}

/// An entry. What is there only of new keys is left out where it is empty.
#[derive(Default, Serialize)]
struct Shown<'r> {
    place: String,
    /// Between backticks, and hidden where it may be a secret.
    name: String,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    limits: &'r [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<&'r str>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    roles: &'r [String],
    #[serde(skip_serializing_if = "Map::is_empty")]
    meta: Map<String, Value>,
    notes: Vec<String>,
}

impl<'r> Note<'r> {
    fn of(remark: &'r Remark) -> Self {
        Self { place: remark.place.map(named), text: &remark.text }
    }
}

fn shown<'r>(entry: &'r Entry, outcome: &'r Outcome) -> Shown<'r> {
    let shown = Shown {
        place: named(entry.place),
        name: quoted(&entry.draft.name),
        notes: notes(entry, outcome),
        ..Shown::default()
    };
    let draft = &entry.draft;
    match outcome {
        Outcome::Refused(why) => Shown { result: "refused", reason: Some(why), ..shown },
        Outcome::Present { id, .. } => Shown { result: "present", id: Some(id), ..shown },
        Outcome::Again { .. } => Shown { result: "present", ..shown },
        Outcome::New { id } => Shown {
            result: "imported",
            id: Some(id),
            owner: draft.owner.as_deref(),
            expires: draft.expires.map(|expires| expires.to_string()),
            state: draft.disabled.map(|_| KeyState::Disabled.as_str()),
            limits: &draft.limits,
            quota: draft.quota.as_deref(),
            roles: &draft.roles,
            meta: draft.meta.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
            ..shown
        },
    }
}

fn keys(count: usize) -> String {
    if count == 1 { "1 key".into() } else { format!("{count} keys") }
}

fn be(count: usize) -> String {
    if count == 1 { "1 is".into() } else { format!("{count} are") }
}
