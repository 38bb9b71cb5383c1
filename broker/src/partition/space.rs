//! The free-space mark: below it publishes are refused, while trims, cursors and votes go on in what is left.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyport_storage::StoreError;
use tokio_util::sync::CancellationToken;

const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Says how many bytes may still be written.
#[derive(Clone)]
pub struct FreeSpace(Arc<dyn Fn() -> Result<u64, StoreError> + Send + Sync>);

impl FreeSpace {
    pub fn new(probe: impl Fn() -> Result<u64, StoreError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(probe))
    }
}

impl fmt::Debug for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FreeSpace")
    }
}

/// Whether the mark is passed, for all partitions.
#[derive(Clone, Debug, Default)]
pub struct StorageFull(Arc<AtomicBool>);

impl StorageFull {
    pub fn is_full(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Watches the free space until it is told to stop.
#[derive(Debug)]
pub struct SpaceTask {
    pub free: FreeSpace,
    pub mark_bytes: u64,
    pub full: StorageFull,
}

impl SpaceTask {
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.check().await,
            }
        }
    }

    pub async fn check(&self) {
        let FreeSpace(probe) = self.free.clone();
        match tokio::task::spawn_blocking(move || probe()).await {
            Ok(Ok(free_bytes)) => self.note(free_bytes),
            // The last answer stands; a disk that cannot be asked will soon refuse writes, too.
            Ok(Err(error)) => tracing::error!(%error, "ask for the free space"),
            Err(failed) => tracing::error!(%failed, "ask for the free space"),
        }
    }

    fn note(&self, free_bytes: u64) {
        metrics::gauge!("anyport_store_free_bytes").set(free_bytes as f64);
        let full = free_bytes < self.mark_bytes;
        let was_full = self.full.0.swap(full, Ordering::Relaxed);
        match (was_full, full) {
            (false, true) => {
                tracing::error!(free_bytes, self.mark_bytes, "publishes are refused: the disk is full");
            }
            (true, false) => tracing::warn!(free_bytes, "publishes are taken again"),
            _ => {}
        }
    }
}
