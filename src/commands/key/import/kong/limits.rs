//! Plugins of a consumer, of which those that limit rates become limits.
//!
//! Kong counts in windows that begin on the clock's second, minute, hour, day, month and year, all in UTC. A limit here is a
//! bucket that is refilled all the time; it holds as much, so that whoever kept Kong's limit keeps this one. `month` becomes
//! a quota, which begins anew on the first of the month as Kong's does and outlives a restart; there is one quota to a key,
//! so `day` is a limit. There is no period of a year: `year` becomes a limit of 365 days.

use super::super::draft::Draft;
use super::super::rates::rate;
use super::super::yaml::Node;
use crate::config::mask::quoted;
use crate::vocab::period::QUOTA_MAX;

const RATE_LIMITING: &str = "rate-limiting";
const RATE_LIMITING_ADVANCED: &str = "rate-limiting-advanced";
const MONTH: &str = "month";
/// And how many seconds they have.
const WINDOWS: [(&str, u64); 5] =
    [("second", 1), ("minute", 60), ("hour", 3_600), ("day", 86_400), ("year", 365 * 86_400)];
/// What is counted for a key, or for its consumer.
const PER_KEY: [&str; 2] = ["consumer", "credential"];

/// Takes over what a plugin says. `shared` is what it has from elsewhere.
pub(super) fn plugin(plugin: &Node, shared: Option<&Node>, draft: &mut Draft) {
    let name = plugin.text_of("name").unwrap_or_default();
    if plugin.denies("enabled") {
        return;
    }
    let scope = ["route", "service"].into_iter().find(|scope| plugin.get(scope).is_some());
    match (name, scope) {
        (RATE_LIMITING | RATE_LIMITING_ADVANCED, Some(scope)) => {
            draft.remark(format!("warning: its limit for one {scope} alone is not carried over"));
        }
        (RATE_LIMITING, None) => Settings { plugin, shared }.windows(draft),
        (RATE_LIMITING_ADVANCED, None) => Settings { plugin, shared }.pairs(draft),
        _ => draft.remark(format!("the plugin {} is not carried over", quoted(name))),
    }
}

struct Settings<'n> {
    plugin: &'n Node,
    shared: Option<&'n Node>,
}

impl<'n> Settings<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        let own = self.plugin.get("config").and_then(|config| config.get(name));
        own.or_else(|| self.shared?.get(name))
    }

    fn number(&self, name: &str) -> Option<u64> {
        whole(self.get(name)?)
    }

    fn windows(&self, draft: &mut Draft) {
        for (name, seconds) in WINDOWS {
            match (self.get(name), self.number(name).and_then(|count| rate(count, seconds))) {
                (None, _) => {}
                (Some(_), Some(rate)) => draft.limit(rate),
                (Some(_), None) => lost(name, draft),
            }
        }
        if self.get("year").is_some() {
            draft.remark("its limit for a year is one for 365 days, which a restart forgets");
        }
        if self.get(MONTH).is_some() {
            match self.number(MONTH).filter(|count| draft.quota.is_none() && (1..=QUOTA_MAX).contains(count)) {
                Some(count) => draft.quota = Some(format!("{count}/{MONTH}")),
                None => lost(MONTH, draft),
            }
        }
        self.counted("limit_by", "policy", &["local"], draft);
    }

    /// Of the advanced plugin: so many limits, and as many windows.
    fn pairs(&self, draft: &mut Draft) {
        let numbers = |name| self.get(name).into_iter().flat_map(Node::items).map(whole);
        for (count, seconds) in numbers("limit").zip(numbers("window_size")) {
            match count.zip(seconds).and_then(|(count, seconds)| rate(count, seconds)) {
                Some(rate) => draft.limit(rate),
                None => lost("limit", draft),
            }
        }
        self.counted("identifier", "strategy", &["local"], draft);
    }

    /// Says what was counted otherwise.
    fn counted(&self, by: &str, where_: &str, here: &[&str], draft: &mut Draft) {
        let by = self.get(by).and_then(Node::text).unwrap_or("consumer");
        if !PER_KEY.contains(&by) {
            draft.remark(format!("its limit was counted for each {} alone; here it is for the key", quoted(by)));
        }
        if self.get(where_).and_then(Node::text).is_some_and(|place| !here.contains(&place)) {
            draft.remark("its limit was counted for all gateways together; here each counts for itself");
        }
    }
}

fn whole(node: &Node) -> Option<u64> {
    let text = node.text()?;
    text.strip_suffix(".0").unwrap_or(text).parse().ok()
}

fn lost(name: &str, draft: &mut Draft) {
    draft.remark(format!("warning: its limit `{name}` is not carried over: it is no number that a limit can be"));
}
