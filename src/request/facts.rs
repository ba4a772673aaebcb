//! `Facts`: one request head, read once. Refuses what has no single reading; how the body is framed was settled before
//! there was a head to read, by `edge::h1::reader` for HTTP/1 and by the frames themselves for HTTP/2.

use std::cell::{Cell, OnceCell};
use std::net::IpAddr;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Method, Uri, Version};

use super::forwarded::Forwarded;
use super::peer::Peer;
use crate::config::gateway::Insecure;
use crate::vocab::clock::Now;
use crate::vocab::denial::Denial;
use crate::vocab::fields::Fields;

/// What goes on on one connection. Each open record counts itself.
#[derive(Debug, Default)]
pub struct Activity {
    requests: Cell<usize>,
    offered: Cell<usize>,
    taken_ms: Cell<u64>,
}

impl Activity {
    /// Requests that are not over yet.
    pub fn requests(&self) -> usize {
        self.requests.get()
    }

    /// One more, until what this returns is dropped.
    pub fn begin(self: &Rc<Self>) -> Busy {
        self.requests.set(self.requests.get() + 1);
        Busy(Rc::clone(self))
    }

    /// A piece of a response was handed over, at this reading of the worker's timers.
    pub fn offer(&self, now_ms: u64) {
        self.offered.set(self.offered.get() + 1);
        self.taken_ms.set(now_ms);
    }

    /// The connection came for more, or gave up: it has room, or no more wish.
    pub fn take(&self, now_ms: u64) {
        self.offered.set(self.offered.get() - 1);
        self.taken_ms.set(now_ms);
    }

    /// Since when nothing was taken of the pieces that were handed over, if there are any. Over HTTP/2 a client that
    /// keeps its windows shut is seen nowhere else.
    pub fn untaken_since_ms(&self) -> Option<u64> {
        (self.offered.get() > 0).then(|| self.taken_ms.get())
    }
}

/// A request that is not over yet.
#[derive(Debug)]
pub struct Busy(Rc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.set(self.0.requests.get() - 1);
    }
}

/// What is known of a connection, once.
#[derive(Debug)]
pub struct ConnFacts {
    /// Its requests.
    pub activity: Rc<Activity>,
    /// The other end of the socket.
    pub peer: Peer,
    /// Whom the connection comes from: the peer, or whom the peer names in a PROXY header.
    pub source: Peer,
    /// The source's address as `X-Forwarded-For` says it, if it has one.
    pub forwarded_for: Option<HeaderValue>,
    /// How the bytes came in.
    pub transport: Transport,
    /// The name in the certificate that the client has shown (RFC 4514).
    pub client_subject: Option<Box<str>>,
    /// Whether a credential may come in without TLS.
    pub insecure: Insecure,
    /// Its part of a line, once it has been written.
    pub rendered: OnceCell<Box<[u8]>>,
}

/// How the bytes came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the clear.
    Plain,
    /// Over TLS of this version (`1.2`, `1.3`).
    Tls(&'static str),
}

impl ConnFacts {
    /// The facts of a connection that comes from its peer.
    pub fn new(peer: Peer, transport: Transport, insecure: Insecure) -> Self {
        Self {
            activity: Rc::default(),
            peer,
            source: peer,
            forwarded_for: forwarded_for(peer),
            transport,
            client_subject: None,
            insecure,
            rendered: OnceCell::new(),
        }
    }

    /// The facts of a connection whose peer passes it on for somebody else.
    pub fn with_source(self, source: Peer) -> Self {
        Self { source, forwarded_for: forwarded_for(source), ..self }
    }

    /// The facts of a connection whose client has shown a certificate with this name.
    pub fn with_client_subject(self, subject: Option<Box<str>>) -> Self {
        Self { client_subject: subject, ..self }
    }

    /// `https` or `http`.
    pub const fn scheme(&self) -> &'static str {
        match self.transport {
            Transport::Plain => "http",
            Transport::Tls(_) => "https",
        }
    }
}

