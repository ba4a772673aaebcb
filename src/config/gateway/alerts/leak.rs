//! `[alerts.rule.leak_in_response]`

use crate::config::reader::Table;

/// `[alerts.rule.leak_in_response]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeakInResponse {
    /// Whether keys are looked for in responses.
    pub enabled: bool,
    /// What becomes of a response with one.
    pub action: LeakAction,
}

/// `leak_in_response.action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeakAction {
    /// It passes as it is, and is told of.
    Alert,
    /// Asterisks stand where the key was.
    Redact,
    /// It does not pass.
    Block,
}

impl LeakAction {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }
}

impl Default for LeakInResponse {
    /// As without the table.
    fn default() -> Self {
        Self { enabled: true, action: LeakAction::Alert }
    }
}

pub(super) fn leak_in_response(mut table: Table<'_>) -> LeakInResponse {
    let default = LeakInResponse::default();
    let actions = [LeakAction::Alert, LeakAction::Redact, LeakAction::Block].map(|action| (action.as_str(), action));
    let rule = LeakInResponse {
        enabled: table.boolean("enabled", default.enabled),
        action: table.one_of("action", &actions, default.action),
    };
    for later in ["severity", "hold"] {
        table.later(later, &[]);
    }
    table.finish();
    rule
}
