//! Certificates and their private keys, from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{at, read_bytes};
use crate::config::diagnostics::Report;
use crate::config::gateway::{CertificatePaths, Listener, Located};
use crate::config::mask;
use crate::config::source::SourceFile;

const PEM_BYTES_MAX: u64 = 1 << 20;

/// Reads every certificate of a listener, in order, or says what is wrong with each.
pub fn load_certificates(
    paths: &[CertificatePaths],
    named_in: &Arc<SourceFile>,
) -> Result<Vec<Arc<CertifiedKey>>, Report> {
    let mut problems = Report::default();
    let mut certificates = Vec::with_capacity(paths.len());
    for paths in paths {
        match certificate(paths, named_in) {
            Ok(certificate) => certificates.push(Arc::new(certificate)),
            Err(report) => problems.extend(report),
        }
    }
    match problems.is_empty() {
        true => Ok(certificates),
        false => Err(problems),
    }
}

/// Reads whom a listener trusts with certificates of clients, if it has such a file.
pub fn load_client_ca(listener: &Listener, named_in: &Arc<SourceFile>) -> Result<Option<Arc<RootCertStore>>, Report> {
    let Some(file) = &listener.client_ca else { return Ok(None) };
    let problem = |why: &str| {
        let message = format!("failed to read the certificates {}: {why}", mask::path(&file.value));
        at(named_in, &file.span, "invalid-certificate", message, None)
    };
    let mut roots = RootCertStore::empty();
    for der in chain(&file.value).map_err(|why| problem(&why))? {
        roots.add(der).map_err(|_| problem("not an X.509 certificate"))?;
    }
    Ok(Some(Arc::new(roots)))
}

pub(super) fn certificate(paths: &CertificatePaths, named_in: &Arc<SourceFile>) -> Result<CertifiedKey, Report> {
    let problem = |file: &Located<std::path::PathBuf>, what: &str, why: &str| {
        let message = format!("failed to read the {what} {}: {why}", mask::path(&file.value));
        at(named_in, &file.span, "invalid-certificate", message, None)
    };
    let chain = chain(&paths.cert.value).map_err(|why| problem(&paths.cert, "certificate", &why));
    let key = private_key(&paths.key.value).map_err(|why| problem(&paths.key, "private key", &why));
    let (chain, key) = match (chain, key) {
        (Ok(chain), Ok(key)) => (chain, key),
        (Err(mut first), Err(second)) => {
            first.extend(second);
            return Err(first);
        }
        (Err(report), Ok(_)) | (Ok(_), Err(report)) => return Err(report),
    };
    let key =
        any_supported_type(&key).map_err(|_| problem(&paths.key, "private key", "not an RSA, ECDSA or Ed25519 key"))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // A key that cannot tell its public half is taken at its word.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let message = format!(
                "the private key {} does not belong to the certificate {}",
                mask::path(&paths.key.value),
                mask::path(&paths.cert.value)
            );
            Err(at(named_in, &paths.key.span, "invalid-certificate", message, None))
        }
        Err(_) => Err(problem(&paths.cert, "certificate", "not an X.509 certificate")),
    }
}

pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read_bytes(path, PEM_BYTES_MAX).map_err(|why| why.to_string())?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("no certificate in PEM form in it".to_owned()),
        Err(_) => Err("broken PEM".to_owned()),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read_bytes(path, PEM_BYTES_MAX).map_err(|why| why.to_string())?;
    let pem = zeroize::Zeroizing::new(pem);
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| "no unencrypted private key in PEM form in it".to_owned())
}
