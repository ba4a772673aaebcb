//! Every refusal that there is, produced through a socket, and no status and code beside those of the manual.

use std::collections::BTreeSet;

use keyward::vocab::denial::Denial;

use crate::harness::{Conn, Gateway, Key, Req, Setup, Upstream, free_port};

/// The manual's table of verdicts: reason, status, public code. Operators may have 403 for 401
/// (`keys.status_missing`, `keys.status_invalid`).
const TABLE: [(&str, u16, &str); 34] = [
    ("malformed_request", 400, "bad_request"),
    ("insecure_transport", 403, "insecure_transport"),
    ("ip_limited", 429, "rate_limited"),
    ("total_limited", 429, "rate_limited"),
    ("locked_out", 429, "too_many_failures"),
    ("no_route", 404, "not_found"),
    ("method_not_allowed", 405, "method_not_allowed"),
    ("missing_key", 401, "missing_key"),
    ("duplicate_credential", 400, "duplicate_credential"),
    ("malformed_key", 401, "invalid_key"),
    ("bad_checksum", 401, "invalid_key"),
    ("unknown_key", 401, "invalid_key"),
    ("expired", 401, "invalid_key"),
    ("not_yet_valid", 401, "invalid_key"),
    ("disabled", 401, "invalid_key"),
    ("revoked", 401, "invalid_key"),
    ("compromised", 401, "invalid_key"),
    ("honey", 401, "invalid_key"),
    ("rotated_out", 401, "invalid_key"),
    ("quarantined", 401, "invalid_key"),
    ("suspended", 429, "abnormal_usage"),
    ("route_denied", 403, "forbidden"),
    ("method_denied", 403, "forbidden"),
    ("path_denied", 403, "forbidden"),
    ("network_denied", 403, "forbidden"),
    ("role_denied", 403, "forbidden"),
    ("rate_limited", 429, "rate_limited"),
    ("quota_exceeded", 429, "quota_exceeded"),
    ("concurrency_limited", 429, "concurrency_limited"),
    ("body_too_large", 413, "body_too_large"),
    ("upstream_unavailable", 502, "upstream_unavailable"),
    ("upstream_timeout", 504, "upstream_timeout"),
    ("upstream_error", 502, "upstream_error"),
    ("upstream_busy", 503, "upstream_busy"),
];

const CONFIG: &str = "limits = { failures_per_ip = \"none\", open = \"1/h\" }\n\
    [[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"127.0.0.1:0\"\ninsecure = \"refuse\"\n\
    [upstream.default]\nservers = [\"@UP@\"]\n[upstream.nobody]\nservers = [\"http://@NOBODY@\"]\n\
    [upstream.narrow]\nservers = [\"@UP@\"]\nconnections_max = 1\nqueue_max = 0\n\
    [[route]]\npath = \"/open\"\nauth = \"open\"\n\
    [[route]]\npath = \"/roles\"\nroles = [\"r\"]\n\
    [[route]]\npath = \"/small\"\nbody_bytes_max = \"10B\"\n\
    [[route]]\npath = \"/nobody\"\nupstream = \"nobody\"\n\
    [[route]]\npath = \"/narrow/*\"\nupstream = \"narrow\"\nstrip_prefix = \"/narrow\"\n\
    [[route]]\npath = \"/reset\"\n[[route]]\npath = \"/hang\"\ntimeout = \"250ms\"\n\
    [[route]]\nname = \"x\"\npath = \"/x\"\nmethods = [\"GET\", \"POST\"]\n";

