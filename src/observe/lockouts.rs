//! Lock-outs are told of by whoever keeps house, not by the request that was one too many.

use std::sync::Arc;

use super::events::Events;
use super::metrics::Metrics;
use crate::limits::lockout::{Change, Lockout};
use crate::vocab::clock::Clock;

/// Remembers whose lock-outs it tells of: a configuration with another budget of failures, or none, ends those of the last.
pub struct Lockouts {
    events: Events,
    clock: Clock,
    last: Option<Arc<Lockout>>,
    metrics: Option<Arc<Metrics>>,
}

impl Lockouts {
    /// Tells by `events`, with the time of the process's `clock`.
    pub const fn new(events: Events, clock: Clock) -> Self {
        Self { events, clock, last: None, metrics: None }
    }

    /// The same, counting them, if anybody asks.
    pub fn with_metrics(self, metrics: Option<Arc<Metrics>>) -> Self {
        Self { metrics, ..self }
    }

    /// Tells what has happened since the last call. `current` is what requests ask now.
    pub fn tell(&mut self, current: Option<&Arc<Lockout>>) {
        let now = self.clock.mono();
        let is_current = |last: &Arc<Lockout>| current.is_some_and(|current| Arc::ptr_eq(last, current));
        if let Some(last) = self.last.take_if(|last| !is_current(last)) {
            self.tell_of(&last.last_news(now));
        }
        if let Some(current) = current {
            self.tell_of(&current.news(now));
            self.last = Some(Arc::clone(current));
        }
    }

    fn tell_of(&self, changes: &[Change]) {
        self.events.lockouts(changes);
        let begun = |change: &Change| match change {
            Change::Begun(_) => 1,
            Change::Ended(_) => 0,
            Change::Untold(more) => *more,
        };
        if let Some(metrics) = &self.metrics {
            metrics.count_lockouts(changes.iter().map(begun).sum());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::config::gateway::Output;
    use crate::limits::address::Client;
    use crate::limits::policy::Policy;
    use crate::observe::sink::Writer;
    use crate::vocab::units::parse_rate;

    #[test]
    fn each_is_told_once_at_the_time_when_it_began_and_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = Writer::start(Output::File(folder.path().join("log"))).expect("a writer");
        let clock = Clock::manual(Duration::ZERO);
        let mut lockouts = Lockouts::new(Events::new(writer.sink(), clock.clone()), clock.clone());
        let policy = || Arc::new(Policy::new(&parse_rate("1/m").expect("a rate")));
        let (one, other) =
            [Duration::from_millis(1_500), Duration::from_secs(60)].map(|first| Lockout::new(policy(), first)).into();
        let (one, other) = (Arc::new(one), Arc::new(other));
        let fail = |lockout: &Lockout, address: &str| {
            lockout.failed(Client::from(address.parse::<IpAddr>().expect("an address")), clock.mono());
            clock.advance(Duration::from_millis(250));
        };
        fail(&one, "192.0.2.1");
        lockouts.tell(Some(&one));
        lockouts.tell(Some(&one));
        clock.advance(Duration::from_secs(2));
        lockouts.tell(Some(&one));
        fail(&one, "192.0.2.1");
        fail(&other, "2001:db8::1");
        // Another budget is in force, and then none.
        lockouts.tell(Some(&other));
        lockouts.tell(None);
        lockouts.tell(None);
        writer.sink().flush();
        let lines = std::fs::read_to_string(folder.path().join("log")).expect("the log");
        let expected = [
            r#"{"time":"1970-01-01T00:00:00.000000Z","level":"warn","event":"lockout","state":"begin","client.address":"192.0.2.1","duration_s":2,"times":1,"limit.policy":"1/m"}"#,
            r#"{"time":"1970-01-01T00:00:01.500000Z","level":"info","event":"lockout","state":"end","client.address":"192.0.2.1","duration_s":2,"times":1,"limit.policy":"1/m"}"#,
            r#"{"time":"1970-01-01T00:00:02.250000Z","level":"warn","event":"lockout","state":"begin","client.address":"192.0.2.1","duration_s":3,"times":2,"limit.policy":"1/m"}"#,
            r#"{"time":"1970-01-01T00:00:02.750000Z","level":"info","event":"lockout","state":"end","client.address":"192.0.2.1","duration_s":1,"times":2,"limit.policy":"1/m"}"#,
            r#"{"time":"1970-01-01T00:00:02.500000Z","level":"warn","event":"lockout","state":"begin","client.address":"2001:db8::/64","duration_s":60,"times":1,"limit.policy":"1/m"}"#,
            r#"{"time":"1970-01-01T00:00:02.750000Z","level":"info","event":"lockout","state":"end","client.address":"2001:db8::/64","duration_s":1,"times":1,"limit.policy":"1/m"}"#,
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_flood_of_them_loses_no_line_and_beyond_their_bound_is_a_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let writer = Writer::start(Output::File(folder.path().join("log"))).expect("a writer");
        let clock = Clock::manual(Duration::ZERO);
        let mut lockouts = Lockouts::new(Events::new(writer.sink(), clock.clone()), clock.clone());
        let policy = Arc::new(Policy::new(&parse_rate("1/m").expect("a rate")));
        let lockout = Arc::new(Lockout::new(policy, Duration::from_secs(60)));
        for n in 0..20_000u32 {
            lockout.failed(Client::V4(n.to_be_bytes()), clock.mono());
        }
        lockouts.tell(Some(&lockout));
        clock.advance(Duration::from_secs(60));
        lockouts.tell(Some(&lockout));
        writer.sink().flush();
        let lines = std::fs::read_to_string(folder.path().join("log")).expect("the log");
        let count = |text: &str| lines.lines().filter(|line| line.contains(text)).count();
        let told = count(r#""state":"begin","client.address""#);
        assert!(told > 1_000 && count(r#""state":"end","client.address""#) == told, "{told}");
        assert_eq!(count(&format!(r#""state":"begin","count":{}}}"#, 20_000 - told)), 1);
        assert_eq!((lines.lines().count(), writer.sink().lost()), (2 * told + 1, 0));
    }
}
