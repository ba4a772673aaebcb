//! What a server counts.

use super::*;
use crate::config::gateway::parse;
use crate::config::source::SourceFile;

fn server(text: &str) -> Arc<Server> {
    let source = Arc::new(SourceFile::new("keyward.toml", format!("[upstream.default]\n{text}\n")));
    let (gateway, _) = parse(&source).unwrap_or_else(|report| panic!("{report:?}"));
    let upstream = &gateway.upstreams["default"];
    Arc::new(Server::new("default", upstream, &upstream.servers[0], None, 0))
}

#[test]
fn connections_are_counted_while_they_are_open_and_limited() {
    let server = server("servers = [\"http://a\"]\nconnections_max = 2");
    let first = server.open().expect("the first");
    let second = server.open().expect("the second");
    assert!(server.open().is_none());
    assert_eq!(server.opened(), 2);
    drop(first);
    assert!(server.open().is_some());
    drop(second);
    assert_eq!(server.opened(), 0);
}

#[test]
fn requests_are_counted_only_where_the_number_is_asked_for() {
    let server = server("servers = [\"http://a\", \"http://b\"]");
    let request = server.begin();
    assert_eq!(server.in_flight(), 0);
    server.counts_requests.store(true, Relaxed);
    let another = server.begin();
    assert_eq!(server.in_flight(), 1);
    // What was not counted is not taken off.
    drop(request);
    assert_eq!(server.in_flight(), 1);
    drop(another);
    assert_eq!(server.in_flight(), 0);
}
