//! What a key file needs from the gateway's file.

use std::sync::Arc;

use super::{KeyFile, StoredHash};
use crate::config::diagnostics::{Diagnostic, Report, Severity};
use crate::config::gateway::Gateway;
use crate::config::mask::quoted;
use crate::config::reader::did_you_mean;
use crate::config::source::SourceFile;

/// Warns of entries that need a pepper where there is none (they are quarantined when the keys are put to use), and of
/// plans that do not exist. `source` is the file that `keys` was read from.
pub fn cross_check(gateway: &Gateway, keys: &KeyFile, source: &Arc<SourceFile>) -> Report {
    let mut report = Report::default();
    for (number, key) in keys.keys.iter().enumerate() {
        let mut warn = |code, message, hint| {
            report.push(Diagnostic {
                severity: Severity::Warning,
                code,
                file: Arc::clone(source),
                span: keys.places.get(number).map(|place| place.start as usize..place.end as usize),
                message,
                hint: Some(hint),
            });
        };
        if gateway.keys.pepper.is_none() && needs_pepper(key) {
            let message = format!("key `{}` has a peppered hash, and there is no pepper", key.id);
            let hint = "set `keys.pepper`; until then the key is refused".to_owned();
            warn("missing-pepper", message, hint);
        }
        if let Some(plan) = &key.plan
            && !gateway.plans.contains_key(&**plan)
        {
            let message = format!("key `{}` has the plan {}, which does not exist", key.id, quoted(plan));
            let known = gateway.plans.keys().map(String::as_str);
            let hint = match did_you_mean(plan, known) {
                Some(word) => format!("did you mean `{word}`?"),
                None => "each plan is a table `[plan.NAME]` of the gateway's file".to_owned(),
            };
            warn("unknown-plan", message, hint);
        }
    }
    report
}

/// Whether any hash of the entry was made with a pepper.
pub(crate) fn needs_pepper(key: &super::KeySpec) -> bool {
    key.hashes().any(|hash| matches!(hash, StoredHash::HmacSha256(_)))
}
