//! A registry shard's state machine, as the engine wants it.
//!
//! Its rows are on disk as soon as they are applied, so a snapshot is first of all a mark: the log up to it is not needed any
//! more. It becomes a file when a replica asks for one. Applying reads and writes a few rows, and is done in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyport_protocol::{ClientId, Incarnation, SubscriptionName};
use anyport_storage::registry::{Command, CommandBatch, RegistryReader, Reply, SnapshotError};
use anyport_storage::{LogEntry, LogId, Payload, RegistryMachine};
use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tokio::sync::mpsc;

use super::blocking::in_place;
use super::types::{
    Effect, RaftEntry, RaftLogId, Snapshot, SnapshotData, SnapshotFile, SnapshotMeta, StorageError, StoredMembership,
    TypeConfig, from_raft_entry, machine_read_failed, machine_write_failed, snapshot_meta, to_raft_id,
    to_raft_membership,
};

/// A subscription that has ended without its client's session having asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub client: ClientId,
    pub name: SubscriptionName,
    pub incarnation: Incarnation,
    pub cause: EndCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Nobody used it for its `inactive_expiry`.
    Unused,
    /// The client asked for it, beside its session.
    Removed,
}

#[derive(Debug)]
pub(super) struct RegistryStateMachine {
    machine: RegistryMachine,
    ended: mpsc::Sender<Ended>,
    /// Bytes applied since the log was last purged.
    log_bytes: Arc<AtomicU64>,
    /// Where snapshots that are sent are written.
    folder: Arc<Path>,
    /// A snapshot was made or installed since the start, and so one may be asked for.
    has_snapshot: bool,
    /// The one that was asked for last. Whoever asks again gets the same, and need not be sent what it has of it.
    sent: Option<Sent>,
}

/// A snapshot on its way, which serves until the log is purged beyond it.
#[derive(Debug)]
struct Sent {
    meta: SnapshotMeta,
    file: Arc<SnapshotFile>,
    written: Instant,
}

/// How long a snapshot is kept for replicas that ask again. Then what it lacks may be more than what they have of it.
const SENT_KEPT: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("a registry was sent a partition's snapshot")]
    OfAPartition,
}

impl RegistryStateMachine {
    pub(super) fn new(
        machine: RegistryMachine,
        ended: mpsc::Sender<Ended>,
        log_bytes: Arc<AtomicU64>,
        folder: Arc<Path>,
    ) -> Self {
        Self { machine, ended, log_bytes, folder, has_snapshot: false, sent: None }
    }

    fn announce(&self, data: &anyport_storage::EntryData, replies: &[Reply]) {
        if !replies.iter().any(|reply| matches!(reply, Reply::Expired { .. } | Reply::Ended { .. })) {
            return;
        }
        let batch = CommandBatch::decode(&data.to_bytes()).expect("it was just applied");
        for (command, reply) in batch.commands.into_iter().zip(replies) {
            let (client, name, incarnation, cause) = match (command, reply) {
                (Command::Expire { client, name, .. }, Reply::Expired { incarnation }) => {
                    (client, name, *incarnation, EndCause::Unused)
                }
                (Command::End { client, name, .. }, Reply::Ended { incarnation }) => {
                    (client, name, *incarnation, EndCause::Removed)
                }
                _ => continue,
            };
            if let Err(lost) = self.ended.try_send(Ended { client, name, incarnation, cause }) {
                // The client learns it from its next request that names the subscription.
                tracing::debug!(%lost, "announce an ended subscription");
            }
        }
    }

    fn install(&mut self, data: &SnapshotData) -> Result<(), InstallError> {
        let SnapshotData::File(file) = data else { return Err(InstallError::OfAPartition) };
        self.machine.install_from(&file.path)?;
        Ok(())
    }
}

impl RaftStateMachine<TypeConfig> for RegistryStateMachine {
    type SnapshotBuilder = RegistrySnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), StorageError> {
        let membership = to_raft_membership(self.machine.membership()).map_err(|bad| machine_read_failed(&bad))?;
        Ok((self.machine.applied().map(to_raft_id), membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Effect>, StorageError>
    where
        I: IntoIterator<Item = RaftEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.sent.take_if(|sent| sent.written.elapsed() > SENT_KEPT);
        let entries: Vec<LogEntry> = entries.into_iter().map(from_raft_entry).collect();
        let replies = self.machine.apply(&entries).map_err(|error| machine_write_failed(&error))?;
        for (entry, replies) in entries.iter().zip(&replies) {
            if let Payload::Data(data) = &entry.payload {
                self.log_bytes.fetch_add(data.len_bytes() as u64, Ordering::Relaxed);
                self.announce(data, replies);
            }
        }
        Ok(replies.into_iter().map(Effect::Registry).collect())
    }

    async fn get_snapshot_builder(&mut self) -> RegistrySnapshotBuilder {
        self.has_snapshot = true;
        self.sent = None;
        self.log_bytes.store(0, Ordering::Relaxed);
        RegistrySnapshotBuilder { at: self.machine.applied(), membership: self.machine.membership() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        Ok(Box::new(SnapshotData::Bytes(Vec::new())))
    }

    async fn install_snapshot(&mut self, _: &SnapshotMeta, data: Box<SnapshotData>) -> Result<(), StorageError> {
        in_place(|| self.install(&data)).map_err(|error| machine_write_failed(&error))?;
        self.has_snapshot = true;
        self.sent = None;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        if !self.has_snapshot {
            return Ok(None);
        }
        if self.sent.is_none() {
            let (reader, path) = (self.machine.reader(), new_path(&self.folder));
            self.sent = Some(in_place(|| write_snapshot(&reader, path))?);
        }
        Ok(self.sent.as_ref().map(|Sent { meta, file, .. }| {
            let snapshot = Box::new(SnapshotData::File(Arc::clone(file)));
            Snapshot { meta: meta.clone(), snapshot }
        }))
    }
}

/// Writes the shard as it is now, which may be further on than when the snapshot was made.
fn write_snapshot(reader: &RegistryReader, path: PathBuf) -> Result<Sent, StorageError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| machine_read_failed(&error))?;
    }
    let file = SnapshotFile { path };
    let written = reader.snapshot_to(&file.path).map_err(|error| machine_read_failed(&error))?;
    let membership = to_raft_membership(written.membership).map_err(|bad| machine_read_failed(&bad))?;
    let meta = snapshot_meta(written.applied, membership);
    Ok(Sent { meta, file: Arc::new(file), written: Instant::now() })
}

fn new_path(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(format!("registry-{}-{}.snapshot", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// Makes the mark; nothing has to be written for it.
#[derive(Debug)]
pub(super) struct RegistrySnapshotBuilder {
    at: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
}

impl RaftSnapshotBuilder<TypeConfig> for RegistrySnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let membership = to_raft_membership(self.membership.clone()).map_err(|bad| machine_read_failed(&bad))?;
        let meta = snapshot_meta(self.at, membership);
        Ok(Snapshot { meta, snapshot: Box::new(SnapshotData::Bytes(Vec::new())) })
    }
}
