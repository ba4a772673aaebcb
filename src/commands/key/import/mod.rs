//! `keyward key import`: keys of other products, hashed on the way in. A file is read into drafts, one for each key; what
//! becomes of each is decided beside the key file, and all of it is one edit of that.
//!
//! | format | where |
//! |---|---|
//! | `csv` | [`csv`] |
//! | `htpasswd` | [`htpasswd`] |
//! | `kong` | [`kong`] |
//! | `apisix` | [`apisix`] |
//! | `envoy` | [`envoy`] |
//! | `nginx-map` | [`nginx`] |
//! | `fastapi-simple-security` | [`fastapi`] |
//!
//! What an entry says and cannot be said here is told, never dropped in silence; where it would make a key good for longer
//! or for more (an expiry that cannot be read, the key of one route), the entry is not imported. Importing a file again
//! imports what is new in it.

mod apisix;
mod csv;
mod draft;
mod envoy;
mod fastapi;
mod htpasswd;
mod ids;
mod kong;
mod nginx;
mod plan;
mod rates;
mod references;
mod report;
mod source;
mod times;
mod yaml;

use std::path::Path;

use toml_edit::DocumentMut;

use self::draft::{Gathered, Place};
use self::plan::{Outcome, carry_out, plan};
use self::report::Report;
use self::source::Source;
use self::yaml::Node;
use super::Scene;
use crate::cli::{ImportArgs, ImportFormat};
use crate::commands::console::{Console, Failure};
use crate::config::edit;

pub(super) fn import(args: &ImportArgs, scene: &Scene<'_>, console: &mut Console<'_>) -> Result<(), Failure> {
    let settings = scene.settings()?;
    let mut gathered = Gathered::new(source::shown(&args.file), scene.now, &settings)?;
    gather(args, &mut gathered, console)?;
    if gathered.entries.is_empty() {
        report::remarks_alone(&gathered, console);
        return Err(gathered.broken(None, "there is no key in it"));
    }
    let outcomes = if args.dry_run {
        preview(&settings.keys_file, &gathered)?
    } else {
        edit::edit(&settings.keys_file, |document| {
            let plan = plan(&gathered, document)?;
            carry_out(plan.tables, document)?;
            Ok::<_, Failure>(plan.outcomes)
        })?
    };
    Report { args, gathered: &gathered, outcomes: &outcomes }.print(console)
}

/// What an import would do now. Nothing is written, not even a lock.
fn preview(keys_file: &Path, gathered: &Gathered) -> Result<Vec<Outcome>, Failure> {
    let mut document = match std::fs::read_to_string(keys_file) {
        Ok(text) => edit::parse(keys_file, &text)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => DocumentMut::new(),
        Err(error) => return Err(Failure::because(format!("failed to read {}", keys_file.display()))(error)),
    };
    Ok(plan(gathered, &mut document)?.outcomes)
}

/// Reads the file. What holds its keys is zeroed before this returns.
fn gather(args: &ImportArgs, into: &mut Gathered, console: &mut Console<'_>) -> Result<(), Failure> {
    let file = &args.file;
    let source = Source::read(file, console)?;
    if source.bytes().starts_with(fastapi::MAGIC) {
        if args.format != ImportFormat::FastapiSimpleSecurity {
            return Err(into.broken(None, format_args!("it is a SQLite file, and not {}", args.format.as_str())));
        }
        return fastapi::table(file, into);
    }
    let text = source.into_text(file)?;
    match args.format {
        ImportFormat::Csv => csv::read(&text, into),
        ImportFormat::Htpasswd => htpasswd::read(&text, into),
        ImportFormat::Kong => documents(&text, kong::read, into),
        ImportFormat::Apisix => documents(&text, apisix::read, into),
        ImportFormat::Envoy => documents(&text, envoy::read, into),
        ImportFormat::NginxMap => nginx::read(&text, into),
        ImportFormat::FastapiSimpleSecurity => fastapi::lines(&text, into),
    }
}

/// Reads every document of a YAML or JSON file.
fn documents(
    text: &str,
    read: fn(&Node, &mut Gathered) -> Result<(), Failure>,
    into: &mut Gathered,
) -> Result<(), Failure> {
    let documents = yaml::parse(text).map_err(|wrong| into.broken(Some(Place::Line(wrong.line)), wrong.why))?;
    documents.iter().try_for_each(|document| read(document, into))
}
