use std::collections::HashMap;
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;

use proptest::collection::vec;

use super::*;
use crate::vocab::clock::Clock;
use crate::vocab::units::parse_rate;

const SECOND: u64 = 1_000_000_000;
const HOUR: Duration = Duration::from_hours(1);

fn lockout(rate: &str, first: Duration) -> (Lockout, Clock) {
    let policy = Policy::new(&parse_rate(rate).expect("a rate"));
    (Lockout::new(Arc::new(policy), first), Clock::manual(Duration::ZERO))
}

fn client(n: u32) -> Client {
    Client::V4(n.to_be_bytes())
}

/// Credentials that are refused one after the other, until one is answered by a lock-out; how many were before.
fn fail(lockout: &Lockout, client: Client, now: u64) -> usize {
    (0..1_000).take_while(|_| lockout.failed(client, now).is_none()).count()
}

#[test]
fn the_budget_is_answered_and_what_follows_is_locked_out_exactly_until_the_end() {
    for (rate, budget) in [("20/m", 20), ("1/m", 1), ("3/h burst 7", 7), ("100/s", 100)] {
        let (lockout, clock) = lockout(rate, Duration::from_secs(300));
        for n in 1..=budget {
            assert!(lockout.locked(client(1), clock.mono()).is_none(), "{rate}: {n}");
            assert!(lockout.failed(client(1), clock.mono()).is_none(), "{rate}: {n}");
        }
        let reading = lockout.locked(client(1), clock.mono()).expect("locked out");
        assert_eq!((&*reading.label.text, reading.remaining, reading.enough), (rate, 0, false));
        assert_eq!((reading.wait, reading.refill), (300 * SECOND, 300 * SECOND));
        assert!(lockout.locked(client(2), clock.mono()).is_none(), "another address");

        clock.advance(Duration::from_secs(299));
        assert_eq!(lockout.locked(client(1), clock.mono()).map(|it| it.retry_after_s()), Some(1));
        clock.advance(Duration::from_nanos(SECOND - 1));
        assert_eq!(lockout.locked(client(1), clock.mono()).map(|it| it.wait), Some(1));
        assert_eq!(lockout.failed(client(1), clock.mono()).map(|it| it.wait), Some(1), "and this did not prolong it");
        clock.advance(Duration::from_nanos(1));
        assert!(lockout.locked(client(1), clock.mono()).is_none(), "{rate}");
        assert_eq!(fail(&lockout, client(1), clock.mono()), budget, "the bucket is full again");
    }
}

#[test]
fn who_fails_no_faster_than_the_budget_is_refilled_is_never_locked_out() {
    let (lockout, clock) = lockout("20/m", Duration::from_secs(300));
    for _ in 0..1_000 {
        assert!(lockout.failed(client(1), clock.mono()).is_none());
        clock.advance(Duration::from_secs(3));
        assert!(lockout.locked(client(1), clock.mono()).is_none());
    }
}

#[test]
fn an_ipv6_subscriber_is_one_and_a_unix_socket_is_never_locked_out() {
    let (lockout, clock) = lockout("2/m", Duration::from_secs(300));
    let address = |text: &str| Client::from(text.parse::<std::net::IpAddr>().expect("an address"));
    for failing in ["2001:db8::1", "2001:db8::2"] {
        assert!(lockout.failed(address(failing), clock.mono()).is_none());
    }
    assert!(lockout.locked(address("2001:db8::3"), clock.mono()).is_some());
    assert!(lockout.locked(address("2001:db8:0:1::1"), clock.mono()).is_none());
    assert_eq!(fail(&lockout, Client::Unix, clock.mono()), 1_000);
    assert!(lockout.locked(Client::Unix, clock.mono()).is_none());
}

#[test]
fn a_repeat_is_twice_as_long_up_to_a_day_and_a_quiet_day_makes_good() {
    let (lockout, clock) = lockout("2/m", HOUR);
    let round = |quiet: Duration| {
        clock.advance(quiet);
        assert_eq!(fail(&lockout, client(1), clock.mono()), 2);
        let wait = lockout.locked(client(1), clock.mono()).expect("locked out").wait;
        clock.advance(Duration::from_nanos(wait));
        wait / HOUR.as_nanos() as u64
    };
    let almost_a_day = Duration::from_hours(24) - Duration::from_nanos(1);
    assert_eq!([0; 7].map(|_| round(Duration::ZERO)), [1, 2, 4, 8, 16, 24, 24]);
    assert_eq!([round(almost_a_day), round(Duration::from_hours(24)), round(almost_a_day)], [24, 1, 2]);
    for _ in 0..100 {
        round(Duration::ZERO);
    }
    assert_eq!(round(Duration::ZERO), 24, "however often");
}

