//! Who may read storage now.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// Permission to read one chunk. Given round robin (the semaphore's queue is fair), held only while the read runs, not while
/// the client takes what was read: so ten thousand returning clients starve neither live delivery nor each other.
#[derive(Clone, Debug)]
pub struct ReadGrants {
    permits: Arc<Semaphore>,
}

impl ReadGrants {
    /// `concurrent` reads at once: as many as there are cores, since a read of recent data is all processor.
    pub fn new(concurrent: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrent)) }
    }

    /// Runs `read` on a thread that may block, once a permit is free.
    pub async fn run<T: Send + 'static>(&self, read: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let outcome = tokio::task::spawn_blocking(move || {
            let outcome = read();
            drop(permit);
            outcome
        });
        match outcome.await {
            Ok(outcome) => outcome,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down and dropped the job unrun: this task is about to be dropped too.
                Err(_) => std::future::pending().await,
            },
        }
    }
}
