//! What only both files together tell.

use super::*;
use crate::config::gateway::{self, Gateway};

const ROUTES: &str = "[[route]]\nname = \"orders\"\npath = \"/v1/orders/*\"\nmethods = [\"GET\", \"POST\"]\n\
                      [[route]]\nname = \"carts\"\npath = \"/v1/carts\"\n[[route]]\nname = \"status\"\npath = \"/status\"\nauth = \"open\"\n";

fn config(text: &str) -> (Gateway, Arc<SourceFile>) {
    let source =
        Arc::new(SourceFile::new("keyward.toml", format!("upstream.default.servers = [\"http://a\"]\n{text}")));
    let (gateway, _) = gateway::parse(&source).unwrap_or_else(|report| panic!("{report:?}"));
    (gateway, source)
}

fn crossed(text: &str, keys: &str) -> Report {
    let ((gateway, named_in), source) = (config(text), file(keys));
    let (keys, _) = parse(&source).unwrap_or_else(|report| panic!("{report:?}"));
    assert!(keys.quarantined.is_empty(), "{:?}", keys.quarantined[0].problem);
    let report = cross_check((&gateway, &named_in), (&keys, &source));
    assert!(!report.has_errors(), "these are warnings");
    report
}

/// Code and `path:line:column` of each warning of one key.
fn told(text: &str, more: &str) -> Vec<(&'static str, String)> {
    let place = |at: &crate::config::diagnostics::Diagnostic| {
        let location = at.location();
        location.split(": ").next().unwrap_or_default().to_owned()
    };
    crossed(text, &entry("a", 1, more)).diagnostics().iter().map(|it| (it.code, place(it))).collect()
}

#[track_caller]
fn silent(text: &str, more: &[&str]) {
    for more in more {
        assert_eq!(told(text, more), [], "{text}{more}");
    }
}

#[track_caller]
fn warned(text: &str, more: &str, code: &'static str, place: &str) {
    assert_eq!(told(text, more), [(code, place.to_owned())], "{text}{more}");
}

#[test]
fn what_needs_the_other_file() {
    let text = format!("{}{}", entry("a", 1, "plan = \"glod\""), entry("b", 2, "").replace("sha256", "hmac-sha256"));
    insta::assert_snapshot!(crossed("[plan.gold]\n", &text).render(false));
    assert!(crossed("[plan.glod]\n[keys]\npepper = \"env:P\"\n", &text).is_empty());
}

#[test]
fn routes_that_do_not_exist() {
    warned(ROUTES, "routes = [\"orders\", \"cart\"]", "unknown-route", "keys.toml:4:21");
    assert_eq!(told(ROUTES, "routes = [\"x\", \"orders\", \"y\"]").len(), 2);
    // All of them: that it is good for nothing goes without saying.
    warned(ROUTES, "routes = [\"order\"]", "unknown-route", "keys.toml:4:11");
    silent(ROUTES, &["routes = [\"orders\"]", "routes = [\"carts\", \"status\"]", ""]);
    // The one that is implied has a name, and so has one without any.
    silent("", &["routes = [\"default\"]"]);
    silent("[[route]]\nhost = \"a.test\"\npath = \"/x/*\"\n", &["routes = [\"a.test/x/*\"]"]);
    // What was refused for good may name what is gone.
    silent(ROUTES, &["state = \"revoked\"\nroutes = [\"x\"]", "state = \"compromised\"\nroutes = [\"x\"]"]);
    warned(ROUTES, "state = \"disabled\"\nroutes = [\"x\"]", "unknown-route", "keys.toml:5:11");
}

#[test]
fn rules_that_let_nothing_through() {
    for (more, place) in [
        ("paths = [\"/v2/*\", \"/v1\"]", "keys.toml:4:9"),
        ("methods = [\"TRACE\"]", "keys.toml:4:11"),
        ("routes = [\"status\"]", "keys.toml:4:10"),
        ("routes = [\"orders\"]\nmethods = [\"PUT\"]", "keys.toml:5:11"),
        ("routes = [\"orders\"]\npaths = [\"/v1/carts\"]", "keys.toml:5:9"),
        ("methods = [\"PUT\"]\npaths = [\"/v1/orders/7\"]", "keys.toml:5:9"),
    ] {
        warned(ROUTES, more, "unusable-key", place);
    }
    silent(
        ROUTES,
        &[
            "paths = [\"/v2/*\", \"/v1/*\"]",
            "paths = [\"/v1/orders\"]",
            "paths = [\"/v1/orders/eu/*\"]\nmethods = [\"HEAD\"]",
            "methods = [\"PURGE\"]",
            "routes = [\"orders\"]\nmethods = [\"PUT\", \"POST\"]\npaths = [\"/*\"]",
            "networks = [\"10.0.0.0/8\"]\nquota = \"5/day\"\nstate = \"revoked\"",
        ],
    );
    // A preflight that is checked is an OPTIONS, on the route of another method.
    let orders = "[[route]]\nmethods = [\"GET\"]\npreflight = ";
    silent(&format!("{orders}\"check\"\n"), &["methods = [\"OPTIONS\"]"]);
    warned(&format!("{orders}\"pass\"\n"), "methods = [\"OPTIONS\"]", "unusable-key", "keys.toml:4:11");
}

