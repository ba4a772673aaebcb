//! The line of a key in a response: `event = "alert"`, `alert.rule = "leak_in_response"`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::line::Line;
use crate::record::{Leak, Record};
use crate::vocab::digest::push_hex;

/// Subjects whose last alert is remembered. Of more the one told of longest ago is forgotten, and may be told of again.
const SUBJECTS_MAX: usize = 1_024;

/// Whom alerts were raised about, and when; shared by all workers. It is locked where a key has leaked, and nowhere else.
#[derive(Debug, Default)]
pub struct Told {
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

/// What is to be told of a leak, unless its subject was told of within the cooldown.
pub(super) struct Alert<'a> {
    record: &'a Record,
    leak: &'a Leak,
    subject: String,
    count: u64,
}

impl<'a> Alert<'a> {
    pub(super) fn of(record: &'a Record, told: &Told) -> Option<Self> {
        let leak = record.transfer.leak.as_deref()?;
        let subject = match (&record.trail.key, &record.transfer.upstream) {
            (Some(key), _) => format!("key:{}", key.id()),
            (None, Some(upstream)) => format!("upstream:{}", upstream.name),
            (None, None) => "gateway".to_owned(),
        };
        let count = told.take(&subject, leak.count, record.ended_us, record.settings.leaks.cooldown)?;
        Some(Self { record, leak, subject, count })
    }

    pub(super) fn write(&self, line: &mut Line<'_>) {
        line.word("alert.id", &self.id())
            .word("alert.rule", "leak_in_response")
            .word("alert.severity", "critical")
            .text("alert.subject", self.subject.as_bytes())
            .number("alert.count", self.count)
            .number("alert.window_s", 0)
            .lists("alert.evidence", self.evidence().iter().map(|(name, value)| (*name, value.as_str())));
    }

    /// The same alert, found again in the same lines, has the same name.
    fn id(&self) -> String {
        let text = format!("leak_in_response {} {}", self.subject, self.record.ended_us);
        let mut id = String::new();
        push_hex(&mut id, Sha256::digest(text.as_bytes()).first_chunk::<16>().map_or(&[][..], |first| first));
        id
    }

    fn evidence(&self) -> Vec<(&'static str, String)> {
        let Record { facts, trail, transfer, .. } = self.record;
        let mut evidence = vec![
            ("request_id", facts.request_id.as_str().to_owned()),
            ("leak.what", self.leak.what.as_str().to_owned()),
            ("leak.place", self.leak.place.to_string()),
            ("leak.action", self.leak.action.as_str().to_owned()),
        ];
        evidence.extend(trail.fingerprint.map(|it| ("key.fingerprint", it.as_str().to_owned())));
        evidence.extend(trail.route.as_ref().map(|route| ("http.route", route.name.to_string())));
        evidence.extend(transfer.upstream.as_ref().map(|upstream| ("upstream.name", upstream.name.to_string())));
        evidence.extend(transfer.attempts.address.as_ref().map(|address| ("upstream.address", address.to_string())));
        evidence
    }
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
