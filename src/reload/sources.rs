//! The last good version of every file, and how each is read again on its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::sign::CertifiedKey;

use super::apply::BoundAs;
use crate::config::diagnostics::Report;
use crate::config::gateway::{Gateway, Located, SecretRef, Webhook};
use crate::config::keyfile::{self, KeyFile};
use crate::config::load::{
    Hook, Loaded, UpstreamTls, keys_file, load_certificates, load_client_ca, load_gateway, load_keys, load_keys_again,
    load_upstream_tls, load_webhooks, resolve_secret,
};
use crate::config::source::SourceFile;
use crate::vocab::digest::{Digest, Pepper};

/// Where the configuration comes from.
#[derive(Clone)]
pub struct Origin {
    /// `keyward.toml`; `None` for a sidecar that was started with flags only.
    pub file: Option<PathBuf>,
    /// `--keys`, over `keys.file`.
    pub keys_override: Option<PathBuf>,
}

/// The last good version of everything.
pub struct Sources {
    origin: Origin,
    /// `keyward.toml`, understood.
    pub gateway: Gateway,
    gateway_text: Arc<SourceFile>,
    /// `keys.toml`, understood.
    pub keys: KeyFile,
    keys_path: PathBuf,
    /// `keys.pepper`
    pub pepper: Option<Pepper>,
    pepper_digest: Option<Digest>,
    /// Per listener.
    pub certificates: Vec<ListenerTls>,
    /// Of upstreams with servers over TLS, by name.
    pub upstream_tls: BTreeMap<String, UpstreamTls>,
    /// Who is told of alerts.
    pub webhooks: Vec<Arc<Hook>>,
}

/// What the files of a listener's TLS say.
#[derive(Clone, Default)]
pub struct ListenerTls {
    /// The listener's own, the first being the default.
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// Whom it trusts with those of clients.
    pub client_ca: Option<Arc<RootCertStore>>,
}

/// What reading everything again came to.
#[derive(Default)]
pub struct Refreshed {
    /// `keyward.toml` differs.
    pub gateway: bool,
    /// `keys.toml` differs; its version before.
    pub keys_before: Option<KeyFile>,
    /// The pepper differs.
    pub pepper: bool,
    /// A certificate differs.
    pub certificates: bool,
    /// A webhook differs.
    pub webhooks: bool,
    /// Warnings, among them quarantined entries, of files that were taken.
    pub warnings: Report,
    /// Files that were not taken.
    pub rejected: Vec<Report>,
}

impl Refreshed {
    /// Anything to apply?
    pub const fn is_change(&self) -> bool {
        self.gateway || self.keys_before.is_some() || self.pepper || self.certificates || self.webhooks
    }
}

impl Sources {
    /// Reads everything for the first time. Gives back what it warns of beside it.
    ///
    /// # Errors
    /// Every problem of every file; a quarantined entry is none.
    pub fn load(origin: Origin, sidecar: Option<Loaded<Gateway>>) -> Result<(Self, Report), Report> {
        let Loaded { value: gateway, source, mut warnings } = match (&origin.file, sidecar) {
            (Some(path), _) => load_gateway(path)?,
            (None, Some(sidecar)) => sidecar,
            (None, None) => return Err(Report::default()),
        };
        let mut problems = Report::default();
        let (file, named_in) = keys_file(&gateway, &source, origin.keys_override.as_deref());
        let keys = take(&mut problems, load_keys(&file, &named_in));
        let pepper = take(&mut problems, pepper(&gateway, &source)).flatten();
        let certificates: Vec<_> = gateway
            .listeners
            .iter()
            .filter_map(|listener| {
                let certificates = take(&mut problems, load_certificates(&listener.tls, &source));
                let client_ca = take(&mut problems, load_client_ca(listener, &source));
                Some(ListenerTls { certificates: certificates?, client_ca: client_ca? })
            })
            .collect();
        let upstream_tls = take(&mut problems, upstream_tls(&gateway, &source)).unwrap_or_default();
        let webhooks = take(&mut problems, load_webhooks(&gateway.alerts.webhooks, &source)).unwrap_or_default();
        let Some(mut keys) = keys.filter(|_| !problems.has_errors()) else {
            problems.extend(warnings);
            return Err(problems);
        };
        warnings.extend(keys.warnings);
        warnings.extend(keyfile::cross_check((&gateway, &source), (&keys.value, &keys.source)));
        keys.value.forget_places();
        let (pepper, pepper_digest) = pepper.unzip();
        let sources = Self {
            origin,
            gateway,
            gateway_text: source,
            keys: keys.value,
            keys_path: file.value,
            pepper,
            pepper_digest,
            certificates,
            upstream_tls,
            webhooks,
        };
        Ok((sources, warnings))
    }

