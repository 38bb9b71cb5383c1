//! The partition's state machine: what it holds, and how it is opened and installed. Applying is in `apply.rs`.

use std::fmt;
use std::sync::Arc;

use anyport_protocol::{Nonce, Offset, OffsetRange, PartitionId};
use bytes::Bytes;
use rocksdb::WriteBatch;

use super::history::History;
use super::position::Position;
use super::producers::Producers;
use super::snapshot::PartitionSnapshot;
use super::view::{PartitionShared, Placed, Reach, TrimPoint};
use crate::Done;
use crate::column::Column;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::log::{GroupLog, LogId};
use crate::state;

/// What applying one entry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionEffect {
    /// A blank entry or a membership.
    Nothing,
    Opened {
        nonce: Nonce,
    },
    Stored(OffsetRange),
    /// The entry is void: it took no offset, changed no producer's row and trimmed nothing.
    Void,
    /// Events below `head` are gone; the log may be purged up to `upto`.
    Trimmed {
        head: Offset,
        upto: LogId,
    },
}

/// Applies committed entries, in order. Has one owner; after an error it is dropped and asked for anew.
pub struct PartitionMachine {
    pub(super) id: PartitionId,
    pub(super) engine: Arc<Engine>,
    pub(super) log: GroupLog,
    pub(super) shared: Arc<PartitionShared>,
    pub(super) applied: Option<LogId>,
    pub(super) position: Position,
    pub(super) history: History,
    pub(super) producers: Producers,
    /// Applied, and not yet shown to readers.
    pub(super) placed: Vec<Placed>,
}

impl PartitionMachine {
    pub(crate) fn open(
        id: PartitionId,
        engine: Arc<Engine>,
        log: GroupLog,
        shared: Arc<PartitionShared>,
    ) -> Result<Self, StoreError> {
        let group = GroupId::Partition(id);
        let key = keys::group_row(group, Tag::Position);
        let position = match engine.get(Column::State, &key)? {
            None => Position::default(),
            Some(body) => Position::decode(&body)
                .map_err(|_| Engine::bad_row(Column::State, &key, "not a partition's position"))?,
        };
        let applied = state::applied(&engine, group)?;
        let history = History::load(&engine, group)?;
        let producers = Producers::default();
        let machine = Self { id, engine, log, shared, applied, position, history, producers, placed: Vec::new() };
        machine.show_anew();
        Ok(machine)
    }

    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The last membership applied, in the consensus adapter's encoding, and the entry it came with.
    pub fn membership(&self) -> Option<(LogId, Bytes)> {
        self.history.membership().cloned()
    }

    /// What held at the index the log was trimmed to; none if it never was.
    pub fn snapshot(&self) -> Result<Option<PartitionSnapshot>, StoreError> {
        Ok(self.position.trim.map(|trim| PartitionSnapshot {
            at: trim.upto,
            head: trim.head,
            nonce: trim.nonce,
            membership: self.history.membership_at(trim.upto.index).cloned(),
        }))
    }

    /// Replaces everything applied by a snapshot taken elsewhere. One that is not ahead of what is applied changes nothing.
    /// `done` is called when it is synced.
    pub fn install(&mut self, snapshot: PartitionSnapshot, done: Done) -> Result<(), StoreError> {
        if self.applied.is_none_or(|applied| applied.index < snapshot.at.index) {
            self.replace(snapshot)?;
        }
        self.engine.sync(done);
        Ok(())
    }

    fn replace(&mut self, snapshot: PartitionSnapshot) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        let (from, to) = keys::of_partition(self.id);
        for column in [Column::Offsets, Column::Producers] {
            batch.delete_range_cf(&self.engine.column(column), &from, &to);
        }
        self.history.clear(&self.engine, &mut batch);
        self.history.open(&self.engine, &mut batch, snapshot.at.index, snapshot.nonce);
        if let Some((id, members)) = snapshot.membership {
            self.history.change_members(&self.engine, &mut batch, id, members);
        }
        self.producers = Producers::default();
        self.placed.clear();
        let PartitionSnapshot { at, head, nonce, .. } = snapshot;
        let trim = Some(TrimPoint { upto: at, head, total: 0, nonce });
        self.position = Position { tail: head, total: 0, last_row: None, trim };
        self.applied = Some(at);
        // Readers learn of the new head before the rows go: one who then misses a row looks again.
        self.show_anew();
        self.commit(batch)
    }

    fn show_anew(&self) {
        let mut view = self.shared.change();
        view.reach = self.reach();
        view.forget_placed();
    }

    /// Writes the batch with the position it leads to, then shows it to readers.
    pub(super) fn commit(&mut self, mut batch: WriteBatch) -> Result<(), StoreError> {
        let group = GroupId::Partition(self.id);
        self.producers.flush(&self.engine, self.id, &mut batch);
        let key = keys::group_row(group, Tag::Position);
        self.engine.put(&mut batch, Column::State, &key, &[&self.position.encode()]);
        if let Some(applied) = self.applied {
            state::put_applied(&self.engine, &mut batch, group, applied);
        }
        self.engine.write(batch)?;
        let cached_from = self.log.cached_from();
        let mut view = self.shared.change();
        view.reach = self.reach();
        view.place(self.placed.drain(..), cached_from);
        Ok(())
    }

    pub(super) fn reach(&self) -> Reach {
        let Position { tail, total, trim, .. } = self.position;
        Reach { applied: self.applied, trim, tail, total, nonce: self.history.nonce() }
    }
}

impl fmt::Debug for PartitionMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionMachine")
            .field("id", &self.id)
            .field("applied", &self.applied)
            .field("position", &self.position)
            .finish()
    }
}
