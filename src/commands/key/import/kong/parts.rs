//! Which part of the file belongs to which consumer: what stands within it, and what names it from elsewhere.

use std::collections::HashMap;

use super::super::draft::{Gathered, Place};
use super::super::yaml::Node;
use crate::commands::console::Failure;
use crate::config::mask::quoted;

/// By what a consumer is named from elsewhere, the first before the others.
const NAMES: [&str; 3] = ["username", "id", "custom_id"];
/// Top-level lists that are read here. What begins with `_` is of the file itself.
const KNOWN: [&str; 6] =
    ["consumers", "keyauth_credentials", "acls", "plugins", "consumer_groups", "consumer_group_consumers"];

/// A consumer and all that is its own.
pub(super) struct Consumer<'n> {
    pub(super) node: &'n Node,
    pub(super) keys: Vec<&'n Node>,
    pub(super) groups: Vec<&'n str>,
    pub(super) plugins: Vec<&'n Node>,
}

/// The file, sorted by consumers.
pub(super) struct Parts<'n> {
    pub(super) consumers: Vec<Consumer<'n>>,
    /// Settings of plugins that are written once, for several of them.
    shared: Option<&'n Node>,
    by_name: HashMap<&'n str, usize>,
}

impl Consumer<'_> {
    /// What people call it.
    pub(super) fn name(&self) -> &str {
        let names = ["username", "custom_id", "id"];
        names.iter().find_map(|name| self.node.text_of(name)).unwrap_or_default()
    }
}

impl<'n> Parts<'n> {
    pub(super) fn of(document: &'n Node, into: &mut Gathered) -> Result<Self, Failure> {
        let mut parts =
            Self { consumers: Vec::new(), shared: document.get("_plugin_configs"), by_name: HashMap::new() };
        for node in document.items_of("consumers") {
            parts.consumer(node);
        }
        for credential in document.items_of("keyauth_credentials") {
            match parts.whose(credential) {
                Some(at) => parts.consumers[at].keys.push(credential),
                None => {
                    let name = credential.get("consumer").and_then(name_of).unwrap_or_default();
                    let why = "the consumer of this credential is not in the file";
                    into.refuse(Place::Line(credential.line), name, why)?;
                }
            }
        }
        for acl in document.items_of("acls") {
            if let (Some(at), Some(group)) = (parts.whose(acl), acl.text_of("group")) {
                parts.consumers[at].groups.push(group);
            }
        }
        parts.groups(document, into);
        for plugin in document.items_of("plugins") {
            match parts.whose(plugin) {
                Some(at) => parts.consumers[at].plugins.push(plugin),
                None => remark(plugin, "a consumer", into),
            }
        }
        for (name, line) in document.names() {
            if !KNOWN.contains(&name) && !name.starts_with('_') {
                into.remark(Some(Place::Line(line)), format!("{} are no keys and stay behind", quoted(name)));
            }
        }
        Ok(parts)
    }

    /// The settings that a plugin names instead of having its own.
    pub(super) fn shared(&self, plugin: &Node) -> Option<&'n Node> {
        self.shared?.get(plugin.text_of("_config")?)
    }

    fn consumer(&mut self, node: &'n Node) {
        let at = self.consumers.len();
        for name in NAMES.iter().filter_map(|name| node.text_of(name)) {
            self.by_name.entry(name).or_insert(at);
        }
        let groups = node.items_of("acls").filter_map(|acl| acl.text_of("group"));
        self.consumers.push(Consumer {
            node,
            keys: node.items_of("keyauth_credentials").collect(),
            groups: groups.chain(node.items_of("groups").filter_map(name_of)).collect(),
            plugins: node.items_of("plugins").collect(),
        });
    }

    /// The consumer that a part names.
    fn whose(&self, part: &Node) -> Option<usize> {
        self.named(part.get("consumer")?)
    }

    fn named(&self, consumer: &Node) -> Option<usize> {
        self.by_name.get(name_of(consumer)?).copied()
    }

    /// Consumer groups, which may name their members and be named by others.
    fn groups(&mut self, document: &'n Node, into: &mut Gathered) {
        let mut names = HashMap::new();
        for group in document.items_of("consumer_groups") {
            let Some(name) = group.text_of("name") else { continue };
            names.extend([Some(name), group.text_of("id")].into_iter().flatten().map(|known| (known, name)));
            for member in group.items_of("consumers") {
                if let Some(at) = self.named(member) {
                    self.consumers[at].groups.push(name);
                }
            }
            for plugin in group.items_of("plugins") {
                remark(plugin, &format!("the group {}", quoted(name)), into);
            }
        }
        for membership in document.items_of("consumer_group_consumers") {
            let group = membership.get("consumer_group").and_then(name_of).and_then(|group| names.get(group));
            if let (Some(at), Some(name)) = (self.whose(membership), group) {
                self.consumers[at].groups.push(name);
            }
        }
    }
}

/// A name, or a map that has one.
fn name_of(node: &Node) -> Option<&str> {
    node.text().or_else(|| ["name", "username", "id", "custom_id"].iter().find_map(|name| node.text_of(name)))
}

fn remark(plugin: &Node, whose: &str, into: &mut Gathered) {
    let name = plugin.text_of("name").unwrap_or_default();
    let text = match whose {
        "a consumer" => format!("the plugin {} is not of a consumer and is not carried over", quoted(name)),
        whose => format!("the plugin {} of {whose} is not carried over", quoted(name)),
    };
    into.remark(Some(Place::Line(plugin.line)), text);
}
