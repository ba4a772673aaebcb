//! Policy in depth over real sockets: what a key may reach, how much of it, and what is only said in shadow mode.

mod access;
mod concurrency;
mod denials;
mod optional;
mod quotas;
mod route_limits;
mod shadow;

use serde_json::Value;

use crate::harness::{Conn, Gateway, Reply, Req, Setup, Upstream};

/// A gateway in front of a service.
struct Site {
    upstream: Upstream,
    gateway: Gateway,
}

impl Site {
    fn start(config: &str, keys: &str) -> Site {
        let upstream = Upstream::start();
        let gateway = Setup::with(&upstream, config, keys).start();
        Site { upstream, gateway }
    }

    /// A request that passes, and its line.
    #[track_caller]
    fn allowed(&self, request: &Req) -> (Reply, Value) {
        let reply = request.send();
        assert_eq!(reply.status, 200, "{}", reply.everything());
        let line = self.gateway.line_of(&reply);
        assert_eq!((&line["decision"], &line["reason"]), (&"allow".into(), &"allowed".into()), "{line:#}");
        assert_eq!(line["event"], "decision", "{line:#}");
        (reply, line)
    }

    /// A request that is refused, and its line.
    #[track_caller]
    fn refused(&self, request: &Req, status: u16, code: &str, reason: &str) -> (Reply, Value) {
        crate::verdicts::refused(&self.gateway, &self.upstream, request, (status, code, reason))
    }

    /// A request that a limit refuses, whose name is `policy`; and its line.
    #[track_caller]
    fn throttled(&self, request: &Req, (code, reason): (&str, &str), policy: &str) -> (Reply, Value) {
        let (reply, line) = self.refused(request, 429, code, reason);
        let body = reply.json();
        assert!(body["type"].as_str().unwrap().ends_with("/http-problem-types#quota-exceeded"), "{body}");
        assert_eq!(body["violated-policies"], Value::from(vec![policy]), "{body}");
        assert_eq!((&line["event"], &line["limit.policy"]), (&"throttle".into(), &policy.into()), "{line:#}");
        let after: u64 = reply.header("retry-after").expect("Retry-After").parse().expect("seconds");
        assert!(after >= 1);
        assert_eq!(line["limit.reset_s"], after, "{line:#}");
        (reply, line)
    }

    /// Replaces the key file and waits until it serves.
    fn reload_keys(&self, keys: &str) {
        let before = self.gateway.reloads().len();
        std::fs::write(self.gateway.keys_path(), keys).unwrap();
        assert_eq!(self.gateway.reload_after(before)["result"], "applied");
    }
}

fn statuses(conn: &mut Conn, request: &Req, count: usize) -> Vec<u16> {
    (0..count).map(|_| conn.send(request).status).collect()
}

/// `"month";r=42;t=1` → its parts.
fn parameter(header: &str, name: &str) -> Option<u64> {
    header.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.parse().ok())
}
