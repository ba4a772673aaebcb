//! The gateway as operators meet it: a process, its files and its lines.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::output::{Lines, Output, parse};
use super::{Conn, PATIENCE, Reply, Req, Setup, eventually, poll, secrets_in};

/// A running gateway. On drop it is ended by its id, and everything it ever said is searched for secrets.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) dir: TempDir,
    output: Output,
    log_file: Option<PathBuf>,
    /// `None` for one on a Unix socket.
    listeners: Vec<Option<SocketAddr>>,
    unread: Option<ChildStdout>,
}

impl Gateway {
    pub(crate) fn start(setup: Setup) -> Gateway {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
        command.arg("run").arg("-c").arg(setup.dir.path().join("keyward.toml"));
        let log_file = setup.log_file.as_ref().map(|f| setup.dir.path().join(f));
        Gateway::spawn(command, setup, log_file)
    }

    /// Runs any command that serves, in the setup's scratch folder.
    pub(crate) fn spawn(mut command: Command, setup: Setup, log_file: Option<PathBuf>) -> Gateway {
        for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("KEYWARD_")) {
            command.env_remove(name);
        }
        command.envs(setup.env).current_dir(setup.dir.path());
        command.stdin(setup.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the gateway's binary starts");
        let output = Output::default();
        output.gather(child.stderr.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let mut unread = None;
        if setup.unread {
            unread = Some(stdout);
        } else if setup.close_stdout {
            drop(stdout);
        } else {
            output.gather(stdout);
        }
        let mut gateway = Gateway { child, dir: setup.dir, output, log_file, listeners: Vec::new(), unread };
        gateway.listeners = if setup.blind { gateway.ports_from_proc() } else { gateway.ports_from_ready() };
        gateway
    }

    fn ports_from_ready(&mut self) -> Vec<Option<SocketAddr>> {
        let ready = poll(PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the gateway ended at start, {ended:?}:\n{}", self.text());
            self.events("ready").pop()
        });
        let ready = ready.unwrap_or_else(|| panic!("no ready line:\n{}", self.text()));
        let urls = ready["listeners"].as_array().unwrap_or_else(|| panic!("no listeners in {ready}"));
        urls.iter().map(|u| address_of(u.as_str().expect("a URL"))).collect()
    }

    /// The loopback ports the process listens on, where nothing can be read from it.
    fn ports_from_proc(&self) -> Vec<Option<SocketAddr>> {
        let fds = format!("/proc/{}/fd", self.id());
        eventually("the gateway to listen", || {
            let sockets: Vec<String> = fs::read_dir(&fds)
                .ok()?
                .flatten()
                .filter_map(|e| {
                    let target = fs::read_link(e.path()).ok()?.to_string_lossy().into_owned();
                    Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
                })
                .collect();
            let table = fs::read_to_string("/proc/net/tcp").ok()?;
            let ports: Vec<Option<SocketAddr>> = table
                .lines()
                .skip(1)
                .filter_map(|line| {
                    let columns: Vec<&str> = line.split_whitespace().collect();
                    let listens = columns.get(3) == Some(&"0A") && sockets.iter().any(|s| s == columns[9]);
                    let port = u16::from_str_radix(columns.get(1)?.split(':').nth(1)?, 16).ok()?;
                    listens.then(|| Some(SocketAddr::from(([127, 0, 0, 1], port))))
                })
                .collect();
            (!ports.is_empty()).then_some(ports)
        })
    }

    /// Begins to read what a gateway wrote that nobody read so far.
    pub(crate) fn read_on(&mut self) {
        self.output.gather(self.unread.take().expect("an unread gateway"));
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener(0)
    }

    /// The listener that stands at `index` in the file.
    pub(crate) fn listener(&self, index: usize) -> SocketAddr {
        self.listeners[index].expect("a listener with an address")
    }

    /// Where probes are answered.
    pub(crate) fn admin(&self) -> SocketAddr {
        let ready = self.wait_event("ready", |_| true);
        ready["admin"].as_str().expect("an admin address").parse().expect("of TCP")
    }

    /// Asks it there.
    pub(crate) fn ask(&self, target: &str) -> Reply {
        Req::new(self.admin(), "GET", target).send()
    }

    pub(crate) fn get(&self, target: &str) -> Req {
        Req::new(self.addr(), "GET", target)
    }

    pub(crate) fn request(&self, method: &str, target: &str) -> Req {
        Req::new(self.addr(), method, target)
    }