#[test]
fn a_first_one_of_more_than_a_day_is_not_doubled() {
    let (lockout, clock) = lockout("1/m", Duration::from_hours(48));
    for _ in 0..3 {
        assert_eq!(fail(&lockout, client(1), clock.mono()), 1);
        let wait = lockout.locked(client(1), clock.mono()).expect("locked out").wait;
        assert_eq!(wait, nanos(Duration::from_hours(48)));
        clock.advance(Duration::from_nanos(wait));
    }
}

#[test]
fn a_new_length_is_for_new_lockouts() {
    let (lockout, clock) = lockout("1/m", HOUR);
    let wait = |n| lockout.locked(client(n), clock.mono()).map(|it| it.wait / SECOND);
    assert_eq!(fail(&lockout, client(1), clock.mono()), 1);
    lockout.set_first(Duration::from_secs(60));
    assert_eq!(fail(&lockout, client(2), clock.mono()), 1);
    assert_eq!((wait(1), wait(2)), (Some(3600), Some(60)));
}

#[test]
fn many_threads_have_one_budget() {
    for _ in 0..20 {
        let (lockout, clock) = lockout("20/m", HOUR);
        let answered = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        if lockout.failed(client(1), clock.mono()).is_none() {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(answered.into_inner(), 20);
        assert_eq!(lockout.news(clock.mono()).len(), 1);
    }
}

/// `+ADDRESS/TIMES`, `-ADDRESS/TIMES`, `MORE`.
fn words(changes: &[Change]) -> Vec<String> {
    let word = |change: &Change| match change {
        Change::Begun(told) => format!("+{}/{}", told.client, told.times),
        Change::Ended(told) => format!("-{}/{}", told.client, told.times),
        Change::Untold(more) => more.to_string(),
    };
    changes.iter().map(word).collect()
}

#[test]
fn begin_and_end_are_told_once_and_in_order() {
    let (lockout, clock) = lockout("1/m", Duration::from_secs(60));
    let news = || words(&lockout.news(clock.mono()));
    fail(&lockout, client(1), clock.mono());
    clock.advance(Duration::from_secs(30));
    fail(&lockout, client(2), clock.mono());
    assert_eq!(news(), ["+0.0.0.1/1", "+0.0.0.2/1"]);
    assert!(news().is_empty());
    clock.advance(Duration::from_secs(30));
    fail(&lockout, client(1), clock.mono());
    assert_eq!(news(), ["-0.0.0.1/1", "+0.0.0.1/2"], "nobody asked in between");
    clock.advance(Duration::from_secs(3600));
    let last = lockout.news(clock.mono());
    assert_eq!(words(&last), ["-0.0.0.2/1", "-0.0.0.1/2"]);
    let lengths = |changes: &[Change]| -> Vec<u64> {
        let length = |change: &Change| match change {
            Change::Begun(told) | Change::Ended(told) => told.length / SECOND,
            Change::Untold(_) => 0,
        };
        changes.iter().map(length).collect()
    };
    assert_eq!(lengths(&last), [60, 120]);
    assert!(news().is_empty());

    fail(&lockout, client(3), clock.mono());
    clock.advance(Duration::from_secs(20));
    let all = lockout.last_news(clock.mono());
    assert_eq!((words(&all), lengths(&all)), (vec!["+0.0.0.3/1".into(), "-0.0.0.3/1".into()], vec![60, 20]));
    clock.advance(Duration::from_secs(3600));
    assert!(news().is_empty());
}

#[test]
fn what_is_to_be_told_has_a_bound_and_the_rest_is_counted() {
    let (lockout, clock) = lockout("1/m", Duration::from_secs(60));
    // Few enough for no set to have more of them than places, by any chance worth the name.
    for n in 0..6_000 {
        fail(&lockout, client(n), clock.mono());
    }
    let changes = lockout.news(clock.mono());
    let Some((Change::Untold(more), told)) = changes.split_last() else { panic!("some are told by their number") };
    assert!(told.iter().all(|change| matches!(change, Change::Begun(_))));
    assert!(told.len() <= 8_192 && told.len() as u64 + more == 6_000, "{} and {more}", told.len());
    const { assert!(News::BYTES_MAX <= 1 << 20) };
    clock.advance(Duration::from_secs(60));
    let ends = lockout.news(clock.mono());
    assert!(ends.len() == told.len() && ends.iter().all(|change| matches!(change, Change::Ended(_))));
}

#[test]
fn a_million_addresses_neither_free_nor_lock_out_anybody() {
    const MANY: u32 = 1_000_000;
    let (lockout, clock) = lockout("5/m", HOUR);
    let (early, many, clean) = (0x0a00_0000, 0x1400_0000, 0x1e00_0000);
    for n in 0..1_000 {
        assert_eq!(fail(&lockout, client(early + n), clock.mono()), 5);
    }
    for n in 0..MANY {
        clock.advance(Duration::from_micros(10));
        assert!(lockout.failed(client(many + n), clock.mono()).is_none());
    }
    assert!((0..1_000).all(|n| lockout.locked(client(early + n), clock.mono()).is_some()), "one was freed");
    assert!(
        (0..MANY).step_by(7).all(|n| lockout.locked(client(many + n), clock.mono()).is_none()),
        "none failed twice"
    );

    // All of the places and more are locked out now, and of those that are the last are still known.
    for n in 0..MANY / 5 {
        clock.advance(Duration::from_micros(10));
        assert_eq!(fail(&lockout, client(many + n), clock.mono()), 5);
    }
    let locked = (0..MANY).filter(|n| lockout.locked(client(many + n), clock.mono()).is_some()).count();
    assert!((120_000..=131_072).contains(&locked), "{locked}");
    assert!((0..100_000).all(|n| lockout.locked(client(clean + n), clock.mono()).is_none()), "a clean address");
    assert_eq!(fail(&lockout, client(clean), clock.mono()), 5, "a newcomer is counted");
    assert!(lockout.locked(client(clean), clock.mono()).is_some());
    const { assert!(Lockout::BYTES_MAX <= 5 << 20) };
}

/// A hasher with addresses that share one set under it: more than it has places.
static CROWD: LazyLock<(Table, Vec<Client>)> = LazyLock::new(|| {
    let table = Table::new();
    let crowd = table.neighbours(12).into_iter().map(Tag::client).collect();
    (table, crowd)
});

/// What the failures of one address lead to, without a table: GCRA by the book.
#[derive(Default)]
struct Model {
    arrival: u64,
    until: u64,
    times: u32,
}

impl Model {
    /// True if it is answered, false if it is locked out.
    fn failed(&mut self, (interval, budget, first): (u64, u64, u64), now: u64) -> bool {
        if self.until > now {
            return false;
        }
        self.arrival = self.arrival.max(now) + interval;
        if budget * interval - (self.arrival - now) < interval {
            self.times = if self.until > 0 && now - self.until < 86_400 * SECOND { self.times + 1 } else { 1 };
            let length = (0..self.times - 1).fold(first, |length, _| (length * 2).min(86_400 * SECOND).max(first));
            (self.arrival, self.until) = (0, now + length);
        }
        true
    }
}

proptest::proptest! {
    #[test]
    fn it_is_what_the_book_says(
        budget in 1u64..6, interval in 1u64..100, first in 1u64..200_000,
        steps in vec((0usize..8, 1usize..8, 0u64..4, 0u64..90_000), 1..80),
    ) {
        let (table, crowd) = &*CROWD;
        let (lockout, clock) = lockout(&format!("{budget}/{}s", budget * interval), Duration::from_secs(first));
        let lockout = Lockout { table: table.alike(), ..lockout };
        let mut models: [Model; 8] = Default::default();
        for (who, tries, scale, pause) in steps {
            clock.advance(Duration::from_nanos(pause * 1_000_u64.pow(scale as u32)));
            let now = clock.mono();
            for _ in 0..tries {
                let answered = models[who].failed((interval * SECOND, budget, first * SECOND), now);
                proptest::prop_assert_eq!(lockout.failed(crowd[who], now).is_none(), answered);
            }
            for (model, client) in models.iter().zip(crowd) {
                let left = Some(model.until.saturating_sub(now)).filter(|left| *left > 0);
                proptest::prop_assert_eq!(lockout.locked(*client, now).map(|it| it.wait), left);
            }
        }
    }

    #[test]
    fn who_is_driven_out_of_a_set_is_locked_out_for_exactly_as_long_as_was_told(
        budget in 1u64..4, steps in vec((0usize..12, 1usize..4, 0u64..100), 1..200),
    ) {
        let (table, crowd) = &*CROWD;
        let (lockout, clock) = lockout(&format!("{budget}/m"), Duration::from_secs(100));
        let lockout = Lockout { table: table.alike(), ..lockout };
        let (mut failures, mut told) = (HashMap::new(), HashMap::new());
        for (who, tries, pause) in steps {
            clock.advance(Duration::from_secs(pause));
            for _ in 0..tries {
                if lockout.failed(crowd[who], clock.mono()).is_none() {
                    *failures.entry(crowd[who]).or_insert(0) += 1;
                }
                for change in lockout.news(clock.mono()) {
                    match change {
                        Change::Begun(begun) => {
                            proptest::prop_assert!(failures.remove(&begun.client) >= Some(budget));
                            proptest::prop_assert!(told.insert(begun.client, begun.length).is_none());
                        }
                        Change::Ended(ended) => {
                            let length = told.remove(&ended.client).expect("it began");
                            proptest::prop_assert!(ended.length <= length);
                        }
                        Change::Untold(more) => proptest::prop_assert!(false, "{} more", more),
                    }
                }
                for client in crowd {
                    let is_locked = lockout.locked(*client, clock.mono()).is_some();
                    proptest::prop_assert_eq!(is_locked, told.contains_key(client));
                }
            }
        }
    }
}
