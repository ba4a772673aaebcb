//! `[[listener]]`.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Located;
use super::server::file_path;
use crate::config::problems::Wrong;
use crate::config::reader::{Item, Table};

/// The longest path that fits a socket address on Linux with its final NUL (unix(7)).
const UNIX_PATH_MAX: usize = 107;
/// What nginx and systemd give their sockets: whoever reaches the file may connect, and then needs a key.
const UNIX_MODE: u32 = 0o666;

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where to bind.
    pub address: ListenAddress,
    /// Permission bits of a Unix socket's file.
    pub mode: u32,
    /// Certificates; the first is the default, the others are chosen by SNI. Empty = no TLS.
    pub tls: Vec<CertificatePaths>,
    /// Whether a credential may come in without TLS.
    pub insecure: Insecure,
    /// Every connection begins with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether clients show a certificate.
    pub client_auth: ClientAuth,
    /// PEM bundle of whom to trust with them; present unless `client_auth` is off.
    pub client_ca: Option<Located<PathBuf>>,
}

/// `listener.client_auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate is asked for.
    Off,
    /// One that is shown must be good.
    Optional,
    /// No connection without one.
    Required,
}

/// `listener.address`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// An address; port 0 lets the system choose.
    Ip(SocketAddr),
    /// `unix:PATH`, joined to the folder of the config file.
    Unix(PathBuf),
}

/// One `{ cert, key }`, as absolute or file-relative paths already joined to the folder of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePaths {
    /// PEM chain, leaf first.
    pub cert: Located<PathBuf>,
    /// PEM private key.
    pub key: Located<PathBuf>,
}

/// `listener.insecure`, with its default (loopback and Unix sockets: allow, others: refuse) already applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insecure {
    /// 403 to any credential.
    Refuse,
    /// Take it.
    Allow,
}

impl ListenAddress {
    /// Nobody but this machine can reach it.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Two listeners cannot both have it.
    fn is_fixed(&self) -> bool {
        match self {
            Self::Ip(address) => address.port() != 0,
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for ListenAddress {
    fn default() -> Self {
        Self::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)))
    }
}

pub(super) fn listeners(file: &mut Table<'_>) -> Vec<Listener> {
    let default = Listener {
        address: ListenAddress::default(),
        mode: UNIX_MODE,
        tls: Vec::new(),
        insecure: Insecure::Allow,
        proxy_protocol: false,
        client_auth: ClientAuth::Off,
        client_ca: None,
    };
    let problems = file.problems();
    let Some(tables) = file.tables("listener") else {
        return vec![default];
    };
    let mut addresses = HashSet::new();
    let mut listeners = Vec::with_capacity(tables.len());
    for table in tables {
        let span = table.span();
        let listener = listener(table);
        if listener.address.is_fixed() && !addresses.insert(listener.address.clone()) {
            let message = format!("two listeners have the address `{}`", listener.address);
            problems.add(span, Wrong::new("duplicate-listener", message));
        }
        listeners.push(listener);
    }
    if listeners.is_empty() {
        problems.add(0..0, Wrong::value("`listener` is an empty list"));
        listeners.push(default);
    }
    listeners
}

fn listener(mut table: Table<'_>) -> Listener {
    let (problems, span) = (table.problems(), table.span());
    let address = table.get("address").and_then(|item| address(&item)).unwrap_or_default();
    let mode = table.get("mode").and_then(|item| mode(&item, &address)).unwrap_or(UNIX_MODE);
    let tls = certificates(&mut table);
    let default = match address.is_local() {
        true => Insecure::Allow,
        false => Insecure::Refuse,
    };
    let words = [("refuse", Insecure::Refuse), ("allow", Insecure::Allow)];
    let insecure = table.one_of("insecure", &words, default);
    if tls.is_empty() && insecure == Insecure::Refuse {
        let wrong = Wrong::new(
            "insecure-listener",
            format!("`{address}` has no TLS, so every request with a key is refused there"),
        )
        .hint("add `tls`, or `insecure = \"allow\"` where the network is trusted");
        problems.warn(span, wrong);
    }
    let proxy_protocol = table.boolean("proxy_protocol", false);
    let (client_auth, client_ca) = client_certificates(&mut table, !tls.is_empty());
    table.finish();
    Listener { address, mode, tls, insecure, proxy_protocol, client_auth, client_ca }
}

