//! TLS: one server configuration per listener, certificates by SNI, tickets that outlive a reload.

use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, ServerConfig};

/// What all listeners share: the cryptography (aws-lc-rs, hybrid post-quantum key exchange first) and the ticket keys.
pub struct Tls {
    provider: Arc<rustls::crypto::CryptoProvider>,
    ticketer: Arc<dyn ProducesTickets>,
}

impl Tls {
    /// # Errors
    /// The system has no randomness to give.
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self { provider: Arc::new(aws_lc_rs::default_provider()), ticketer: aws_lc_rs::Ticketer::new()? })
    }

    /// The configuration of a listener with these certificates, the first being the default.
    ///
    /// # Errors
    /// The provider lacks a protocol version: never, with aws-lc-rs.
    pub fn server_config(&self, certificates: Vec<Arc<CertifiedKey>>) -> Result<Arc<ServerConfig>, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni(certificates)));
        // A client that names nothing but HTTP/1.0 (curl --http1.0 does) would be refused without the last one.
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.ticketer = Arc::clone(&self.ticketer);
        Ok(Arc::new(config))
    }
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

/// The log's `tls.protocol.version`.
pub(super) fn version_text(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => "unknown",
    }
}
