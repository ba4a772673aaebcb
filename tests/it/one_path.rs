//! One path: what the gateway lets through as one resource, no server behind it may take for another.
//!
//! Real servers say which resource a target stands for, each in every way in which such servers read one. The gateway has a
//! guarded route and an open one; no spelling of a guarded resource may take the open one, as it was sent or as it is
//! forwarded.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::harness::{
    Conn, Gateway, Req, Server, Setup, Upstream, free_port, nginx_with, server_that_names_its_port, tool,
};

/// Enough to hit every trick with every resource several times.
const SPELLINGS: usize = 3000;
/// Of the generator; a failure is found again by it.
const SEED: u64 = 0x6b65_7977_6172_6431;

const ROUTES: &str =
    "[[route]]\npath = \"/admin/*\"\n[[route]]\npath = \"/v1/a!b,c@d/*\"\n[[route]]\nauth = \"open\"\n";

/// Places as nginx locations, and nginx without the merging of slashes but with a second look by a rewrite.
const NGINX: &str = r#"
    server {
        listen @LOCATIONS@;
        location /admin/ { return 200 "$uri\n/admin/by-location"; }
        location = /admin { return 200 "$uri\n/admin"; }
        location / { return 200 "$uri"; }
    }
    server {
        listen @REWRITING@;
        merge_slashes off;
        location / { rewrite ^/+(.*)$ /$1 break; return 200 "$uri"; }
    }
"#;

