//! The log of one Raft group: what is appended, truncated, purged and read.
//!
//! Owns the group's column family and, in `state`, its vote and marks. Invariant: what lies between the last purged entry and
//! the last entry is complete, in the tail cache or on disk; a hole is damage, and an error. Appended entries are readable at
//! once and durable when `done` is called.

mod entry;
mod open;
mod read;
mod record;
mod tail;
mod write;

pub use entry::{EntryData, LogEntry, LogId, Payload};
pub(crate) use read::{Records, first_part_on_disk};
pub(crate) use record::Kind;
#[cfg(test)]
pub(crate) use record::RecordHead;
pub(crate) use tail::{LogShared, Written};

use std::fmt;
use std::sync::Arc;

use crate::column::Column;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::state;

/// A cheap handle on one group's log. Its methods are called by one owner, the group's Raft engine, except that anybody may
/// read.
#[derive(Clone)]
pub struct GroupLog {
    engine: Arc<Engine>,
    shared: Arc<LogShared>,
}

impl GroupLog {
    pub(crate) fn new(engine: Arc<Engine>, shared: Arc<LogShared>) -> Self {
        Self { engine, shared }
    }

    pub fn group(&self) -> GroupId {
        self.shared.group
    }

    /// The last entry purged.
    pub fn last_purged(&self) -> Option<LogId> {
        self.shared.lock().purged
    }

    /// The last entry present, else the last one purged.
    pub fn last(&self) -> Option<LogId> {
        self.shared.lock().last
    }

    pub fn vote(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.engine.get(Column::State, &keys::group_row(self.group(), Tag::Vote))
    }

    /// The last entry known to be committed. None if the log, after a crash, no longer reaches it: then it is learnt anew.
    pub fn committed(&self) -> Result<Option<LogId>, StoreError> {
        let committed = state::log_id(&self.engine, self.group(), Tag::Committed)?;
        Ok(committed.filter(|id| self.last().is_some_and(|last| id.index <= last.index)))
    }
}

impl fmt::Debug for GroupLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("GroupLog")
            .field("group", &self.shared.group)
            .field("purged", &state.purged)
            .field("last", &state.last)
            .finish()
    }
}