fn client_certificates(table: &mut Table<'_>, has_tls: bool) -> (ClientAuth, Option<Located<PathBuf>>) {
    let (auth, ca) = (table.get("client_auth"), table.get("client_ca"));
    let words = [("off", ClientAuth::Off), ("optional", ClientAuth::Optional), ("required", ClientAuth::Required)];
    let client_auth = table.one_of("client_auth", &words, ClientAuth::Off);
    let client_ca = ca.as_ref().and_then(file_path);
    match (&auth, &ca) {
        (Some(item), _) if client_auth != ClientAuth::Off && !has_tls => {
            item.wrong(Wrong::value("certificates of clients need `tls` on the listener"));
        }
        (_, Some(item)) if !has_tls => item.wrong(Wrong::value("certificates of clients need `tls` on the listener")),
        (Some(item), None) if client_auth != ClientAuth::Off => {
            let wrong = Wrong::new("missing-key", "it needs `client_ca`: whom to trust with certificates of clients");
            item.wrong(wrong);
        }
        (None, Some(item)) if client_ca.is_some() => {
            let wrong = Wrong::new("unused-client-ca", "`client_ca` does nothing: `client_auth` is \"off\"")
                .hint("add `client_auth = \"required\"`, or \"optional\"");
            table.problems().warn(item.span.clone(), wrong);
        }
        _ => {}
    }
    (client_auth, client_ca)
}

/// Whether a listener has this address.
pub(super) fn is_taken(listeners: &[Listener], address: &ListenAddress) -> bool {
    address.is_fixed() && listeners.iter().any(|listener| listener.address == *address)
}

pub(super) fn address(item: &Item<'_>) -> Option<ListenAddress> {
    let source = item.source();
    item.parsed(|text| match text.strip_prefix("unix:") {
        Some("") => Err(Wrong::value("expected a path after `unix:`")),
        Some(path) if path.contains(char::is_control) => Err(Wrong::value("a path has no control characters")),
        Some(path) => {
            let path = source.resolve(path);
            match path.as_os_str().len() {
                0..=UNIX_PATH_MAX => Ok(ListenAddress::Unix(path)),
                _ => Err(Wrong::value(format!("a socket's path has at most {UNIX_PATH_MAX} bytes"))),
            }
        }
        None => text.parse().map(ListenAddress::Ip).map_err(|_| {
            Wrong::value("expected an address and a port")
                .hint("as in \"127.0.0.1:8080\", \"[::]:8443\" or \"unix:/run/keyward/in.sock\"")
        }),
    })
}

/// As `chmod` takes it: `"0660"`.
fn mode(item: &Item<'_>, address: &ListenAddress) -> Option<u32> {
    item.parsed(|text| {
        let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| is_octal && *mode <= 0o777);
        match (mode, address) {
            (Some(_), ListenAddress::Ip(_)) => Err(Wrong::value("only a unix socket has permissions")),
            (Some(mode), ListenAddress::Unix(_)) => Ok(mode),
            (None, _) => Err(Wrong::value("expected permissions as \"0660\"")),
        }
    })
}

fn certificates(table: &mut Table<'_>) -> Vec<CertificatePaths> {
    let Some(entries) = table.tables("tls") else {
        return Vec::new();
    };
    let mut out = Vec::with_capacity(entries.len());
    for mut entry in entries {
        let problems = entry.problems();
        let mut path = |key| match entry.get(key) {
            Some(item) => file_path(&item),
            None => {
                let message = format!("a certificate needs `{key}`");
                problems.add(entry.span(), Wrong::new("missing-key", message));
                None
            }
        };
        let (cert, key) = (path("cert"), path("key"));
        entry.finish();
        if let (Some(cert), Some(key)) = (cert, key) {
            out.push(CertificatePaths { cert, key });
        }
    }
    out
}
