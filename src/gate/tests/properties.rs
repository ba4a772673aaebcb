//! What holds whatever comes: refusals cost nothing, a reload of the same files changes nothing, and whoever waits as long as
//! it was told is let in.

use proptest::prelude::*;

use super::*;

const CONFIG: &str = "limits.total = \"40/m\"\nlimits.per_ip = \"30/m burst 20\"\nlimits.open = \"4/m\"\nlimits.failures_per_ip = \"none\"\n\
    [plan.p]\nlimits = [\"6/m\", \"20/h\"]\nquota = \"15/day\"\n\
    [[route]]\nname = \"dear\"\npath = \"/dear\"\ncost = 3\nlimits = [\"9/m\"]\n\
    [[route]]\nname = \"maybe\"\npath = \"/maybe\"\nauth = \"optional\"\n\
    [[route]]\nname = \"rest\"\nroles = [\"r\"]\n";

fn keys() -> String {
    entry("a", "a", "plan = \"p\"\nroles = [\"r\"]")
        + &entry("b", "b", "limits = [\"3/s\"]\nroles = [\"r\"]")
        + &entry("c", "c", "")
}

/// One request, after a pause in milliseconds.
type Step = (u64, &'static str, &'static str, &'static str);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop::sample::select(vec!["a", "b", "c", "bad", ""]);
    let target = prop::sample::select(vec!["/dear", "/maybe", "/rest"]);
    let peer = prop::sample::select(vec!["192.0.2.1:1", "192.0.2.2:1"]);
    let pause = prop_oneof![4 => Just(0), 3 => 1u64..900, 1 => 1_000u64..40_000];
    prop::collection::vec((pause, key, target, peer), 1..120)
}

fn play(world: &World, (pause, key, target, peer): Step) -> Decision {
    world.clock.advance(Duration::from_millis(pause));
    let headers = [("x-api-key", key)];
    let headers = if key.is_empty() { &[][..] } else { &headers[..] };
    world.ask(&Ask { target, headers, peer, ..Ask::default() })
}

fn reason(decision: &Decision) -> &'static str {
    decision.verdict.as_ref().map_or_else(|refusal| refusal.denial.reason(), |_| "allowed")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_refusal_costs_nothing_anywhere(steps in steps()) {
        let (all, kept) = (World::new(CONFIG, &keys()), World::new(CONFIG, &keys()));
        let mut waited = 0;
        for step in steps {
            let decision = play(&all, step);
            if decision.verdict.is_ok() {
                let (pause, key, target, peer) = step;
                let again = play(&kept, (pause + waited, key, target, peer));
                prop_assert_eq!(reason(&again), "allowed");
                let left = |it: &Decision| it.trail.reading.as_ref().map(|it| (it.remaining, it.refill));
                prop_assert_eq!(left(&decision), left(&again), "what was refused before has left a trace");
                waited = 0;
            } else {
                prop_assert_eq!(decision.trail.charged, 0);
                waited += step.0;
            }
        }
    }

    #[test]
    fn a_reload_of_the_same_files_changes_no_decision(steps in steps(), every in 1usize..5) {
        let (mut reloaded, steady) = (World::new(CONFIG, &keys()), World::new(CONFIG, &keys()));
        for (at, step) in steps.into_iter().enumerate() {
            if at % every == 0 {
                // With a comment in between, so that it is read again.
                reloaded.reload(CONFIG, &format!("{}# {at}\n", keys()));
            }
            prop_assert_eq!(reason(&play(&reloaded, step)), reason(&play(&steady, step)));
        }
    }

    #[test]
    fn whoever_waits_as_long_as_it_was_told_is_let_in(steps in steps()) {
        let world = World::new(CONFIG, &keys());
        for step in steps {
            let decision = play(&world, step);
            let Some(reading) = decision.trail.reading.filter(|_| decision.verdict.is_err()) else { continue };
            let denial = decision.verdict.err().map(|refusal| refusal.denial);
            let (_, key, target, peer) = step;
            let again = play(&world, (reading.retry_after_s() * 1_000, key, target, peer));
            // Another limit may refuse it then; the one that did has room.
            let same = again.trail.reading.as_ref().is_some_and(|it| it.label.text == reading.label.text);
            let refused_again = again.verdict.as_ref().err().is_some_and(|refusal| Some(refusal.denial) == denial && same);
            prop_assert!(!refused_again, "{:?} after {} s", denial, reading.retry_after_s());
        }
    }
}
