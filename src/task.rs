//! Tasks of a worker: they stay on its thread, and need not be `Send`.

use tokio::task::AbortHandle;

/// Lets hyper spawn on the worker that calls it.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A task that ends with whoever holds this.
#[derive(Debug)]
pub struct Task(AbortHandle);

impl Task {
    /// Starts `future`.
    pub fn spawn(future: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(future).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