fn forwarded_for(source: Peer) -> Option<HeaderValue> {
    HeaderValue::try_from(source.ip()?.to_string()).ok()
}

/// 128 random bits in 32 lower-case hexadecimal characters, as nginx's `$request_id`; or what a trusted proxy has chosen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// From 128 random bits.
    pub fn new(bits: u128) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 32];
        for (pair, byte) in text.chunks_exact_mut(2).zip(bits.to_be_bytes()) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        let mut value = HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
        // No secret, but of use only once: HTTP/2 would remember it in place of values that come again (RFC 7541 §7.1.3).
        value.set_sensitive(true);
        Self(value)
    }

    /// Its characters, all of them printable ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// One that somebody trusted has given, already looked at.
    pub(super) const fn given(value: HeaderValue) -> Self {
        Self(value)
    }

    /// As a header value.
    pub fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// One request, as far as its head tells.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the head was whole.
    pub now: Now,
    /// Made here, or by a trusted proxy.
    pub request_id: RequestId,
    /// As sent.
    pub method: Method,
    /// As sent; what is logged.
    pub path_and_query: PathAndQuery,
    /// Host and port as sent, if any.
    pub host: Option<HeaderValue>,
    host_name_len: usize,
    /// As sent.
    pub version: Version,
    /// As sent.
    pub user_agent: Option<HeaderValue>,
    /// It speaks gRPC, and wants its refusals so.
    pub is_grpc: bool,
    /// What the connection's source says of the request, where it is a trusted proxy ([`Forwarded::read`]).
    pub forwarded: Option<Box<Forwarded>>,
}

impl Facts {
    /// Reads a request head. The facts are always made, so that the refusal has its line; a refusal stands beside them.
    pub fn read(
        now: Now,
        request_id: RequestId,
        method: Method,
        uri: Uri,
        version: Version,
        headers: &Fields,
    ) -> (Self, Result<(), Denial>) {
        let (host, host_name_len, verdict) = match host(&uri, version, headers) {
            Ok(Some((host, name_len))) => (Some(host), name_len, Ok(())),
            Ok(None) => (None, 0, Ok(())),
            Err(denial) => (None, 0, Err(denial)),
        };
        let verdict = verdict.and_then(|()| form(&method, &uri));
        let verdict = verdict.and_then(|()| if version == Version::HTTP_2 { downgrade(&uri, headers) } else { Ok(()) });
        let path_and_query = uri.into_parts().path_and_query.map_or_else(root, with_path);
        let user_agent = headers.get(USER_AGENT).cloned();
        // Its requests are POST, and a refusal with status 200 would tell a CONNECT that it has its tunnel.
        let is_grpc = method == Method::POST
            && headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let facts = Self {
            now,
            request_id,
            method,
            path_and_query,
            host,
            host_name_len,
            version,
            user_agent,
            is_grpc,
            forwarded: None,
        };
        (facts, verdict)
    }

    /// The address that the request comes from; absent where it came over a Unix socket and nobody says.
    pub fn client(&self, conn: &ConnFacts) -> Option<IpAddr> {
        self.forwarded.as_ref().map_or_else(|| conn.source.ip(), |forwarded| forwarded.client)
    }

    /// `https` or `http`, as the client came in.
    pub fn scheme(&self, conn: &ConnFacts) -> &'static str {
        self.forwarded.as_ref().map_or_else(|| conn.scheme(), |forwarded| forwarded.scheme)
    }

    /// The host without its port, and without the dot of the root: `a.example.` is `a.example`.
    pub fn host_name(&self) -> &str {
        let host = self.host.as_ref().map_or(&[][..], HeaderValue::as_bytes);
        host.get(..self.host_name_len).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or_default()
    }
}

