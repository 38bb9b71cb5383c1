//! The engine's log, kept by the store.
//!
//! The engine waits for one append of a group at a time; the store's committer thread syncs what all groups have queued with
//! one sync and then calls back. What the engine reads back to apply it was just appended and comes from the tail cache, so it
//! is read in place; a replica that lags reads from disk, which may block, so its reader says so to the runtime.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use anyport_storage::{Done, GroupLog, StoreError};
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::blocking::in_place;
use super::encoding::{decode_vote, encode_vote};
use super::types::{
    RaftEntry, RaftLogId, RaftVote, StorageError, TypeConfig, from_raft_entry, from_raft_id, log_read_failed,
    log_write_failed, to_raft_entry, to_raft_id,
};

/// Entries sent to a replica at once: more would not pass within a heartbeat, which is all the engine waits for an answer.
const APPEND_BYTES_MAX: usize = 512 << 10;

#[derive(Clone, Debug)]
pub(super) struct LogStore {
    log: GroupLog,
}

/// Reads what may have left the tail cache.
#[derive(Clone, Debug)]
pub(super) struct LogReader {
    log: GroupLog,
}

impl LogStore {
    pub(super) fn new(log: GroupLog) -> Self {
        Self { log }
    }
}

/// A callback for the committer thread, and what waits for it.
fn notice() -> (Done, impl Future<Output = Result<(), StoreError>>) {
    let (told, outcome) = oneshot::channel();
    // Nobody listens only if the engine was shut down while it waited.
    let done: Done = Box::new(move |result| drop(told.send(result)));
    (done, async move { outcome.await.unwrap_or(Err(StoreError::Closed)) })
}

fn read(log: &GroupLog, range: impl RangeBounds<u64>, bytes_max: usize) -> Result<Vec<RaftEntry>, StorageError> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    let entries = log.entries(start..end, bytes_max).map_err(|error| log_read_failed(&error))?;
    entries.into_iter().map(|entry| to_raft_entry(entry).map_err(|bad| log_read_failed(&bad))).collect()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        read(&self.log, range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, StorageError> {
        read(&self.log, start..end, APPEND_BYTES_MAX)
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<RaftEntry>, StorageError> {
        in_place(|| read(&self.log, range, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<RaftEntry>, StorageError> {
        in_place(|| read(&self.log, start..end, APPEND_BYTES_MAX))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let last_purged_log_id = self.log.last_purged().map(to_raft_id);
        Ok(LogState { last_purged_log_id, last_log_id: self.log.last().map(to_raft_id) })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { log: self.log.clone() }
    }

    async fn save_vote(&mut self, vote: &RaftVote) -> Result<(), StorageError> {
        let (done, saved) = notice();
        self.log.save_vote(&encode_vote(vote), done);
        saved.await.map_err(|error| log_write_failed(&error))
    }

    async fn read_vote(&mut self) -> Result<Option<RaftVote>, StorageError> {
        let stored = self.log.vote().map_err(|error| log_read_failed(&error))?;
        stored.map(|vote| decode_vote(&vote).map_err(|bad| log_read_failed(&bad))).transpose()
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> Result<(), StorageError> {
        let committed = committed.as_ref().map(from_raft_id);
        self.log.save_committed(committed).map_err(|error| log_write_failed(&error))
    }

    async fn read_committed(&mut self) -> Result<Option<RaftLogId>, StorageError> {
        let committed = self.log.committed().map_err(|error| log_read_failed(&error))?;
        Ok(committed.map(to_raft_id))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(from_raft_entry).collect();
        let done = Box::new(move |outcome: Result<(), StoreError>| {
            callback.log_io_completed(outcome.map_err(io::Error::other));
        });
        self.log.append(entries, done).map_err(|error| log_write_failed(&error))
    }

    async fn truncate(&mut self, from: RaftLogId) -> Result<(), StorageError> {
        let (done, truncated) = notice();
        in_place(|| self.log.truncate(from.index, done));
        truncated.await.map_err(|error| log_write_failed(&error))
    }

    async fn purge(&mut self, upto: RaftLogId) -> Result<(), StorageError> {
        let (done, purged) = notice();
        self.log.purge(from_raft_id(&upto), done);
        purged.await.map_err(|error| log_write_failed(&error))
    }
}
