//! Distribution, without a socket.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::config::gateway::{self, Eject};
use crate::config::source::SourceFile;
use crate::upstream::Upstream;

/// An upstream over servers of these weights.
fn upstream(weights: &[u16], eject: Option<Eject>) -> Upstream {
    let mut text = "[upstream.default]\nservers = [".to_owned();
    for (port, weight) in weights.iter().enumerate() {
        write!(text, "{{ url = \"http://127.0.0.1:{}\", weight = {weight} }}, ", port + 1).expect("room");
    }
    let source = Arc::new(SourceFile::new("keyward.toml", format!("{text}]\n")));
    let (gateway, _) = gateway::parse(&source).unwrap_or_else(|report| panic!("{report:?}"));
    let read = &gateway::Upstream { eject, ..gateway.upstreams["default"].clone() };
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
