//! The line of a key in a response: `event = "alert"`, `alert.rule = "leak_in_response"`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::line::Line;
use crate::record::{Leak, Record};
use crate::vocab::digest::push_hex;
use crate::webhook::{Notice, Outlet};

/// Subjects whose last alert is remembered. Of more the one told of longest ago is forgotten, and may be told of again.
const SUBJECTS_MAX: usize = 1_024;

/// The rule's name.
const RULE: &str = "leak_in_response";

/// Whom alerts were raised about, and when; shared by all workers. It is locked where a key has leaked, and nowhere else.
#[derive(Debug, Default)]
struct Told {
    subjects: Mutex<HashMap<Box<str>, Subject>>,
}

#[derive(Debug)]
struct Subject {
    told_us: i64,
    /// Found since then.
    more: u64,
}

impl Told {
    /// How often something was found that is not told yet, if it is time to tell.
    fn take(&self, subject: &str, count: u64, at_us: i64, cooldown: Duration) -> Option<u64> {
        let cooldown = i64::try_from(cooldown.as_micros()).unwrap_or(i64::MAX);
        let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = subjects.get_mut(subject) {
            let count = known.more + count;
            if at_us.saturating_sub(known.told_us) < cooldown {
                known.more = count;
                return None;
            }
            *known = Subject { told_us: at_us, more: 0 };
            return Some(count);
        }
        if subjects.len() >= SUBJECTS_MAX {
            let oldest = subjects.iter().min_by_key(|(_, known)| known.told_us).map(|(name, _)| name.clone());
            oldest.map(|name| subjects.remove(&name));
        }
        subjects.insert(subject.into(), Subject { told_us: at_us, more: 0 });
        Some(count)
    }
}

/// Tells of leaks, for all workers.
#[derive(Default)]
pub struct Leaks {
    told: Told,
    outlet: Option<Outlet>,
}

impl Leaks {
    /// What it tells goes there, too.
    pub fn new(outlet: Outlet) -> Self {
        Self { told: Told::default(), outlet: Some(outlet) }
    }

    /// What is to be told of a record, unless nothing is, or its subject was told of within the cooldown.
    pub(super) fn alert(&self, record: &Record) -> Option<Notice> {
        let leak = record.transfer.leak.as_deref()?;
        let subject = match (&record.trail.key, &record.transfer.upstream) {
            (Some(key), _) => format!("key:{}", key.id()),
            (None, Some(upstream)) => format!("upstream:{}", upstream.name),
            (None, None) => "gateway".to_owned(),
        };
        let count = self.told.take(&subject, leak.count, record.ended_us, record.settings.leaks.cooldown)?;
        Some(Notice {
            id: id(&subject, record.ended_us),
            at_us: record.ended_us,
            rule: RULE.to_owned(),
            severity: "critical".to_owned(),
            subject,
            count,
            window_s: 0,
            evidence: evidence(record, leak),
        })
    }

    /// Hands an alert over to be sent.
    pub(super) fn send(&self, alert: Notice) {
        if let Some(outlet) = &self.outlet {
            outlet.send(alert);
        }
    }
}

/// The fields of an alert's line.
pub(super) fn write(line: &mut Line<'_>, alert: &Notice) {
    let evidence = alert.evidence.iter();
    let evidence = evidence.flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())));
    line.word("alert.id", &alert.id)
        .word("alert.rule", &alert.rule)
        .word("alert.severity", &alert.severity)
        .text("alert.subject", alert.subject.as_bytes())
        .number("alert.count", alert.count)
        .number("alert.window_s", alert.window_s)
        .lists("alert.evidence", evidence);
}

/// The same alert, found again in the same lines, has the same name.
fn id(subject: &str, at_us: i64) -> String {
    let digest = Sha256::digest(format!("{RULE} {subject} {at_us}").as_bytes());
    let mut id = String::new();
    push_hex(&mut id, &digest[..16]);
    id
}

fn evidence(record: &Record, leak: &Leak) -> Vec<(String, Vec<String>)> {
    let Record { facts, trail, transfer, .. } = record;
    let evidence = [
        ("request_id", Some(facts.request_id.as_str().to_owned())),
        ("leak.what", Some(leak.what.as_str().to_owned())),
        ("leak.place", Some(leak.place.to_string())),
        ("leak.action", Some(leak.action.as_str().to_owned())),
        ("key.fingerprint", trail.fingerprint.map(|it| it.as_str().to_owned())),
        ("http.route", trail.route.as_ref().map(|route| route.name.to_string())),
        ("upstream.name", transfer.upstream.as_ref().map(|upstream| upstream.name.to_string())),
        ("upstream.address", transfer.attempts.address.as_ref().map(ToString::to_string)),
    ];
    evidence.into_iter().filter_map(|(name, value)| Some((name.to_owned(), vec![value?]))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_told_of_once_within_the_cooldown_and_then_with_all_that_came_meanwhile() {
        let (told, second) = (Told::default(), Duration::from_secs(1));
        for (subject, at_us, expected) in [
            ("key:a", 0, Some(2)),
            ("key:a", 999_999, None),
            ("key:b", 999_999, Some(2)),
            ("key:a", 999_999, None),
            ("key:a", 1_000_000, Some(6)),
            ("key:a", 1_000_001, None),
            ("key:a", 2_000_000, Some(4)),
        ] {
            assert_eq!(told.take(subject, 2, at_us, second), expected, "{subject} at {at_us}");
        }
    }

    #[test]
    fn it_remembers_no_more_than_it_may() {
        let told = Told::default();
        for n in 0..2_000 {
            assert_eq!(told.take(&format!("key:{n}"), 1, n, Duration::from_mins(1)), Some(1));
        }
        assert_eq!(told.subjects.lock().expect("nobody panics").len(), SUBJECTS_MAX);
        assert_eq!(told.take("key:1999", 1, 2_000, Duration::from_mins(1)), None);
    }
}
