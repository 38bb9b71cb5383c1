//! What the metadata group applies: its one owner feeds it the log, in order.
//!
//! Everything a turn changes, and the position reached, goes into one batch: after a crash the rows are those of the position
//! that is stored, and the log brings the rest again. A turn that fails has changed nothing.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::command::{Command, Reply};
use super::decide::decide;
use super::facts::ClusterFacts;
use super::snapshot::MetadataSnapshot;
use super::state::ClusterState;
use crate::column::Column;
use crate::engine::Engine;
use crate::error::{DamageAt, StoreError};
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::{EntryData, LogEntry, LogId, Payload, state};

const GROUP: GroupId = GroupId::Metadata;

/// The metadata of the cluster, all of it in memory.
#[derive(Debug)]
pub struct MetadataMachine {
    pub(super) engine: Arc<Engine>,
    applied: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
    state: Arc<ClusterState>,
}

impl MetadataMachine {
    pub(crate) fn open(engine: Arc<Engine>) -> Result<Self, StoreError> {
        let (applied, membership) = (state::applied(&engine, GROUP)?, state::membership(&engine, GROUP)?);
        let state = Arc::new(load(&engine)?);
        Ok(Self { engine, applied, membership, state })
    }

    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The last membership applied, in the consensus adapter's encoding, and the entry it came with.
    pub fn membership(&self) -> Option<(LogId, Bytes)> {
        self.membership.clone()
    }

    /// None until the cluster's creation is applied here.
    pub fn facts(&self) -> Option<&ClusterFacts> {
        self.state.facts.as_ref()
    }

    pub fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state)
    }

    /// Applies the entries that come next. Answers each; an entry that holds no command is answered with none.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<Option<Reply>>, StoreError> {
        let (mut applied, mut membership, mut changed) = (self.applied, None, None);
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            check_next(applied, entry.id)?;
            replies.push(match &entry.payload {
                Payload::Blank => None,
                Payload::Membership(members) => {
                    membership = Some((entry.id, members.clone()));
                    None
                }
                Payload::Data(data) => Some(self.obey(entry.id.index, data, &mut changed)?),
            });
            applied = Some(entry.id);
        }
        let mut batch = WriteBatch::default();
        self.put(&mut batch, applied, membership.as_ref(), changed.as_ref());
        self.engine.write(batch)?;
        if changed.is_some() {
            // In relaxed mode, too: what is given once, a number or a token, must not be given again after a crash.
            self.engine.wait_synced()?;
        }
        self.applied = applied;
        self.membership = membership.or_else(|| self.membership.take());
        if let Some(state) = changed {
            self.state = Arc::new(state);
        }
        Ok(replies)
    }

    /// All there is, once something is applied.
    pub fn snapshot(&self) -> Option<MetadataSnapshot> {
        let (membership, state) = (self.membership.clone(), self.state());
        self.applied.map(|at| MetadataSnapshot { at, membership, state })
    }

    /// Puts a snapshot in the place of everything held here, and syncs it, since it is about to be acknowledged.
    pub fn install(&mut self, snapshot: MetadataSnapshot) -> Result<(), StoreError> {
        let MetadataSnapshot { at, membership, state } = snapshot;
        let mut batch = WriteBatch::default();
        let column = self.engine.column(Column::State);
        for tag in [Tag::Applied, Tag::Membership, Tag::Facts, Tag::Cluster] {
            batch.delete_cf(&column, keys::group_row(GROUP, tag));
        }
        self.put(&mut batch, Some(at), membership.as_ref(), Some(&state));
        self.engine.write(batch)?;
        self.engine.wait_synced()?;
        (self.applied, self.membership, self.state) = (Some(at), membership, state);
        Ok(())
    }

    /// `changed` is the state as this turn has changed it so far.
    fn obey(&self, index: u64, data: &EntryData, changed: &mut Option<ClusterState>) -> Result<Reply, StoreError> {
        let command = Command::decode(&data.to_bytes()).map_err(|why| StoreError::BadMetadata { index, why })?;
        let (next, reply) = decide(changed.as_ref().unwrap_or(&self.state), &command);
        if next.is_some() {
            *changed = next;
        }
        Ok(reply)
    }

    fn put(
        &self,
        batch: &mut WriteBatch,
        applied: Option<LogId>,
        membership: Option<&(LogId, Bytes)>,
        state: Option<&ClusterState>,
    ) {
        if let Some(applied) = applied {
            state::put_applied(&self.engine, batch, GROUP, applied);
        }
        if let Some((id, members)) = membership {
            state::put_membership(&self.engine, batch, GROUP, *id, members);
        }
        // Before there are facts there is nothing else.
        if let Some((state, facts)) = state.and_then(|state| Some((state, state.facts.as_ref()?))) {
            self.engine.put(batch, Column::State, &facts_row(), &[&facts.encode()]);
            self.engine.put(batch, Column::State, &cluster_row(), &[&state.encode()]);
        }
    }
}

/// A store of the first versions has the facts alone: nothing has become of its cluster since it was created.
fn load(engine: &Engine) -> Result<ClusterState, StoreError> {
    let facts = engine.get(Column::State, &facts_row())?.map(|row| ClusterFacts::decode(&row));
    let facts = facts.transpose().map_err(|why| DamageAt::Facts { why })?;
    let cluster = engine.get(Column::State, &cluster_row())?;
    Ok(match (facts, cluster) {
        (None, None) => ClusterState::default(),
        (Some(facts), None) => ClusterState::created(facts),
        (facts, Some(row)) => ClusterState::decode(facts, &row).map_err(|why| DamageAt::Cluster { why })?,
    })
}

fn facts_row() -> [u8; 4] {
    keys::group_row(GROUP, Tag::Facts)
}

fn cluster_row() -> [u8; 4] {
    keys::group_row(GROUP, Tag::Cluster)
}

fn check_next(applied: Option<LogId>, id: LogId) -> Result<(), StoreError> {
    match applied {
        Some(applied) if id.index != applied.index + 1 => {
            Err(StoreError::NotNext { group: GROUP, index: id.index, expected: applied.index + 1 })
        }
        _ => Ok(()),
    }
}
