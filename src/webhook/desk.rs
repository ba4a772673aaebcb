//! The thread: it takes alerts in, keeps them, and lets a task per receiver send them.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep;

use super::format::message;
use super::queue::{AGE_MAX_US, Item, Queue, Step};
use super::send::send;
use super::{Notice, Outlet};
use crate::config::load::Hook;
use crate::state::Outbox;
use crate::task::Task;
use crate::vocab::clock::Clock;

/// How long the end of the process waits for alerts that are on their way.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Between two looks at what is left then.
const PAUSE: Duration = Duration::from_millis(5);
/// How often what is too old is given up.
const EXPIRE_EVERY: Duration = Duration::from_secs(600);

/// Keeps the thread alive; dropping it is [`Webhooks::stop`].
pub struct Webhooks {
    outlet: Outlet,
    hooks: watch::Sender<Vec<Arc<Hook>>>,
    ending: Arc<Notify>,
    thread: Option<JoinHandle<()>>,
}

/// Starts the thread. With a state file, what was not taken is kept there.
///
/// # Errors
/// No thread can be had.
pub fn start(hooks: Vec<Arc<Hook>>, state: Option<&Path>, clock: Clock) -> io::Result<Webhooks> {
    let (outlet, inbox) = Outlet::new();
    let (hooks, current) = watch::channel(hooks);
    let ending = Arc::new(Notify::new());
    let (outbox, lost, end) = (Outbox::new(state), outlet.clone(), Arc::clone(&ending));
    let run = move || match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
        Ok(runtime) => {
            let means = Means { outbox: Rc::new(RefCell::new(outbox)), clock };
            let desk = Desk { outlet: lost, means, receivers: Vec::new() };
            runtime.block_on(desk.run(inbox, current, &end));
            // A name that is still being resolved must not hold up the end.
            runtime.shutdown_background();
        }
        Err(error) => tracing::error!(event = "webhooks_failed", error = %error),
    };
    let thread = Some(std::thread::Builder::new().name("alerts".to_owned()).spawn(run)?);
    Ok(Webhooks { outlet, hooks, ending, thread })
}

impl Webhooks {
    /// Where alerts are handed over.
    pub fn outlet(&self) -> Outlet {
        self.outlet.clone()
    }

    /// Who is told from now on.
    pub const fn hooks(&self) -> &watch::Sender<Vec<Arc<Hook>>> {
        &self.hooks
    }
}

