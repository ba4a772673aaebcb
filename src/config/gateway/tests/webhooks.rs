use super::{UPSTREAM, bad, good, rendered};
use crate::config::gateway::{SecretRef, WebhookFormat, WebhookUrl};

#[test]
fn each_has_an_address_a_format_and_perhaps_a_secret() {
    let text = "[alerts]\nwebhook = [{ url = \"https://a.example/x?y\", secret = \"env:HOOK\" },\n\
                { url = \"env:SLACK\", format = \"slack\" }, { url = \"http://b:9093\", format = \"alertmanager\" }]\n";
    let hooks = good(text).alerts.webhooks;
    let formats: Vec<_> = hooks.iter().map(|hook| hook.format).collect();
    assert_eq!(formats, [WebhookFormat::Standard, WebhookFormat::Slack, WebhookFormat::Alertmanager]);
    assert_eq!(hooks[0].url.value, WebhookUrl::Plain("https://a.example/x?y".to_owned()));
    assert_eq!(hooks[1].url.value, WebhookUrl::Secret(SecretRef::Env("SLACK".to_owned())));
    assert_eq!(hooks[0].secret.as_ref().map(|secret| &secret.value), Some(&SecretRef::Env("HOOK".to_owned())));
    assert_eq!(hooks.iter().map(|hook| hook.secrets().count()).collect::<Vec<_>>(), [1, 1, 0]);
}

#[test]
fn what_is_wrong_is_said_and_no_secret_is_repeated() {
    let secret = "secret = \"env:HOOK\"";
    for (hook, code) in [
        (format!("{{ {secret} }}"), "missing-setting"),
        ("{ url = \"https://a\" }".to_owned(), "missing-setting"),
        (format!("{{ url = \"ftp://a\", {secret} }}"), "invalid-value"),
        (format!("{{ url = \"/x\", {secret} }}"), "invalid-value"),
        (format!("{{ url = \"https://me:pass@a\", {secret} }}"), "inline-secret"),
        ("{ url = \"https://a\", secret = \"hunter2\" }".to_owned(), "inline-secret"),
        (format!("{{ url = \"https://a\", {secret}, format = \"teams\" }}"), "invalid-value"),
        (format!("{{ url = \"https://a\", {secret}, retries = 1 }}"), "unknown-key"),
    ] {
        assert_eq!(bad(&format!("[alerts]\nwebhook = [{hook}]\n")), [code], "{hook}");
    }
    for wrong in ["\"https://a\"", "[\"https://a\"]"] {
        assert_eq!(bad(&format!("[alerts]\nwebhook = {wrong}\n")), ["wrong-type"], "{wrong}");
    }
    let shown = rendered(&format!("{UPSTREAM}[alerts]\nwebhook = [{{ url = \"https://me:hunter2@a\", {secret} }}]\n"));
    assert!(!shown.contains("hunter2"), "{shown}");
}
