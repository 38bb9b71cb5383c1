//! What a shard does of its own accord: its leader ends subscriptions that nobody has used for their `inactive_expiry`, and each
//! replica purges its log when that has grown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyport_protocol::{ClientId, Fault};
use anyport_storage::StoreError;
use anyport_storage::registry::{Command, ExpiredSubscription, ExpiryScan, RegistryReader, Reply};
use tokio_util::sync::CancellationToken;

use super::handle::Shard;
use crate::clock;
use crate::cluster::{Group, TrimError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Housekeeping {
    pub every: Duration,
    /// How long after the start nothing ends for want of use: while the broker was away nobody could use anything.
    pub grace: Duration,
    /// Clients looked at each time: bounds the reading, and a million clients are still looked at within hours.
    pub clients_per_scan: usize,
    /// Log bytes past which a replica purges. The rows are on disk in any case, so this is only about the log's own room and
    /// the time it takes to apply it again after a crash.
    pub log_bytes_max: u64,
}

impl Default for Housekeeping {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(10),
            grace: Duration::from_secs(600),
            clients_per_scan: 1000,
            log_bytes_max: 16 << 20,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum HousekeepingError {
    #[error("look for unused subscriptions: {0}")]
    Scan(#[from] StoreError),
    #[error("look for unused subscriptions: {0}")]
    Scanner(#[from] tokio::task::JoinError),
    #[error("end an unused subscription: {0}")]
    Expire(#[from] Fault),
    #[error("purge the log: {0}")]
    Purge(#[from] TrimError),
}

#[derive(Debug)]
pub(super) struct HousekeepingTask {
    group: Group,
    reader: RegistryReader,
    /// Bytes applied since the log was last purged.
    log_bytes: Arc<AtomicU64>,
    shard: Shard,
    options: Housekeeping,
    scanned_to: Option<ClientId>,
    expire_after: Instant,
}

impl HousekeepingTask {
    pub(super) fn new(
        group: Group,
        reader: RegistryReader,
        log_bytes: Arc<AtomicU64>,
        shard: Shard,
        options: Housekeeping,
    ) -> Self {
        let expire_after = Instant::now() + options.grace;
        Self { group, reader, log_bytes, shard, options, scanned_to: None, expire_after }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.options.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            // One after the other: either may fail without the other.
            for outcome in [self.expire().await, self.purge().await] {
                if let Err(error) = outcome {
                    tracing::warn!(group = %self.group.id(), %error, "keep house");
                }
            }
        }
    }

    async fn expire(&mut self) -> Result<(), HousekeepingError> {
        if Instant::now() < self.expire_after || !self.group.leadership().is_leader() {
            return Ok(());
        }
        let (reader, after, limit) = (self.reader.clone(), self.scanned_to, self.options.clients_per_scan);
        let scan = tokio::task::spawn_blocking(move || reader.expired(clock::wall(), after, limit)).await??;
        let ExpiryScan { found, scanned_to } = scan;
        self.scanned_to = scanned_to;
        for ExpiredSubscription { client, name, incarnation, last_used } in found {
            let command = Command::Expire { client, name, incarnation, unused_since: last_used, now: clock::wall() };
            if let (Reply::Expired { .. }, _) = self.shard.apply(command).await? {
                metrics::counter!("anyport_expired_subscriptions_total").increment(1);
            }
        }
        Ok(())
    }

    async fn purge(&self) -> Result<(), HousekeepingError> {
        if self.log_bytes.load(Ordering::Relaxed) < self.options.log_bytes_max {
            return Ok(());
        }
        if let Some(applied) = self.group.applied() {
            self.group.trim(applied.index).await?;
        }
        Ok(())
    }
}