#[test]
fn roles_that_no_key_has() {
    let route = "[[route]]\nname = \"a\"\nroles = [\"orders:read\", \"eu\"]\n";
    warned(route, "", "unknown-role", "keyward.toml:4:9");
    warned(route, "roles = [\"eu\"]", "unknown-role", "keyward.toml:4:9");
    silent(route, &["roles = [\"x\", \"eu\", \"orders:read\"]"]);
    silent("[[route]]\n", &["roles = [\"whatever\"]"]);
    let each_one = entry("a", 1, "roles = [\"eu\"]") + &entry("b", 2, "roles = [\"orders:read\"]");
    let report = crossed(route, &each_one);
    assert!(report.diagnostics()[0].message.contains("no key has all of these roles"), "{report:?}");
    let both = each_one + &entry("c", 3, "roles = [\"orders:read\", \"eu\"]");
    assert!(crossed(route, &both).is_empty());
    assert!(crossed(route, "").is_empty(), "without any key there is nothing to compare with");
    // An open route has had its warning.
    silent("[[route]]\nauth = \"open\"\nroles = [\"r\"]\n", &[""]);
}

#[test]
fn quotas_that_nothing_keeps() {
    warned("", "quota = \"5/month\"", "quota-in-memory", "keys.toml:4:9");
    silent("", &["limits = [\"5/s\"]", "quota = \"5/month\"\nstate = \"revoked\""]);
    let many: String = (0..300).map(|n| entry(&format!("key-{n}"), n, "quota = \"5/month\"")).collect();
    let report = crossed("", &many);
    assert_eq!(report.diagnostics().len(), 1);
    assert!(report.diagnostics()[0].message.contains("`key-0` and 299 more"), "{report:?}");
}

#[test]
fn costs_over_what_a_key_ever_has() {
    let dear = "[plan.gold]\nlimits = [\"9/s\"]\n[plan.free]\nlimits = [\"100/s\"]\n\
                [[route]]\nname = \"dear\"\npath = \"/dear\"\ncost = 10\nroles = [\"r\"]\n[[route]]\nname = \"rest\"\n";
    let role = |more: &str| format!("roles = [\"r\"]\n{more}");
    warned(dear, &role("limits = [\"100/s\", \"1/d burst 9\"]"), "cost-over-burst", "keys.toml:5:10");
    // In the gateway's file, once for all keys with the plan.
    warned(dear, &role("plan = \"gold\""), "cost-over-burst", "keyward.toml:2:1");
    let many: String = (0..9).map(|n| entry(&format!("key-{n}"), n, &role("plan = \"gold\""))).collect();
    assert_eq!(crossed(dear, &many).diagnostics().len(), 1);
    for good in ["", "limits = [\"1/d burst 10\"]", "plan = \"free\"", "plan = \"gold\"\nlimits = [\"20/s\"]"] {
        silent(dear, &[&role(good)]);
    }
    // Nobody who may not go there is hindered.
    silent(dear, &[&role("limits = [\"9/s\"]\nroutes = [\"rest\"]"), &role("plan = \"gold\"\npaths = [\"/x\"]")]);
    silent(&dear.replace("roles = [\"r\"]", "roles = [\"s\"]\nauth = \"open\""), &[&role("limits = [\"9/s\"]")]);
    let other = entry("other", 2, &role("")) + &entry("a", 1, "limits = [\"9/s\"]");
    assert!(crossed(dear, &other).is_empty(), "it lacks the role");
    let codes = |report: &Report| report.diagnostics().iter().map(|it| it.code).collect::<Vec<_>>();
    let report = crossed(dear, &entry("a", 1, &role("quota = \"9/day\"")));
    assert_eq!(codes(&report), ["cost-over-burst", "quota-in-memory"]);
    let report = crossed(dear, &entry("a", 1, &role("quota = \"10/day\"")));
    assert_eq!(codes(&report), ["quota-in-memory"]);
}

#[test]
fn of_many_keys_the_same_is_not_told_for_ever() {
    let many: String = (0..300).map(|n| entry(&format!("key-{n}"), n, "routes = [\"order\", \"carts\"]")).collect();
    let report = crossed(ROUTES, &many);
    assert_eq!(report.diagnostics().len(), 101);
    let last = report.diagnostics().last().map(|it| (it.code, it.message.as_str()));
    assert_eq!(last, Some(("unknown-route", "the same is true of 200 more keys")));
}

#[test]
fn the_place_is_found_however_the_entry_is_written() {
    let hash = hash(1);
    for (text, place) in [
        (
            format!("[[key]]\nid = \"a\"\nhash = \"{hash}\"\nnote = \"ü\" # x\nroutes = [\n  \"x\",\n]\n"),
            "keys.toml:6:3",
        ),
        (format!("key = [\n  {{ id = \"a\", hash = \"{hash}\", routes = [\"x\"] }},\n]\n"), "keys.toml:2:3"),
        (format!(" [[key]]\n id = \"a\"\n hash = \"{hash}\"\n routes = [\"x\"]\n"), "keys.toml:4:12"),
    ] {
        let report = crossed(ROUTES, &text);
        assert!(report.diagnostics()[0].location().starts_with(&format!("{place}: ")), "{report:?}");
    }
}

#[test]
fn what_both_files_tell_is_told_with_its_place_and_a_hint() {
    let config = "[plan.gold]\nlimits = [\"5/s\"]\n[[route]]\nname = \"orders\"\npath = \"/v1/*\"\nroles = [\"orders:read\"]\n\
                  [[route]]\nname = \"dear\"\npath = \"/dear\"\ncost = 10\n";
    let keys = entry("a", 1, "plan = \"gold\"\nroles = [\"orders:raed\"]\nroutes = [\"ordres\", \"dear\"]")
        + &entry("b", 2, "limits = [\"5/s\"]\nquota = \"1000/month\"")
        + &entry("c", 3, "paths = [\"/v2/*\"]");
    insta::assert_snapshot!(crossed(config, &keys).render(false));
}
