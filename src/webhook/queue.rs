//! What waits for one receiver, and when it is tried again. Plain values: the time is handed in.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Notice;

/// Alerts that wait for one receiver; of more the oldest is given up.
const WAITING_MAX: usize = 1_000;
/// After the first failure, milliseconds; doubled with each.
const PAUSE_MS: u64 = 1_000;
/// At most so long between two tries, milliseconds.
const PAUSE_MAX_MS: u64 = 10 * 60 * 1_000;
/// An alert that nobody took for so long is given up, microseconds.
pub(super) const AGE_MAX_US: i64 = 3 * 24 * 60 * 60 * 1_000_000;

/// One alert that waits.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) notice: Arc<Notice>,
    /// Where it is kept, if it is.
    pub(super) row: Option<i64>,
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing waits.
    Idle,
    /// Nothing before this time, milliseconds.
    Wait(u64),
    /// This is to be sent.
    Send(Item),
}

/// What waits for one receiver.
#[derive(Debug, Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    failures: u32,
    not_before_ms: u64,
}

impl Queue {
    /// Adds one; gives back those that there is no room for.
    pub(super) fn push(&mut self, item: Item) -> Option<Item> {
        self.items.push_back(item);
        if self.items.len() > WAITING_MAX { self.items.pop_front() } else { None }
    }

    /// Gives up what is too old.
    pub(super) fn take_old(&mut self, wall_us: i64) -> Vec<Item> {
        let (kept, old) = self.items.drain(..).partition(|item| wall_us - item.notice.at_us < AGE_MAX_US);
        self.items = kept;
        Vec::from(old)
    }

    /// The next step. What is to be sent stays, until it [`Queue::succeeded`].
    pub(super) fn next(&self, now_ms: u64) -> Step {
        match self.items.front() {
            None => Step::Idle,
            Some(_) if now_ms < self.not_before_ms => Step::Wait(self.not_before_ms),
            Some(item) => Step::Send(item.clone()),
        }
    }

    /// It was taken. True if others were not, before.
    pub(super) fn succeeded(&mut self, id: &str) -> bool {
        self.items.retain(|item| item.notice.id != id);
        self.not_before_ms = 0;
        std::mem::take(&mut self.failures) > 0
    }

    /// It was not taken: others go first, after a pause of which `random` is a part. True if it is the first failure.
    pub(super) fn failed(&mut self, id: &str, now_ms: u64, random: u8) -> bool {
        if let Some(at) = self.items.iter().position(|item| item.notice.id == id)
            && let Some(item) = self.items.remove(at)
        {
            self.items.push_back(item);
        }
        let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(20)).min(PAUSE_MAX_MS);
        // Between a half and the whole of it, so that many gateways do not come at the same moment.
        let pause = pause / 2 + pause / 2 * u64::from(random) / 255;
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms + pause;
        self.failures == 1
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// The last try failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.failures > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, at_us: i64) -> Item {
        let text = String::new;
        let notice = Notice {
            id: id.to_owned(),
            at_us,
            rule: text(),
            severity: text(),
            subject: text(),
            count: 1,
            window_s: 0,
            evidence: Vec::new(),
        };
        Item { notice: Arc::new(notice), row: None }
    }

    fn next(queue: &Queue, now_ms: u64) -> String {
        match queue.next(now_ms) {
            Step::Idle => "idle".to_owned(),
            Step::Wait(until) => format!("wait {until}"),
            Step::Send(item) => item.notice.id.clone(),
        }
    }

    #[test]
    fn what_fails_waits_longer_each_time_and_lets_others_go_first() {
        let mut queue = Queue::default();
        assert_eq!(next(&queue, 0), "idle");
        for id in ["a", "b"] {
            assert!(queue.push(item(id, 0)).is_none());
        }
        assert_eq!(next(&queue, 0), "a");
        assert!(queue.failed("a", 0, 255), "the first is news");
        assert_eq!((next(&queue, 998), next(&queue, 1_000)), ("wait 1000".to_owned(), "b".to_owned()));
        assert!(!queue.failed("b", 1_000, 0));
        assert_eq!((next(&queue, 1_999), next(&queue, 2_000)), ("wait 2000".to_owned(), "a".to_owned()));
        assert!(queue.succeeded("a"), "that it works again is news");
        assert_eq!(next(&queue, 2_000), "b", "and the others wait no longer");
        assert!(!queue.succeeded("b"));
        assert_eq!(next(&queue, 2_000), "idle");
    }

    #[test]
    fn no_pause_is_longer_than_ten_minutes() {
        let mut queue = Queue::default();
        queue.push(item("a", 0));
        for _ in 0..100 {
            queue.failed("a", 0, 255);
        }
        assert_eq!(next(&queue, 0), "wait 600000");
    }

    #[test]
    fn no_more_wait_than_there_is_room_for_and_none_for_ever() {
        let mut queue = Queue::default();
        for n in 0..WAITING_MAX {
            assert!(queue.push(item(&n.to_string(), n as i64)).is_none());
        }
        assert_eq!(queue.push(item("one more", AGE_MAX_US)).map(|gone| gone.notice.id.clone()), Some("0".to_owned()));
        let old: Vec<_> = queue.take_old(AGE_MAX_US + 2).iter().map(|item| item.notice.id.clone()).collect();
        assert_eq!((old, queue.len()), (vec!["1".to_owned(), "2".to_owned()], WAITING_MAX - 2));
    }
}
