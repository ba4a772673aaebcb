//! The whole story of one request, in one short file: decide, forward, respond, record.

pub mod decide;
pub mod explain;
mod frames;
mod leak;
pub mod respond;
pub mod response_body;
#[cfg(test)]
mod tests;
pub mod tunnel;
mod upgrade;

use std::borrow::Cow;
use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use http_body::Body as _;

use crate::admit::Admitted;
use crate::config::gateway::HostHeader;
use crate::credential;
use crate::observe::exposed::Exposed;
use crate::record::{Closer, Open, OpenTunnel, Outcome, Record, Transfer, Verdict};
use crate::request::forwarded::X_REQUEST_ID;
use crate::request::{ClientBody, ConnFacts, Facts, Forwarded, Received, RequestId};
use crate::snapshot::{Settings, Snapshot};
use crate::timer::Timers;
use crate::upstream::Upstream;
use crate::upstream::answer::AnswerBody;
use crate::upstream::body::{RequestBody, State};
use crate::upstream::forward::{ForwardError, Journey};
use crate::upstream::headers::prepare_request;
use crate::upstream::message::{Answer, Outgoing};
use crate::upstream::pool::Pools;
use crate::vocab::denial::{Denial, Fault};
use crate::vocab::fields::Fields;

use decide::{Decision, Permit, decide};
use respond::{Refusal, refuse};
use response_body::ResponseBody;
use tunnel::Tunnel;
use upgrade::Upgrade;

/// What a worker lends to every exchange on it.
pub struct Tools {
    /// Closes records.
    pub closer: Rc<Closer>,
    /// Coarse timers.
    pub timers: Rc<Timers>,
    /// Upstream connections.
    pub pools: Rc<Pools>,
    /// The grace of a drain is over: tunnels end.
    pub ending: Rc<Cell<bool>>,
    /// Good keys that came in the clear.
    pub exposed: Arc<Exposed>,
}

/// What a client gets.
pub struct Reply {
    /// Head and body.
    pub response: Answer<ResponseBody>,
    /// What its connection, or its HTTP/2 stream, becomes once it has that.
    pub tunnel: Option<Box<Tunnel>>,
}

/// Nobody is left to answer: the connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the client did not finish its request")]
pub struct Abandoned;

/// What becomes of a request.
pub enum Handling {
    /// It is answered.
    Answered(Reply),
    /// Its upstream has been asked, or will be. Boxed: it is moved several times before it is polled.
    Underway(Pin<Box<dyn Future<Output = Result<Reply, Abandoned>>>>),
}

/// One request, from its head to the head of its response; the record closes with the response's body.
///
/// The record is open and the request decided when this returns: whatever comes of it may be dropped unpolled where the client
/// leaves at once, and that request has its line, too. Nothing of it holds the snapshot.
pub fn handle(
    tools: &Rc<Tools>,
    snapshot: &Snapshot,
    conn: &Rc<ConnFacts>,
    request_id: RequestId,
    mut request: Received,
) -> Handling {
    let upgrade = Upgrade::take(&mut request);
    let Received { method, uri, version, fields, body, .. } = request;
    let now = tools.closer.clock.now();
    let (mut facts, readable) = Facts::read(now, request_id, method, uri, version, &fields);
    facts.forwarded = Forwarded::read(&snapshot.trusted_proxies, conn, &fields);
    adopt_request_id(&mut facts, &snapshot.settings);

    let Decision { verdict, trail } = decide(snapshot, &facts, readable, conn, &fields);
    let settings = Arc::clone(&snapshot.settings);
    let decided = match (&verdict, trail.shadow) {
        (Ok(_), None) => Verdict::Allow,
        (Ok(_), Some(denial)) => Verdict::Shadow(denial),
        (Err(refusal), _) => Verdict::Deny(refusal.denial),
    };
    let (conn, transfer) = (Rc::clone(conn), Transfer::default());
    let record = Record { facts, conn, settings, trail, verdict: decided, transfer, ended_us: 0, duration_us: 0 };
    let open = Open::new(Box::new(record), Rc::clone(&tools.closer));
    match verdict {
        Err(refusal) => {
            if refusal.denial == Denial::InsecureTransport {
                tools.exposed.note(open.record());
            }
            Handling::Answered(refuse(&refusal, open, Outcome::Complete).into())
        }
        Ok(permit) => Handling::Underway(Box::pin(pass_on(tools, permit, open, (fields, body), upgrade))),
    }
}

/// Goes on calling a request what a trusted proxy calls it, unless a client has got a key in there.
fn adopt_request_id(facts: &mut Facts, settings: &Settings) {
    let given = facts.forwarded.as_mut().and_then(|forwarded| forwarded.request_id.take());
    if let Some(id) = given
        && matches!(settings.redactor.text(id.as_str().as_bytes()), Cow::Borrowed(_))
    {
        facts.request_id = id;
    }
}