impl Webhooks {
    /// Sends what can be sent within a second, and ends the thread.
    pub fn stop(&mut self) {
        self.ending.notify_one();
        let deadline = Instant::now() + CLOSE_MAX * 2;
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        if thread.is_finished() {
            // If it panicked, it has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Means {
    outbox: Rc<RefCell<Outbox>>,
    clock: Clock,
}

struct Desk {
    outlet: Outlet,
    means: Means,
    receivers: Vec<Receiver>,
}

/// Somebody who is told, for as long as this lives.
struct Receiver {
    hook: Arc<Hook>,
    line: Rc<Line>,
    _sending: Task,
}

/// What waits for a receiver.
#[derive(Default)]
struct Line {
    queue: RefCell<Queue>,
    more: Notify,
}

impl Desk {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Arc<Notice>>,
        mut hooks: watch::Receiver<Vec<Arc<Hook>>>,
        ending: &Notify,
    ) {
        self.follow(&hooks.borrow_and_update().clone());
        // The first tick comes at once.
        let mut expiring = tokio::time::interval(EXPIRE_EVERY);
        loop {
            tokio::select! {
                biased;
                Ok(()) = hooks.changed() => self.follow(&hooks.borrow_and_update().clone()),
                Some(notice) = inbox.recv() => self.take(&notice),
                _ = expiring.tick() => self.expire(),
                () = ending.notified() => break,
            }
        }
        while let Ok(notice) = inbox.try_recv() {
            self.take(&notice);
        }
        self.finish().await;
    }

    fn take(&self, notice: &Arc<Notice>) {
        let text = serde_json::to_string(&**notice).unwrap_or_default();
        for receiver in &self.receivers {
            let row = self.means.outbox.borrow_mut().put(&receiver.hook.id, notice.at_us, &text);
            let too_many = receiver.line.queue.borrow_mut().push(Item { notice: Arc::clone(notice), row });
            self.give_up(&receiver.hook, too_many.as_slice());
            receiver.line.more.notify_one();
        }
        match self.outlet.take_lost() {
            0 => {}
            lost => tracing::error!(event = "webhook_alerts_lost", count = lost),
        }
    }

    /// Those who stay go on where they are, those who are new get what was kept for them.
    fn follow(&mut self, hooks: &[Arc<Hook>]) {
        let mut before = std::mem::take(&mut self.receivers);
        for hook in hooks {
            let same = before.iter().position(|receiver| receiver.hook.id == hook.id);
            let receiver = match same.map(|at| before.swap_remove(at)) {
                Some(same) if same.hook.made_from == hook.made_from => same,
                // Another secret: what waits is signed with that.
                Some(same) => self.receiver(hook, same.line),
                None => self.receiver(hook, self.kept(hook)),
            };
            self.receivers.push(receiver);
        }
    }

    fn receiver(&self, hook: &Arc<Hook>, line: Rc<Line>) -> Receiver {
        let sending = keep_sending(Arc::clone(hook), Rc::clone(&line), self.means.clone());
        Receiver { hook: Arc::clone(hook), line, _sending: Task::spawn(sending) }
    }

    /// What was not taken before the last restart.
    fn kept(&self, hook: &Hook) -> Rc<Line> {
        let line = Rc::new(Line::default());
        for waiting in self.means.outbox.borrow_mut().waiting(&hook.id) {
            let Ok(notice) = serde_json::from_str(&waiting.text) else { continue };
            line.queue.borrow_mut().push(Item { notice: Arc::new(notice), row: Some(waiting.row) });
        }
        line
    }

    fn expire(&self) {
        if self.receivers.is_empty() {
            return;
        }
        let now_us = self.means.clock.now().wall_us;
        self.means.outbox.borrow_mut().expire(now_us - AGE_MAX_US);
        for receiver in &self.receivers {
            let old = receiver.line.queue.borrow_mut().take_old(now_us);
            self.give_up(&receiver.hook, &old);
        }
    }

    fn give_up(&self, hook: &Hook, items: &[Item]) {
        for row in items.iter().filter_map(|item| item.row) {
            self.means.outbox.borrow_mut().remove(row);
        }
        if !items.is_empty() {
            tracing::error!(event = "webhook_gave_up", webhook = hook.name.as_str(), count = items.len());
        }
    }

    /// Lets those send what they have whose receivers take it.
    async fn finish(&self) {
        let deadline = Instant::now() + CLOSE_MAX;
        let is_busy = |receiver: &Receiver| {
            let queue = receiver.line.queue.borrow();
            queue.len() > 0 && !queue.is_failing()
        };
        while self.receivers.iter().any(is_busy) && Instant::now() < deadline {
            sleep(PAUSE).await;
        }
    }
}

/// Sends what waits for a receiver, one after the other, for ever.
async fn keep_sending(hook: Arc<Hook>, line: Rc<Line>, Means { outbox, clock }: Means) {
    let now_ms = || clock.mono() / 1_000_000;
    loop {
        let step = line.queue.borrow().next(now_ms());
        let item = match step {
            Step::Send(item) => item,
            Step::Idle => {
                line.more.notified().await;
                continue;
            }
            Step::Wait(until_ms) => {
                sleep(Duration::from_millis(until_ms.saturating_sub(now_ms()).max(1))).await;
                continue;
            }
        };
        let now_s = clock.now().wall_us.div_euclid(1_000_000);
        let sent = send(&hook, message(&item.notice, hook.format, hook.secret.as_ref(), now_s)).await;
        match sent {
            Ok(()) => {
                if let Some(row) = item.row {
                    outbox.borrow_mut().remove(row);
                }
                if line.queue.borrow_mut().succeeded(&item.notice.id) {
                    tracing::info!(event = "webhook_recovered", webhook = hook.name.as_str());
                }
            }
            Err(why) => {
                if line.queue.borrow_mut().failed(&item.notice.id, now_ms(), random()) {
                    tracing::warn!(event = "webhook_failed", webhook = hook.name.as_str(), reason = %why);
                }
            }
        }
    }
}

/// Without randomness there is no jitter, and nothing else is lost.
fn random() -> u8 {
    let mut byte = [128];
    let _ = getrandom::fill(&mut byte);
    byte[0]
}
