//! Settings that can be read and that nothing comes of, and requests that could never pass.

use super::*;

/// What is said of `text`: code and severity of each, with the line it is about (the upstream is in the first).
#[track_caller]
fn told(text: &str) -> Vec<(&'static str, Severity, usize)> {
    let (_, report) = read(&file(&format!("{UPSTREAM}{text}")));
    let line = |it: &crate::config::diagnostics::Diagnostic| it.position().map_or(0, |at| at.line);
    report.diagnostics().iter().map(|it| (it.code, it.severity, line(it))).collect()
}

#[track_caller]
fn warned(text: &str, code: &'static str, line: usize) {
    assert_eq!(told(text), [(code, Severity::Warning, line)], "{text}");
}

#[track_caller]
fn silent(text: &str) {
    assert_eq!(told(text), [], "{text}");
}

#[test]
fn what_an_open_route_asks_of_keys() {
    warned("[[route]]\nauth = \"open\"\nlimits = [\"5/s\"]\n", "unused-limits", 4);
    warned("[[route]]\nauth = \"open\"\nroles = [\"r\"]\n", "unused-roles", 4);
    silent("[[route]]\nauth = \"open\"\nlimits = []\nroles = []\n");
    for auth in ["key", "optional"] {
        silent(&format!("[[route]]\nauth = \"{auth}\"\nlimits = [\"5/s\"]\nroles = [\"r\"]\n"));
    }
}

#[test]
fn open_limits_where_everybody_has_a_key() {
    let checked = "[[route]]\nname = \"a\"\npreflight = \"check\"\n[[route]]\npath = \"/b\"\npreflight = \"check\"\n";
    warned(&format!("limits.open = \"5/s\"\n{checked}"), "unused-limits", 2);
    silent(checked);
    silent(&format!("limits.open = \"none\"\n{checked}"));
    silent("limits.open = \"5/s\"\n");
    for auth in ["optional", "open"] {
        silent(&format!("limits.open = \"5/s\"\n{checked}auth = \"{auth}\"\n"));
    }
    // Preflights that pass have no key.
    silent(&format!("limits.open = \"5/s\"\n{}", checked.replacen("check", "pass", 1)));
}

#[test]
fn a_lockout_where_nobody_is_locked_out() {
    warned("[limits]\nfailures_per_ip = \"none\"\nlockout = \"5m\"\n", "unused-lockout", 4);
    silent("[limits]\nfailures_per_ip = \"none\"\n");
    silent("[limits]\nlockout = \"10m\"\n");
    silent("[limits]\nfailures_per_ip = \"5/m\"\nlockout = \"10m\"\n");
}

#[test]
fn a_plans_quota_that_nothing_keeps() {
    warned("[plan.gold]\nlimits = [\"5/s\"]\nquota = \"5/month\"\n", "quota-in-memory", 4);
    assert_eq!(told("[plan.gold]\nquota = \"5\"\n"), [("invalid-value", Severity::Error, 3)]);
}

#[test]
fn a_cost_over_a_burst() {
    let dear = "[[route]]\ncost = 10\n";
    for (before, after) in [
        ("", "limits = [\"100/s\", \"5/s\"]\n"),
        ("", "limits = [\"100/s burst 9\"]\n"),
        ("limits.total = \"9/d\"\n", ""),
        ("limits.per_ip = \"9/s\"\n", ""),
        ("limits.open = \"9/s\"\n", "auth = \"open\"\n"),
        ("limits.open = \"9/s\"\n", "auth = \"optional\"\n"),
    ] {
        let line = before.lines().count() + 3;
        let text = format!("{before}{dear}{after}");
        assert_eq!(told(&text), [("cost-over-burst", Severity::Error, line)], "{text}");
        // On trial nothing is refused, and so it can serve.
        warned(&format!("{text}mode = \"shadow\"\n"), "cost-over-burst", line);
        silent(&text.replace("cost = 10", "cost = 5").replace("5/s", "9/s"));
    }
    silent(&format!("{dear}limits = [\"1/d burst 10\"]\n"));
    // Those with a key are not counted there, but preflights are.
    warned(&format!("limits.open = \"9/s\"\n{dear}"), "cost-over-burst", 4);
    let checked =
        format!("limits.open = \"9/s\"\n{dear}preflight = \"check\"\n[[route]]\npath = \"/o\"\nauth = \"open\"\n");
    silent(&checked);
    refused_values("[[route]]\ncost = ", &["0", "-1", "1000001"]);
}

#[track_caller]
fn refused_values(before: &str, values: &[&str]) {
    for value in values {
        assert_eq!(bad(&format!("{before}{value}\n")), ["invalid-value"], "{before}{value}");
    }
}

#[test]
fn routes_that_nothing_comes_to() {
    let two = |a: &str, b: &str| format!("[[route]]\nname = \"a\"\n{a}\n[[route]]\nname = \"b\"\n{b}\n");
    warned(&two("methods = [\"GET\"]", "methods = [\"HEAD\"]"), "unreachable-route", 5);
    warned(&two("methods = [\"GET\", \"PUT\"]", "methods = [\"HEAD\", \"TRACE\"]"), "unreachable-route", 5);
    warned(&two("", "path = \"/x\"\nmethods = [\"TRACE\", \"CONNECT\"]"), "unreachable-route", 5);
    // The one for HEAD is tried first, or takes more than HEAD, or is for other paths or hosts.
    silent(&two("methods = [\"HEAD\"]", "methods = [\"GET\"]"));
    silent(&two("methods = [\"GET\"]", "methods = [\"HEAD\", \"POST\"]"));
    silent(&two("methods = [\"GET\"]", "methods = [\"HEAD\"]\npath = \"/x\""));
    silent(&two("methods = [\"GET\"]", "methods = [\"HEAD\"]\nhost = \"x\""));
    // One that names no methods takes what no other names.
    silent(&two("", "methods = [\"HEAD\"]"));
    silent(&two("methods = [\"GET\"]", ""));
    // Exact duplicates are errors.
    assert_eq!(bad(&two("methods = [\"GET\", \"HEAD\"]", "methods = [\"HEAD\"]")), ["ambiguous-route"]);
}

#[test]
fn limits_of_nothing() {
    for (text, said) in [
        ("[limits]\ntotal = \"0/s\"\n", "a rate of zero lets nothing through"),
        ("[plan.a]\nlimits = [\"5/0s\"]\n", "a rate of zero lets nothing through"),
        ("[[route]]\nlimits = [\"5/s burst 0\"]\n", "a burst below 1 lets nothing through"),
        ("[plan.a]\nquota = \"0/day\"\n", "a quota of zero lets nothing through"),
        ("[plan.a]\nconcurrency = 0\n", "expected a whole number from 1 to"),
    ] {
        let report = with(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        assert!(report.diagnostics()[0].message.contains(said), "{report:?}");
    }
}

#[test]
fn what_makes_no_sense_is_told_with_its_place_and_a_hint() {
    insta::assert_snapshot!(rendered(&format!(
        "{UPSTREAM}limits = {{ failures_per_ip = \"none\", lockout = \"5m\", per_ip = \"5/s\", open = \"20/s\" }}\n\
         [plan.gold]\nquota = \"1000/month\"\n\
         [[route]]\nname = \"orders\"\nmethods = [\"GET\"]\ncost = 30\nlimits = [\"20/s\"]\n\
         [[route]]\nmethods = [\"HEAD\"]\nauth = \"open\"\nlimits = [\"1/s\"]\nroles = [\"r\"]\n"
    )));
}