/// Forwards an admitted request and turns whatever comes back into a response. What the upstream gets is made before there
/// is a future, so that the future has only that to carry.
fn pass_on(
    tools: &Rc<Tools>,
    permit: Permit,
    mut open: Open,
    (mut fields, body): (Fields, ClientBody),
    upgrade: Option<Upgrade>,
) -> impl Future<Output = Result<Reply, Abandoned>> + use<> {
    let Permit { mut admitted, upstream, credential, mut target } = permit;
    open.hold(admitted.take_underway());
    let settings = &open.record().settings;
    if !settings.forward_credential {
        for source in credential.sources() {
            credential::strip(source, &mut fields, &mut target);
        }
    }
    let upgrade = upgrade.filter(|_| body.is_end_stream());
    let (body, progress) = RequestBody::new(body, &tools.timers, &settings.passing, admitted.route());
    prepare(&mut fields, open.record(), &admitted, &upstream, upgrade);
    let head = Outgoing { method: open.record().facts.method.clone(), target, fields };

    let transfer = open.transfer();
    transfer.request_body.clone_from(&progress);
    transfer.upstream = Some(Arc::clone(&upstream));
    let tools = Rc::clone(tools);
    async move {
        let lent = (&tools.pools, &tools.timers);
        let attempts = &mut open.transfer().attempts;
        let mut result =
            Journey::new(&admitted, &upstream, lent, (head, body), attempts).run(progress.as_deref()).await;
        open.upstream_has_answered();
        if let Ok(answer) = &mut result
            && leak::inspect_head(&mut answer.fields, &mut open).is_err()
        {
            // Nothing of it has gone out: the client gets another answer.
            return explain_failure(&ForwardError::Withheld, open);
        }
        match (result, upgrade) {
            (Ok(answer), None) => Ok(respond::relay(answer, open, &admitted, &tools.timers).into()),
            (Ok(answer), Some(upgrade)) if !upgrade.is_answered_by(&answer) => {
                explain_failure(&ForwardError::Unasked, open)
            }
            (Ok(answer), Some(upgrade)) if answer.status == StatusCode::SWITCHING_PROTOCOLS => {
                Ok(switch(&tools, &admitted, open, answer, upgrade))
            }
            (Ok(answer), Some(_)) => Ok(respond::relay(answer, open, &admitted, &tools.timers).into()),
            (Err(error), _) => explain_failure(&error, open),
        }
    }
}

/// Makes of a client's headers those that the upstream gets.
fn prepare(headers: &mut Fields, record: &Record, admitted: &Admitted, upstream: &Upstream, upgrade: Option<Upgrade>) {
    let Record { facts, conn, settings, .. } = record;
    let own;
    let asked = match &facts.host {
        Some(host) => host,
        None => {
            own = upstream.authority();
            &own
        }
    };
    let sent = match &upstream.host {
        HostHeader::Literal(host) => host,
        // A server's own name is put in its place when the server is known.
        HostHeader::Preserve | HostHeader::Upstream => asked,
    };
    prepare_request(headers, (facts, conn), (asked, sent), &settings.passing.identity);
    if let Some(rewrite) = &admitted.route().rewrite {
        rewrite.request.apply(headers);
    }
    introduce(admitted, headers, facts.request_id.header());
    if let Some(upgrade) = upgrade {
        upgrade.ask(headers);
    }
}

/// The upstream has agreed to another protocol: the exchange ends with that, and the tunnel begins.
fn switch(tools: &Tools, admitted: &Admitted, mut open: Open, answer: Answer<AnswerBody>, upgrade: Upgrade) -> Reply {
    let record = OpenTunnel::behind(&mut open);
    let busy = open.record().conn.activity.begin();
    let Answer { status, fields, body } = answer;
    let tunnel = body
        .into_tunnel()
        .map(|far| Box::new(Tunnel::new(far, record, Rc::clone(&tools.timers), Rc::clone(&tools.ending), busy)));
    Reply { response: respond::switched((status, fields), open, admitted, upgrade), tunnel }
}

impl From<Answer<ResponseBody>> for Reply {
    fn from(response: Answer<ResponseBody>) -> Self {
        Self { response, tunnel: None }
    }
}

/// Tells the upstream who calls. Set last, so that nothing a client sends can stand in their place.
fn introduce(admitted: &Admitted, headers: &mut Fields, request_id: HeaderValue) {
    headers.set(&X_REQUEST_ID, request_id);
    if let Some(key) = admitted.key() {
        for (name, value) in key.identity() {
            headers.set(name, value.clone());
        }
    }
}

fn explain_failure(error: &ForwardError, mut open: Open) -> Result<Reply, Abandoned> {
    let (denial, outcome) = match error {
        ForwardError::Unavailable(_) => (Denial::UpstreamUnavailable, Outcome::UpstreamGone),
        ForwardError::Busy => (Denial::UpstreamBusy, Outcome::Complete),
        ForwardError::Timeout => (Denial::UpstreamTimeout, Outcome::Timeout(Fault::Upstream)),
        ForwardError::Failed(_) | ForwardError::Unasked | ForwardError::Withheld => {
            (Denial::UpstreamError, Outcome::UpstreamGone)
        }
        ForwardError::Client(State::Malformed) => (Denial::MalformedRequest, Outcome::Complete),
        ForwardError::Client(State::TooLarge) => (Denial::BodyTooLarge, Outcome::Complete),
        ForwardError::Client(state) => {
            let stalled = *state == State::Stalled;
            open.transfer().outcome = if stalled { Outcome::Timeout(Fault::Client) } else { Outcome::ClientGone };
            return Err(Abandoned);
        }
    };
    let transfer = open.transfer();
    transfer.failure = Some(denial);
    Ok(refuse(&Refusal::new(denial), open, outcome).into())
}
