//! `[keys]` and `[keys.identity]`.

use std::time::Duration;

use http::HeaderName;

use super::preset::{PRESETS, Preset};
use super::server::file_path;
use super::{Identity, Keys, Located, SecretRef, Source};
use crate::config::mask::quoted;
use crate::config::problems::Wrong;
use crate::config::reader::{Item, Table, located, positive_duration};
use crate::config::source::SourceFile;

pub(super) fn keys(file: &mut Table<'_>) -> Keys {
    let source = file.problems().source();
    let Some(mut table) = file.table("keys") else {
        return Preset::Keyward.defaults(source);
    };
    let mut keys = table.one_of("preset", &PRESETS, Preset::Keyward).defaults(source);
    if let Some(path) = table.get("file").and_then(|item| file_path(&item)) {
        keys.file = path;
    }
    if let Some(sources) = table.get("sources").and_then(|item| sources(&item)) {
        keys.sources = sources;
    }
    keys.prefix = table.parsed("prefix", prefix).unwrap_or(keys.prefix);
    keys.pepper = table.get("pepper").and_then(|item| pepper(&item));
    keys.forward = table.boolean("forward", false);
    keys.expires_default = table.parsed("expires_default", expiry).unwrap_or(None);
    keys.realm = table.parsed("realm", realm).unwrap_or(keys.realm);
    keys.status_missing = status(&mut table, "status_missing", keys.status_missing);
    keys.status_invalid = status(&mut table, "status_invalid", keys.status_invalid);
    keys.audit_headers = table.boolean("audit_headers", true);
    keys.compromise_on_plaintext = table.boolean("compromise_on_plaintext", false);
    if let Some(identity) = table.table("identity") {
        keys.identity = self::identity(identity, keys.identity, &keys.sources);
    }
    table.finish();
    keys
}

fn sources(item: &Item<'_>) -> Option<Vec<Source>> {
    let items = item.list("an array")?;
    let mut sources = Vec::with_capacity(items.len());
    for item in &items {
        let Some(source) = item.parsed(source) else {
            continue;
        };
        let takes_scheme = |source: &Source| matches!(source, Source::Bearer | Source::Basic);
        let takes_header =
            |source: &Source| matches!(source, Source::Header(name) if *name == http::header::AUTHORIZATION);
        if sources.contains(&source) {
            item.wrong(Wrong::new("duplicate-source", "this source is listed twice"));
        } else if takes_header(&source) && sources.iter().any(takes_scheme)
            || takes_scheme(&source) && sources.iter().any(takes_header)
        {
            item.wrong(Wrong::new(
                "duplicate-source",
                "`header:authorization` would find what `bearer` or `basic` finds, and each such request be refused",
            ));
        }
        sources.push(source);
    }
    if items.is_empty() {
        item.wrong(Wrong::value("at least one source is needed"));
    }
    Some(sources)
}

fn source(text: &str) -> Result<Source, Wrong> {
    let (kind, name) = match text.split_once(':') {
        Some((kind, name)) => (kind, Some(name)),
        None => (text, None),
    };
    match (kind, name) {
        ("bearer", None) => Ok(Source::Bearer),
        ("basic", None) => Ok(Source::Basic),
        ("websocket-protocol", None) => Ok(Source::WebSocketProtocol),
        ("header", Some(name)) => Ok(Source::Header(source_header(name)?)),
        ("query", Some(name)) => query_name(name).map(Source::Query),
        ("cookie", Some(name)) => cookie_name(name).map(Source::Cookie),
        _ => Err(Wrong::value("no such source").hint(
            "sources are \"bearer\", \"basic\", \"header:NAME\", \"query:NAME\", \"cookie:NAME\" and \"websocket-protocol\"",
        )),
    }
}

fn source_header(text: &str) -> Result<HeaderName, Wrong> {
    let name = header_name(text)?;
    match name.as_str() {
        "cookie" => Err(Wrong::value("a header of its own kind").hint("use \"cookie:NAME\"")),
        "sec-websocket-protocol" => Err(Wrong::value("a header of its own kind").hint("use \"websocket-protocol\"")),
        _ => Ok(name),
    }
}

/// The name of a header that does not belong to HTTP itself.
fn header_name(text: &str) -> Result<HeaderName, Wrong> {
    const HTTP: [&str; 16] = [
        "connection",
        "content-length",
        "content-type",
        "date",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
    ];
    let name: HeaderName =
        text.parse().map_err(|_| Wrong::value("expected the name of a header, as in `x-api-key`"))?;
    if HTTP.contains(&name.as_str()) {
        let message = format!("the header `{name}` belongs to HTTP itself");
        return Err(Wrong::value(message));
    }
    Ok(name)
}

