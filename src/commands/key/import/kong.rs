//! `kong`: decK's declarative file, or what `kong config db_export` writes, in YAML or JSON. Consumers are whom keys belong
//! to, groups of `acls` become roles, and `rate-limiting` of a consumer becomes limits of each of its keys.

mod limits;
mod parts;

use std::time::Duration;

use jiff::Timestamp;

use self::limits::plugin;
use self::parts::{Consumer, Parts};
use super::draft::{Draft, Gathered, Place};
use super::times::epoch;
use super::yaml::Node;
use crate::cli::when::later;
use crate::commands::console::Failure;
use crate::config::mask::quoted;

/// Lists of a consumer that hold credentials of another kind.
const OTHER_CREDENTIALS: [&str; 8] = [
    "basicauth_credentials",
    "hmacauth_credentials",
    "jwt_secrets",
    "keyauth_enc_credentials",
    "mtls_auth_credentials",
    "oauth2_credentials",
    "ldap_auth_credentials",
    "consumer_certificates",
];

pub(super) fn read(document: &Node, into: &mut Gathered) -> Result<(), Failure> {
    let parts = Parts::of(document, into)?;
    for consumer in &parts.consumers {
        let kinds = OTHER_CREDENTIALS.iter().filter(|kind| consumer.node.items_of(kind).next().is_some());
        let others: Vec<_> = kinds.map(|kind| format!("`{kind}`")).collect();
        if !others.is_empty() {
            let text = format!("the {} of {} are not carried over", others.join(", "), quoted(consumer.name()));
            into.remark(Some(Place::Line(consumer.node.line)), text);
        }
        if consumer.keys.is_empty() {
            let text = format!("the consumer {} has no key", quoted(consumer.name()));
            into.remark(Some(Place::Line(consumer.node.line)), text);
        }
        for credential in &consumer.keys {
            take(consumer, credential, &parts, into)?;
        }
    }
    Ok(())
}

fn take(consumer: &Consumer<'_>, credential: &Node, parts: &Parts<'_>, into: &mut Gathered) -> Result<(), Failure> {
    let (place, name) = (Place::Line(credential.line), consumer.name());
    let Some(key) = credential.text_of("key") else {
        return into.refuse(place, name, "it has no `key`");
    };
    let mut draft = Draft::of(name);
    match expiry(credential, into.now) {
        Ok(expires) => draft.expires = expires,
        Err(why) => return into.refuse(place, name, why),
    }
    if draft.expires.is_some() {
        draft.remark("its `ttl` is counted from now");
    }
    draft.created = credential.text_of("created_at").and_then(|time| epoch(time, into.now));
    for group in &consumer.groups {
        draft.role(group);
    }
    identify(consumer, credential, &mut draft);
    for node in &consumer.plugins {
        plugin(node, parts.shared(node), &mut draft);
    }
    if consumer.keys.len() > 1 && (!draft.limits.is_empty() || draft.quota.is_some()) {
        let keys = consumer.keys.len();
        draft.remark(format!("its consumer's {keys} keys had one budget together; here each has its own"));
    }
    into.key(place, draft, key)
}

/// `ttl` is in seconds; none, null and zero are no end.
fn expiry(credential: &Node, now: Timestamp) -> Result<Option<Timestamp>, &'static str> {
    if credential.get("ttl").is_none() {
        return Ok(None);
    }
    match credential.number_of("ttl").ok_or("its `ttl` is no number of seconds")? {
        0 => Ok(None),
        seconds => later(now, Duration::from_secs(seconds)).map(Some).map_err(|_| "its `ttl` reaches too far"),
    }
}

/// What Kong tells upstreams of a consumer besides its name, and what people find it by.
fn identify(consumer: &Consumer<'_>, credential: &Node, draft: &mut Draft) {
    if let Some(id) = consumer.node.text_of("custom_id") {
        draft.meta("custom_id", id);
    }
    if let Some(id) = credential.text_of("id") {
        draft.meta("credential", id);
    }
    let mut tags: Vec<_> = consumer.node.items_of("tags").filter_map(Node::text).collect();
    for tag in credential.items_of("tags").filter_map(Node::text) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    if !tags.is_empty() {
        draft.meta("tags", &tags.join(", "));
    }
}
