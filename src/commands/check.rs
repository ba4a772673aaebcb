//! `keyward check`: reads everything that `run` would read, opens nothing, and says all that is wrong.

use std::io::{self, Write};

use crate::cli::{CheckArgs, Files};
use crate::config::diagnostics::{Report, Severity};
use crate::config::gateway::{self, Gateway};
use crate::config::keyfile::{self, needs_pepper};
use crate::config::load;

/// What was found.
#[derive(Default)]
struct Found {
    problems: Report,
    /// Key entries that would be refused.
    quarantined: usize,
    counts: Option<Counts>,
}

#[derive(Default)]
struct Counts {
    path: String,
    listeners: usize,
    routes: usize,
    upstreams: usize,
    keys: usize,
}

/// Checks `files` (or those that `run` would find) and reports to `out`, as text or as one JSON object.
/// Gives the exit status: 0 when `run` would serve all of it, 1 when it would refuse the files or quarantine an entry, or with
/// `--strict` when there is anything to say at all.
pub fn check(files: &Files, args: &CheckArgs, color: bool, out: &mut impl Write) -> io::Result<u8> {
    let mut found = find_problems(files);
    if args.strict {
        found.problems.raise();
    }
    let ok = !found.problems.has_errors() && found.quarantined == 0;
    match args.json {
        true => write_json(&found, ok, out)?,
        false => write_text(&found, ok, color, out)?,
    }
    Ok(u8::from(!ok))
}

fn find_problems(files: &Files) -> Found {
    let mut found = Found::default();
    let source = load::find_config(files.config.clone()).and_then(|path| load::read_gateway(&path));
    let source = match source {
        Ok(source) => source,
        Err(report) => {
            found.problems = report;
            return found;
        }
    };
    // Even a file with mistakes names others, and all problems are wanted at once.
    let (gateway, report) = gateway::read(&source);
    found.problems = report;
    let Some(gateway) = gateway else {
        return found;
    };
    let mut counts = Counts {
        path: source.path().display().to_string(),
        listeners: gateway.listeners.len(),
        routes: gateway.routes.len(),
        upstreams: gateway.upstreams.len(),
        keys: 0,
    };
    for listener in &gateway.listeners {
        if let Err(report) = load::load_certificates(&listener.tls, &source) {
            found.problems.extend(report);
        }
        if let Err(report) = load::load_client_ca(listener, &source) {
            found.problems.extend(report);
        }
    }
    for upstream in gateway.upstreams.values() {
        if let Err(report) = load::load_upstream_tls(upstream, &source) {
            found.problems.extend(report);
        }
    }
    if let Some(pepper) = &gateway.keys.pepper
        && let Err(report) = load::resolve_secret(pepper, &source)
    {
        found.problems.extend(report);
    }
    if let Err(report) = load::load_webhooks(&gateway.alerts.webhooks, &source) {
        found.problems.extend(report);
    }
    let (file, named_in) = load::keys_file(&gateway, &source, files.keys.as_deref());
    match load::load_keys(&file, &named_in) {
        Err(report) => found.problems.extend(report),
        Ok(keys) => {
            counts.keys = keys.value.keys.len();
            found.quarantined = quarantined(&gateway, &keys.value);
            found.problems.extend(keys.warnings);
            let crossed = keyfile::cross_check((&gateway, &source), (&keys.value, &keys.source));
            found.problems.extend(crossed);
        }
    }
    found.counts = Some(counts);
    found
}

/// How many entries would be refused whatever is sent.
fn quarantined(gateway: &Gateway, keys: &keyfile::KeyFile) -> usize {
    let unpeppered = match gateway.keys.pepper {
        Some(_) => 0,
        None => keys.keys.iter().filter(|key| needs_pepper(key)).count(),
    };
    keys.quarantined.len() + unpeppered
}

fn write_text(found: &Found, ok: bool, color: bool, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{}", found.problems.render(color))?;
    let warnings = plural(found.problems.count(Severity::Warning), "warning");
    match (&found.counts, ok) {
        (Some(counts), true) => {
            let Counts { path, .. } = counts;
            write!(
                out,
                "ok: {path}: {}, {}, {}, {}",
                plural(counts.listeners, "listener"),
                plural(counts.routes, "route"),
                plural(counts.upstreams, "upstream"),
                plural(counts.keys, "key"),
            )?;
            match found.problems.is_empty() {
                true => writeln!(out),
                false => writeln!(out, "; {warnings}"),
            }
        }
        _ => {
            let errors = plural(found.problems.count(Severity::Error), "error");
            match found.quarantined {
                0 => writeln!(out, "{errors}, {warnings}"),
                1 => writeln!(out, "{errors}, {warnings}; 1 key entry is quarantined"),
                n => writeln!(out, "{errors}, {warnings}; {n} key entries are quarantined"),
            }
        }
    }
}

fn plural(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    }
}

