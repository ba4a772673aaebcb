//! What an upstream's TLS needs: roots to trust, and the certificate that is shown to servers.

use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

use super::at;
use super::certificates::{certificate, chain};
use crate::config::diagnostics::Report;
use crate::config::gateway::{Located, Protocol, Upstream};
use crate::config::mask;
use crate::config::source::SourceFile;

/// How an upstream is spoken to over TLS.
#[derive(Clone)]
pub struct UpstreamTls {
    /// For every connection to its servers.
    pub config: Arc<ClientConfig>,
    /// Names the certificates it was made from, so that unchanged files are found unchanged.
    pub made_from: [u8; 32],
}

/// Reads what the servers of an upstream need over TLS; `None` where none is.
pub fn load_upstream_tls(upstream: &Upstream, named_in: &Arc<SourceFile>) -> Result<Option<UpstreamTls>, Report> {
    let Some(needed_at) = &upstream.tls.needed_at else { return Ok(None) };
    let mut hash = Sha256::new();
    let roots = match &upstream.tls.ca {
        Some(file) => own_roots(file, named_in, &mut hash),
        None => system_roots().ok_or_else(|| {
            let hint = "name them in `upstream.NAME.tls.ca`, or in SSL_CERT_FILE; an image made from scratch has none";
            let message = "the system has no certificates to trust".to_owned();
            at(named_in, needed_at, "no-ca-certificates", message, Some(hint.to_owned()))
        }),
    };
    let client = upstream.tls.client.as_ref().map(|paths| certificate(paths, named_in)).transpose();
    let (roots, client) = match (roots, client) {
        (Ok(roots), Ok(client)) => (roots, client),
        (Err(mut first), Err(second)) => {
            first.extend(second);
            return Err(first);
        }
        (Err(report), Ok(_)) | (Ok(_), Err(report)) => return Err(report),
    };
    // The key must match the certificate, so that an unchanged chain means an unchanged key.
    for der in client.iter().flat_map(|client| &client.cert) {
        hash.update(Sha256::digest(der));
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| at(named_in, needed_at, "invalid-certificate", error.to_string(), None))?
        .with_root_certificates(roots);
    let mut config = match client {
        Some(client) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(client))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn(upstream);
    Ok(Some(UpstreamTls { config: Arc::new(config), made_from: hash.finalize().into() }))
}

/// What is offered (RFC 7301); the same for every server over TLS of one upstream.
fn alpn(upstream: &Upstream) -> Vec<Vec<u8>> {
    let (h1, h2) = (b"http/1.1".to_vec(), b"h2".to_vec());
    let over_tls = upstream.servers.iter().find(|server| server.endpoint.has_tls());
    match over_tls.map_or(Protocol::Auto, |server| server.protocol) {
        Protocol::Auto => vec![h2, h1],
        Protocol::Http1 => vec![h1],
        Protocol::H2 => vec![h2],
    }
}

fn own_roots(
    file: &Located<std::path::PathBuf>,
    named_in: &Arc<SourceFile>,
    hash: &mut Sha256,
) -> Result<Arc<RootCertStore>, Report> {
    let problem = |why: &str| {
        let message = format!("failed to read the certificates {}: {why}", mask::path(&file.value));
        at(named_in, &file.span, "invalid-certificate", message, None)
    };
    let mut roots = RootCertStore::empty();
    for der in chain(&file.value).map_err(|why| problem(&why))? {
        hash.update(Sha256::digest(&der));
        roots.add(der).map_err(|_| problem("not an X.509 certificate"))?;
    }
    hash.update(b"own");
    Ok(Arc::new(roots))
}

/// The system's own store, so that a CA that its operator installed is trusted as everywhere else (roots built into the
/// binary would not have it, and would grow old). Read once for the process.
pub(super) fn system_roots() -> Option<Arc<RootCertStore>> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Some(Arc::clone(roots));
    }
    let mut roots = RootCertStore::empty();
    // What of a store cannot be read or used is nobody's mistake here, as long as something can.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    (!roots.is_empty()).then(|| Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}
