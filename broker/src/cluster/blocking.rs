//! The one way in which this folder blocks a thread of the runtime.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what may wait for a disk, and has other workers of the runtime take over meanwhile. It costs a hand-over between
/// threads, so what is done in microseconds is called directly instead.
pub(super) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
