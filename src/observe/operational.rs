//! Operational lines: `tracing` events of this crate, as the same JSON lines through the same writer.
//!
//! A layer of our own on tracing-subscriber, because every line of the log has the same first fields. Events of other
//! crates are not taken: what a protocol library traces may hold header values.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::{Registry, reload};

use super::events::Events;
use crate::config::gateway;

/// Changes the level while running.
pub type LevelHandle = reload::Handle<LevelFilter, Registry>;

/// Sends this process's events to `events` from here on. Only the first call of a process does.
pub fn install(events: Events, level: gateway::Level) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(filter(level));
    let subscriber = tracing_subscriber::registry().with(filter).with(Operational(events));
    // A second gateway in one process (tests) goes on with the first one's lines.
    let _ = tracing::subscriber::set_global_default(subscriber);
    handle
}

/// `log.level` as tracing knows it.
pub const fn filter(level: gateway::Level) -> LevelFilter {
    match level {
        gateway::Level::Error => LevelFilter::ERROR,
        gateway::Level::Warn => LevelFilter::WARN,
        gateway::Level::Info => LevelFilter::INFO,
        gateway::Level::Debug => LevelFilter::DEBUG,
        gateway::Level::Trace => LevelFilter::TRACE,
    }
}

struct Operational(Events);

impl<S: Subscriber> Layer<S> for Operational {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if !metadata.target().starts_with("keyward") {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let name = fields.event.as_deref().unwrap_or("log");
        self.0.line(level, name, |line| {
            for (name, value) in &fields.others {
                match value {
                    Value::Number(number) => line.number(*name, *number),
                    Value::Text(text) => line.text(*name, text.as_bytes()),
                };
            }
        });
    }
}

#[derive(Default)]
struct Fields {
    event: Option<String>,
    others: Vec<(&'static str, Value)>,
}

enum Value {
    Number(u64),
    Text(String),
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.others.push((field.name(), Value::Number(value)));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "event" {
            self.event = Some(value.to_owned());
        } else {
            self.others.push((field.name(), Value::Text(value.to_owned())));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.others.push((field.name(), Value::Text(text)));
    }
}