    /// Reads everything again. `unfinished` if somebody still writes the key file. Each file stands or falls on its own, so that a mistake in one never holds up another.
    pub fn refresh(&mut self, unfinished: bool) -> Refreshed {
        let mut refreshed = Refreshed::default();
        self.refresh_gateway(&mut refreshed);
        match pepper(&self.gateway, &self.gateway_text) {
            Ok(found) => {
                let (pepper, digest) = found.unzip();
                refreshed.pepper = digest != self.pepper_digest;
                (self.pepper, self.pepper_digest) = (pepper, digest);
            }
            Err(report) => refreshed.rejected.push(report),
        }
        self.refresh_certificates(&mut refreshed);
        self.refresh_upstream_tls(&mut refreshed);
        self.refresh_webhooks(&mut refreshed);
        // Half of a file means nothing: a key that is not there yet is not gone, and one without its last line not free.
        if !unfinished {
            self.refresh_keys(&mut refreshed);
        }
        refreshed
    }

    /// Where the keys are.
    pub fn keys_path(&self) -> PathBuf {
        self.keys_file().0.value
    }

    fn keys_file(&self) -> (Located<PathBuf>, Arc<SourceFile>) {
        keys_file(&self.gateway, &self.gateway_text, self.origin.keys_override.as_deref())
    }

    fn refresh_gateway(&mut self, refreshed: &mut Refreshed) {
        let Some(path) = &self.origin.file else { return };
        match load_gateway(path) {
            Ok(loaded) => {
                refreshed.gateway = loaded.value != self.gateway;
                if let Err(report) = self.check_upstream_tls(&loaded) {
                    refreshed.gateway = false;
                    refreshed.rejected.push(report);
                    return;
                }
                self.certificates = moved(&self.certificates, &self.gateway, &loaded.value);
                self.gateway = loaded.value;
                self.gateway_text = loaded.source;
                refreshed.warnings.extend(loaded.warnings);
            }
            Err(report) => refreshed.rejected.push(report),
        }
    }

    fn refresh_keys(&mut self, refreshed: &mut Refreshed) {
        let (file, named_in) = self.keys_file();
        match load_keys_again(&file, &named_in, &self.keys) {
            Ok(mut loaded) => {
                refreshed.warnings.extend(loaded.warnings);
                let files = ((&self.gateway, &self.gateway_text), (&loaded.value, &loaded.source));
                refreshed.warnings.extend(keyfile::cross_check(files.0, files.1));
                loaded.value.forget_places();
                if loaded.value.digest != self.keys.digest || file.value != self.keys_path {
                    self.keys_path = file.value;
                    refreshed.keys_before = Some(std::mem::replace(&mut self.keys, loaded.value));
                }
            }
            Err(report) => refreshed.rejected.push(report),
        }
    }

    fn refresh_certificates(&mut self, refreshed: &mut Refreshed) {
        self.certificates.resize_with(self.gateway.listeners.len(), ListenerTls::default);
        for (listener, kept) in self.gateway.listeners.iter().zip(&mut self.certificates) {
            match load_certificates(&listener.tls, &self.gateway_text) {
                Ok(found) => {
                    // The key must match the certificate, so that an unchanged chain means an unchanged key.
                    let before = &kept.certificates;
                    let same = found.len() == before.len() && found.iter().zip(before).all(|(a, b)| a.cert == b.cert);
                    if !same {
                        refreshed.certificates = true;
                        kept.certificates = found;
                    }
                }
                Err(report) => refreshed.rejected.push(report),
            }
            match load_client_ca(listener, &self.gateway_text) {
                Ok(found) => {
                    let roots = |store: &Option<Arc<RootCertStore>>| store.as_ref().map(|store| store.roots.clone());
                    refreshed.certificates |= roots(&found) != roots(&kept.client_ca);
                    kept.client_ca = found;
                }
                Err(report) => refreshed.rejected.push(report),
            }
        }
    }

