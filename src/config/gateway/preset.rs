//! `keys.preset`: the defaults of `[keys]` as clients and upstreams of another product know them. What is written beside it
//! wins.

use http::HeaderName;

use super::{Identity, Keys, Source};
use crate::config::reader::located;
use crate::config::source::SourceFile;

/// Whose defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Preset {
    /// Our own.
    #[default]
    Keyward,
    /// fastapi_simple_security 1.3: header or query `api-key`, and 403 whatever is wrong with it.
    FastapiSimpleSecurity,
    /// Kong's `key-auth`: header or query `apikey`, and the names that Kong has for who calls.
    Kong,
}

/// How `preset` is written.
pub(super) const PRESETS: [(&str, Preset); 2] =
    [("fastapi_simple_security", Preset::FastapiSimpleSecurity), ("kong", Preset::Kong)];

impl Preset {
    /// `[keys]` where nothing else is written in it.
    pub(super) fn defaults(self, source: &SourceFile) -> Keys {
        let ours = ours(source);
        match self {
            Self::Keyward => ours,
            Self::FastapiSimpleSecurity => {
                Keys { sources: header_and_query("api-key"), status_missing: 403, status_invalid: 403, ..ours }
            }
            Self::Kong => Keys {
                sources: header_and_query("apikey"),
                identity: Identity {
                    plan: None,
                    credential: Some(HeaderName::from_static("x-credential-identifier")),
                    ..ours.identity
                },
                ..ours
            },
        }
    }
}

fn header_and_query(name: &'static str) -> Vec<Source> {
    vec![Source::Header(HeaderName::from_static(name)), Source::Query(name.to_owned())]
}

fn ours(source: &SourceFile) -> Keys {
    Keys {
        file: located(source.resolve("keys.toml"), 0..0),
        sources: vec![Source::Bearer, Source::Header(HeaderName::from_static("x-api-key"))],
        prefix: "kw".to_owned(),
        pepper: None,
        forward: false,
        expires_default: None,
        realm: "api".to_owned(),
        status_missing: 401,
        status_invalid: 401,
        audit_headers: true,
        identity: Identity {
            id: Some(HeaderName::from_static("x-consumer-id")),
            owner: Some(HeaderName::from_static("x-consumer-username")),
            roles: Some(HeaderName::from_static("x-consumer-groups")),
            plan: Some(HeaderName::from_static("x-consumer-plan")),
            credential: None,
        },
        compromise_on_plaintext: false,
    }
}
