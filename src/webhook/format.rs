//! What is sent: Standard Webhooks with a signature, the text of a chat, or an alert of Alertmanager's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Notice;
use crate::config::gateway::WebhookFormat;
use crate::vocab::digest::Pepper;
use crate::vocab::secret::Secret;

static WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
static WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// A request without its place.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Writes a notice in a format; `now_s` is the time at which it is sent, seconds since the epoch.
pub(super) fn message(notice: &Notice, format: WebhookFormat, secret: Option<&Secret>, now_s: i64) -> Message {
    let body = match format {
        WebhookFormat::Standard => standard(notice),
        WebhookFormat::Slack => json!({ "text": text(notice) }),
        WebhookFormat::Alertmanager => alertmanager(notice),
    };
    let body = Bytes::from(body.to_string());
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("keyward/", env!("CARGO_PKG_VERSION"))));
    if format == WebhookFormat::Standard {
        let signature = secret.map(|secret| signature(secret, &notice.id, now_s, &body));
        let id = HeaderValue::from_str(&notice.id).ok();
        let signature = signature.and_then(|signature| HeaderValue::from_str(&signature).ok());
        headers.insert(&WEBHOOK_TIMESTAMP, now_s.into());
        headers.extend(
            [(&WEBHOOK_ID, id), (&WEBHOOK_SIGNATURE, signature)]
                .into_iter()
                .filter_map(|(name, value)| Some((name.clone(), value?))),
        );
    }
    Message { headers, body }
}

/// `v1,` and the HMAC-SHA-256 of `ID.TIMESTAMP.BODY` in base64 (the Standard Webhooks specification, symmetric).
fn signature(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> String {
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let digest = Pepper::new(&signing_key(secret)).digest(&signed);
    format!("v1,{}", STANDARD.encode(digest.as_bytes()))
}

/// A secret is written `whsec_` and base64; any other is taken as it is.
fn signing_key(secret: &Secret) -> Secret {
    let coded = secret.expose().strip_prefix(b"whsec_");
    let decoded = coded.and_then(|coded| STANDARD.decode(coded).ok());
    decoded.map_or_else(|| secret.clone(), Secret::new)
}

fn standard(notice: &Notice) -> Value {
    json!({
        "type": format!("keyward.alert.{}", notice.rule),
        "timestamp": time(notice.at_us),
        "data": {
            "id": notice.id,
            "rule": notice.rule,
            "severity": notice.severity,
            "subject": notice.subject,
            "count": notice.count,
            "window_s": notice.window_s,
            "evidence": evidence(notice),
        },
    })
}

/// A list of one alert (Alertmanager's API v2, `POST /api/v2/alerts`). What tells alerts apart is in the labels.
fn alertmanager(notice: &Notice) -> Value {
    let mut annotations = Map::new();
    annotations.insert("summary".to_owned(), Value::from(summary(notice)));
    annotations.insert("id".to_owned(), Value::from(notice.id.as_str()));
    for (name, values) in &notice.evidence {
        // Names of annotations are letters, digits and `_`.
        annotations.insert(name.replace('.', "_"), Value::from(values.join(", ")));
    }
    json!([{
        "labels": {
            "alertname": format!("keyward_{}", notice.rule),
            "severity": notice.severity,
            "subject": notice.subject,
        },
        "annotations": annotations,
        "startsAt": time(notice.at_us),
    }])
}

/// For people, in Slack's markup: a line for the alert, and one for each piece of evidence.
fn text(notice: &Notice) -> String {
    let mut text = format!("*{}*: {}", notice.severity, escaped(&summary(notice)));
    for (name, values) in &notice.evidence {
        text.push_str(&format!("\n• {}: {}", escaped(name), escaped(&values.join(", "))));
    }
    text
}

fn summary(notice: &Notice) -> String {
    let Notice { rule, subject, count, window_s, .. } = notice;
    match window_s {
        0 => format!("{rule}, {subject} ({count})"),
        _ => format!("{rule}, {subject} ({count} in {window_s} s)"),
    }
}

/// The three characters that Slack gives a meaning (and so no link or mention can be made of what a client has sent).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn evidence(notice: &Notice) -> Map<String, Value> {
    notice.evidence.iter().map(|(name, values)| (name.clone(), Value::from(values.clone()))).collect()
}

fn time(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice {
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            at_us: 1_795_867_200_000_000,
            rule: "leak_in_response".to_owned(),
            severity: "critical".to_owned(),
            subject: "key:a".to_owned(),
            count: 2,
            window_s: 0,
            evidence: vec![
                ("leak.place".to_owned(), vec!["header:x-debug".to_owned(), "body".to_owned()]),
                ("http.route".to_owned(), vec!["<!channel> & co".to_owned()]),
            ],
        }
    }

    #[test]
    fn signatures_are_those_of_the_reference_implementation() {
        let body = br#"{"test": 2432232314}"#;
        let secret = Secret::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let signed = signature(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signing_key(&Secret::from("whsec_aGVsbG8=")).expose(), b"hello");
        assert_eq!(signing_key(&Secret::from("plain words")).expose(), b"plain words");
        assert_eq!(signing_key(&Secret::from("whsec_!")).expose(), b"whsec_!");
    }

    #[test]
    fn the_standard_format_has_its_headers_and_says_everything() {
        let notice = notice();
        let secret = Secret::from("a secret");
        let Message { headers, body } = message(&notice, WebhookFormat::Standard, Some(&secret), 1_700_000_000);
        assert_eq!(headers["webhook-id"], notice.id.as_str());
        assert_eq!(headers["webhook-timestamp"], "1700000000");
        assert_eq!(headers["webhook-signature"], signature(&secret, &notice.id, 1_700_000_000, &body).as_str());
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let expected = json!({
            "type": "keyward.alert.leak_in_response",
            "timestamp": "2026-11-28T12:00:00Z",
            "data": {
                "id": notice.id, "rule": "leak_in_response", "severity": "critical", "subject": "key:a",
                "count": 2, "window_s": 0,
                "evidence": { "leak.place": ["header:x-debug", "body"], "http.route": ["<!channel> & co"] },
            },
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn a_chat_gets_a_text_in_which_nothing_of_a_client_is_markup() {
        let Message { headers, body } = message(&notice(), WebhookFormat::Slack, None, 0);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let expected = "*critical*: leak_in_response, key:a (2)\n• leak.place: header:x-debug, body\n\
                        • http.route: &lt;!channel&gt; &amp; co";
        assert_eq!(body, json!({ "text": expected }));
        assert!(!headers.contains_key("webhook-id"));
    }

    #[test]
    fn alertmanager_gets_labels_that_tell_alerts_apart() {
        let mut notice = notice();
        notice.window_s = 300;
        let Message { body, .. } = message(&notice, WebhookFormat::Alertmanager, None, 0);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        let expected = json!([{
            "labels": { "alertname": "keyward_leak_in_response", "severity": "critical", "subject": "key:a" },
            "annotations": {
                "summary": "leak_in_response, key:a (2 in 300 s)", "id": notice.id,
                "leak_place": "header:x-debug, body", "http_route": "<!channel> & co",
            },
            "startsAt": "2026-11-28T12:00:00Z",
        }]);
        assert_eq!(body, expected);
    }
}
