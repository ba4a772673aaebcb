//! What only the key file and the gateway's file together tell.

mod budget;
mod reach;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use self::budget::Budgets;
use self::reach::Reaches;
use super::{KeyFile, KeySpec, KeyState, StoredHash};
use crate::config::diagnostics::{Diagnostic, Report, Severity};
use crate::config::gateway::{Auth, Gateway, Place, QUOTA_HINT, QUOTA_IN_MEMORY, Route};
use crate::config::mask::quoted;
use crate::config::reader::did_you_mean;
use crate::config::source::SourceFile;

/// Of how many keys the same is said before the rest is counted.
const TOLD_MAX: usize = 100;

/// Warns of what an entry and the gateway's file do not have in common: a pepper, a plan or routes that are not there, rules
/// that let nothing through, requests that cost more than a limit holds, roles that nobody has. An entry without its pepper or
/// its plan is quarantined when the keys are put to use. Each report comes with the file that it is about: `gateway` was read
/// from `gateway_source`, `keys` from `source`.
pub fn cross_check(
    (gateway, gateway_source): (&Gateway, &Arc<SourceFile>),
    (keys, source): (&KeyFile, &Arc<SourceFile>),
) -> Report {
    let mut cross = Cross { gateway, keys, source, report: Report::default(), told: BTreeMap::new() };
    let mut reaches = Reaches::new(gateway);
    let mut budgets = Budgets::new(gateway);
    let mut quotas = (0, 0);
    for (number, key) in keys.keys.iter().enumerate() {
        cross.check_pepper(number, key);
        cross.check_plan(number, key);
        if !matches!(key.state, KeyState::Active | KeyState::Disabled) {
            // What is refused for good may name what is no longer there.
            continue;
        }
        let reach = reaches.of(key);
        reach.tell(key, |field, code, message, hint| cross.warn(number, Some(field), code, message, hint));
        budgets.check(key, reach, |field, message| {
            cross.warn(number, Some((field, None)), budget::CODE, message, budget::HINT.to_owned());
        });
        if key.rules.as_ref().is_some_and(|rules| rules.quota.is_some()) && gateway.server.state.is_none() {
            quotas = (quotas.0 + 1, if quotas.0 == 0 { number } else { quotas.1 });
        }
    }
    cross.tell_quotas(quotas);
    let mut report = cross.finish();
    let about_gateway = budgets.of_plans().chain(roles_nobody_has(gateway, keys));
    for (place, code, message, hint) in about_gateway {
        report.push(warning(gateway_source, code, span_of(place), message, hint));
    }
    report
}

struct Cross<'a> {
    gateway: &'a Gateway,
    keys: &'a KeyFile,
    source: &'a Arc<SourceFile>,
    report: Report,
    /// By its code, how often a warning has been given.
    told: BTreeMap<&'static str, usize>,
}

impl Cross<'_> {
    fn warn(
        &mut self,
        number: usize,
        field: Option<(&str, Option<usize>)>,
        code: &'static str,
        message: String,
        hint: String,
    ) {
        let told = self.told.entry(code).or_default();
        *told += 1;
        if *told <= TOLD_MAX {
            let span = self.place(number, field);
            self.report.push(warning(self.source, code, span, message, hint));
        }
    }

    fn check_pepper(&mut self, number: usize, key: &KeySpec) {
        if self.gateway.keys.pepper.is_none() && needs_pepper(key) {
            let message = format!("key `{}` has a peppered hash, and there is no pepper", key.id);
            let hint = "set `keys.pepper`; until then the key is refused".to_owned();
            self.warn(number, None, "missing-pepper", message, hint);
        }
    }

    fn check_plan(&mut self, number: usize, key: &KeySpec) {
        if let Some(plan) = &key.plan
            && !self.gateway.plans.contains_key(&**plan)
        {
            let message = format!("key `{}` has the plan {}, which does not exist", key.id, quoted(plan));
            let known = self.gateway.plans.keys().map(String::as_str);
            let hint = match did_you_mean(plan, known) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "each plan is a table `[plan.NAME]` of the gateway's file".to_owned(),
            };
            self.warn(number, Some(("plan", None)), "unknown-plan", message, hint);
        }
    }

    /// How many keys have quotas that nothing keeps, and the number of the first.
    fn tell_quotas(&mut self, (count, first): (usize, usize)) {
        let Some(key) = self.keys.keys.get(first).filter(|_| count > 0) else { return };
        let message = match count {
            1 => format!("the quota of key `{}` is counted in memory and starts anew at every restart", key.id),
            _ => format!(
                "the quotas of key `{}` and {} more are counted in memory and start anew at every restart",
                key.id,
                count - 1
            ),
        };
        self.warn(first, Some(("quota", None)), QUOTA_IN_MEMORY, message, QUOTA_HINT.to_owned());
    }

    /// Where an entry says something, or at least where it begins.
    fn place(&self, number: usize, field: Option<(&str, Option<usize>)>) -> Option<Range<usize>> {
        let place = self.keys.places.get(number)?;
        let start = place.start as usize;
        let end = self.keys.places.get(number + 1).map_or(self.source.text().len(), |next| next.start as usize);
        let found = field.and_then(|field| find(self.source.text().get(start..end)?, field));
        Some(found.map_or(start..place.end as usize, |found| start + found.start..start + found.end))
    }

    fn finish(mut self) -> Report {
        for (code, told) in std::mem::take(&mut self.told) {
            let rest = told.saturating_sub(TOLD_MAX);
            if rest > 0 {
                let message = format!("the same is true of {rest} more keys");
                self.report.push(warning(self.source, code, None, message, String::new()));
            }
        }
        self.report
    }
}

