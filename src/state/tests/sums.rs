//! However counts are cut up on their way into the file, they come to the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What one request adds: to one key of a few, in one hour of a few.
#[derive(Clone, Debug)]
struct Step {
    key: usize,
    hour: u32,
    delta: Delta,
    /// On which worker.
    worker: usize,
    /// What happens next, after it: nothing, a worker hands over, or a commit.
    next: u8,
}

const IDS: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    let verdict = prop_oneof![Just(None), Just(Some(Denial::Expired)), Just(Some(Denial::RateLimited))];
    let used = (0i64..50, any::<Option<u8>>());
    (0..IDS.len(), 500_000u32..500_050, verdict, 0u64..1_000, used, 0usize..3, 0u8..6).prop_map(
        |(key, hour, verdict, bytes, (second, client), worker, next)| {
            let mut delta = verdict.map_or_else(|| allowed(1), refused);
            delta.counts.bytes_in = bytes;
            delta.counts.bytes_out = bytes * 3;
            let client = client.map(|last| [192, 0, 2, last].into());
            delta.add_use(Used { first_us: second, last_us: second, client });
            Step { key, hour, delta, worker, next }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_interleaving_sums_exactly(steps in prop::collection::vec(step(), 1..80)) {
        let folder = Folder::new();
        let mut store = folder.store();
        let mut workers: [BTreeMap<(usize, u32), Delta>; 3] = Default::default();
        let mut pending = Pending::new(usize::MAX);
        let hand_over = |worker: &mut BTreeMap<(usize, u32), Delta>, pending: &mut Pending| {
            for ((key, hour), delta) in std::mem::take(worker) {
                pending.add(IDS[key], hour, &delta).expect("room");
            }
        };
        for step in &steps {
            workers[step.worker].entry((step.key, step.hour)).or_default().add(&step.delta);
            match step.next {
                0 | 1 => hand_over(&mut workers[step.worker], &mut pending),
                2 => {
                    store.write(&pending).expect("a commit");
                    pending.clear();
                }
                _ => {}
            }
        }
        workers.iter_mut().for_each(|worker| hand_over(worker, &mut pending));
        store.write(&pending).expect("a commit");

        let history = history(&folder.path());
        for (n, id) in IDS.into_iter().enumerate() {
            let own: Vec<&Step> = steps.iter().filter(|step| step.key == n).collect();
            let count = |is: &dyn Fn(&Step) -> bool| own.iter().filter(|step| is(step)).count() as u64;
            let Some(key) = history.key(id).expect("a read") else {
                prop_assert!(own.is_empty());
                continue;
            };
            prop_assert_eq!(key.counts, Counts {
                allowed: count(&|step| step.delta.counts.allowed == 1),
                refused: count(&|step| step.delta.counts.refused == 1),
                throttled: count(&|step| step.delta.counts.throttled == 1),
                shadow_denied: 0,
                units: count(&|step| step.delta.counts.allowed == 1),
                bytes_in: own.iter().map(|step| step.delta.counts.bytes_in).sum(),
                bytes_out: own.iter().map(|step| step.delta.counts.bytes_out).sum(),
            });
            let times = || own.iter().filter_map(|step| Some(step.delta.used?.last_us));
            prop_assert_eq!((key.first_us, key.last_us), (times().min(), times().max()));
            let mut days = history.days(ALL_OF_THEM, Some(id)).expect("a read").into_iter();
            for day in 500_000 / DAY_HOURS..=500_050 / DAY_HOURS {
                let of_day = count(&|step| step.hour / DAY_HOURS == day);
                if of_day > 0 {
                    prop_assert_eq!(days.next().map(|it| (it.day, it.counts.requests())), Some((day, of_day)));
                }
            }
            prop_assert_eq!(days.next(), None);
            let reasons: BTreeMap<String, u64> = history.reasons(ALL_OF_THEM, id).expect("a read").into_iter().collect();
            prop_assert_eq!(reasons.get("expired").copied().unwrap_or(0), key.counts.refused);
            prop_assert_eq!(reasons.get("rate_limited").copied().unwrap_or(0), key.counts.throttled);
        }
    }
}

const ALL_OF_THEM: RangeInclusive<u32> = 500_000..=500_050;
