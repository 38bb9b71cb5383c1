//! The one thread on which the SDK's tasks run. UniFFI's support for tokio starts it; this is about stopping it, and about letting no
//! other thread call back.

use std::sync::{OnceLock, mpsc};

use anyport_client::Error;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinSet;

use crate::AnyportError;

static RUNTIME: OnceLock<Handle> = OnceLock::new();

/// Called by every call that leaves work on the runtime, and so within it.
pub(crate) fn remember() {
    RUNTIME.get_or_init(Handle::current);
}

/// Has a task do what other threads have a part in. It goes on if nobody waits for it any more.
pub(crate) async fn run<T: Send + 'static>(
    work: impl Future<Output = Result<T, AnyportError>> + Send + 'static,
) -> Result<T, AnyportError> {
    remember();
    // Nobody aborts it.
    tokio::spawn(work).await.unwrap_or(Err(Error::Closed.into()))
}

/// The same, but it ends with whoever waits for it.
pub(crate) async fn wait<T: Send + 'static>(
    work: impl Future<Output = Result<T, AnyportError>> + Send + 'static,
) -> Result<T, AnyportError> {
    remember();
    let mut task = JoinSet::new();
    task.spawn(work);
    task.join_next().await.and_then(Result::ok).unwrap_or(Err(Error::Closed.into()))
}

/// Ends all work of this library in this process, at once and for good, and returns when nothing of it calls back any more. For
/// languages that must not be called while they end: a Python program aborts if it is. The Python package does it by itself, at exit.
#[uniffi::export]
pub fn stop_runtime() {
    let Some(runtime) = RUNTIME.get() else { return };
    assert_eq!(runtime.runtime_flavor(), RuntimeFlavor::CurrentThread, "one thread to stop");
    let (stopped, is_stopped) = mpsc::channel();
    runtime.spawn(async move {
        // All callbacks are made by this thread: it is in none while it is here, and from here it never returns.
        let _ = stopped.send(());
        loop {
            std::thread::park();
        }
    });
    // The other end is dropped only with a message sent.
    let _ = is_stopped.recv();
}
