//! `connections_max` and `queue_max`: who waits, who is told to come back.

use std::thread;

use crate::harness::{Gateway, Key, Setup, Upstream, eventually};

fn limited(upstream: &Upstream, key: &Key, workers: usize, max: usize, queue: usize) -> Gateway {
    let config = format!(
        "[server]\nworkers = {workers}\n[upstream.default]\nservers = [\"{}\"]\n\
         connections_max = {max}\nqueue_max = {queue}\n[[route]]\ntimeout = \"30s\"\n",
        upstream.url()
    );
    Setup::before(&upstream.url(), &config, &key.entry("a", "")).start()
}

#[test]
fn beyond_the_queue_is_503_and_what_waits_is_served() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = limited(&upstream, &key, 2, 1, 2);
    let send = || {
        let request = gateway.get("/gate").bearer(&key);
        thread::spawn(move || request.send())
    };
    let first = send();
    eventually("the first to be served", || (upstream.seen().len() == 1).then_some(()));
    // Two of these wait, whichever workers they come to, and two are turned away at once.
    let others: Vec<_> = (0..4).map(|_| send()).collect();
    eventually("two to be turned away", || (gateway.decided() == 2).then_some(()));
    upstream.open_gate();
    let replies: Vec<_> = others.into_iter().map(|reply| reply.join().unwrap()).collect();
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 2);
    assert_eq!(first.join().unwrap().status, 200);
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status == 503).collect();
    assert_eq!(refused.len(), 2);
    for reply in refused {
        crate::verdicts::assert_problem(reply, "upstream_busy");
        assert_eq!(reply.header("retry-after"), Some("1"));
        let line = gateway.line_of(reply);
        assert_eq!((&line["reason"], &line["fault"]), (&"upstream_busy".into(), &"upstream".into()), "{line:#}");
    }
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn workers_share_the_connections_that_there_may_be() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = limited(&upstream, &key, 4, 1, 1000);
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (mut conn, request) = (gateway.connect(), gateway.get("/").bearer(&key));
            thread::spawn(move || (0..10).map(|_| conn.send(&request).status).collect::<Vec<_>>())
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), [200; 10]);
    }
}