/// Gateways in which everything goes wrong that can, and what is kept so that it stays wrong.
struct World {
    upstream: Upstream,
    gateway: Gateway,
    /// With a limit of all.
    crowded: Gateway,
    /// Where one wrong key is too many.
    guarded: Gateway,
    good: Key,
    bad: Vec<(&'static str, Key)>,
    held: Vec<Conn>,
}

impl World {
    fn start() -> World {
        let (upstream, good) = (Upstream::start(), Key::new());
        let mut entries = good.entry("good", "");
        let mut bad = Vec::new();
        for (id, fields) in [
            ("expired", "expires = 2020-01-01T00:00:00Z"),
            ("not_yet_valid", "not_before = 2099-01-01T00:00:00Z"),
            ("disabled", "state = \"disabled\""),
            ("revoked", "state = \"revoked\""),
            ("compromised", "state = \"compromised\""),
            ("honey", "state = \"honey\""),
            ("quarantined", "state = \"sleeping\""),
            ("route_denied", "routes = [\"other\", \"/roles\"]"),
            ("method_denied", "methods = [\"POST\"]"),
            ("path_denied", "paths = [\"/roles\"]"),
            ("network_denied", "networks = [\"192.0.2.0/24\"]"),
            ("rate_limited", "limits = [\"1/h\"]"),
            ("quota_exceeded", "quota = \"1/month\""),
            ("concurrency_limited", "concurrency = 1"),
        ] {
            let key = Key::new();
            entries += &key.entry(&id.replace('_', "-"), fields);
            bad.push((id, key));
        }
        let (new, old) = (Key::new(), Key::new());
        let previous = format!("previous = [{{ hash = \"{}\", until = 2020-01-01T00:00:00Z }}]", old.hash());
        entries += &new.entry("rotated", &previous);
        bad.push(("rotated_out", old));
        let config = CONFIG.replace("@NOBODY@", &free_port().to_string());
        let gateway = Setup::with(&upstream, &config, &entries).start();
        let crowded = Setup::with(&upstream, "limits.total = \"1/h\"\n", &entries).start();
        let guarded = Setup::with(&upstream, "limits.failures_per_ip = \"1/h\"\n", &entries).start();
        World { upstream, gateway, crowded, guarded, good, bad, held: Vec::new() }
    }

    fn get(&self, path: &str) -> Req {
        self.gateway.get(path)
    }

    fn with(&self, denial: Denial, path: &str) -> Req {
        let (_, key) = self.bad.iter().find(|(id, _)| *id == denial.reason()).expect("a key for it");
        self.get(path).bearer(key)
    }

    /// Waits at the upstream until the test is over.
    fn hold(&mut self, request: &Req, path: &str) {
        let mut conn = self.gateway.connect();
        conn.write(&request.bytes()).unwrap();
        self.upstream.request(path);
        self.held.push(conn);
    }

    /// A request that will be refused for this.
    fn request(&mut self, denial: Denial) -> Req {
        let good = self.good.clone();
        match denial {
            Denial::MalformedRequest => self.get("/x/..").bearer(&good),
            Denial::InsecureTransport => Req::new(self.gateway.listener(1), "GET", "/x").bearer(&good),
            Denial::IpLimited => {
                assert_eq!(self.get("/open").send().status, 200);
                self.get("/open")
            }
            Denial::TotalLimited => {
                let request = self.crowded.get("/x").bearer(&good);
                assert_eq!(request.send().status, 200);
                request
            }
            Denial::LockedOut => {
                assert_eq!(self.guarded.get("/x").bearer(&Key::new()).send().status, 401);
                self.guarded.get("/x").bearer(&good)
            }
            Denial::Suspended => panic!("no alert does it yet"),
            Denial::NoRoute => self.get("/nowhere").bearer(&good),
            Denial::MethodNotAllowed => self.gateway.request("PUT", "/x").bearer(&good),
            Denial::MissingKey => self.get("/x"),
            Denial::DuplicateCredential => self.get("/x").bearer(&good).api_key(&good.text),
            Denial::MalformedKey => self.get("/x").api_key("kw_short"),
            Denial::BadChecksum => self.get("/x").api_key(&good.bad_checksum()),
            Denial::UnknownKey => self.get("/x").bearer(&Key::new()),
            Denial::RoleDenied => self.get("/roles").bearer(&good),
            Denial::BodyTooLarge => self.gateway.request("POST", "/small").bearer(&good).body(&[b'x'; 11]),
            Denial::Expired
            | Denial::NotYetValid
            | Denial::Disabled
            | Denial::Revoked
            | Denial::Compromised
            | Denial::Honey
            | Denial::RotatedOut
            | Denial::Quarantined
            | Denial::RouteDenied
            | Denial::MethodDenied
            | Denial::PathDenied
            | Denial::NetworkDenied => self.with(denial, "/x"),
            Denial::RateLimited | Denial::QuotaExceeded | Denial::ConcurrencyLimited => self.spent(denial),
            Denial::UpstreamUnavailable | Denial::UpstreamTimeout | Denial::UpstreamError | Denial::UpstreamBusy => {
                self.failing(denial)
            }
        }
    }