fn warning(
    file: &Arc<SourceFile>,
    code: &'static str,
    span: Option<Range<usize>>,
    message: String,
    hint: String,
) -> Diagnostic {
    let hint = Some(hint).filter(|hint| !hint.is_empty());
    Diagnostic { severity: Severity::Warning, code, file: Arc::clone(file), span, message, hint }
}

fn span_of(Place(place): Place) -> Option<Range<usize>> {
    Some(place).filter(|place| !place.is_empty())
}

/// A field of the first entry of a text, or an element of it.
fn find(text: &str, (field, element): (&str, Option<usize>)) -> Option<Range<usize>> {
    let (document, _) = DeTable::parse_recoverable(text);
    let DeValue::Array(entries) = document.get_ref().get("key")?.get_ref() else { return None };
    let DeValue::Table(entry) = entries.first()?.get_ref() else { return None };
    let value = entry.get(field)?;
    let element = element.and_then(|at| value.get_ref().as_array()?.get(at));
    Some(element.unwrap_or(value).span())
}

/// Something to say of the gateway's file: place, code, message, hint.
type Remark = (Place, &'static str, String, String);

/// Routes that ask for roles which no key has, or not all of them.
fn roles_nobody_has(gateway: &Gateway, keys: &KeyFile) -> impl Iterator<Item = Remark> {
    let routes = gateway.routes.iter().filter(|route| asks_for_keys(route) && !route.roles.is_empty());
    let routes: Vec<&Route> = routes.collect();
    // Lists are shared, so that there are few to look at.
    let mut lists: BTreeMap<*const Box<str>, &[Box<str>]> = BTreeMap::new();
    if !routes.is_empty() {
        lists.extend(keys.keys.iter().map(|key| (key.roles.as_ptr(), &*key.roles)));
    }
    let has_keys = !keys.keys.is_empty();
    routes.into_iter().filter(move |_| has_keys).filter_map(move |route| {
        let all = |list: &&[Box<str>]| route.roles.iter().all(|role| list.contains(role));
        if lists.values().any(all) {
            return None;
        }
        let name = quoted(&route.name);
        let unknown = route.roles.iter().find(|role| !lists.values().any(|list| list.contains(role)));
        let message = match unknown {
            Some(role) => format!("no key has the role {}, so that none may use the route {name}", quoted(role)),
            None => format!("no key has all of these roles, so that none may use the route {name}"),
        };
        let known = lists.values().flat_map(|list| list.iter().map(|role| &**role));
        let meant = unknown.and_then(|role| did_you_mean(role, known));
        let hint = meant.map_or_else(
            || "keys have `roles` in the key file; a key needs all that a route asks for".to_owned(),
            |word| format!("did you mean {}?", quoted(word)),
        );
        Some((route.roles_place.clone(), "unknown-role", message, hint))
    })
}

/// Whether the route looks at keys.
fn asks_for_keys(route: &Route) -> bool {
    route.auth != Auth::Open
}

/// Whether any hash of the entry was made with a pepper.
pub(crate) fn needs_pepper(key: &KeySpec) -> bool {
    key.hashes().any(|hash| matches!(hash, StoredHash::HmacSha256(_)))
}
