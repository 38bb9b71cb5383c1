//! Retention: the leader decides what is forgotten, every replica forgets it.
//!
//! The leader proposes `Trim` by age and by bytes; applying it moves the head alike everywhere. Then each replica makes the
//! snapshot at that index and purges its log, which drops whole files. A crash between the two is made good at the next start,
//! because the index is part of the applied state.

use std::sync::Arc;
use std::time::Duration;

use anyport_protocol::WallMs;
use anyport_storage::{EntryData, PartitionEffect, PartitionReader, StoreError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::wall::Wall;
use crate::cluster::{Effect, Group, ProposeError, TrimError};

/// How long events are kept. None is forever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub age: Option<Duration>,
    /// Per partition. Reached from above, a little at a time.
    pub bytes: Option<u64>,
    /// How often the leader looks. Each trim is an entry, so not too often.
    pub check_every: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(Duration::from_secs(7 * 24 * 3600)), bytes: None, check_every: Duration::from_secs(10) }
    }
}

impl Retention {
    /// Events stored before this time are too old.
    fn oldest(&self, now: WallMs) -> Option<WallMs> {
        let age_ms = u64::try_from(self.age?.as_millis()).unwrap_or(u64::MAX);
        Some(WallMs(now.0.saturating_sub(age_ms)))
    }
}

#[derive(Debug, thiserror::Error)]
enum RetentionError {
    #[error("look for what is too old: {0}")]
    Search(#[from] StoreError),
    #[error("look for what is too old: {0}")]
    Searcher(#[from] tokio::task::JoinError),
    #[error("propose the trim: {0}")]
    Propose(#[from] ProposeError),
    #[error("purge the log: {0}")]
    Purge(#[from] TrimError),
}

#[derive(Debug)]
pub(super) struct RetentionTask {
    pub(super) group: Group,
    pub(super) reader: PartitionReader,
    pub(super) wall: Arc<Wall>,
    pub(super) retention: Retention,
    /// Up to where the log may be purged; what was purged before the start is purged again, which does nothing.
    pub(super) trimmed: watch::Receiver<Option<u64>>,
}

impl RetentionTask {
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.retention.check_every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.trimmed.mark_changed();
        loop {
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.trimmed.changed() => self.purge().await,
                _ = ticks.tick() => self.trim().await,
            };
            if let Err(error) = outcome {
                tracing::warn!(group = %self.group.id(), %error, "retention");
            }
        }
    }

    async fn trim(&self) -> Result<(), RetentionError> {
        if !self.group.leadership().is_leader() {
            return Ok(());
        }
        let wall = self.wall.now();
        let (reader, oldest, bytes) = (self.reader.clone(), self.retention.oldest(wall), self.retention.bytes);
        let search = tokio::task::spawn_blocking(move || reader.trim_candidate(oldest, bytes));
        let Some(upto) = search.await?? else { return Ok(()) };
        let (_, effect) = self.group.propose(EntryData::trim(upto, wall)).await?;
        if let Effect::Partition(PartitionEffect::Trimmed { head, .. }) = effect {
            tracing::debug!(group = %self.group.id(), %head, "trimmed");
            metrics::counter!("anyport_trims_total").increment(1);
        }
        Ok(())
    }

    async fn purge(&mut self) -> Result<(), RetentionError> {
        let upto = *self.trimmed.borrow_and_update();
        if let Some(upto) = upto {
            self.group.trim(upto).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_back_from_now_and_not_below_the_epoch() {
        let retention = Retention { age: Some(Duration::from_secs(60)), ..Retention::default() };
        assert_eq!(retention.oldest(WallMs(100_000)), Some(WallMs(40_000)));
        assert_eq!(retention.oldest(WallMs(10)), Some(WallMs(0)));
        assert_eq!(Retention { age: None, ..retention }.oldest(WallMs(10)), None);
    }
}
