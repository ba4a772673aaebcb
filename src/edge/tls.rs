//! TLS: one server configuration per listener, certificates by SNI, tickets that outlive a reload.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, ProtocolVersion, RootCertStore, ServerConfig};
use x509_cert::der::Decode as _;

/// What all listeners share: the cryptography (aws-lc-rs, hybrid post-quantum key exchange first) and the ticket keys.
pub struct Tls {
    provider: Arc<rustls::crypto::CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
}

/// Which certificates clients show.
pub enum Clients {
    /// None is asked for.
    Anybody,
    /// One that is shown leads to one of these.
    MayShow(Arc<RootCertStore>),
    /// Every client shows one that leads to one of these.
    MustShow(Arc<RootCertStore>),
}

impl Tls {
    /// # Errors
    /// The system has no randomness to give.
    pub fn new() -> Result<Self, rustls::Error> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.sort_by_key(|suite| !is_light(suite.suite()));
        Ok(Self { provider: Arc::new(provider), ticketer: aws_lc_rs::Ticketer::new()? })
    }

    /// The configuration of a listener with these certificates, the first being the default.
    ///
    /// # Errors
    /// The provider lacks a protocol version: never, with aws-lc-rs. Nobody is trusted with certificates of clients.
    pub fn server_config(
        &self,
        certificates: Vec<Arc<CertifiedKey>>,
        clients: &Clients,
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?;
        let (builder, ticketer) = match self.verifier(clients)? {
            None => (builder.with_no_client_auth(), Arc::clone(&self.ticketer)),
            // A session that is resumed is not verified again. So no other listener's tickets are good here, and none from
            // before a change of whom to trust.
            Some(verifier) => (builder.with_client_cert_verifier(verifier), aws_lc_rs::Ticketer::new()?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(BySni(certificates)));
        // A client that names nothing but HTTP/1.0 (curl --http1.0 does) would be refused without the last one.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.ticketer = ticketer;
        // Each costs the handshake something; a client may use one more than once, and gets a new one each time.
        config.send_tls13_tickets = 1;
        // Clients by OpenSSL offer AES-256 with SHA-384 first, and mean nothing by it; one that needs it offers no other.
        config.ignore_client_order = true;
        Ok(Arc::new(config))
    }

    fn verifier(&self, clients: &Clients) -> Result<Option<Arc<dyn ClientCertVerifier>>, rustls::Error> {
        let builder =
            |roots| WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&self.provider));
        let built = match clients {
            Clients::Anybody => return Ok(None),
            Clients::MayShow(roots) => builder(roots).allow_unauthenticated().build(),
            Clients::MustShow(roots) => builder(roots).build(),
        };
        built.map(Some).map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// AES-128 with SHA-256, as browsers and Go prefer it. A handshake hashes a dozen times: processors have instructions for
/// SHA-256, and SHA-384 takes two fifths of all that a resumed handshake computes.
const fn is_light(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
    )
}

/// Chooses by the names in the certificates themselves (RFC 6125), so that there is no second list to keep true.
#[derive(Debug)]
struct BySni(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let default = self.0.first();
        if self.0.len() < 2 {
            return default.cloned();
        }
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|key| is_for(key, &name)));
        named.or(default).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let leaf = key.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| verify_server_name(&leaf, name).is_ok())
}

/// The log's `tls.client.subject`: the name in the client's certificate in the form of RFC 4514, cut to a length that a line
/// can bear.
pub(super) fn client_subject(certificates: Option<&[CertificateDer<'_>]>) -> Option<String> {
    const SUBJECT_BYTES_MAX: usize = 1024;
    let leaf = x509_cert::Certificate::from_der(certificates?.first()?).ok()?;
    let mut subject = leaf.tbs_certificate().subject().to_string();
    subject.truncate(subject.floor_char_boundary(SUBJECT_BYTES_MAX));
    Some(subject)
}

/// The log's `tls.protocol.version`.
pub(super) fn version_text(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    }
}
