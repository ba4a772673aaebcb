//! `keyward explain`: what would become of a request, and why. It asks the function that the gateway asks, of a
//! configuration that nobody has used yet; what was spent of quotas is in the state file.

mod scene;
mod show;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderValue;
use jiff::Timestamp;
use serde::Serialize;

use self::scene::Scene;
use super::console::{Console, Failure, NO, OK};
use crate::cli::{ExplainArgs, Files, when};
use crate::gate::decide::{Decision, Permit};
use crate::gate::explain::{Step, story};
use crate::gate::respond::{Refusal, refuse, tell_limits};
use crate::limits::report::Label;
use crate::record::{Closer, Open, Outcome, Reader, Record, TunnelRecord, Verdict};
use crate::route::Fit;
use crate::vocab::clock::Clock;
use crate::vocab::fields::Fields;

/// What would become of one request.
#[derive(Debug, Serialize)]
struct Explanation {
    at: String,
    method: String,
    url: String,
    client: String,
    key: Option<String>,
    decision: &'static str,
    reason: &'static str,
    route: Option<String>,
    routes: Vec<Tried>,
    checks: Vec<Checked>,
    limits: Vec<Limit>,
    answer: Answer,
}

/// What the client gets of ours, or the upstream.
#[derive(Debug, Serialize)]
struct Answer {
    /// Absent where the upstream chooses.
    status: Option<u16>,
    code: Option<&'static str>,
    response_headers: BTreeMap<String, String>,
    upstream: Option<Upstream>,
}

/// A route, in the order in which they are tried.
#[derive(Debug, Serialize)]
struct Tried {
    route: String,
    fit: &'static str,
}

#[derive(Debug, Serialize)]
struct Checked {
    check: &'static str,
    /// `passed`, `not asked`, `refused`, `refused in shadow`, `not reached`
    result: &'static str,
    reason: Option<&'static str>,
}

/// A limit that the request falls under.
#[derive(Debug, Serialize)]
struct Limit {
    policy: String,
    of: &'static str,
    limit: u64,
    window_s: Option<u64>,
    /// What is left once this request has passed; absent where only a running gateway knows.
    remaining: Option<u64>,
}

/// What the upstream gets.
#[derive(Debug, Serialize)]
struct Upstream {
    name: String,
    target: String,
    headers: BTreeMap<String, String>,
}

/// Does it, and gives the exit code: 0 for what would pass, 1 for what would not.
pub fn run(args: &ExplainArgs, files: &Files, console: &mut Console<'_>, clock: &Clock) -> u8 {
    match explain(args, files, console, clock) {
        Ok(explanation) => {
            let told = show::tell(&explanation, args.json, console);
            console.finish(told).max(if explanation.decision == "deny" { NO } else { OK })
        }
        Err(failure) => console.finish(Err(failure)),
    }
}

fn explain(
    args: &ExplainArgs,
    files: &Files,
    console: &mut Console<'_>,
    clock: &Clock,
) -> Result<Explanation, Failure> {
    let now = moment(args, clock)?;
    let then = Duration::from_micros(u64::try_from(now.as_microsecond()).unwrap_or(0));
    let scene = Scene::set(args, files, console, Clock::manual(then))?;
    let decision = scene.decide();
    Ok(told(args, &scene, decision, now))
}

fn moment(args: &ExplainArgs, clock: &Clock) -> Result<Timestamp, Failure> {
    let now = when::now(clock);
    let at = args.at.map_or(Ok(Some(now)), |at| at.resolve(now));
    at.map(|at| at.unwrap_or(now)).map_err(|error| Failure::Usage(error.to_string()))
}

fn told(args: &ExplainArgs, scene: &Scene, decision: Decision, now: Timestamp) -> Explanation {
    let Decision { verdict, trail } = decision;
    let judged = match (&verdict, trail.shadow) {
        (Ok(_), None) => Verdict::Allow,
        (Ok(_), Some(denial)) => Verdict::Shadow(denial),
        (Err(refusal), _) => Verdict::Deny(refusal.denial),
    };
    let (key, route) = (trail.key.clone(), trail.route.clone());
    let record = scene.record(trail, judged);
    let (decision, reason) = (record.decision(), record.reason());
    let answer = match verdict {
        Ok(permit) => Answer::passed_on(&permit, &record),
        Err(refusal) => Answer::refused(&refusal, record, scene.clock().clone()),
    };
    Explanation {
        at: now.to_string(),
        method: args.method.to_string(),
        url: args.url.clone(),
        client: args.from.to_string(),
        key: key.as_ref().map(|key| key.id().to_owned()),
        decision,
        reason,
        route: route.as_ref().map(|route| route.name.to_string()),
        routes: scene.tried().map(|(route, fit)| Tried { route: route.name.to_string(), fit: fit_text(fit) }).collect(),
        checks: story(judged, key.is_some()).map(|(check, step)| checked(check.name(), step)).into(),
        limits: scene.limits(key.as_deref(), route.as_deref()),
        answer,
    }
}

impl Answer {
    fn passed_on(permit: &Permit, record: &Record) -> Self {
        let mut fields = Fields::with_capacity(4);
        tell_limits(&mut fields, record.settings.families, &permit.admitted);
        let identity = permit.admitted.key().map(|key| key.identity()).unwrap_or_default().iter();
        let upstream = Upstream {
            name: permit.upstream.name.to_string(),
            target: permit.target.to_string(),
            headers: identity.map(|(name, value)| (name.to_string(), text(value))).collect(),
        };
        Self { status: None, code: None, response_headers: texts(&fields), upstream: Some(upstream) }
    }

    /// What the gateway would answer, but for what is of use only once.
    fn refused(refusal: &Refusal, record: Record, clock: Clock) -> Self {
        let closer = Rc::new(Closer { clock, reader: Rc::new(Nobody) });
        let answer = refuse(refusal, Open::new(Box::new(record), closer), Outcome::Complete);
        let mut response_headers = texts(&answer.fields);
        response_headers.retain(|name, _| !["x-request-id", "x-api-key-fingerprint"].contains(&name.as_str()));
        let (status, code) = (Some(answer.status.as_u16()), Some(refusal.denial.code()));
        Self { status, code, response_headers, upstream: None }
    }
}

const fn fit_text(fit: Fit) -> &'static str {
    match fit {
        Fit::OtherHost => "for other hosts",
        Fit::OtherPath => "for other paths",
        Fit::OtherMethod => "for other methods",
        Fit::Takes => "takes it",
    }
}

fn checked(check: &'static str, step: Step) -> Checked {
    let (result, denial) = match step {
        Step::Passed => ("passed", None),
        Step::NotAsked => ("not asked", None),
        Step::Refused(denial) => ("refused", Some(denial)),
        Step::Shadowed(denial) => ("refused in shadow", Some(denial)),
        Step::NotReached => ("not reached", None),
    };
    Checked { check, result, reason: denial.map(|denial| denial.reason()) }
}

impl Limit {
    fn new(of: &'static str, label: &Label, remaining: Option<u64>) -> Self {
        Self { policy: label.text.to_string(), of, limit: label.units, window_s: label.window_s, remaining }
    }
}

fn texts(fields: &Fields) -> BTreeMap<String, String> {
    fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Nobody writes a line of what has not happened.
struct Nobody;

impl Reader for Nobody {
    fn read(&self, _: &Record) {}

    fn read_tunnel(&self, _: &TunnelRecord) {}
}
