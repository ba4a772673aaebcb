//! `[alerts]` and `[alerts.rule.NAME]`.

mod leak;
mod webhook;

use std::time::Duration;

pub use self::leak::{LeakAction, LeakInResponse};
pub use self::webhook::{Webhook, WebhookFormat, WebhookUrl};
use crate::config::reader::{Neutral, Table};

/// Rules that nobody looks at yet.
const LATER: [&str; 24] = [
    "guessing",
    "stale_client",
    "credential_stuffing",
    "dead_key",
    "grace_key",
    "honey",
    "volume",
    "surge",
    "dormant",
    "new_address",
    "new_network",
    "new_asn",
    "new_country",
    "new_agent",
    "many_networks",
    "impossible_travel",
    "throttle_riding",
    "probing",
    "off_hours",
    "insecure_key",
    "expiring",
    "reload_rejected",
    "log_loss",
    "upstream_down",
];

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// Between two alerts of one rule about one subject.
    pub cooldown: Duration,
    /// Who is told.
    pub webhooks: Vec<Webhook>,
    /// `[alerts.rule.leak_in_response]`
    pub leak_in_response: LeakInResponse,
}

impl Default for Alerts {
    /// As without the table.
    fn default() -> Self {
        Self { cooldown: Duration::from_mins(10), webhooks: Vec::new(), leak_in_response: LeakInResponse::default() }
    }
}

pub(super) fn alerts(file: &mut Table<'_>) -> Alerts {
    let mut alerts = Alerts::default();
    let Some(mut table) = file.table("alerts") else { return alerts };
    alerts.cooldown = table.duration("cooldown", alerts.cooldown);
    for later in ["enabled", "learn", "hours", "geoip", "asn"] {
        table.later(later, &[Neutral::EmptyArray]);
    }
    alerts.webhooks = webhook::webhooks(&mut table);
    if let Some(mut rules) = table.table("rule") {
        if let Some(rule) = rules.table("leak_in_response") {
            alerts.leak_in_response = leak::leak_in_response(rule);
        }
        for later in LATER {
            rules.later(later, &[Neutral::EmptyTable]);
        }
        rules.finish();
    }
    table.finish();
    alerts
}
