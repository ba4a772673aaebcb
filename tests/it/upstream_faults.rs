//! Upstreams that are down, hang, reset or lie.

use crate::harness::{Key, Setup, Upstream, free_port, poll};

const QUICK: &str = "[[route]]\ntimeout = \"300ms\"\n";

#[test]
fn an_upstream_that_hangs_is_given_up_on_in_time() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, QUICK, &key.entry("a", "")).start();
    let reply = gateway.request("POST", "/hang").bearer(&key).body(b"x").send();
    assert_eq!(reply.status, 504);
    crate::verdicts::assert_problem(&reply, "upstream_timeout");
    let line = gateway.line_of(&reply);
    assert_eq!((&line["reason"], &line["fault"]), (&"upstream_timeout".into(), &"upstream".into()), "{line:#}");
    assert_eq!(line["outcome"], "timeout");
    assert!(line["upstream_duration_us"].as_u64().unwrap() >= 250_000, "{line:#}");
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200, "the gateway goes on");
}

#[test]
fn an_upstream_that_resets_or_lies_is_an_upstream_error() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for path in ["/reset", "/hangup", "/garbage", "/badlength"] {
        for method in ["GET", "POST"] {
            let reply = gateway.request(method, path).bearer(&key).send();
            assert_eq!(reply.status, 502, "{method} {path}: {}", reply.everything());
            crate::verdicts::assert_problem(&reply, "upstream_error");
            let line = gateway.line_of(&reply);
            assert_eq!(
                (&line["reason"], &line["fault"]),
                (&"upstream_error".into(), &"upstream".into()),
                "{path}: {line:#}"
            );
            assert!(
                !reply.text().contains(&upstream.addr.port().to_string()),
                "no inside goes outside: {}",
                reply.text()
            );
        }
    }
    assert_eq!(gateway.get("/").bearer(&key).send().status, 200);
}

#[test]
fn what_is_not_safe_to_repeat_is_sent_once() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "limits = [\"10/h\"]")).start();
    let reply = gateway.request("POST", "/reset").bearer(&key).body(b"pay").send();
    assert_eq!(reply.status, 502);
    assert_eq!(upstream.count("/reset"), 1);
    assert_eq!(gateway.line_of(&reply)["upstream.attempts"], 1);
    let reply = gateway.get("/reset").bearer(&key).send();
    let attempts = gateway.line_of(&reply)["upstream.attempts"].as_u64().unwrap();
    assert_eq!(upstream.count("/reset") as u64, 1 + attempts);
    let left = gateway.get("/").bearer(&key).send();
    assert!(
        left.header("ratelimit").unwrap().contains("r=7"),
        "a retry is charged once: {:?}",
        left.header("ratelimit")
    );
}

#[test]
fn connections_that_the_upstream_closed_meanwhile_cost_nobody_a_request() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for round in 0..30 {
        let reply = conn.send(&gateway.get("/close").bearer(&key));
        assert_eq!((reply.status, reply.text().as_str()), (200, "bye"), "round {round}");
    }
}

#[test]
fn kept_alive_connections_to_the_upstream_are_used_again() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[server]\nworkers = 1\n", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for _ in 0..20 {
        assert_eq!(conn.send(&gateway.get("/x").bearer(&key)).status, 200);
    }
    let mut ports: Vec<u16> = upstream.seen().iter().map(|s| s.peer_port).collect();
    ports.dedup();
    assert!(ports.len() <= 2, "20 requests over {} connections", ports.len());
}

#[test]
fn an_upstream_that_comes_back_is_used_at_once() {
    let key = Key::new();
    let addr = free_port();
    let gateway = Setup::before(&format!("http://{addr}"), "", &key.entry("a", "")).start();
    assert_eq!(gateway.get("/").bearer(&key).send().status, 502);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f"), "back").unwrap();
    let listener = std::net::TcpListener::bind(addr).expect("the port that was free");
    let answer = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        drop(stream.read(&mut [0; 4096]));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nback").unwrap();
    });
    assert_eq!(gateway.get("/").bearer(&key).send().text(), "back");
    answer.join().unwrap();
}

#[test]
fn an_upstreams_own_errors_pass_as_they_are() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for status in [400, 401, 403, 404, 429, 500, 503] {
        let reply = gateway.get(&format!("/status/{status}")).bearer(&key).send();
        assert_eq!((reply.status, reply.text().as_str()), (status, "told"));
        let line = gateway.line_of(&reply);
        assert_eq!((&line["reason"], &line["decision"]), (&"allowed".into(), &"allow".into()));
        assert_eq!(line["event"], "decision", "an upstream's 429 is no throttle of ours");
    }
}

#[test]
fn an_upstream_that_stalls_in_its_answer_is_given_up_on() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[http]\nbody_idle_timeout = \"1s\"\n", &key.entry("a", "")).start();
    let cut = gateway.connect().try_send(&gateway.get("/stall").bearer(&key));
    assert!(cut.is_err(), "a cut body is never passed off as whole");
    let line = gateway.wait_decision("its line", |l| l["url.path"] == "/stall");
    assert_eq!((&line["outcome"], &line["fault"]), (&"timeout".into(), &"upstream".into()), "{line:#}");
}