/// RFC 9112 §3.2: exactly one Host in HTTP/1.1, well formed, and equal to the authority where both are sent.
///
/// Gives the value and how much of it is the name.
fn host(uri: &Uri, version: Version, headers: &Fields) -> Result<Option<(HeaderValue, usize)>, Denial> {
    let mut all = headers.get_all(HOST);
    let header = all.next();
    if all.next().is_some() {
        return Err(Denial::MalformedRequest);
    }
    let read = |value: &HeaderValue| {
        let name = host_name_len(value.as_bytes()).ok_or(Denial::MalformedRequest)?;
        Ok(Some((value.clone(), name)))
    };
    match (uri.authority(), header) {
        (Some(authority), Some(value)) => {
            let same = authority.as_str().as_bytes().eq_ignore_ascii_case(value.as_bytes());
            if same { read(value) } else { Err(Denial::MalformedRequest) }
        }
        (Some(authority), None) if version == Version::HTTP_2 => {
            read(&HeaderValue::from_str(authority.as_str()).map_err(|_| Denial::MalformedRequest)?)
        }
        (None, Some(value)) => read(value),
        (None, None) if version < Version::HTTP_11 => Ok(None),
        (Some(_) | None, None) => Err(Denial::MalformedRequest),
    }
}

/// RFC 9112 §3.2: of the four forms of a target, `*` is for OPTIONS and an authority alone for CONNECT. What names another
/// scheme than ours asks for something that is not here. HTTP/2 has the same parts under other names.
fn form(method: &Method, uri: &Uri) -> Result<(), Denial> {
    let is_ours = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), _) => scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"),
        (None, Some(_)) => *method == Method::CONNECT,
        (None, None) => true,
    };
    let is_good = is_ours && (uri.path() != "*" || *method == Method::OPTIONS);
    if is_good { Ok(()) } else { Err(Denial::MalformedRequest) }
}

/// What the frames of HTTP/2 leave open, and HTTP/1.1 would carry as something else: a `:path` that does not begin with a
/// slash (RFC 9113 §8.3.1), a length said twice, and names that some servers take for those that frame. The rest the
/// parser has refused: control characters, upper-case names, what concerns a connection, a length that is not the body's.
fn downgrade(uri: &Uri, headers: &Fields) -> Result<(), Denial> {
    let path_is_good = uri.path_and_query().is_none_or(|target| target.as_str().starts_with(['/', '*']));
    let lengths = headers.get_all(CONTENT_LENGTH).nth(1).is_none();
    let is_alike = headers.names().any(|name| ["content_length", "transfer_encoding"].contains(&name.as_str()));
    if path_is_good && lengths && !is_alike { Ok(()) } else { Err(Denial::MalformedRequest) }
}

fn root() -> PathAndQuery {
    PathAndQuery::from_static("/")
}

/// `http://a?q` has no path, and means `/`.
fn with_path(target: PathAndQuery) -> PathAndQuery {
    if target.as_str().starts_with(['/', '*']) {
        return target;
    }
    PathAndQuery::try_from(target.to_string()).unwrap_or_else(|_| root())
}

/// How long a body is by its own account, in bytes; zero where it does not say.
pub fn declared_length(headers: &Fields) -> u64 {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return 0 };
    // The parsers of both protocols have refused what is no number; one that does not fit here fits no limit either.
    value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