fn query_name(text: &str) -> Result<String, Wrong> {
    let taken = |c: char| c.is_whitespace() || c.is_control() || "&=#+%;".contains(c);
    match text.is_empty() || text.contains(taken) {
        true => Err(Wrong::value("expected the plain name of a query parameter, as in \"query:api_key\"")),
        false => Ok(text.to_owned()),
    }
}

/// A token of RFC 9110, which is what RFC 6265 wants of a cookie's name.
fn cookie_name(text: &str) -> Result<String, Wrong> {
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::value("expected the name of a cookie, as in \"cookie:session\"")),
    }
}

/// RFC 9110 §5.6.2.
fn is_token(text: &str) -> bool {
    let member = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    !text.is_empty() && text.bytes().all(member)
}

fn prefix(text: &str) -> Result<String, Wrong> {
    let good = (1..=16).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_alphanumeric());
    match good {
        true => Ok(text.to_owned()),
        false => Err(Wrong::value("a prefix is 1 to 16 of the characters `A-Za-z0-9`")),
    }
}

fn expiry(text: &str) -> Result<Option<Duration>, Wrong> {
    match text {
        "never" => Ok(None),
        text => positive_duration(text).map(Some),
    }
}

/// It stands in `realm="…"`.
fn realm(text: &str) -> Result<String, Wrong> {
    let member = |c: u8| matches!(c, b' '..=b'~') && !b"\"\\".contains(&c);
    match text.len() <= 128 && text.bytes().all(member) {
        true => Ok(text.to_owned()),
        false => Err(Wrong::value("a realm is at most 128 printable ASCII characters without `\"` and `\\`")),
    }
}

fn status(table: &mut Table<'_>, key: &'static str, default: u16) -> u16 {
    let Some(item) = table.get(key) else {
        return default;
    };
    match item.integer(0..=999) {
        Some(401) => 401,
        Some(403) => 403,
        None => default,
        Some(_) => {
            item.wrong(Wrong::value("expected 401 or 403"));
            default
        }
    }
}

fn pepper(item: &Item<'_>) -> Option<Located<SecretRef>> {
    let source = item.source();
    let secret = item.parsed(|text| secret_ref(text, source))?;
    Some(located(secret, item.span.clone()))
}

/// `env:NAME` or `file:PATH`, never the secret itself: and as it may be one, no message repeats it.
pub(super) fn secret_ref(text: &str, source: &SourceFile) -> Result<SecretRef, Wrong> {
    let is_env = |name: &str| {
        let member = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        name.bytes().all(member) && name.starts_with(|c: char| !c.is_ascii_digit())
    };
    match text.split_once(':') {
        Some(("env", name)) if is_env(name) => Ok(SecretRef::Env(name.to_owned())),
        Some(("env", _)) => Err(Wrong::value("expected the name of an environment variable after `env:`")),
        Some(("file", path)) if !path.is_empty() && !path.contains(char::is_control) => {
            Ok(SecretRef::File(source.resolve(path)))
        }
        Some(("file", _)) => Err(Wrong::value("expected the path of a file after `file:`")),
        _ => Err(Wrong::new("inline-secret", "a secret is never inline: `env:NAME` or `file:PATH`")
            .hint("put it in a file that only the gateway can read, or in its environment")),
    }
}

fn identity(mut table: Table<'_>, default: Identity, sources: &[Source]) -> Identity {
    let mut taken = Vec::new();
    let mut header = |key, default: Option<HeaderName>| {
        let Some(item) = table.get(key) else {
            if taken.iter().any(|name| Some(name) == default.as_ref()) {
                let message = format!("`keys.identity` sends in one header what `{key}` sends in it by default");
                table.problems().add(table.span(), Wrong::value(message));
            }
            taken.extend(default.clone());
            return default;
        };
        if item.string()?.value.is_empty() {
            return None;
        }
        let name = item.parsed(header_name)?;
        if name == http::header::AUTHORIZATION || sources.contains(&Source::Header(name.clone())) {
            let message = format!("the header {} carries the key", quoted(name.as_str()));
            item.wrong(Wrong::value(message));
        } else if taken.contains(&name) {
            let message = format!("two of them are {}", quoted(name.as_str()));
            item.wrong(Wrong::value(message));
        }
        taken.push(name.clone());
        Some(name)
    };
    let identity = Identity {
        id: header("id", default.id),
        owner: header("owner", default.owner),
        roles: header("roles", default.roles),
        plan: header("plan", default.plan),
        credential: header("credential", default.credential),
    };
    table.finish();
    identity
}