fn write_json(found: &Found, ok: bool, out: &mut impl Write) -> io::Result<()> {
    let counts = found.counts.as_ref();
    let object = serde_json::json!({
        "ok": ok,
        "problems": found.problems.to_json(),
        "quarantined": found.quarantined,
        "listeners": counts.map(|counts| counts.listeners),
        "routes": counts.map(|counts| counts.routes),
        "upstreams": counts.map(|counts| counts.upstreams),
        "keys": counts.map(|counts| counts.keys),
    });
    writeln!(out, "{object}")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn run(files: &[(&str, &str)], json: bool) -> (u8, String) {
        run_with(files, &CheckArgs { json, strict: false })
    }

    /// Runs `check` over a scratch folder; its path is `DIR` in what is printed.
    fn run_with(files: &[(&str, &str)], args: &CheckArgs) -> (u8, String) {
        let dir = tempfile::tempdir().expect("a scratch folder");
        for (name, text) in files {
            fs::write(dir.path().join(name), text).expect("a file in it");
        }
        let mut out = Vec::new();
        let path = dir.path().join("keyward.toml");
        let status = check(&Files { config: Some(path), keys: None }, args, false, &mut out).expect("memory takes all");
        let out = String::from_utf8(out).expect("text");
        (status, out.replace(&dir.path().display().to_string(), "DIR"))
    }

    const SMALLEST: &str = "upstream.default.servers = [\"http://127.0.0.1:3000\"]\n";

    #[test]
    fn good_files_give_one_line_and_zero() {
        let (status, out) = run(&[("keyward.toml", SMALLEST), ("keys.toml", "")], false);
        assert_eq!((status, out.as_str()), (0, "ok: DIR/keyward.toml: 1 listener, 1 route, 1 upstream, 0 keys\n"));
        let (status, out) = run(&[("keyward.toml", SMALLEST), ("keys.toml", "")], true);
        let object: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(status, 0);
        assert_eq!(object["ok"], true);
        assert_eq!(object["problems"], serde_json::json!([]));
        assert_eq!(object["listeners"], 1);
    }

    #[test]
    fn problems_of_every_file_come_at_once() {
        let config = format!(
            "{SMALLEST}[keys]\npepper = \"file:no.pepper\"\n[http]\nheaders_max = 0\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             tls = [{{ cert = \"no.pem\", key = \"no.key\" }}]\n"
        );
        let (status, out) = run(&[("keyward.toml", &config)], false);
        assert_eq!(status, 1);
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_quarantined_entry_is_a_problem_and_a_warning_is_none() {
        let bad = "[[key]]\nid = \"a\"\nhash = \"kw_plain\"\n";
        let (status, out) = run(&[("keyward.toml", SMALLEST), ("keys.toml", bad)], true);
        let object: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(status, 1);
        assert_eq!(
            object["problems"][0],
            serde_json::json!({
                "path": "DIR/keys.toml", "line": 3, "column": 8, "severity": "warning", "code": "invalid-hash",
                "message": "`key.hash`: a hash is `sha256:` and 64 hex characters",
                "hint": "store the hash, not the key: `keyward key hash`",
            })
        );

        let hash = "0".repeat(64);
        let peppered = format!("[[key]]\nid = \"a\"\nhash = \"hmac-sha256:{hash}\"\n");
        let (status, out) = run(&[("keyward.toml", SMALLEST), ("keys.toml", &peppered)], false);
        assert_eq!(status, 1, "{out}");
        assert!(out.ends_with("0 errors, 1 warning; 1 key entry is quarantined\n"), "{out}");
        assert!(!out.contains(&hash[..8]), "{out}");

        let unplanned = format!("[[key]]\nid = \"a\"\nhash = \"sha256:{hash}\"\nplan = \"gold\"\n");
        let (status, out) = run(&[("keyward.toml", SMALLEST), ("keys.toml", &unplanned)], false);
        assert_eq!(status, 0, "{out}");
        assert!(out.ends_with("1 upstream, 1 key; 1 warning\n"), "{out}");
    }

    #[test]
    fn strict_makes_errors_of_warnings() {
        let config = format!("{SMALLEST}[[route]]\nauth = \"open\"\nroles = [\"r\"]\n");
        let files = [("keyward.toml", config.as_str()), ("keys.toml", "")];
        let (status, out) = run(&files, false);
        assert!(status == 0 && out.contains("warning[unused-roles]"), "{out}");
        assert!(out.ends_with("0 keys; 1 warning\n"), "{out}");
        let (status, out) = run_with(&files, &CheckArgs { strict: true, json: false });
        assert!(status == 1 && out.contains("error[unused-roles]"), "{out}");
        assert!(out.ends_with("1 error, 0 warnings\n"), "{out}");
        for (strict, status, severity) in [(false, 0, "warning"), (true, 1, "error")] {
            let (told, out) = run_with(&files, &CheckArgs { strict, json: true });
            let object: serde_json::Value = serde_json::from_str(&out).expect("JSON");
            assert_eq!((told, &object["ok"]), (status, &(status == 0).into()));
            assert_eq!(object["problems"][0]["severity"], severity);
        }
        let good = [("keyward.toml", SMALLEST), ("keys.toml", "")];
        assert_eq!(run_with(&good, &CheckArgs { strict: true, json: false }).0, 0);
    }

    #[test]
    fn a_missing_file_is_named() {
        let mut out = Vec::new();
        let path = Path::new("/nowhere/keyward.toml").to_owned();
        let status = check(&Files { config: Some(path), keys: None }, &CheckArgs::default(), false, &mut out)
            .expect("memory takes all");
        assert_eq!(status, 1);
        insta::assert_snapshot!(String::from_utf8_lossy(&out));
    }
}
