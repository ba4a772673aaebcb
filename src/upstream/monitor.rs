//! What happens to servers beside requests: their names are resolved, their health is watched. All of it runs on one thread
//! of its own, never on a worker.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Upstream;
use super::resolve::{Names, keep_resolved};
use super::server::Server;

/// The upstreams of the configuration that serves.
pub type Current = watch::Receiver<Vec<Arc<Upstream>>>;

/// Looks after the servers of the current upstreams, until the other end of `current` is gone. Needs a local task set.
pub async fn monitor(mut current: Current) {
    let names = Rc::new(Names::new());
    let mut watched: HashMap<usize, Watched> = HashMap::new();
    loop {
        let upstreams = current.borrow_and_update().clone();
        let mut kept = HashMap::with_capacity(watched.len());
        for it in upstreams.iter().flat_map(|upstream| &upstream.servers) {
            let same = watched.remove(&it.server.pool).filter(|watched| Arc::ptr_eq(&watched.server, &it.server));
            kept.insert(it.server.pool, same.unwrap_or_else(|| Watched::new(&it.server, &names)));
        }
        // What is left of those before is watched no more.
        watched = kept;
        drop(upstreams);
        if current.changed().await.is_err() {
            return;
        }
    }
}

/// A server that is looked after for as long as this lives.
struct Watched {
    server: Arc<Server>,
    resolving: Option<AbortHandle>,
}

impl Watched {
    fn new(server: &Arc<Server>, names: &Rc<Names>) -> Self {
        let resolving = server.needs_resolving().then(|| {
            let (server, names) = (Arc::clone(server), Rc::clone(names));
            tokio::task::spawn_local(async move { keep_resolved(server, &names).await }).abort_handle()
        });
        Self { server: Arc::clone(server), resolving }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(resolving) = &self.resolving {
            resolving.abort();
        }
    }
}
