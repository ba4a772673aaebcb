//! Which file is meant, and the gateway of a sidecar that has none.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Loaded;
use crate::config::diagnostics::{Diagnostic, Report, Severity};
use crate::config::gateway::{self, Gateway};
use crate::config::source::SourceFile;

/// Where a configuration is looked for when none is named.
pub const PLACES: [&str; 3] = ["./keyward.toml", "./config/keyward.toml", "/etc/keyward/keyward.toml"];

/// The config file: the one given, else `$KEYWARD_CONFIG`, else the first that exists in the usual places.
pub fn find_config(explicit: Option<PathBuf>) -> Result<PathBuf, Report> {
    find(explicit, env::var_os("KEYWARD_CONFIG").map(PathBuf::from), |path| path.exists())
}

fn find(
    explicit: Option<PathBuf>,
    variable: Option<PathBuf>,
    exists: impl Fn(&Path) -> bool,
) -> Result<PathBuf, Report> {
    let named = explicit.or(variable.filter(|path| !path.as_os_str().is_empty()));
    if let Some(path) = named {
        return Ok(path);
    }
    let found = PLACES.into_iter().map(Path::new).find(|path| exists(path));
    found.map(Path::to_owned).ok_or_else(|| {
        Report::from_one(Diagnostic {
            severity: Severity::Error,
            code: "no-config",
            file: Arc::new(SourceFile::command_line()),
            span: None,
            message: format!("no config file: looked for {}", PLACES.join(", ")),
            hint: Some("name one with `-c FILE` or $KEYWARD_CONFIG; `keyward init` writes one".to_owned()),
        })
    })
}

/// The gateway of `run --upstream URL --keys FILE --listen ADDR`: as if a file in the working folder said so.
pub fn sidecar(upstream: &str, keys: &Path, listen: &str) -> Result<Loaded<Gateway>, String> {
    let keys = keys.to_str().ok_or("the path of the key file is not UTF-8")?;
    // A JSON string is a TOML string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let text = format!(
        "upstream.default.servers = [{}]\nlistener = [{{ address = {} }}]\nkeys.file = {}\n",
        quoted(upstream),
        quoted(listen),
        quoted(keys),
    );
    let source = Arc::new(SourceFile::new("command line", text));
    let (value, warnings) = gateway::parse(&source).map_err(|report| {
        let messages = report.diagnostics().iter().map(|problem| problem.message.as_str());
        messages.collect::<Vec<_>>().join("; ")
    })?;
    Ok(Loaded { value, source, warnings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_place_that_has_a_file_wins() {
        let some = |path: &str| Some(PathBuf::from(path));
        let at =
            |explicit, variable, existing: &'static str| find(explicit, variable, |path| path == Path::new(existing));
        assert_eq!(at(some("a"), some("b"), "").ok(), some("a"));
        assert_eq!(at(None, some("b"), PLACES[0]).ok(), some("b"));
        assert_eq!(at(None, some(""), PLACES[1]).ok(), some(PLACES[1]));
        assert_eq!(at(None, None, PLACES[2]).ok(), some(PLACES[2]));
        let report = at(None, None, "").expect_err("there is none");
        assert!(report.render(false).contains("keyward init"));
    }

    #[test]
    fn flags_make_a_gateway() {
        let loaded = sidecar("http://127.0.0.1:3000", Path::new("k/keys.toml"), "0.0.0.0:9000").expect("good flags");
        assert_eq!(loaded.value.keys.file.value, Path::new("k/keys.toml"));
        assert_eq!(loaded.value.listeners[0].address.to_string(), "0.0.0.0:9000");
        assert_eq!(loaded.value.upstreams["default"].servers[0].endpoint.to_string(), "127.0.0.1:3000");
        assert_eq!(loaded.warnings.count(Severity::Warning), 1, "no TLS on 0.0.0.0");

        let wrong = sidecar("3000", Path::new("keys.toml"), "8080").err().unwrap_or_default();
        assert_eq!(
            wrong,
            "`upstream.default.servers`: expected `http://HOST` or `http://HOST:PORT`; `listener.address`: expected an address and a port"
        );
    }
}
