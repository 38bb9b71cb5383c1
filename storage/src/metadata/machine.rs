//! What the metadata group applies: its one owner feeds it the log, in order.
//!
//! Everything a turn changes, and the position reached, goes into one batch: after a crash the rows are those of the position
//! that is stored, and the log brings the rest again. A turn that fails has changed nothing.

use std::sync::Arc;

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::command::{Command, Reply};
use super::facts::ClusterFacts;
use super::snapshot::MetadataSnapshot;
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
    facts: Option<ClusterFacts>,
}

impl MetadataMachine {
    pub(crate) fn open(engine: Arc<Engine>) -> Result<Self, StoreError> {
        let (applied, membership) = (state::applied(&engine, GROUP)?, state::membership(&engine, GROUP)?);
        let facts = engine.get(Column::State, &facts_row())?.map(|row| ClusterFacts::decode(&row));
        let facts = facts.transpose().map_err(|why| DamageAt::Facts { why })?;
        Ok(Self { engine, applied, membership, facts })
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
        self.facts.as_ref()
    }

    /// Applies the entries that come next. Answers each; an entry that holds no command is answered with none.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<Option<Reply>>, StoreError> {
        let (mut applied, mut membership, mut created) = (self.applied, None, None);
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            check_next(applied, entry.id)?;
            replies.push(match &entry.payload {
                Payload::Blank => None,
                Payload::Membership(members) => {
                    membership = Some((entry.id, members.clone()));
                    None
                }
                Payload::Data(data) => Some(self.obey(entry.id.index, data, &mut created)?),
            });
            applied = Some(entry.id);
        }
        let mut batch = WriteBatch::default();
        self.put(&mut batch, applied, membership.as_ref(), created.as_ref());
        self.engine.write(batch)?;
        if created.is_some() {
            // In relaxed mode, too: clients hold tokens of the cluster from now on, and another one would refuse them.
            self.engine.wait_synced()?;
        }
        self.applied = applied;
        self.membership = membership.or_else(|| self.membership.take());
        self.facts = self.facts.take().or(created);
        Ok(replies)
    }

    /// All there is, once something is applied.
    pub fn snapshot(&self) -> Option<MetadataSnapshot> {
        let (membership, facts) = (self.membership.clone(), self.facts.clone());
        self.applied.map(|at| MetadataSnapshot { at, membership, facts })
    }

    /// Puts a snapshot in the place of everything held here, and syncs it, since it is about to be acknowledged.
    pub fn install(&mut self, snapshot: MetadataSnapshot) -> Result<(), StoreError> {
        let MetadataSnapshot { at, membership, facts } = snapshot;
        let mut batch = WriteBatch::default();
        let column = self.engine.column(Column::State);
        for tag in [Tag::Applied, Tag::Membership, Tag::Facts] {
            batch.delete_cf(&column, keys::group_row(GROUP, tag));
        }
        self.put(&mut batch, Some(at), membership.as_ref(), facts.as_ref());
        self.engine.write(batch)?;
        self.engine.wait_synced()?;
        (self.applied, self.membership, self.facts) = (Some(at), membership, facts);
        Ok(())
    }

    /// `created` are the facts this turn has created so far.
    fn obey(&self, index: u64, data: &EntryData, created: &mut Option<ClusterFacts>) -> Result<Reply, StoreError> {
        let command = Command::decode(&data.to_bytes()).map_err(|why| StoreError::BadMetadata { index, why })?;
        let Command::Create(proposed) = command;
        let standing = match &self.facts {
            Some(facts) => facts,
            None => created.get_or_insert(proposed),
        };
        Ok(Reply::Created(standing.clone()))
    }

    fn put(
        &self,
        batch: &mut WriteBatch,
        applied: Option<LogId>,
        membership: Option<&(LogId, Bytes)>,
        facts: Option<&ClusterFacts>,
    ) {
        if let Some(applied) = applied {
            state::put_applied(&self.engine, batch, GROUP, applied);
        }
        if let Some((id, members)) = membership {
            state::put_membership(&self.engine, batch, GROUP, *id, members);
        }
        if let Some(facts) = facts {
            self.engine.put(batch, Column::State, &facts_row(), &[&facts.encode()]);
        }
    }
}

fn facts_row() -> [u8; 4] {
    keys::group_row(GROUP, Tag::Facts)
}

fn check_next(applied: Option<LogId>, id: LogId) -> Result<(), StoreError> {
    match applied {
        Some(applied) if id.index != applied.index + 1 => {
            Err(StoreError::NotNext { group: GROUP, index: id.index, expected: applied.index + 1 })
        }
        _ => Ok(()),
    }
}