    /// An upstream that cannot be spoken to over TLS cannot be taken on: there is no last good version of its files.
    fn check_upstream_tls(&self, loaded: &Loaded<Gateway>) -> Result<(), Report> {
        let mut problems = Report::default();
        for (name, upstream) in &loaded.value.upstreams {
            let before = self.gateway.upstreams.get(name).filter(|_| self.upstream_tls.contains_key(name));
            if !before.is_some_and(|before| before.tls.names_the_files_of(&upstream.tls)) {
                take(&mut problems, load_upstream_tls(upstream, &loaded.source));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn refresh_upstream_tls(&mut self, refreshed: &mut Refreshed) {
        self.upstream_tls.retain(|name, _| self.gateway.upstreams.contains_key(name));
        for (name, upstream) in &self.gateway.upstreams {
            match load_upstream_tls(upstream, &self.gateway_text) {
                Ok(Some(found)) => {
                    let before = self.upstream_tls.get(name).map(|before| before.made_from);
                    refreshed.certificates |= before != Some(found.made_from);
                    self.upstream_tls.insert(name.clone(), found);
                }
                Ok(None) => {
                    self.upstream_tls.remove(name);
                }
                // The last good ones serve.
                Err(report) => refreshed.rejected.push(report),
            }
        }
    }

    fn refresh_webhooks(&mut self, refreshed: &mut Refreshed) {
        match load_webhooks(&self.gateway.alerts.webhooks, &self.gateway_text) {
            Ok(found) => {
                let made_from = |hooks: &[Arc<Hook>]| hooks.iter().map(|hook| hook.made_from).collect::<Vec<_>>();
                refreshed.webhooks = made_from(&found) != made_from(&self.webhooks);
                if refreshed.webhooks {
                    self.webhooks = found;
                }
            }
            // The last good ones are told.
            Err(report) => refreshed.rejected.push(report),
        }
    }

    /// What the `start` line calls the configuration.
    pub fn describe(&self) -> String {
        self.origin.file.as_ref().map_or_else(|| "flags".to_owned(), |path| path.display().to_string())
    }

    /// Every file whose change matters.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = self.origin.file.iter().cloned().collect();
        files.push(self.keys_file().0.value);
        for paths in self.gateway.listeners.iter().flat_map(|l| &l.tls) {
            files.extend([paths.cert.value.clone(), paths.key.value.clone()]);
        }
        files.extend(self.gateway.listeners.iter().filter_map(|l| Some(l.client_ca.as_ref()?.value.clone())));
        files.extend(self.gateway.upstreams.values().flat_map(|upstream| upstream.tls.files()));
        let file = |secret: &SecretRef| match secret {
            SecretRef::File(path) => Some(path.clone()),
            SecretRef::Env(_) => None,
        };
        files.extend(self.gateway.keys.pepper.iter().filter_map(|pepper| file(&pepper.value)));
        files.extend(self.gateway.alerts.webhooks.iter().flat_map(Webhook::secrets).filter_map(file));
        files
    }
}

/// The certificates of each listener of `now`: those it had before, wherever it stood in the file.
fn moved(held: &[ListenerTls], before: &Gateway, now: &Gateway) -> Vec<ListenerTls> {
    let (old, new) = (BoundAs::all(before), BoundAs::all(now));
    let place = |listener: &BoundAs| old.iter().position(|o| o.is_at(listener));
    new.iter().map(|l| place(l).and_then(|at| held.get(at)).cloned().unwrap_or_default()).collect()
}

fn upstream_tls(gateway: &Gateway, source: &Arc<SourceFile>) -> Result<BTreeMap<String, UpstreamTls>, Report> {
    let (mut all, mut problems) = (BTreeMap::new(), Report::default());
    for (name, upstream) in &gateway.upstreams {
        if let Some(Some(tls)) = take(&mut problems, load_upstream_tls(upstream, source)) {
            all.insert(name.clone(), tls);
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(problems) }
}

fn pepper(gateway: &Gateway, source: &Arc<SourceFile>) -> Result<Option<(Pepper, Digest)>, Report> {
    let Some(reference) = &gateway.keys.pepper else { return Ok(None) };
    let secret = resolve_secret(reference, source)?;
    Ok(Some((Pepper::new(&secret), Digest::sha256(secret.expose()))))
}

fn take<T>(problems: &mut Report, result: Result<T, Report>) -> Option<T> {
    result.map_err(|report| problems.extend(report)).ok()
}