#[test]
fn an_upstream_that_answers_before_it_has_read_the_body_is_heard() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    for size in [10, 300_000] {
        let reply = gateway.request("POST", "/early").bearer(&key).body(&vec![b'x'; size]).send();
        assert_eq!((reply.status, reply.text().as_str()), (413, "too much"), "{size}");
        assert_eq!(gateway.line_of(&reply)["reason"], "allowed", "the refusal is the upstream's");
    }
}

#[test]
fn what_an_upstream_says_too_much_is_nobodys_answer() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[server]\nworkers = 1\n", &key.entry("a", "")).start();
    let mut conn = gateway.connect();
    for _ in 0..10 {
        let first = conn.send(&gateway.get("/extra").bearer(&key));
        assert_ne!(first.text(), "poisoned");
        let next = conn.send(&gateway.get("/mine").bearer(&key));
        assert_eq!((next.status, next.text().as_str()), (200, "ok"));
    }
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_an_error() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "", &key.entry("a", "")).start();
    let reply = gateway.request("POST", "/switch").bearer(&key).send();
    assert_eq!(reply.status, 502, "{}", reply.everything());
    assert_eq!(gateway.line_of(&reply)["reason"], "upstream_error");
}

#[test]
fn a_reused_connection_that_ends_is_replaced_where_that_is_safe() {
    let (upstream, key) = (Upstream::start(), Key::new());
    let gateway = Setup::with(&upstream, "[server]\nworkers = 1\n", &key.entry("a", "limits = [\"100/h\"]")).start();
    let mut conn = gateway.connect();
    for round in 0..5 {
        let reply = conn.send(&gateway.get("/once").bearer(&key));
        assert_eq!((reply.status, reply.text().as_str()), (200, "ok"), "round {round}");
        let line = gateway.line_of(&reply);
        assert_eq!(line["upstream.attempts"], if round == 0 { 1 } else { 2 }, "round {round}: {line:#}");
        assert_eq!(line["limit.remaining"], 99 - round, "a retry is charged once");
    }
    let before = upstream.count("/once");
    let reply = conn.send(&gateway.request("POST", "/once").bearer(&key).body(b"pay"));
    assert_eq!(reply.status, 502, "{}", reply.everything());
    assert_eq!(upstream.count("/once"), before + 1, "what was sent and may have been done is not sent again");
}

#[test]
fn an_upload_whose_answer_is_complete_is_not_held_open() {
    use std::io::{Read as _, Write as _};
    let key = Key::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Setup::before(&url, "", &key.entry("a", "")).start();
    let upstream = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
        // The client sends no more and does not leave: only the gateway can end this.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
        let mut rest = [0; 4096];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    });
    let mut conn = gateway.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n", key.text);
    conn.write((head + "Content-Length: 50000000\r\n\r\nthe beginning").as_bytes()).unwrap();
    assert_eq!(conn.read_reply("POST").unwrap().status, 200);
    assert!(upstream.join().unwrap(), "the connection to the upstream is still open");
}

#[test]
fn an_answer_before_the_end_of_the_upload_comes_whole_to_a_client_that_reads_late() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // Answers with as many bytes as the path says, and hangs up when the gateway does.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let length: usize = text.split([' ', '/']).nth(2).unwrap().parse().unwrap();
                let _ = stream.write_all(format!("HTTP/1.1 403 No\r\nContent-Length: {length}\r\n\r\n").as_bytes());
                let _ = stream.write_all(&vec![b'x'; length]);
                let _ = stream.read(&mut head);
            });
        }
    });
    let mut setup = Setup::before(&url, "", "");
    let socket = setup.dir.path().join("in.sock");
    setup.config += &format!("\n[[listener]]\naddress = \"unix:{}\"\n[[route]]\nauth = \"open\"\n", socket.display());
    let gateway = setup.start();
    // Of these lengths, some are a little more than what fits between the gateway and a client that does not read.
    let read_late = |length: usize| {
        let mut client = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        let head = format!("POST /{length} HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nthe beginning");
        client.write_all(head.as_bytes()).unwrap();
        let path = format!("/{length}");
        poll(std::time::Duration::from_secs(1), || gateway.decisions().into_iter().find(|l| l["url.path"] == *path));
        let mut all = Vec::new();
        // What follows may be a reset: nobody has read the rest of the upload.
        let _ = client.read_to_end(&mut all);
        let body = all.windows(4).position(|end| end == b"\r\n\r\n").expect("a head") + 4;
        assert_eq!(all.len() - body, length);
    };
    std::thread::scope(|scope| {
        for client in 0..10 {
            let read_late = &read_late;
            scope.spawn(move || (0..5).for_each(|round| read_late(130_000 + (client * 5 + round) * 2_000)));
        }
    });
}
