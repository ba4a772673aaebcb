//! What a `[[route]]` changes on the way: `strip_prefix`, `add_prefix`, `request_headers`, `response_headers`.

use http::{HeaderName, HeaderValue};

use super::{HeaderEdits, Keys, PathPattern, Source};
use crate::config::mask::quoted;
use crate::config::problems::Wrong;
use crate::config::reader::Table;
use crate::vocab::header::is_spelling_of;

/// How many headers one list may name: each request is held against each.
const HEADERS_MAX: usize = 64;

/// Fields that frame a message or concern one connection (RFC 9110 §7.6.1): only we can know what they have to say.
const OF_HTTP: [&str; 13] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A message on its way, and what in it is ours to say.
pub(super) enum Direction<'a> {
    /// To the upstream.
    Request(&'a Keys),
    /// To the client.
    Response,
}

/// A prefix of whole segments without the last `/`; empty for none.
pub(super) fn prefix(text: &str) -> Result<String, Wrong> {
    let wrong = Wrong::value("expected whole segments of a path, as in \"/api\"");
    if text.is_empty() {
        return Ok(String::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return Err(wrong.hint("a prefix begins with `/`"));
    };
    if rest.is_empty() || rest.ends_with('/') {
        return Err(wrong.hint("a prefix does not end with `/`"));
    }
    if rest.contains('*') {
        return Err(wrong.hint("a prefix has no `*`"));
    }
    super::route::path(text).map(|_| text.to_owned())
}

/// `{ set = { NAME = "value" }, remove = ["NAME"] }`
pub(super) fn header_edits(table: Option<Table<'_>>, direction: &Direction<'_>) -> HeaderEdits {
    let mut edits = HeaderEdits::default();
    let Some(mut table) = table else {
        return edits;
    };
    let set = table.table("set");
    for (name, item) in set.iter().flat_map(Table::pairs) {
        let problems = item.clone();
        let header = match settable(name.value, direction) {
            Ok(header) if edits.set.iter().any(|(other, _)| *other == header) => {
                Err(Wrong::value(format!("{} is set twice", quoted(name.value))))
            }
            other => other,
        };
        match (header, item.parsed(value)) {
            (Ok(header), Some(value)) => edits.set.push((header, value)),
            (Ok(_), None) => {}
            (Err(wrong), _) => problems.wrong(wrong),
        }
    }
    for item in table.list("remove") {
        if let Some(header) = item.parsed(|text| changeable(text, direction)) {
            edits.remove.push(header);
        }
    }
    if edits.set.len().max(edits.remove.len()) > HEADERS_MAX {
        let wrong = Wrong::value(format!("more than {HEADERS_MAX} headers"));
        table.problems().add(table.span(), wrong);
    }
    table.finish();
    edits
}

/// The name of a header that a route may remove.
fn changeable(text: &str, direction: &Direction<'_>) -> Result<HeaderName, Wrong> {
    let name: HeaderName =
        text.parse().map_err(|_| Wrong::value("expected the name of a header, as in `x-api-version`"))?;
    if OF_HTTP.iter().any(|reserved| is_spelling_of(name.as_str(), reserved)) {
        let message = format!("the header `{name}` belongs to HTTP itself");
        let wrong = Wrong::value(message);
        let hint = "which host the upstream is told is `upstream.NAME.host`";
        return Err(if name == http::header::HOST { wrong.hint(hint) } else { wrong });
    }
    if let Direction::Request(keys) = direction
        && keys.identity.names().any(|ours| is_spelling_of(name.as_str(), ours.as_str()))
    {
        return Err(Wrong::value(format!("the header {} tells the upstream who calls", quoted(name.as_str())))
            .hint("`[keys.identity]` says which headers do"));
    }
    if is_spelling_of(name.as_str(), "x-request-id") {
        return Err(Wrong::value("the name of a request is the gateway's to give")
            .hint("`keys.audit_headers = false` keeps it from clients"));
    }
    Ok(name)
}

/// The name of a header that a route may set.
fn settable(text: &str, direction: &Direction<'_>) -> Result<HeaderName, Wrong> {
    let name = changeable(text, direction)?;
    let carries_keys = match direction {
        Direction::Response => false,
        Direction::Request(keys) => keys.sources.iter().any(|source| match source {
            Source::Header(header) => is_spelling_of(name.as_str(), header.as_str()),
            Source::Bearer | Source::Basic | Source::Query(_) | Source::Cookie(_) | Source::WebSocketProtocol => false,
        }),
    };
    let is_credential = ["authorization", "cookie"].iter().any(|header| is_spelling_of(name.as_str(), header));
    if carries_keys || (is_credential && matches!(direction, Direction::Request(_))) {
        return Err(Wrong::new("inline-secret", "a header that carries credentials is not set from this file"));
    }
    Ok(name)
}

/// Printable ASCII. It may be a secret all the same, so that no message repeats it.
fn value(text: &str) -> Result<HeaderValue, Wrong> {
    if text.is_empty() {
        return Err(Wrong::value("expected a value").hint("a header that shall not be there stands in `remove`"));
    }
    let is_good = text.bytes().all(|b| matches!(b, b' '..=b'~')) && text.trim() == text;
    let value = HeaderValue::from_str(text).ok().filter(|_| is_good);
    value.ok_or_else(|| Wrong::value("expected printable ASCII without spaces around it"))
}

/// Whether a path of the route can begin with this prefix.
pub(super) fn can_strip(path: &PathPattern, prefix: &str) -> bool {
    let covers = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|r| r.is_empty() || r.starts_with('/'));
    match path {
        PathPattern::Any => true,
        PathPattern::Exact(exact) => covers(exact, prefix),
        PathPattern::Prefix(under) => {
            let under = under.strip_suffix('/').unwrap_or(under);
            covers(under, prefix) || covers(prefix, under)
        }
    }
}
