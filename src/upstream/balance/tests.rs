//! Distribution, without a socket.

use std::fmt::Write as _;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::gateway::{self, Balance, Eject};
use crate::config::source::SourceFile;
use crate::upstream::Upstream;

/// An upstream over servers of these weights.
fn upstream(weights: &[u16], eject: Option<Eject>) -> Upstream {
    balanced(Balance::RoundRobin, weights, eject)
}

fn balanced(balance: Balance, weights: &[u16], eject: Option<Eject>) -> Upstream {
    let mut text = "[upstream.default]\nservers = [".to_owned();
    for (port, weight) in weights.iter().enumerate() {
        write!(text, "{{ url = \"http://127.0.0.1:{}\", weight = {weight} }}, ", port + 1).expect("room");
    }
    let source = Arc::new(SourceFile::new("keyward.toml", format!("{text}]\n")));
    let (gateway, _) = gateway::parse(&source).unwrap_or_else(|report| panic!("{report:?}"));
    let read = &gateway::Upstream { balance, eject, ..gateway.upstreams["default"].clone() };
    let weighted = |(pool, it): (usize, &gateway::UpstreamServer)| Weighted {
        server: Arc::new(Server::new("default", read, it, None, pool)),
        weight: it.weight,
    };
    Upstream::new("default", read, read.servers.iter().enumerate().map(weighted).collect())
}

/// How often each server is chosen.
fn chosen(upstream: &Upstream, times: usize, tried: &[usize], now_ms: u64) -> Vec<usize> {
    let mut counts = vec![0; upstream.servers.len()];
    for _ in 0..times {
        counts[upstream.pick(None, tried, now_ms).expect("a server").pool] += 1;
    }
    counts
}

const EJECT: Option<Eject> = Some(Eject { failures: 1, duration: Duration::from_secs(30) });

#[test]
fn turns_are_in_exact_proportion_over_every_round() {
    for weights in [&[1, 1, 1][..], &[5, 1, 1], &[2, 3], &[4, 4, 2], &[100, 1], &[7, 13, 29, 1], &[65_535, 1]] {
        let upstream = upstream(weights, None);
        let round: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let expected: Vec<usize> = weights.iter().map(|weight| usize::from(*weight)).collect();
        // Wherever a round begins.
        upstream.pick(None, &[], 0);
        for _ in 0..2 {
            assert_eq!(chosen(&upstream, round, &[], 0), expected, "{weights:?}");
        }
    }
}

#[test]
fn turns_are_spread() {
    let sequence = |weights: &[u16]| -> String {
        let upstream = upstream(weights, None);
        let letter = |_| char::from(b'a' + upstream.pick(None, &[], 0).expect("a server").pool as u8);
        (0..12).map(letter).collect()
    };
    assert_eq!(sequence(&[1, 1]), "abababababab");
    assert_eq!(sequence(&[8, 8, 8]), "abcabcabcabc");
    assert_eq!(sequence(&[2, 1]), "aabaabaabaab");
    assert_eq!(sequence(&[5, 1, 1]), "aaabacaaaaba");
}

#[test]
fn threads_share_the_turns() {
    let upstream = upstream(&[3, 2, 1], None);
    let mut totals = vec![0; 3];
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| chosen(&upstream, 600, &[], 0))).collect();
        for thread in threads {
            let counts = thread.join().expect("no panic");
            totals.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        }
    });
    assert_eq!(totals, [1200, 800, 400]);
}

#[test]
fn a_server_that_is_out_leaves_its_share_to_the_others() {
    let upstream = upstream(&[2, 1, 1], EJECT);
    upstream.servers[0].server.failed(1_000);
    assert_eq!(chosen(&upstream, 100, &[], 1_000), [0, 50, 50]);
    assert_eq!(chosen(&upstream, 100, &[], 30_999), [0, 50, 50]);
    assert_eq!(chosen(&upstream, 100, &[], 31_000), [50, 25, 25]);

    let upstream = self::upstream(&[1; 4], EJECT);
    [0, 2].iter().for_each(|out| upstream.servers[*out].server.failed(0));
    assert_eq!(chosen(&upstream, 100, &[], 1), [0, 50, 0, 50]);
}

#[test]
fn all_that_are_out_are_tried_as_if_none_were() {
    let upstream = upstream(&[1, 1, 1], EJECT);
    upstream.servers.iter().for_each(|it| it.server.failed(0));
    assert_eq!(chosen(&upstream, 99, &[], 1), [33, 33, 33]);
    assert_eq!(chosen(&upstream, 96, &[0], 1), [0, 48, 48], "a retry still goes elsewhere");
}

#[test]
fn a_retry_goes_to_another_server_where_there_is_one() {
    let several = upstream(&[1, 1, 1], EJECT);
    assert_eq!(chosen(&several, 96, &[1], 0), [48, 0, 48]);
    assert_eq!(chosen(&several, 100, &[1, 2], 0), [100, 0, 0]);
    assert_eq!(chosen(&several, 99, &[0, 1, 2], 0), [33, 33, 33]);
    several.servers[2].server.failed(0);
    assert_eq!(chosen(&several, 96, &[0, 1], 1), [48, 48, 0], "again is better than one that is known to be bad");
    let only = upstream(&[1], None);
    assert_eq!(only.pick(None, &[0], 0).map(|server| server.pool), Some(0));
}

#[test]
fn the_only_server_is_never_ejected() {
    let upstream = upstream(&[1], EJECT);
    upstream.servers[0].server.failed(0);
    assert!(upstream.servers[0].server.is_available(1));
}

