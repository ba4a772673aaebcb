//! `keyward demo`: everything embedded, to be tried with `curl` before anything is set up.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::run::{complain, serve_until_told};
use crate::config::gateway::ListenAddress;
use crate::credential::format::generate;
use crate::observe::line::push_escaped;
use crate::reload::sources::{Origin, Sources};
use crate::vocab::digest::{Digest, push_hex};

const PREFIX: &str = "kw";
/// Tried first, so that the lines look the same every time.
const PORT: u16 = 8443;

/// Serves the demo until told to stop.
pub fn run() -> u8 {
    match Demo::prepare() {
        Ok(demo) => demo.serve(),
        Err(error) => complain(1, &format!("error: failed to set up the demo: {error}\n")),
    }
}

struct Demo {
    folder: Scratch,
}

impl Demo {
    fn prepare() -> io::Result<Self> {
        let folder = Scratch::new()?;
        let upstream = spawn_echo()?;
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])
            .map_err(io::Error::other)?;
        folder.write("cert.pem", certificate.cert.pem().as_bytes())?;
        folder.write("key.pem", certificate.signing_key.serialize_pem().as_bytes())?;

        let key = generate(PREFIX).map_err(io::Error::other)?;
        let hash = Digest::sha256(key.expose()).to_hex();
        folder.write("header", &[b"X-API-Key: ", key.expose(), b"\n"].concat())?;
        folder.write("keys.toml", KEYS.replace("HASH", &hash).as_bytes())?;
        let config = CONFIG.replace("UPSTREAM", &upstream.to_string()).replace("LISTEN", &listen().to_string());
        folder.write("keyward.toml", config.as_bytes())?;
        Ok(Self { folder })
    }

    fn serve(self) -> u8 {
        let file = Some(self.folder.0.join("keyward.toml"));
        match Sources::load(Origin { file, keys_override: None }, None) {
            Ok((sources, warnings)) => serve_until_told(sources, &warnings, |gateway| {
                let lines = gateway.listening().first().map(|listening| match &listening.address {
                    ListenAddress::Ip(address) => self.lines(address.port()),
                    ListenAddress::Unix(_) => String::new(),
                });
                let lines = lines.unwrap_or_default();
                // With standard output gone there is nobody to show it to.
                let _ = io::stdout().write_all(lines.as_bytes());
            }),
            Err(report) => complain(1, &report.render(false)),
        }
    }

    /// The key itself stays in a file that `curl` reads: it is in no output, no history and no process list.
    fn lines(&self, port: u16) -> String {
        let folder = self.folder.0.display();
        let curl = format!("curl -sS --cacert {folder}/cert.pem");
        let url = format!("https://localhost:{port}/hello");
        let exe = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("keyward"));
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\nKeyward serves on https://localhost:{port} in front of an echo service. In another terminal:\n\n\
             # allowed: the key is good\n\
             {curl} -H @{folder}/header {url}\n\n\
             # refused: the key is not\n\
             {curl} -H 'X-API-Key: not-a-key' {url}\n\n\
             # throttled: the key is limited to 5 requests in 10 seconds\n\
             for i in 1 2 3 4 5 6 7; do {curl} -o /dev/null -w '%{{http_code}}\\n' -H @{folder}/header {url}; done\n\n\
             # revoked while running: the key is good no more\n\
             {exe} key revoke demo --keys {folder}/keys.toml && sleep 0.3 && {curl} -H @{folder}/header {url}\n\n\
             Decisions follow as they happen; Ctrl-C ends the demo and removes {folder}.\n\n",
            exe = exe.display(),
        );
        text
    }
}

const KEYS: &str = r#"[[key]]
id = "demo"
hash = "sha256:HASH"
owner = "you"
limits = ["5/10s"]
"#;

const CONFIG: &str = r#"upstream.default.servers = ["http://UPSTREAM"]

[[listener]]
address = "LISTEN"
tls = [{ cert = "cert.pem", key = "key.pem" }]

[keys]
file = "keys.toml"
"#;

/// The usual port if it is free, any other if not.
fn listen() -> SocketAddr {
    let usual = SocketAddr::from(([127, 0, 0, 1], PORT));
    if TcpListener::bind(usual).is_ok() { usual } else { SocketAddr::from(([127, 0, 0, 1], 0)) }
}

/// A folder of its own, for this user only, gone with the demo.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut name = "keyward-demo-".to_owned();
        push_hex(&mut name, &random);
        let path = std::env::temp_dir().join(name);
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path: &Path = &self.0.join(name);
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the folder for temporary files anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A service that knows nothing of keys: it answers with what it was asked.
fn spawn_echo() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("echo".into()).spawn(move || runtime.block_on(echo(listener)))?;
    Ok(address)
}

async fn echo(listener: TcpListener) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(|request| async move { Ok::<_, std::convert::Infallible>(mirror(&request)) });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn mirror(request: &Request<Incoming>) -> Response<Whole> {
    let mut out = b"{\"method\":\"".to_vec();
    push_escaped(&mut out, request.method().as_str().as_bytes());
    out.extend_from_slice(b"\",\"path\":\"");
    push_escaped(&mut out, request.uri().to_string().as_bytes());
    out.extend_from_slice(b"\",\"headers\":{");
    for (at, (name, value)) in request.headers().iter().enumerate() {
        out.extend_from_slice(if at == 0 { b"\n  \"" } else { b",\n  \"" });
        push_escaped(&mut out, name.as_str().as_bytes());
        out.extend_from_slice(b"\":\"");
        push_escaped(&mut out, value.as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b"\n}}\n");
    let mut response = Response::new(Whole(Some(Bytes::from(out))));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(self.0.take().map(|bytes| Ok(http_body::Frame::data(bytes))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0.as_ref().map_or(0, Bytes::len) as u64)
    }
}