    /// Of a key that has used up what it has.
    fn spent(&mut self, denial: Denial) -> Req {
        let request = self.with(denial, "/x");
        if denial == Denial::ConcurrencyLimited {
            let slow = self.with(denial, "/narrow/hang");
            self.hold(&slow, "/hang");
        } else {
            assert_eq!(request.send().status, 200);
        }
        request
    }

    /// To an upstream that does not answer. Whoever waits for the narrow one is there since the concurrency was used up.
    fn failing(&self, denial: Denial) -> Req {
        let paths = [
            (Denial::UpstreamUnavailable, "/nobody"),
            (Denial::UpstreamTimeout, "/hang"),
            (Denial::UpstreamError, "/reset"),
            (Denial::UpstreamBusy, "/narrow/x"),
        ];
        let (_, path) = paths.iter().find(|(why, _)| *why == denial).expect("a path for it");
        self.get(path).bearer(&self.good)
    }
}

#[test]
fn the_refusals_are_those_of_the_manual() {
    let all: Vec<_> = Denial::ALL.iter().map(|denial| (denial.reason(), denial.status(), denial.code())).collect();
    assert_eq!(all, TABLE);
}

#[test]
fn each_is_produced_by_a_request_and_no_other_status_and_code_comes_out() {
    let mut world = World::start();
    let mut came_out = BTreeSet::new();
    for (denial, (reason, status, code)) in Denial::ALL.into_iter().zip(TABLE) {
        if denial == Denial::Suspended {
            continue;
        }
        let reply = world.request(denial).send();
        assert_eq!(reply.status, status, "{reason}: {}", reply.everything());
        crate::verdicts::assert_problem(&reply, code);
        let gateway = [(Denial::TotalLimited, &world.crowded), (Denial::LockedOut, &world.guarded)];
        let gateway = gateway.into_iter().find(|(of, _)| *of == denial).map_or(&world.gateway, |(_, gateway)| gateway);
        let line = gateway.line_of(&reply);
        assert_eq!((&line["reason"], &line["http.response.status_code"]), (&reason.into(), &status.into()), "{line:#}");
        let decision = if reason.starts_with("upstream_") { "allow" } else { "deny" };
        assert_eq!(line["decision"], decision, "{line:#}");
        assert_eq!(line["event"], if status == 429 { "throttle" } else { "decision" }, "{line:#}");
        assert_eq!(reply.header("retry-after").is_some(), matches!(status, 429 | 503), "{reason}");
        let challenges = reply.all("www-authenticate").len();
        let is_challenged = matches!(code, "missing_key" | "invalid_key" | "forbidden");
        assert_eq!(challenges, usize::from(is_challenged), "{reason}");
        came_out.insert((reply.status, reply.json()["code"].as_str().unwrap().to_owned()));
    }
    let manual: BTreeSet<_> =
        TABLE.iter().filter(|it| it.0 != "suspended").map(|(_, status, code)| (*status, (*code).to_owned())).collect();
    assert_eq!(came_out, manual);
}
