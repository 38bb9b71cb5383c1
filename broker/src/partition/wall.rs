//! The wall time that entries carry: the leader's clock, but never below the entry before.

use std::sync::atomic::{AtomicU64, Ordering};

use anyport_protocol::WallMs;
use anyport_storage::{GroupLog, LogEntry, PartitionEntry, Payload, StoreError};

use crate::clock;

/// Entries at the end of a log that may carry no time: blank ones and memberships.
const TIMELESS_MAX: u64 = 64;

/// A clock of one partition that does not go back.
#[derive(Debug)]
pub struct Wall {
    last: AtomicU64,
}

impl Wall {
    /// Goes on from the last entry of the log.
    pub fn of(log: &GroupLog) -> Result<Self, StoreError> {
        let end = log.last().map_or(0, |last| last.index + 1);
        let entries = log.entries(end.saturating_sub(TIMELESS_MAX)..end, usize::MAX)?;
        let last = entries.iter().rev().find_map(time_of).unwrap_or_default();
        Ok(Self { last: AtomicU64::new(last.0) })
    }

    pub fn now(&self) -> WallMs {
        let now = clock::wall().0;
        WallMs(self.last.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Another leader's entry was applied.
    pub fn saw(&self, wall: WallMs) {
        self.last.fetch_max(wall.0, Ordering::Relaxed);
    }
}

fn time_of(entry: &LogEntry) -> Option<WallMs> {
    let Payload::Data(data) = &entry.payload else { return None };
    match PartitionEntry::parse(data).ok()? {
        PartitionEntry::Open { wall, .. } | PartitionEntry::Trim { wall, .. } => Some(wall),
        PartitionEntry::Batch(header) => Some(header.wall),
    }
}