fn is_guarded(resource: &str) -> bool {
    ["/admin", "/v1/a!b,c@d"]
        .iter()
        .any(|guard| resource.strip_prefix(guard).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A server that says which resource it would serve.
struct Resolver {
    name: &'static str,
    addr: SocketAddr,
    conn: Option<Conn>,
}

impl Resolver {
    /// What the server takes `target` for, one way of reading after the other; nothing where it refuses it.
    fn resources(&mut self, target: &str) -> Vec<String> {
        for _ in 0..2 {
            let Ok(mut conn) = self.conn.take().map_or_else(|| Conn::try_open(self.addr), Ok) else { continue };
            if let Ok(reply) = conn.try_send(&Req::new(self.addr, "GET", target)) {
                let is_last = reply.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
                self.conn = (!is_last && reply.status == 200).then_some(conn);
                let is_answer = reply.status == 200;
                return if is_answer { reply.text().lines().map(str::to_owned).collect() } else { Vec::new() };
            }
        }
        Vec::new()
    }
}

fn resolvers(folder: &Path) -> (Vec<Resolver>, Vec<Server>) {
    let tools = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tools/paths"));
    let (locations, rewriting) = (free_port(), free_port());
    let places = NGINX.replace("@LOCATIONS@", &locations.to_string()).replace("@REWRITING@", &rewriting.to_string());
    let started = |program: &str, file: &str| {
        let mut command = tool(program);
        if program == "java" {
            command.arg("-Dsun.net.httpserver.nodelay=true");
        }
        command.arg(tools.join(file)).current_dir(folder);
        server_that_names_its_port(command)
    };
    let servers = vec![
        started("python3", "resolve.py"),
        started("node", "resolve.mjs"),
        started("java", "Resolve.java"),
        nginx_with(folder, &places),
    ];
    let named = ["Python", "Node", "Java"].into_iter().zip(servers.iter().map(|server| server.addr));
    let all = named.chain([("nginx", locations), ("nginx, rewriting", rewriting)]);
    (all.map(|(name, addr)| Resolver { name, addr, conn: None }).collect(), servers)
}

/// A small generator (xorshift64*): the same spellings in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

/// What stands before a resource without changing it, to one server or another.
const BEFORE: &[&str] = &[
    "",
    "",
    "",
    "",
    "/.",
    "/public/..",
    "/",
    "//",
    "/public/%2e%2e",
    "/public/.%2E",
    "/public%2f..",
    "/public/..%2f.",
    "/public%5c..",
    "/public\\..",
    "/..",
    "/%2e%2e",
    "/%2f",
    "/;x",
    "/.;x",
    "/public/..;x",
    "/public/..%3bx",
    "/%c0%ae%c0%ae",
    "/public/%252e%252e",
    "http://api.example.com",
    "http://api.example.com/public/..",
    "//api.example.com",
    "http:",
    "https://api.example.com",
    "/public/%uff0e%uff0e",
    "/public/%e3%80%82%e3%80%82",
    "/x/y/../..",
    "/%20",
    "/\u{e9}/..",
    "/public?/..",
    "/public#/..",
    "/public%3f/..",
    "/public%23/..",
    "/public%00/..",
    "/.%00",
    "/public/%2e%2e%2f.",
];
/// What stands behind one.
const BEHIND: &[&str] = &[
    "",
    "",
    "",
    "",
    "/",
    "//",
    "/.",
    "/x/..",
    "?x=1",
    "#x",
    ";x",
    "%3bx",
    "%00",
    "%00.html",
    "%20",
    ".",
    "%2e",
    "/%2e",
    "\\",
    "%5c",
    "%2f",
    "%3f",
    "%23",
    "?/../../public",
    "#/../../public",
    "/..%2fsecret",
    "%0a",
    "%09",
    "/./",
    "/;/",
    "%",
    "%2",
    "%zz",
    "+",
    "%2b",
    "/x",
    "/%2e%2e/admin",
    "%252f",
    "%c0%af",
    ":",
    "::$DATA",
    "~1",
];
const RESOURCES: &[&str] = &[
    "/admin/secret",
    "/admin",
    "/admin/",
    "/v1/a!b,c@d/x",
    "/v1/a!b,c@d",
    "/admin/secret",
    "/public/x",
    "/adminx",
    "/v1/a!b",
    "/ADMIN/x",
];

/// One character in another dress.
fn dressed(c: char, dice: &mut Dice) -> String {
    let code = c as u32;
    match dice.roll(24) {
        0 => format!("%25{code:02x}"),
        1 => format!("%c{:x}%{:02x}", code >> 6, 0x80 | (code & 0x3f)),
        2 => format!("%u{code:04x}"),
        3 => format!("%25%3{}%3{}", (code >> 4) % 10, (code & 15) % 10),
        4 if c == '/' => "\\".to_owned(),
        5 if c == '/' => "/./".to_owned(),
        6 if c == '/' => "//".to_owned(),
        7 if c == '/' => "/x/../".to_owned(),
        8 if c == '/' => ";a=b/".to_owned(),
        n if n % 2 == 0 => format!("%{code:02x}"),
        _ => format!("%{code:02X}"),
    }
}

/// A target that some server may take for a resource.
fn spelling(dice: &mut Dice) -> String {
    let resource = dice.pick(RESOURCES);
    // Nothing, a little, a lot, or all of it in other dress; slashes more rarely, since few servers see through that.
    let one_in = [usize::MAX, 8, 3, 1][dice.roll(4)];
    let slash_one_in = [usize::MAX, usize::MAX, 4][dice.roll(3)];
    // Every other one only writes characters in another way, which no server minds.
    let is_mild = dice.roll(2) == 0;
    let mut text = if is_mild { String::new() } else { dice.pick(BEFORE).to_owned() };
    for (at, c) in resource.char_indices() {
        let one_in = if c == '/' { slash_one_in } else { one_in };
        // A target that begins with something else than a slash is another form of target.
        if at > 0 && one_in != usize::MAX && dice.roll(one_in) == 0 {
            text.push_str(&if is_mild && c != '/' { format!("%{:02X}", c as u32) } else { dressed(c, dice) });
        } else {
            text.push(c);
        }
    }
    if is_mild { text } else { text + dice.pick(BEHIND) }
}

/// What the gateway makes of a target.
#[derive(Clone, PartialEq, Eq)]
enum Verdict {
    /// It wants a key.
    Guarded,
    /// It passes, and the upstream gets this.
    Open(String),
    /// It refuses to read it.
    Refused,
}

fn ask(gateway: &Gateway, upstream: &Upstream, conn: &mut Option<Conn>, target: &str) -> Verdict {
    let before = upstream.seen_count();
    let mut open = conn.take().unwrap_or_else(|| gateway.connect());
    let reply = open.send(&gateway.get(target));
    let verdict = match reply.status {
        200 => Verdict::Open(upstream.last_target()),
        401 => Verdict::Guarded,
        400 => return Verdict::Refused,
        other => panic!("{other} for {target}"),
    };
    let forwarded = usize::from(verdict != Verdict::Guarded);
    assert_eq!(upstream.seen_count(), before + forwarded, "{target}");
    *conn = Some(open);
    verdict
}

/// Everything that was found out, and what is wrong with it.
#[derive(Default)]
struct Findings {
    /// Whether a resource, as one server reads targets in one way, is guarded; and the spelling that said so.
    verdicts: HashMap<(&'static str, usize, String), (bool, String)>,
    wrong: Vec<String>,
    open: usize,
    guarded: usize,
    disguised: usize,
}

impl Findings {
    fn note(&mut self, target: &str, verdict: &Verdict, resolver: &mut Resolver) {
        // Behind a `#` there is nothing that is sent on, so that only what is forwarded counts.
        let sent = if target.contains('#') { Vec::new() } else { resolver.resources(target) };
        self.disguised += usize::from(!is_guarded(target) && sent.iter().any(|resource| is_guarded(resource)));
        let forwarded = match verdict {
            Verdict::Refused => return,
            Verdict::Guarded => Vec::new(),
            Verdict::Open(forwarded) => resolver.resources(forwarded),
        };
        let is_open = *verdict != Verdict::Guarded;
        for (way, resource) in sent.into_iter().enumerate().chain(forwarded.into_iter().enumerate()) {
            if is_open && is_guarded(&resource) {
                self.wrong.push(format!("{target} passes, and is {resource} to {}", resolver.name));
            }
            let key = (resolver.name, way, resource);
            let (before, other) = self.verdicts.entry(key.clone()).or_insert_with(|| (is_open, target.to_owned()));
            if *before != is_open {
                self.wrong.push(format!("{target} and {other} are both {} to {} and not treated alike", key.2, key.0));
            }
        }
    }
}

#[test]
fn no_two_spellings_of_a_resource_are_treated_differently() {
    let folder = tempfile::tempdir().unwrap();
    let (mut resolvers, _servers) = resolvers(folder.path());
    let upstream = Upstream::start();
    let gateway = Setup::with(&upstream, ROUTES, "").start();
    let mut dice = Dice(SEED);
    let (mut conn, mut findings) = (None, Findings::default());
    for _ in 0..SPELLINGS {
        let target = spelling(&mut dice);
        let verdict = ask(&gateway, &upstream, &mut conn, &target);
        for resolver in &mut resolvers {
            findings.note(&target, &verdict, resolver);
        }
        findings.open += usize::from(matches!(verdict, Verdict::Open(_)));
        findings.guarded += usize::from(verdict == Verdict::Guarded);
    }
    let Findings { wrong, open, guarded, disguised, .. } = findings;
    assert!(wrong.is_empty(), "seed {SEED:#x}:\n{}", wrong.join("\n"));
    // What this would be worth if the spellings were too tame to fool anybody.
    assert!(disguised > 500 && open > 100 && guarded > 100, "{disguised} disguised, {open} open, {guarded} guarded");
}
