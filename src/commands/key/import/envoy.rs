//! `envoy`: the `api_key_auth` filters of a whole configuration, in YAML or JSON, or the list of their credentials alone.

use std::collections::HashSet;

use super::draft::{Draft, Gathered, Place};
use super::yaml::Node;
use crate::commands::console::Failure;
use crate::config::mask::quoted;

const FILTER: &str = "api_key_auth.v3.ApiKeyAuth";
const FILTER_OF_ROUTE: &str = "api_key_auth.v3.ApiKeyAuthPerRoute";
/// What is between the credentials of a filter and is no key's own, and where it belongs here.
const SETTINGS: [(&str, &str); 2] = [
    ("key_sources", "`keys.sources` says where keys are looked for"),
    ("forwarding", "see `keys.identity` and `keys.forward`"),
];

pub(super) fn read(document: &Node, into: &mut Gathered) -> Result<(), Failure> {
    let mut search = Search { into, seen: HashSet::new(), found: false };
    search.look(document)?;
    if search.found {
        return Ok(());
    }
    if document.is_list() { credentials(document, into) } else { filter(document, into) }
}

struct Search<'g> {
    into: &'g mut Gathered,
    /// Nodes that were looked at: an alias leads to the same one again.
    seen: HashSet<*const ()>,
    found: bool,
}

impl Search<'_> {
    /// Looks for filters in `node` and below. How deep that goes has a limit.
    fn look(&mut self, node: &Node) -> Result<(), Failure> {
        if !self.seen.insert(std::ptr::from_ref(node).cast()) {
            return Ok(());
        }
        if let Some(config) = typed(node, FILTER) {
            self.found = true;
            return filter(config, self.into);
        }
        if let Some(config) = typed(node, FILTER_OF_ROUTE) {
            self.found = true;
            return of_route(config, self.into);
        }
        let children = node.items().chain(node.pairs().map(|(_, value)| value));
        children.into_iter().try_for_each(|child| self.look(child))
    }
}

/// The configuration, where it is of the type: as such, or within a TypedStruct.
fn typed<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let is = |field: &str| node.text_of(field).is_some_and(|url| url.ends_with(name));
    if is("type_url") {
        return node.get("value");
    }
    is("@type").then_some(node)
}

fn filter(config: &Node, into: &mut Gathered) -> Result<(), Failure> {
    for (name, here) in SETTINGS {
        if let Some(setting) = config.get(name) {
            into.remark(Some(Place::Line(setting.line)), format!("`{name}` is not carried over: {here}"));
        }
    }
    match config.get("credentials") {
        Some(list) => credentials(list, into),
        None => Ok(()),
    }
}

fn credentials(list: &Node, into: &mut Gathered) -> Result<(), Failure> {
    for credential in list.items() {
        let (place, client) = (Place::Line(credential.line), credential.text_of("client").unwrap_or_default());
        match credential.text_of("key") {
            Some(key) => into.key(place, Draft::of(client), key)?,
            None => into.refuse(place, client, "it has no `key`")?,
        }
    }
    Ok(())
}

/// What holds for one route alone. Its keys would be good for all routes here.
fn of_route(config: &Node, into: &mut Gathered) -> Result<(), Failure> {
    for credential in config.items_of("credentials") {
        let client = credential.text_of("client").unwrap_or_default();
        let why = "it is good for one route there, and would be for all here: import it alone, and give it `routes`";
        into.refuse(Place::Line(credential.line), client, why)?;
    }
    if let Some(allowed) = config.get("allowed_clients") {
        let clients: Vec<_> = allowed.items().filter_map(Node::text).map(quoted).collect();
        let what = "is not carried over: give the route `roles`, and these keys the same, or the keys `routes`";
        into.remark(Some(Place::Line(allowed.line)), format!("`allowed_clients` {what}: {}", clients.join(", ")));
    }
    Ok(())
}
