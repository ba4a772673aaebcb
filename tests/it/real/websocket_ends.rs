//! How a WebSocket ends: by either side, with or without a word, by silence, and by the gateway's own end.

use std::time::Duration;

use serde_json::{Value, json};

use super::{bearer, both_lines, front, ws, ws_client, ws_server, ws_url};
use crate::harness::{Gateway, Key, Program, eventually, poll};

fn start(config: &str) -> (Program, Key, Gateway) {
    let ((server, url), key) = (ws_server(), Key::new());
    let gateway = front(&url, config, &key.entry("a", ""));
    (server, key, gateway)
}

/// The close code that the server was left with.
fn servers_code(server: &Program, path: &str) -> Value {
    let ended = eventually("the server's connection to end", || server.said().into_iter().find(|l| l["ended"] == path));
    ended["code"].clone()
}

#[test]
fn the_servers_close_code_and_reason_arrive() {
    let (server, key, gateway) = start("");
    for code in [1000, 1001, 1008, 1011, 4000, 4999] {
        let path = format!("/close/{code}");
        let job = json!({ "headers": bearer(&key), "steps": [["echo", "x"], ["closed"]] });
        let said = ws(&ws_url(&gateway, &path), job);
        assert_eq!(said.last().unwrap(), &json!({ "code": code, "reason": "as asked" }), "{said:#?}");
        assert_eq!(servers_code(&server, &path), code);
        let (_, tunnel) = both_lines(&gateway, &path);
        assert_eq!(tunnel["outcome"], "complete", "{tunnel:#}");
    }
}

#[test]
fn a_client_that_just_closes_ends_the_servers_side() {
    let (server, key, gateway) = start("");
    for (n, how) in ["abort", "reset"].iter().enumerate() {
        let path = format!("/echo/{how}");
        ws(&ws_url(&gateway, &path), json!({ "headers": bearer(&key), "steps": [["echo", "x"], [how]] }));
        assert_eq!(servers_code(&server, &path), 1006, "{how}");
        let (_, tunnel) = both_lines(&gateway, &path);
        assert_ne!(tunnel["outcome"], "upstream_gone", "{tunnel:#}");
        assert_eq!(gateway.decided(), n + 1);
    }
}

#[test]
fn a_server_that_just_closes_ends_the_clients_side() {
    let (_server, key, gateway) = start("");
    for path in ["/cut", "/reset"] {
        let job = json!({ "headers": bearer(&key), "steps": [["send", "x"], ["closed"]] });
        let said = ws(&ws_url(&gateway, path), job);
        assert_eq!(said.last().unwrap()["code"], 1006, "{said:#?}");
        let (_, tunnel) = both_lines(&gateway, path);
        assert_ne!(tunnel["outcome"], "client_gone", "{tunnel:#}");
    }
}

#[test]
fn timeouts_of_requests_are_not_a_tunnels() {
    let config = "[http]\nheader_timeout = \"500ms\"\nidle_timeout = \"500ms\"\nbody_idle_timeout = \"500ms\"\n[[route]]\ntimeout = \"500ms\"\n";
    let (_server, key, gateway) = start(config);
    let job = json!({ "headers": bearer(&key), "steps": [["echo", "x"], ["wait"], ["echo", "still here"]] });
    let mut client = ws_client(&ws_url(&gateway, "/echo"), job);
    client.word("waiting");
    // Nothing is waited for here: that much silence is what is tested.
    assert!(poll(Duration::from_millis(1500), || gateway.events("tunnel").pop()).is_none());
    client.tell("");
    let said = client.all();
    assert_eq!(said.iter().filter(|l| l["same"] == true).count(), 2, "{said:#?}");
    assert_eq!(said.last().unwrap()["code"], 1000);
}

#[test]
fn a_drain_closes_what_is_open_at_the_end_of_its_grace() {
    let (server, key, mut gateway) = start("[server]\nshutdown_grace = \"500ms\"\n");
    let mut clients: Vec<Program> = (0..3)
        .map(|_| {
            let job = json!({ "headers": bearer(&key), "steps": [["echo", "x"], ["closed"]] });
            ws_client(&ws_url(&gateway, "/echo"), job)
        })
        .collect();
    for client in &mut clients {
        client.word("echoed");
    }
    gateway.signal("TERM");
    for client in clients {
        let said = client.all();
        assert_eq!(said.last().unwrap()["code"], 1001, "{said:#?}");
    }
    gateway.wait_exit();
    assert_eq!((gateway.decided(), gateway.events("tunnel").len()), (3, 3), "{}", gateway.text());
    eventually("the server's sides to end", || {
        (server.said().iter().filter(|l| l["ended"] == "/echo").count() == 3).then_some(())
    });
}

#[test]
fn a_tunnel_that_ends_within_the_grace_ends_as_it_likes() {
    let (_server, key, mut gateway) = start("");
    let job =
        json!({ "headers": bearer(&key), "steps": [["echo", "x"], ["wait"], ["echo", "y"], ["close", 3000, "bye"]] });
    let mut client = ws_client(&ws_url(&gateway, "/echo"), job);
    client.word("waiting");
    gateway.signal("TERM");
    gateway.wait_event("drain", |_| true);
    client.tell("");
    let said = client.all();
    assert_eq!(said.last().unwrap(), &json!({ "code": 3000, "reason": "bye" }), "{said:#?}");
    // The default grace is 30 s, twice what this suite waits.
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert_eq!(gateway.events("tunnel").len(), 1);
}

#[test]
fn a_revocation_ends_no_tunnel_and_opens_none() {
    let (_server, key, gateway) = start("");
    let job = json!({ "headers": bearer(&key), "steps": [["echo", "x"], ["wait"], ["echo", "y"]] });
    let mut client = ws_client(&ws_url(&gateway, "/echo"), job.clone());
    client.word("waiting");
    let before = gateway.reloads().len();
    std::fs::write(gateway.keys_path(), key.entry("a", "state = \"revoked\"")).unwrap();
    gateway.reload_after(before);
    let refused = ws(&ws_url(&gateway, "/echo"), job);
    assert_eq!(refused[0]["refused"], 401, "{refused:#?}");
    client.tell("");
    assert_eq!(client.all().iter().filter(|l| l["same"] == true).count(), 2);
}