/// Reads `host[:port]` of RFC 3986 without userinfo, and without percent-encoding: no name on the network needs it, and a
/// name that is spelled in two ways would walk past a route's host. Gives the length of the name, without the dot of the
/// root.
fn host_name_len(text: &[u8]) -> Option<usize> {
    let end = match text.first()? {
        b'[' => {
            let end = text.iter().position(|b| *b == b']')? + 1;
            let inside = |b: &u8| b.is_ascii_hexdigit() || b":.vV%".contains(b);
            (end > 2 && text[1..end - 1].iter().all(inside)).then_some(end)?
        }
        _ => text.iter().position(|b| !IN_NAME[usize::from(*b)]).unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at(end);
    let port_is_good = match rest {
        [] => true,
        [b':', port @ ..] => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    (port_is_good && !name.is_empty()).then_some(name.len())
}

/// Characters of a registered name (RFC 3986 §3.2.2): unreserved and sub-delims.
const IN_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        table[at] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
            );
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn read(uri: &str, version: Version, hosts: &[&str]) -> Result<String, Denial> {
        let mut headers = Fields::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).expect("a header value"));
        }
        let (facts, verdict) = Facts::read(
            Now { mono: 0, wall_us: 0 },
            RequestId::new(1),
            Method::GET,
            uri.parse().expect("a URI"),
            version,
            &headers,
        );
        verdict.map(|()| facts.host_name().to_owned())
    }

    #[test]
    fn http_2_does_not_remember_what_never_comes_again() {
        assert!(RequestId::new(7).header().is_sensitive());
    }

    #[test]
    fn a_target_has_the_form_that_its_method_wants() {
        for (method, uri, expected) in [
            ("GET", "/", Ok("/")),
            ("GET", "http://a", Ok("/")),
            ("GET", "http://a?q", Ok("/?q")),
            ("GET", "HTTPS://a/x?q", Ok("/x?q")),
            ("GET", "/?q", Ok("/?q")),
            ("GET", "//b/x", Ok("//b/x")),
            ("OPTIONS", "*", Ok("*")),
            ("GET", "*", Err(())),
            ("GET", "a", Err(())),
            ("GET", "a:80", Err(())),
            ("CONNECT", "a", Ok("/")),
            ("GET", "ftp://a/x", Err(())),
            ("GET", "wss://a/x", Err(())),
        ] {
            let mut headers = Fields::new();
            let host = if uri == "a:80" { "a:80" } else { "a" };
            headers.set(HOST, HeaderValue::from_static(host));
            let method = method.parse().expect("a method");
            let uri: Uri = uri.parse().expect("a URI");
            let now = Now { mono: 0, wall_us: 0 };
            let (facts, verdict) = Facts::read(now, RequestId::new(1), method, uri.clone(), Version::HTTP_11, &headers);
            let got = verdict.map(|()| facts.path_and_query.as_str().to_owned());
            assert_eq!(got, expected.map(str::to_owned).map_err(|()| Denial::MalformedRequest), "{uri}");
        }
    }

    #[test]
    fn one_well_formed_host_is_read_and_anything_else_refused() {
        for (uri, version, hosts, expected) in [
            ("/", Version::HTTP_11, &["a.example"][..], Ok("a.example")),
            ("/", Version::HTTP_11, &["a.example:8080"], Ok("a.example")),
            ("/", Version::HTTP_11, &["a.example."], Ok("a.example")),
            ("/", Version::HTTP_11, &["%61.example"], Err(())),
            ("/", Version::HTTP_11, &["[::1]:80"], Ok("[::1]")),
            ("http://a.example/x", Version::HTTP_11, &["A.example"], Ok("A.example")),
            ("https://a.example/x", Version::HTTP_2, &[], Ok("a.example")),
            ("/", Version::HTTP_10, &[], Ok("")),
            ("/", Version::HTTP_11, &[], Err(())),
            ("/", Version::HTTP_11, &["a", "a"], Err(())),
            ("/", Version::HTTP_11, &[""], Err(())),
            ("/", Version::HTTP_11, &["a b"], Err(())),
            ("/", Version::HTTP_11, &["a/b"], Err(())),
            ("/", Version::HTTP_11, &["user@a"], Err(())),
            ("/", Version::HTTP_11, &["a:b"], Err(())),
            ("/", Version::HTTP_11, &["a:1:2"], Err(())),
            ("http://a.example/", Version::HTTP_11, &["b.example"], Err(())),
            ("https://a.example/", Version::HTTP_2, &["b.example"], Err(())),
        ] {
            let got = read(uri, version, hosts);
            let expected = expected.map(str::to_owned).map_err(|()| Denial::MalformedRequest);
            assert_eq!(got, expected, "{uri} {hosts:?}");
        }
    }
}
