//! `[[alerts.webhook]]`

use crate::config::gateway::keys::secret_ref;
use crate::config::gateway::{Located, SecretRef};
use crate::config::problems::Wrong;
use crate::config::reader::{Item, Table, located};

/// How many webhooks there may be: each is told of every alert.
const WEBHOOKS_MAX: usize = 16;

/// One entry of `alerts.webhook`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Where alerts are sent.
    pub url: Located<WebhookUrl>,
    /// What they are signed with, in the `standard` format.
    pub secret: Option<Located<SecretRef>>,
    /// How they are written.
    pub format: WebhookFormat,
}

impl Webhook {
    /// The secrets that it refers to.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretRef> {
        let url = match &self.url.value {
            WebhookUrl::Plain(_) => None,
            WebhookUrl::Secret(secret) => Some(secret),
        };
        url.into_iter().chain(self.secret.as_ref().map(|secret| &secret.value))
    }
}

/// `webhook.url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookUrl {
    /// `https://…` or `http://…`, as it stands in the file.
    Plain(String),
    /// Where the address itself is a secret, as Slack's is.
    Secret(SecretRef),
}

/// `webhook.format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Standard Webhooks: with the headers and the signature of its specification.
    Standard,
    /// What Slack takes, and those who take the same.
    Slack,
    /// What Alertmanager takes: `/api/v2/alerts`.
    Alertmanager,
}

impl WebhookFormat {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
        }
    }
}

pub(super) fn webhooks(table: &mut Table<'_>) -> Vec<Webhook> {
    let (problems, span) = (table.problems(), table.span());
    let tables = table.tables("webhook").unwrap_or_default();
    if tables.len() > WEBHOOKS_MAX {
        problems.add(span, Wrong::value(format!("more than {WEBHOOKS_MAX} webhooks")));
    }
    tables.into_iter().take(WEBHOOKS_MAX).filter_map(webhook).collect()
}

fn webhook(mut table: Table<'_>) -> Option<Webhook> {
    let span = table.span();
    let formats = [WebhookFormat::Standard, WebhookFormat::Slack, WebhookFormat::Alertmanager];
    let format = table.one_of("format", &formats.map(|format| (format.as_str(), format)), WebhookFormat::Standard);
    let url = table.get("url");
    if url.is_none() {
        table.problems().add(span.clone(), Wrong::new("missing-setting", "a webhook needs a `url`"));
    }
    let secret = table.get("secret");
    if secret.is_none() && format == WebhookFormat::Standard {
        let wrong = Wrong::new("missing-setting", "a webhook in the standard format needs a `secret` to sign with");
        table.problems().add(span, wrong.hint("`secret = \"env:NAME\"` or `secret = \"file:PATH\"`"));
    }
    let url = url.and_then(|item| webhook_url(&item));
    let secret = secret.and_then(|item| {
        let source = item.source();
        Some(located(item.parsed(|text| secret_ref(text, source))?, item.span))
    });
    table.finish();
    Some(Webhook { url: url?, secret, format })
}

fn webhook_url(item: &Item<'_>) -> Option<Located<WebhookUrl>> {
    let source = item.source();
    let read = |text: &str| {
        if text.starts_with("env:") || text.starts_with("file:") {
            return secret_ref(text, source).map(WebhookUrl::Secret);
        }
        let wrong = || Wrong::value("expected a URL, as in \"https://hooks.example.com/x\", or \"env:NAME\"");
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        match uri.scheme_str() {
            Some("https" | "http") if authority.as_str().contains('@') => Err(Wrong::new(
                "inline-secret",
                "a secret is never inline, and so neither are names and passwords of a URL",
            )
            .hint("put the whole URL elsewhere: \"env:NAME\" or \"file:PATH\"")),
            Some("https" | "http") => Ok(WebhookUrl::Plain(text.to_owned())),
            _ => Err(wrong()),
        }
    };
    Some(located(item.parsed(read)?, item.span.clone()))
}