    pub(crate) fn connect(&self) -> Conn {
        Conn::open(self.addr())
    }

    pub(crate) fn keys_path(&self) -> PathBuf {
        self.dir.path().join("keys.toml")
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.dir.path().join("keyward.toml")
    }

    /// Looks at every line so far, from wherever the lines go.
    fn look<T>(&self, at: impl FnOnce(&Lines) -> T) -> T {
        let Some(file) = &self.log_file else {
            return self.output.look(at);
        };
        let mut lines = self.output.lines();
        let text = fs::read_to_string(file).unwrap_or_default();
        // The last piece is a line only once its newline is there.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().for_each(|l| lines.push(l.to_owned()));
        at(&lines)
    }

    /// Every line, requests first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.look(|l| l.requests.iter().chain(&l.life).cloned().collect())
    }

    pub(crate) fn text(&self) -> String {
        self.look(Lines::text)
    }

    /// The lines of one event that is no request's.
    pub(crate) fn events(&self, event: &str) -> Vec<Value> {
        let mut events = self.look(|l| parse(&l.life));
        events.retain(|l| l["event"] == event);
        events
    }

    /// All `decision` and `throttle` lines.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        self.look(|l| parse(&l.requests))
    }

    /// How many of them there are.
    pub(crate) fn decided(&self) -> usize {
        self.look(|l| l.requests.len())
    }

    /// The one line of a request.
    pub(crate) fn line_of(&self, reply: &Reply) -> Value {
        let id = format!("\"request_id\":\"{}\"", reply.request_id());
        let found = || self.look(|l| parse(l.requests.iter().filter(|l| l.contains(&id))));
        let line = eventually(&format!("the line with {id}"), || found().pop());
        assert_eq!(found().len(), 1, "exactly one line per request");
        line
    }

    pub(crate) fn wait_decision(&self, what: &str, matches: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || self.decisions().into_iter().find(&matches))
    }

    pub(crate) fn wait_event(&self, event: &str, matches: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("a {event} line"), || self.events(event).into_iter().find(&matches))
    }

    /// The last `reload` line after `before` such lines were there.
    pub(crate) fn reload_after(&self, before: usize) -> Value {
        eventually("a reload line", || self.reloads().into_iter().nth(before))
    }

    /// Reloads that did something: applied or rejected.
    pub(crate) fn reloads(&self) -> Vec<Value> {
        self.events("reload").into_iter().filter(|l| l["result"] != "unchanged").collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().expect("kill runs");
        assert!(sent.success(), "kill -{name} {id}");
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        eventually("the gateway to end", || self.child.try_wait().unwrap())
    }

    /// Ends it as an operator does, and gives every line it wrote.
    pub(crate) fn stop(&mut self) -> Vec<String> {
        self.signal("TERM");
        let status = self.wait_exit();
        assert_eq!(status.code(), Some(0), "a drained gateway exits 0:\n{}", self.text());
        self.lines()
    }

    /// Starts another one in the same folder, with the same files, once this one has ended.
    pub(crate) fn next(mut self) -> Gateway {
        self.wait_exit();
        let mut setup = Setup::new();
        std::mem::swap(&mut setup.dir, &mut self.dir);
        setup.log_file = self.log_file.as_ref().map(|file| file.display().to_string());
        // What this one has said is searched for secrets before the other says anything.
        drop(self);
        Gateway::start(setup)
    }

    /// Resident memory, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            // The harness's one word to whoever reads a failure.
            self.look(|l| {
                print_last("the gateway's life", &l.life, 20);
                print_last("its last requests", &l.requests, 5);
            });
        } else {
            let found = secrets_in(&self.text());
            assert!(found.is_empty(), "secrets in the gateway's output: {found:?}");
        }
    }
}

#[expect(clippy::print_stderr, reason = "a failing test shows what the gateway said last")]
fn print_last(what: &str, lines: &[String], count: usize) {
    let start = lines.len().saturating_sub(count);
    eprintln!("--- {what} ---\n{}", lines[start..].join("\n"));
}

fn address_of(url: &str) -> Option<SocketAddr> {
    let (_, rest) = url.split_once("://").unwrap_or_else(|| panic!("not a URL: {url}"));
    if rest.starts_with("unix:") {
        return None;
    }
    Some(rest.trim_end_matches('/').parse().unwrap_or_else(|e| panic!("{url}: {e}")))
}
