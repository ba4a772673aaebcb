//! Tables of good and bad inputs, and the messages people read.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::diagnostics::{Report, Severity};
use crate::config::source::SourceFile;

mod admin;
mod leaks;
mod presets;
mod sense;
mod settings;
mod upstreams;
mod webhooks;

const UPSTREAM: &str = "upstream.default.servers = [\"http://127.0.0.1:3000\"]\n";
const EXAMPLE: &str = include_str!("../../../config/keyward.toml");

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("conf/keyward.toml", text))
}

/// `text` behind the smallest file.
fn with(text: &str) -> Result<(Gateway, Report), Report> {
    parse(&file(&format!("{UPSTREAM}{text}")))
}

fn good(text: &str) -> Gateway {
    let (gateway, report) = with(text).unwrap_or_else(|report| panic!("{text}\n{report:?}"));
    assert!(!report.has_errors());
    gateway
}

/// The codes of all problems.
fn bad(text: &str) -> Vec<&'static str> {
    let report = with(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
    report.diagnostics().iter().map(|it| it.code).collect()
}

fn rendered(text: &str) -> String {
    let (_, report) = read(&file(text));
    report.render(false)
}

#[test]
fn the_example_file_says_what_the_defaults_are() {
    let (mut example, report) = parse(&file(EXAMPLE)).expect("the example is good");
    assert!(report.is_empty(), "{report:?}");
    example.keys.file.span = 0..0;
    assert_eq!(example, good(""));
}

#[test]
fn what_the_example_calls_coming_is_refused() {
    let mut section = String::new();
    let mut count = 0;
    for line in EXAMPLE.lines() {
        if let Some(header) = line.trim_start_matches("# ").strip_prefix('[') {
            section = format!("[{header}");
        }
        let option = line.split_once("(coming) ").map(|(_, option)| option);
        let Some(option) = option.filter(|option| option.contains(" = ")) else {
            continue;
        };
        count += 1;
        let (path, option) = match section.as_str() {
            "[upstream.default]" => (String::new(), format!("upstream.default.{option}")),
            section => (format!("{section}\n"), option.to_owned()),
        };
        let codes = bad(&format!("{path}{option}\n"));
        assert_eq!(codes, ["not-supported-yet"], "{path}{option}");
    }
    assert!(count > 0, "{count}");
}

#[test]
fn options_of_later_versions_are_refused_unless_they_ask_for_nothing() {
    let neutral = "[limits]\nfailures_per_ip = \"none\"\n\
        open = \"none\"\n[[listener]]\nclient_auth = \"off\"\nproxy_protocol = false\n[[route]]\nroles = []\nlimits = []\n\
        cost = 1\nmode = \"enforce\"\nsensitive = false\n\
        [log]\nrotate = {}\nskip = []\n[tracing]\n[upstream.b]\n\
        servers = [\"http://b\"]\nbalance = \"round_robin\"\nprotocol = \"http/1.1\"\nretries = 0\nhost = \"preserve\"\n";
    good(neutral);
    for table in ["tracing", "audit"] {
        assert_eq!(bad(&format!("[{table}]\nx = 1\n")), ["not-supported-yet"]);
    }
}

#[test]
fn an_unknown_key_and_what_was_meant() {
    insta::assert_snapshot!(rendered(
        "upstream.default.servers = [\"http://127.0.0.1:3000\"]\n[http]\nheader_timout = \"10s\"\n[[routes]]\n"
    ));
}

#[test]
fn several_problems_in_one_file() {
    insta::assert_snapshot!(rendered(
        "[server]\nworkers = \"four\"\n\n[[listener]]\naddress = \"localhost:80\"\ntls = [{ cert = \"a.pem\" }]\n\n\
         [[route]]\nmethods = [\"get\"]\nupstream = 'ordrs' # ü\n\n[upstream.orders]\nservers = [\"127.0.0.1:3000\"]\n"
    ));
}

#[test]
fn a_bad_rate() {
    insta::assert_snapshot!(rendered(&format!(
        "{UPSTREAM}[limits]\ntotal = \"100 per second\"\n[plan.gold]\nlimits = [\"5/s\", \"0/s\", \"5/s\"]\n"
    )));
}

#[test]
fn an_inline_pepper_is_not_repeated() {
    let out = rendered(&format!("{UPSTREAM}keys = {{ pepper = \"hunter2\", prefix = \"k_w\" }}\n"));
    assert!(!out.contains("hunter2"), "{out}");
    insta::assert_snapshot!(out);
}

#[test]
fn what_is_not_toml() {
    let out = rendered("[http]\nidle_timeout = 10s\n[keys\npepper = \"hunter2\n");
    assert!(!out.contains("hunter2"), "{out}");
    insta::assert_snapshot!(out);
}

#[test]
fn an_unsupported_option() {
    insta::assert_snapshot!(rendered(&format!("{UPSTREAM}[[route]]\nsensitive = true\ncost = 1\n")));
}

#[test]
fn no_upstream() {
    insta::assert_snapshot!(rendered("# nothing\n"));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let (_, report) = read(&file(""));
    assert!(report.render(true).contains('\u{1b}'));
    assert!(!report.render(false).contains('\u{1b}'));
}

#[test]
fn the_shown_problems_are_limited_and_the_rest_counted() {
    let text: String = (0..60).map(|n| format!("x{n} = 1\n")).collect();
    let out = rendered(&format!("{UPSTREAM}{text}"));
    assert!(out.ends_with("… and 10 more\n\n"), "{out}");
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        rendered(&text);
    }

    #[test]
    fn no_mutation_of_the_example_panics_or_shows_the_canary(
        cut in 0..EXAMPLE.len(),
        len in 0usize..40,
        insert in "[\\[\\]{}=\"'\n#.,a-z0-9 é-]{0,12}",
    ) {
        let canary = "kw_4fTq0zXhJ2Lr8vWbNc6YdKmPs9GuEaRoTi1xQ7BnHfZ0aB3dE";
        let end = (cut + len).min(EXAMPLE.len());
        let text = format!("{}{insert}{}\npepper = \"{canary}\"\n", &EXAMPLE[..cut], &EXAMPLE[end..]);
        let (_, report) = read(&file(&text));
        let out = format!("{}{}{report:?}", report.render(false), report.to_json());
        prop_assert!(!out.contains(&canary[10..20]), "{}", out);
    }
}
