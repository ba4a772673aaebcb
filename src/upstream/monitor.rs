//! What happens to servers beside requests: their names are resolved, their health is watched. All of it runs on one thread
//! of its own, never on a worker.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;

use super::Upstream;
use super::check::{Check, keep_checking, set};
use super::health::{Tell, tell_of_ejections};
use super::resolve::{Names, keep_resolved};
use super::server::Server;
use crate::task::Task;
use crate::vocab::clock::Clock;

/// The upstreams of the configuration that serves.
pub type Current = watch::Receiver<Vec<Arc<Upstream>>>;

/// Looks after the servers of the current upstreams, until the other end of `current` is gone. Needs a runtime that stays on
/// this thread. Every change of a server's health goes to `tell`.
pub async fn monitor(mut current: Current, clock: Clock, tell: Tell) {
    let means = Means { names: Rc::new(Names::new()), clock, tell };
    let mut watched: HashMap<usize, Watched> = HashMap::new();
    loop {
        let upstreams = current.borrow_and_update().clone();
        let mut kept = HashMap::with_capacity(watched.len());
        for upstream in &upstreams {
            for it in &upstream.servers {
                let same = watched.remove(&it.server.pool).filter(|watched| Arc::ptr_eq(&watched.server, &it.server));
                let mut watched = same.unwrap_or_else(|| Watched::new(&it.server, &means));
                watched.check(upstream.check(), &means);
                kept.insert(it.server.pool, watched);
            }
        }
        // What is left of those before is watched no more.
        watched = kept;
        drop(upstreams);
        if current.changed().await.is_err() {
            return;
        }
    }
}

struct Means {
    names: Rc<Names>,
    clock: Clock,
    tell: Tell,
}

/// A server that is looked after for as long as this lives.
struct Watched {
    server: Arc<Server>,
    check: Option<Check>,
    checking: Option<Task>,
    _resolving: Option<Task>,
    _telling: Task,
}

impl Watched {
    fn new(server: &Arc<Server>, means: &Means) -> Self {
        let resolving = server.has_name().then(|| {
            let (server, names) = (Arc::clone(server), Rc::clone(&means.names));
            Task::spawn(async move { keep_resolved(server, &names).await })
        });
        let telling = tell_of_ejections(Arc::clone(server), means.clock.clone(), Rc::clone(&means.tell));
        Self {
            server: Arc::clone(server),
            check: None,
            checking: None,
            _resolving: resolving,
            _telling: Task::spawn(telling),
        }
    }

    /// Checks it like this from now on.
    fn check(&mut self, check: Option<Check>, Means { clock, tell, .. }: &Means) {
        if check == self.check {
            return;
        }
        self.check.clone_from(&check);
        self.checking = check
            .map(|check| Task::spawn(keep_checking(Arc::clone(&self.server), check, clock.clone(), Rc::clone(tell))));
        if self.checking.is_none() {
            set(&self.server, false, clock, tell, ("checks_removed", None));
        }
    }
}
