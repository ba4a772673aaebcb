//! What is needed to send alerts: addresses, secrets, and roots to trust.

use std::sync::Arc;

use http::Uri;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::version::{TLS12, TLS13};
use sha2::{Digest as _, Sha256};

use super::upstream_tls::system_roots;
use super::{at, resolve_secret};
use crate::config::diagnostics::Report;
use crate::config::gateway::{Located, SecretRef, Webhook, WebhookFormat, WebhookUrl};
use crate::config::source::SourceFile;
use crate::vocab::digest::push_hex;
use crate::vocab::secret::Secret;

/// A receiver of alerts.
#[derive(Clone)]
pub struct Hook {
    /// Names it in the state file; the same as long as its address and format are.
    pub id: String,
    /// Names it in lines: its scheme and host, or where its address is kept.
    pub name: String,
    /// Where alerts are sent: a secret, with some.
    pub url: Secret,
    /// What they are signed with.
    pub secret: Option<Secret>,
    /// How they are written.
    pub format: WebhookFormat,
    /// For `https`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Of all of it, to tell what has changed.
    pub made_from: [u8; 32],
}

/// Reads what every webhook needs.
pub fn load_webhooks(webhooks: &[Webhook], named_in: &Arc<SourceFile>) -> Result<Vec<Arc<Hook>>, Report> {
    let (mut hooks, mut problems) = (Vec::new(), Report::default());
    let mut tls = None;
    for webhook in webhooks {
        match load(webhook, named_in, &mut tls) {
            Ok(hook) => hooks.push(Arc::new(hook)),
            Err(report) => problems.extend(report),
        }
    }
    if problems.is_empty() { Ok(hooks) } else { Err(problems) }
}

fn load(webhook: &Webhook, named_in: &Arc<SourceFile>, tls: &mut Option<Arc<ClientConfig>>) -> Result<Hook, Report> {
    let Webhook { url: place, secret, format } = webhook;
    let secret = secret.as_ref().map(|secret| resolve_secret(secret, named_in)).transpose()?;
    let problem = |code, message: &str| at(named_in, &place.span, code, message.to_owned(), None);
    let (url, kept) = match &place.value {
        WebhookUrl::Plain(url) => (Secret::from(url.as_str()), None),
        WebhookUrl::Secret(reference) => {
            let reference = Located { value: reference.clone(), span: place.span.clone() };
            (resolve_secret(&reference, named_in)?, Some(reference.value))
        }
    };
    let uri = std::str::from_utf8(url.expose()).ok().and_then(|url| url.parse::<Uri>().ok());
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    // What it is instead is not shown: it may be a secret.
    let uri = uri.ok_or_else(|| problem("invalid-value", "the secret is no URL with http or https"))?;
    let is_https = uri.scheme_str() == Some("https");
    if is_https && tls.is_none() {
        *tls = Some(client_config().map_err(|why| problem("no-ca-certificates", why))?);
    }
    let name = match kept {
        Some(SecretRef::Env(name)) => format!("env:{name}"),
        Some(SecretRef::File(path)) => format!("file:{}", path.display()),
        None => format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default()),
    };
    let known_by = Sha256::new().chain_update(format.as_str()).chain_update([0]).chain_update(url.expose());
    let made_from = known_by.clone().chain_update([0]).chain_update(secret.as_ref().map_or(&[][..], Secret::expose));
    let mut id = String::new();
    push_hex(&mut id, &known_by.finalize()[..16]);
    let made_from = made_from.finalize().into();
    Ok(Hook { id, name, url, secret, format: *format, tls: tls.clone().filter(|_| is_https), made_from })
}

/// Trusts what the system trusts.
fn client_config() -> Result<Arc<ClientConfig>, &'static str> {
    let roots = system_roots().ok_or("the system has no certificates to trust; SSL_CERT_FILE may name some")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|_| "TLS cannot be set up")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
