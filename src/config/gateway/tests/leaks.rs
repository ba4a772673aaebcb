use std::time::Duration;

use super::{bad, good};
use crate::config::gateway::{LeakAction, LeakInResponse};

#[test]
fn keys_in_responses_are_told_of_unless_something_else_is_said() {
    let gateway = good("[[route]]\nscan_response = true\n[[route]]\npath = \"/a\"\n");
    assert_eq!(gateway.alerts.leak_in_response, LeakInResponse { enabled: true, action: LeakAction::Alert });
    assert_eq!(gateway.alerts.cooldown, Duration::from_mins(10));
    assert_eq!(gateway.routes.iter().map(|route| route.scan_response).collect::<Vec<_>>(), [true, false]);
    for action in [LeakAction::Alert, LeakAction::Redact, LeakAction::Block] {
        let text = format!(
            "[alerts]\ncooldown = \"1s\"\n[alerts.rule.leak_in_response]\nenabled = false\naction = \"{}\"\n",
            action.as_str()
        );
        let alerts = good(&text).alerts;
        assert_eq!(alerts.leak_in_response, LeakInResponse { enabled: false, action });
        assert_eq!(alerts.cooldown, Duration::from_secs(1));
    }
}

#[test]
fn what_is_wrong_or_not_built_yet_is_said() {
    for (text, code) in [
        ("[alerts]\ncooldown = \"0\"\n", "invalid-value"),
        ("[alerts]\ngeoip = \"city.mmdb\"\n", "not-supported-yet"),
        ("[alerts]\nx = 1\n", "unknown-key"),
        ("[alerts.rule.leak_in_response]\naction = \"drop\"\n", "invalid-value"),
        ("[alerts.rule.leak_in_response]\nhold = \"15m\"\n", "not-supported-yet"),
        ("[alerts.rule.leak_in_response]\nx = 1\n", "unknown-key"),
        ("[alerts.rule.guessing]\nwindow = \"1m\"\n", "not-supported-yet"),
        ("[alerts.rule.gessing]\n", "unknown-key"),
        ("[[route]]\nscan_response = \"yes\"\n", "wrong-type"),
    ] {
        assert_eq!(bad(text), [code], "{text}");
    }
}
