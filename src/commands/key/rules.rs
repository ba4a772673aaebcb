//! What a key may reach and how much of it, as `list` and `show` say it.

use serde::Serialize;

use crate::config::gateway::{Mode, PathPattern};
use crate::config::keyfile::{KeySpec, Rules};

/// An entry's rules as JSON has them: each as it is written, `null` where the entry says nothing.
#[derive(Default, Serialize)]
pub(super) struct Shown<'a> {
    quota: Option<&'a str>,
    concurrency: Option<u32>,
    routes: Option<Vec<&'a str>>,
    methods: Option<Vec<&'a str>>,
    paths: Option<Vec<String>>,
    networks: Option<Vec<String>>,
    mode: Option<&'static str>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(key: &'a KeySpec) -> Self {
        let Some(rules) = &key.rules else { return Self { mode: Some("enforce"), ..Self::default() } };
        let Rules { routes, methods, paths, networks, quota, concurrency, mode } = &**rules;
        Self {
            quota: quota.as_ref().map(|quota| &*quota.text),
            concurrency: concurrency.map(Into::into),
            routes: routes.as_ref().map(|all| all.iter().map(|name| &**name).collect()),
            methods: methods.as_ref().map(|all| all.iter().map(|method| method.as_str()).collect()),
            paths: paths.as_ref().map(|all| all.iter().map(written).collect()),
            networks: networks.as_ref().map(|all| all.iter().map(ToString::to_string).collect()),
            mode: Some(match mode {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
            }),
        }
    }

    /// Name and value of each, empty where there is nothing to say.
    pub(super) fn lines(&self) -> [(&'static str, String); 7] {
        let list = |all: Option<Vec<&str>>| all.map(|all| all.join(", ")).unwrap_or_default();
        let texts = |all: &Option<Vec<String>>| all.as_ref().map(|all| all.join(", ")).unwrap_or_default();
        [
            ("quota", self.quota.unwrap_or_default().to_owned()),
            ("concurrency", self.concurrency.map(|most| most.to_string()).unwrap_or_default()),
            ("routes", list(self.routes.clone())),
            ("methods", list(self.methods.clone())),
            ("paths", texts(&self.paths)),
            ("networks", texts(&self.networks)),
            ("mode", self.mode.filter(|mode| *mode != "enforce").unwrap_or_default().to_owned()),
        ]
    }
}

/// How much a key may use, in one cell of a table.
pub(super) fn budget(key: &KeySpec) -> String {
    let rules = key.rules.as_deref();
    let rates = key.limits.iter().flat_map(|rates| rates.iter()).map(|rate| rate.text.to_string());
    let quota = rules.and_then(|rules| rules.quota.as_ref()).map(|quota| quota.text.to_string());
    let concurrency = rules.and_then(|rules| rules.concurrency).map(|most| format!("{most} at once"));
    let all: Vec<_> = rates.chain(quota).chain(concurrency).collect();
    let is_shadow = rules.is_some_and(|rules| rules.mode == Mode::Shadow);
    format!("{}{}", all.join(", "), if is_shadow { " (shadow)" } else { "" }).trim_start().to_owned()
}

fn written(path: &PathPattern) -> String {
    match path {
        PathPattern::Any => "/*".to_owned(),
        PathPattern::Exact(path) => path.clone(),
        PathPattern::Prefix(prefix) => format!("{prefix}*"),
    }
}
