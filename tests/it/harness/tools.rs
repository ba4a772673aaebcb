//! Clients and servers that none of us wrote. `tests/run` installs what is missing.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::output::Output;
use super::{Ran, eventually, free_port, poll, wait_within};

/// A process that serves until it is dropped; ended by its id.
pub(crate) struct Server {
    pub(super) child: Child,
    pub(crate) addr: SocketAddr,
}

impl Server {
    pub(crate) fn new(child: Child, addr: SocketAddr) -> Server {
        Server { child, addr }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = self.child.id().to_string();
        drop(Command::new("kill").args(["-TERM", &id]).status());
        if poll(Duration::from_secs(2), || self.child.try_wait().ok().flatten()).is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// A tool by name, as a command.
pub(crate) fn tool(name: &str) -> Command {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let sbin = [PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")];
    let found = std::env::split_paths(&paths).chain(sbin).map(|d| d.join(name)).find(|p| p.is_file());
    Command::new(found.unwrap_or_else(|| panic!("{name} is missing: tests/run installs it")))
}

/// Where `tests/run` installs what is not a package of the system.
pub(crate) fn test_tools() -> PathBuf {
    std::env::var_os("KEYWARD_TEST_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("test-tools"), PathBuf::from)
}

/// The python of the test tools, which has httpx, websockets and grpcio.
pub(crate) fn python() -> Command {
    let path = test_tools().join("venv/bin/python");
    assert!(path.is_file(), "the test tools' python is missing: tests/run installs it");
    Command::new(path)
}

/// Runs curl, with a limit on how long it may take.
pub(crate) fn curl(args: &[&str]) -> Ran {
    let mut command = tool("curl");
    command.args(["-sS", "--noproxy", "*", "--max-time", "60"]).args(args);
    wait_within(command, Duration::from_secs(70))
}

/// Runs curl, which must succeed, and gives what it printed.
#[track_caller]
pub(crate) fn curl_ok(args: &[&str]) -> String {
    curl(args).ok().stdout
}

/// `python3 -m http.server` over a folder.
pub(crate) fn python_http_server(folder: &Path, protocol: &str) -> Server {
    let mut command = tool("python3");
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--protocol", protocol]);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("python3 starts");
    let output = Output::default();
    output.gather(child.stdout.take().unwrap());
    let port = eventually("http.server to name its port", || {
        let text = output.text();
        let (_, after) = text.split_once(" port ")?;
        after.split_whitespace().next()?.parse::<u16>().ok()
    });
    Server { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
}

/// A server that prints its loopback port on a line of its own, and then serves.
pub(crate) fn server_that_names_its_port(mut command: Command) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let output = Output::default();
    output.gather(child.stdout.take().unwrap());
    let port = eventually("a server to name its port", || {
        assert!(matches!(child.try_wait(), Ok(None)), "{command:?} ended: {}", output.text());
        output.text().lines().next()?.trim().parse::<u16>().ok()
    });
    Server { child, addr: SocketAddr::from(([127, 0, 0, 1], port)) }
}

/// nginx over a folder, which also takes uploads at `/upload`.
pub(crate) fn nginx(folder: &Path) -> Server {
    nginx_with(folder, "")
}

/// The same with more in its `http` block, where `@SCRATCH@` is a folder of its own.
pub(crate) fn nginx_with(folder: &Path, more: &str) -> Server {
    let addr = free_port();
    let scratch = folder.join(".nginx");
    fs::create_dir_all(&scratch).unwrap();
    let here = scratch.display();
    let config = include_str!("../../tools/nginx.conf")
        .replace("@MORE@", more)
        .replace("@ADDR@", &addr.to_string())
        .replace("@SCRATCH@", &here.to_string())
        .replace("@ROOT@", &folder.display().to_string());
    let file = scratch.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = tool("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(&scratch).args(["-e", "stderr"]);
    served_by(command, addr)
}

/// A server that `command` runs, once it listens at `addr`.
pub(crate) fn served_by(mut command: Command, addr: SocketAddr) -> Server {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = Output::default();
    errors.gather(child.stderr.take().unwrap());
    eventually("a server to listen", || {
        assert!(matches!(child.try_wait(), Ok(None)), "{command:?} ended: {}", errors.text());
        TcpStream::connect(addr).ok()
    });
    Server { child, addr }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}
