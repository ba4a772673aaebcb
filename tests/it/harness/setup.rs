//! A gateway in the making: a scratch folder with `keyward.toml`, `keys.toml` and certificates.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;

use tempfile::TempDir;

use super::{Gateway, Upstream};

/// What a test sets before the gateway starts. Everything it does not set stays at the gateway's own defaults.
pub(crate) struct Setup {
    pub(crate) dir: TempDir,
    pub(crate) config: String,
    pub(crate) keys: String,
    pub(crate) env: Vec<(String, String)>,
    /// Standard input; nothing by default.
    pub(crate) stdin: Option<OwnedFd>,
    /// A log file, when the lines do not go to stdout.
    pub(crate) log_file: Option<String>,
    pub(crate) close_stdout: bool,
    /// Nobody reads what the gateway writes until the test says so.
    pub(crate) unread: bool,
    /// The log goes nowhere a test can read: ports are then looked up in /proc.
    pub(crate) blind: bool,
}

impl Setup {
    pub(crate) fn new() -> Setup {
        Setup {
            dir: tempfile::tempdir().expect("a scratch folder"),
            config: String::new(),
            keys: String::new(),
            env: Vec::new(),
            stdin: None,
            log_file: None,
            close_stdout: false,
            unread: false,
            blind: false,
        }
    }

    /// In front of `upstream`, with these entries in `keys.toml`.
    pub(crate) fn with(upstream: &Upstream, config: &str, keys: &str) -> Setup {
        let mut setup = Setup::new();
        setup.config = complete(config, &upstream.url());
        keys.clone_into(&mut setup.keys);
        setup
    }

    /// In front of a server at `url`.
    pub(crate) fn before(url: &str, config: &str, keys: &str) -> Setup {
        let mut setup = Setup::new();
        setup.config = complete(config, url);
        keys.clone_into(&mut setup.keys);
        setup
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Setup {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts a self-signed certificate for `name` beside the config, as `FILE.pem` and `FILE.key`.
    pub(crate) fn certificate(self, file: &str, name: &str) -> Setup {
        write_certificate(self.dir.path(), file, name);
        self
    }

    pub(crate) fn log_to(mut self, file: &str) -> Setup {
        self.log_file = Some(file.to_owned());
        self
    }

    pub(crate) fn closed_stdout(mut self) -> Setup {
        self.close_stdout = true;
        self.blind = true;
        self
    }

    pub(crate) fn unread(mut self) -> Setup {
        self.unread = true;
        self.blind = true;
        self
    }

    pub(crate) fn blind(mut self) -> Setup {
        self.blind = true;
        self
    }

    pub(crate) fn write(&self) {
        fs::write(self.dir.path().join("keyward.toml"), &self.config).unwrap();
        fs::write(self.dir.path().join("keys.toml"), &self.keys).unwrap();
    }

    pub(crate) fn start(self) -> Gateway {
        self.write();
        Gateway::start(self)
    }
}

/// Adds what a test's config leaves out: the upstream on top, a plain loopback listener at the end.
pub(crate) fn complete(config: &str, upstream_url: &str) -> String {
    let mut text = config.replace("@UP@", upstream_url);
    if !text.contains("[upstream.default]") && !text.contains("upstream.default.servers") {
        text = format!("upstream.default.servers = [\"{upstream_url}\"]\n{text}");
    }
    if !text.contains("[[listener]]") {
        text.push_str("\n[[listener]]\naddress = \"127.0.0.1:0\"\n");
    }
    text
}

/// Writes a fresh self-signed certificate for `name`, key first so that a watcher meets a pair that belongs together soon.
pub(crate) fn write_certificate(dir: &Path, file: &str, name: &str) {
    let made =
        rcgen::generate_simple_self_signed(vec![name.to_owned(), "localhost".to_owned()]).expect("a certificate");
    fs::write(dir.join(format!("{file}.key")), made.signing_key.serialize_pem()).unwrap();
    fs::write(dir.join(format!("{file}.pem")), made.cert.pem()).unwrap();
}

/// An address that was free a moment ago, for servers that cannot say which port they took.
pub(crate) fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
