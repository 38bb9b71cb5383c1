//! What the consensus engine is told about our types, and the way between its words and the store's.

use std::path::PathBuf;
use std::sync::Arc;

use anyport_storage::metadata;
use anyport_storage::registry::Reply;
use anyport_storage::{EntryData, LogEntry, LogId, PartitionEffect, Payload};
use openraft::{AnyError, CommittedLeaderId, EntryPayload, StorageIOError};

use super::encoding::{BadStored, decode_membership, encode_membership};

openraft::declare_raft_types!(
    /// One for all groups: they differ in their state machines, not in what their logs are made of.
    pub(super) TypeConfig:
        D = EntryData,
        R = Effect,
        NodeId = u64,
        Node = (),
        SnapshotData = SnapshotData,
);

pub(super) type RaftLogId = openraft::LogId<u64>;
pub(super) type RaftEntry = openraft::Entry<TypeConfig>;
pub(super) type RaftVote = openraft::Vote<u64>;
pub(super) type StorageError = openraft::StorageError<u64>;
pub(super) type StoredMembership = openraft::StoredMembership<u64, ()>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, ()>;
pub(super) type Snapshot = openraft::Snapshot<TypeConfig>;

/// What applying an entry did, by the kind of its group.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Partition(PartitionEffect),
    /// One reply for each command of the entry.
    Registry(Vec<Reply>),
    /// None for an entry that holds no command.
    Metadata(Option<metadata::Reply>),
}

/// A state machine's snapshot on its way to another replica.
#[derive(Debug)]
pub enum SnapshotData {
    /// Of a partition or of the metadata, which is some hundred bytes: a partition's retained log follows by ordinary replication.
    Bytes(Vec<u8>),
    /// Of a registry shard.
    File(Arc<SnapshotFile>),
}

/// A file that lives as long as somebody needs it.
#[derive(Debug)]
pub struct SnapshotFile {
    pub(super) path: PathBuf,
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %cause, "remove a snapshot");
        }
    }
}

pub(super) fn to_raft_id(id: LogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term, id.node), id.index)
}

pub(super) fn from_raft_id(id: &RaftLogId) -> LogId {
    LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(super) fn to_raft_entry(entry: LogEntry) -> Result<RaftEntry, BadStored> {
    let payload = match entry.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Membership(bytes) => EntryPayload::Membership(decode_membership(&bytes)?),
        Payload::Data(data) => EntryPayload::Normal(data),
    };
    Ok(RaftEntry { log_id: to_raft_id(entry.id), payload })
}

pub(super) fn from_raft_entry(entry: RaftEntry) -> LogEntry {
    let payload = match entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Membership(membership) => Payload::Membership(encode_membership(&membership)),
        EntryPayload::Normal(data) => Payload::Data(data),
    };
    LogEntry { id: from_raft_id(&entry.log_id), payload }
}

pub(super) fn to_raft_membership(stored: Option<(LogId, bytes::Bytes)>) -> Result<StoredMembership, BadStored> {
    let Some((id, members)) = stored else { return Ok(StoredMembership::default()) };
    Ok(StoredMembership::new(Some(to_raft_id(id)), decode_membership(&members)?))
}

/// A snapshot is named by the entry it ends with; two of one state machine that end alike hold the same.
pub(super) fn snapshot_meta(at: Option<LogId>, last_membership: StoredMembership) -> SnapshotMeta {
    let snapshot_id = at.map_or_else(|| "none".to_owned(), |at| at.to_string());
    SnapshotMeta { last_log_id: at.map(to_raft_id), last_membership, snapshot_id }
}

pub(super) fn log_read_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

pub(super) fn log_write_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::write_logs(AnyError::new(error)).into()
}

pub(super) fn machine_read_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::read_state_machine(AnyError::new(error)).into()
}

pub(super) fn machine_write_failed(error: &(impl std::error::Error + 'static)) -> StorageError {
    StorageIOError::write_state_machine(AnyError::new(error)).into()
}