#[test]
fn only_failures_in_a_row_eject() {
    let upstream = upstream(&[1, 1], Some(Eject { failures: 3, duration: Duration::from_secs(10) }));
    let server = &upstream.servers[0].server;
    for now_ms in 0..10 {
        server.failed(now_ms);
        server.failed(now_ms);
        server.succeeded();
    }
    assert!(server.is_available(10));
    (0..3).for_each(|_| server.failed(10));
    assert!(!server.is_available(10));
    assert!(!server.is_available(10_009));
    assert!(server.is_available(10_010));
    server.failed(10_010);
    assert!(server.is_available(10_010), "it begins anew");
}

/// The server of each of `keys` requests.
fn homes(upstream: &Upstream, keys: u64, now_ms: u64) -> Vec<usize> {
    let home = |n: u64| upstream.pick(Some(digest(&[&n.to_be_bytes()])), &[], now_ms).expect("a server").pool;
    (0..keys).map(home).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn a_key_stays_with_its_server_and_only_those_of_a_server_that_is_out_move(
        weights in prop::collection::vec(1_u16..20, 2..9),
        out in any::<prop::sample::Index>(),
    ) {
        let upstream = balanced(Balance::ConsistentKey, &weights, EJECT);
        let before = homes(&upstream, 400, 1);
        prop_assert_eq!(&before, &homes(&upstream, 400, 1));
        let out = out.index(weights.len());
        upstream.servers[out].server.failed(1);
        for (before, now) in before.iter().zip(homes(&upstream, 400, 1)) {
            prop_assert_ne!(now, out);
            prop_assert!(*before == out || *before == now);
        }
        prop_assert_eq!(before, homes(&upstream, 400, 30_001), "and back they come");
    }

    #[test]
    fn another_server_takes_keys_from_all_and_moves_no_other(
        weights in prop::collection::vec(1_u16..20, 2..9),
    ) {
        let newest = weights.len() - 1;
        let fewer = balanced(Balance::ConsistentKey, &weights[..newest], None);
        let more = balanced(Balance::ConsistentKey, &weights, None);
        for (before, now) in homes(&fewer, 400, 0).into_iter().zip(homes(&more, 400, 0)) {
            prop_assert!(now == before || now == newest);
        }
    }
}

#[test]
fn keys_spread_by_the_weights() {
    for weights in [&[1, 1, 1][..], &[3, 1], &[10, 5, 5, 1]] {
        let upstream = balanced(Balance::ConsistentKey, weights, None);
        let total: u16 = weights.iter().sum();
        let homes = homes(&upstream, 20_000, 0);
        for (pool, weight) in weights.iter().enumerate() {
            let share = homes.iter().filter(|home| **home == pool).count() as f64 / 20_000.0;
            let expected = f64::from(*weight) / f64::from(total);
            assert!((share - expected).abs() < 0.02, "{weights:?}: {pool} has {share}");
        }
    }
}

#[test]
fn a_retry_of_a_key_goes_to_its_second_choice_and_always_the_same() {
    let upstream = balanced(Balance::ConsistentKey, &[1, 1, 1, 1], EJECT);
    for key in 0..200 {
        let affinity = Some(digest(&[b"k", &[key]]));
        let first = upstream.pick(affinity, &[], 0).expect("a server").pool;
        let second = upstream.pick(affinity, &[first], 0).expect("a server").pool;
        assert_ne!(first, second);
        assert_eq!(upstream.pick(affinity, &[first], 0).expect("a server").pool, second);
    }
    // Where all are out, each has its own again.
    let before = homes(&upstream, 100, 0);
    upstream.servers.iter().for_each(|it| it.server.failed(0));
    assert_eq!(homes(&upstream, 100, 1), before);
}

#[test]
fn the_less_busy_of_two_is_chosen() {
    let upstream = balanced(Balance::LeastRequests, &[1, 1], None);
    let busy = upstream.servers[0].server.begin();
    assert_eq!(chosen(&upstream, 50, &[], 0), [0, 50]);
    assert_eq!(chosen(&upstream, 50, &[1], 0), [50, 0], "but a retry goes elsewhere");
    drop(busy);
    let counts = chosen(&upstream, 2_000, &[], 0);
    assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
}

#[test]
fn requests_underway_even_out_by_the_weights() {
    for weights in [&[1, 1, 1, 1][..], &[4, 2, 1]] {
        let upstream = balanced(Balance::LeastRequests, weights, None);
        let total: usize = weights.iter().map(|weight| usize::from(*weight)).sum();
        let underway: Vec<_> =
            (0..total * 100).map(|_| upstream.pick(None, &[], 0).expect("a server").begin()).collect();
        for (weight, it) in weights.iter().zip(&upstream.servers) {
            let expected = usize::from(*weight) * 100;
            let found = it.server.in_flight();
            assert!(found.abs_diff(expected) <= expected / 10, "{weights:?}: {found} for {weight}");
        }
        drop(underway);
        assert!(upstream.servers.iter().all(|it| it.server.in_flight() == 0));
    }
}

#[test]
fn no_balance_chooses_who_is_out() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::ConsistentKey] {
        let upstream = balanced(balance, &[5, 1, 3], EJECT);
        upstream.servers[0].server.failed(0);
        upstream.servers[2].server.failed(0);
        let choices = (0..200).map(|n| upstream.pick(Some(n), &[], 1).expect("a server").pool);
        assert!(choices.into_iter().all(|pool| pool == 1), "{balance:?}");
    }
}
