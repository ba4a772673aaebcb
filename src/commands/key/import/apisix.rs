//! `apisix`: the consumers of apisix.yaml, as the standalone mode has them, with their credentials. A credential stands in
//! the list of consumers with the id `CONSUMER/credentials/ID`; one that stands within its consumer is taken, too.

use std::collections::HashMap;

use super::draft::{Draft, Gathered, Place};
use super::rates::rate;
use super::times::epoch;
use super::yaml::Node;
use crate::commands::console::Failure;
use crate::config::mask::quoted;

const KEY_AUTH: &str = "key-auth";
const LIMIT_COUNT: &str = "limit-count";
const OF_CREDENTIALS: &str = "/credentials/";
/// What is counted once for a consumer, however it is called there.
const PER_CONSUMER: [&str; 2] = ["consumer_name", "$consumer_name"];

/// A consumer and what is its own.
struct Consumer<'n> {
    node: &'n Node,
    name: &'n str,
    /// Where its keys are: it, or its credentials.
    holders: Vec<&'n Node>,
}

pub(super) fn read(document: &Node, into: &mut Gathered) -> Result<(), Failure> {
    let groups: HashMap<_, _> =
        document.items_of("consumer_groups").filter_map(|group| Some((group.text_of("id")?, group))).collect();
    for (name, line) in document.names() {
        if !["consumers", "consumer_groups"].contains(&name) {
            into.remark(Some(Place::Line(line)), format!("{} are no keys and stay behind", quoted(name)));
        }
    }
    for consumer in consumers(document, into)? {
        let keys: Vec<_> = consumer.holders.iter().filter_map(|holder| Some((*holder, key_of(holder)?))).collect();
        if keys.is_empty() {
            let what = format!("the consumer {} has no `{KEY_AUTH}`", quoted(consumer.name));
            into.remark(Some(Place::Line(consumer.node.line)), what);
        }
        for (holder, key) in &keys {
            let draft = drafted(&consumer, holder, &groups, keys.len(), into);
            let place = Place::Line(key.line);
            match key.text_of("key") {
                Some(key) => into.key(place, draft, key)?,
                None => into.refuse(place, consumer.name, "it has no `key`")?,
            }
        }
    }
    Ok(())
}

/// The consumers in order, each with its credentials.
fn consumers<'n>(document: &'n Node, into: &mut Gathered) -> Result<Vec<Consumer<'n>>, Failure> {
    let mut consumers: Vec<Consumer<'n>> = Vec::new();
    let (mut by_name, mut credentials) = (HashMap::new(), Vec::new());
    for node in document.items_of("consumers") {
        let id = node.text_of("id").unwrap_or_default();
        if let Some((owner, _)) = id.split_once(OF_CREDENTIALS) {
            credentials.push((owner, node));
            continue;
        }
        let name = node.text_of("username").unwrap_or(id);
        let holders = std::iter::once(node).chain(node.items_of("credentials")).collect();
        by_name.insert(name, consumers.len());
        consumers.push(Consumer { node, name, holders });
    }
    for (owner, node) in credentials {
        match by_name.get(owner) {
            Some(at) => consumers[*at].holders.push(node),
            None => into.refuse(Place::Line(node.line), owner, "the consumer of this credential is not in the file")?,
        }
    }
    Ok(consumers)
}

/// The `key-auth` of a consumer or a credential.
fn key_of(holder: &Node) -> Option<&Node> {
    let within = holder.get("plugins").and_then(|plugins| plugins.get(KEY_AUTH));
    // As the command adc writes a credential.
    let typed = || holder.get("config").filter(|_| holder.text_of("type") == Some(KEY_AUTH));
    within.or_else(typed).filter(|plugin| !is_off(plugin))
}

fn is_off(plugin: &Node) -> bool {
    plugin.get("_meta").is_some_and(|meta| meta.affirms("disable"))
}

fn drafted(
    consumer: &Consumer<'_>,
    holder: &Node,
    groups: &HashMap<&str, &Node>,
    keys: usize,
    into: &Gathered,
) -> Draft {
    let mut draft = Draft::of(consumer.name);
    let created = holder.text_of("create_time").or_else(|| consumer.node.text_of("create_time"));
    draft.created = created.and_then(|time| epoch(time, into.now));
    draft.note = holder.text_of("desc").or_else(|| consumer.node.text_of("desc")).map(str::to_owned);
    for labels in [consumer.node, holder].iter().filter_map(|node| node.get("labels")) {
        for (name, value) in labels.pairs() {
            match value.text() {
                Some(value) => draft.meta(name, value),
                None => draft.remark(format!("its label {} is no text and is not carried over", quoted(name))),
            }
        }
    }
    if let Some((_, id)) = holder.text_of("id").and_then(|id| id.split_once(OF_CREDENTIALS)) {
        draft.meta("credential", id);
    }
    plugins(consumer.node, &mut draft);
    if !std::ptr::eq(holder, consumer.node) {
        plugins(holder, &mut draft);
    }
    if let Some(id) = consumer.node.text_of("group_id") {
        draft.role(id);
        match groups.get(id) {
            Some(group) => of_group(group, &mut draft),
            None => draft.remark(format!("its group {} is not in the file: it is a role here", quoted(id))),
        }
    }
    if keys > 1 && !draft.limits.is_empty() {
        draft.remark(format!("its consumer's {keys} keys had one budget together; here each has its own"));
    }
    draft
}

/// What a group says holds where its consumer says nothing.
fn of_group(group: &Node, draft: &mut Draft) {
    if draft.limits.is_empty() {
        return plugins(group, draft);
    }
    if group.get("plugins").is_some_and(|plugins| plugins.get(LIMIT_COUNT).is_some()) {
        draft.remark("the limit of its group is not carried over: its own counts, as there");
    }
}

fn plugins(node: &Node, draft: &mut Draft) {
    for (name, plugin) in node.get("plugins").into_iter().flat_map(Node::pairs) {
        match name {
            KEY_AUTH => {}
            _ if is_off(plugin) => {}
            LIMIT_COUNT => limit_count(plugin, draft),
            _ => draft.remark(format!("the plugin {} is not carried over", quoted(name))),
        }
    }
}

fn limit_count(plugin: &Node, draft: &mut Draft) {
    let rules: Vec<_> = plugin.items_of("rules").collect();
    for rule in if rules.is_empty() { vec![plugin] } else { rules } {
        let numbers = rule.number_of("count").zip(rule.number_of("time_window"));
        match numbers.and_then(|(count, seconds)| rate(count, seconds)) {
            Some(rate) => draft.limit(rate),
            None => {
                draft.remark(format!(
                    "warning: a limit of `{LIMIT_COUNT}` is not carried over: it is no rate of numbers"
                ));
                continue;
            }
        }
        let key = rule.text_of("key").unwrap_or("remote_addr");
        if plugin.text_of("key_type") != Some("constant") && !PER_CONSUMER.contains(&key) {
            draft.remark(format!("its limit was counted for each {} alone; here it is for the key", quoted(key)));
        }
    }
    if plugin.text_of("policy").is_some_and(|policy| policy != "local") {
        draft.remark("its limit was counted for all gateways together; here each counts for itself");
    }
}
