//! The metadata's state machine, as the engine wants it: it applies, tells what the state has become, and its snapshot is all it
//! holds.
//!
//! The log grows as brokers come and go, not with events, so everything that may touch the disk is done in place.

use std::sync::Arc;

use anyport_storage::metadata::{BadMetadataSnapshot, ClusterState, MetadataSnapshot};
use anyport_storage::{LogEntry, MetadataMachine, StoreError};
use openraft::storage::RaftStateMachine;
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::blocking::in_place;
use super::types::{
    Effect, RaftEntry, RaftLogId, Snapshot, SnapshotData, SnapshotMeta, StorageError, StoredMembership, TypeConfig,
    from_raft_entry, machine_read_failed, machine_write_failed, snapshot_meta, to_raft_id, to_raft_membership,
};

#[derive(Debug)]
pub(super) struct MetadataStateMachine {
    machine: MetadataMachine,
    state: watch::Sender<Arc<ClusterState>>,
    /// The last one made or installed since the start.
    snapshot: Option<MetadataSnapshot>,
}

#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error(transparent)]
    Snapshot(#[from] BadMetadataSnapshot),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the metadata was sent a registry's snapshot")]
    OfARegistry,
}

impl MetadataStateMachine {
    /// Also says what the state is here, now and after each change.
    pub(super) fn new(machine: MetadataMachine) -> (Self, watch::Receiver<Arc<ClusterState>>) {
        let (state, told) = watch::channel(machine.state());
        (Self { machine, state, snapshot: None }, told)
    }

    fn tell(&self) {
        let present = self.machine.state();
        self.state.send_if_modified(|told| {
            let changed = *told != present;
            *told = present;
            changed
        });
    }

    fn install(&mut self, data: &SnapshotData) -> Result<(), InstallError> {
        let SnapshotData::Bytes(bytes) = data else { return Err(InstallError::OfARegistry) };
        let snapshot = MetadataSnapshot::decode(bytes)?;
        self.machine.install(snapshot.clone())?;
        self.snapshot = Some(snapshot);
        self.tell();
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for MetadataStateMachine {
    type SnapshotBuilder = MetadataSnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), StorageError> {
        let membership = to_raft_membership(self.machine.membership()).map_err(|bad| machine_read_failed(&bad))?;
        Ok((self.machine.applied().map(to_raft_id), membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Effect>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().map(from_raft_entry).collect();
        let replies = in_place(|| self.machine.apply(&entries)).map_err(|error| machine_write_failed(&error))?;
        self.tell();
        Ok(replies.into_iter().map(Effect::Metadata).collect())
    }

    async fn get_snapshot_builder(&mut self) -> MetadataSnapshotBuilder {
        self.snapshot = self.machine.snapshot();
        MetadataSnapshotBuilder { snapshot: self.snapshot.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        Ok(Box::new(SnapshotData::Bytes(Vec::new())))
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, data: Box<SnapshotData>) -> Result<(), StorageError> {
        in_place(|| self.install(&data)).map_err(|error| machine_write_failed(&error))
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        self.snapshot.as_ref().map(to_raft).transpose()
    }
}

/// Holds the snapshot from the moment it was asked for.
#[derive(Debug)]
pub(super) struct MetadataSnapshotBuilder {
    snapshot: Option<MetadataSnapshot>,
}

impl RaftSnapshotBuilder<TypeConfig> for MetadataSnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        match &self.snapshot {
            Some(snapshot) => to_raft(snapshot),
            // Of an empty log: it stands for nothing, and the engine takes it for none.
            None => {
                let meta = snapshot_meta(None, StoredMembership::default());
                Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Bytes(Vec::new())) })
            }
        }
    }
}

fn to_raft(snapshot: &MetadataSnapshot) -> Result<Snapshot, StorageError> {
    let membership = to_raft_membership(snapshot.membership.clone()).map_err(|bad| machine_read_failed(&bad))?;
    let meta = snapshot_meta(Some(snapshot.at), membership);
    Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Bytes(snapshot.encode())) })
}
