//! What a registry group applies: its one owner feeds it the log, in order.
//!
//! Everything a turn changes, and the position reached, goes into one batch: after a crash the rows are those of the position
//! that is stored, and the log brings the rest again. A turn that fails has changed nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use anyport_protocol::ClientId;
use bytes::Bytes;
use rocksdb::WriteBatch;

use super::batch::CommandBatch;
use super::command::{Command, Reply};
use super::decide::decide;
use super::reader::RegistryReader;
use super::record::ClientRecord;
use super::rows;
use super::snapshot_file::{SnapshotError, SnapshotMeta, SnapshotReader};
use crate::column::Column;
use crate::engine::Engine;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys::{self, Tag};
use crate::{EntryData, LogEntry, LogId, Payload, state};

/// One shard of the client registry. Holds no client in memory between turns.
#[derive(Debug)]
pub struct RegistryMachine {
    reader: RegistryReader,
    applied: Option<LogId>,
    membership: Option<(LogId, Bytes)>,
}

impl RegistryMachine {
    pub(crate) fn open(shard: u16, engine: Arc<Engine>) -> Result<Self, StoreError> {
        let group = GroupId::Registry(shard);
        let applied = state::applied(&engine, group)?;
        let membership = state::membership(&engine, group)?;
        Ok(Self { reader: RegistryReader { engine, shard }, applied, membership })
    }

    pub fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// The last membership applied, in the consensus adapter's encoding, and the entry it came with.
    pub fn membership(&self) -> Option<(LogId, Bytes)> {
        self.membership.clone()
    }

    pub fn reader(&self) -> RegistryReader {
        self.reader.clone()
    }

    /// Applies the entries that come next. Answers each: one reply per command, none for an entry without commands.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<Vec<Reply>>, StoreError> {
        let mut turn = Turn { reader: &self.reader, clients: HashMap::new() };
        let mut replies = Vec::with_capacity(entries.len());
        let (mut applied, mut membership) = (self.applied, None);
        for entry in entries {
            self.check_next(applied, entry.id)?;
            replies.push(match &entry.payload {
                Payload::Blank => Vec::new(),
                Payload::Membership(members) => {
                    membership = Some((entry.id, members.clone()));
                    Vec::new()
                }
                Payload::Data(data) => turn.obey(entry.id.index, data)?,
            });
            applied = Some(entry.id);
        }
        let rows = turn.changed();
        let mut batch = WriteBatch::default();
        self.put_rows(&mut batch, rows);
        self.put_position(&mut batch, applied, membership.as_ref());
        self.reader.engine.write(batch)?;
        self.applied = applied;
        self.membership = membership.or_else(|| self.membership.take());
        Ok(replies)
    }

    /// Writes the shard as it now is to a new file. [`RegistryReader::snapshot_to`] does the same from another thread.
    pub fn snapshot_to(&self, path: &Path) -> Result<SnapshotMeta, SnapshotError> {
        self.reader.snapshot_to(path)
    }

    /// Puts a snapshot in the place of everything this shard holds, and syncs it, since it is about to be acknowledged. The
    /// whole file is checked first and written as one batch, which is held in memory: a shard's clients at a few hundred
    /// bytes each.
    pub fn install_from(&mut self, path: &Path) -> Result<SnapshotMeta, SnapshotError> {
        let engine = &self.reader.engine;
        let column = engine.column(Column::Registry);
        let mut batch = WriteBatch::default();
        let (start, end) = rows::bounds(self.reader.shard);
        batch.delete_range_cf(&column, start, end);
        let mut file = SnapshotReader::open(path, self.reader.shard)?;
        while let Some((client, record)) = file.row()? {
            ClientRecord::decode(client, &record).map_err(|why| SnapshotError::Record {
                path: path.to_owned(),
                client,
                why,
            })?;
            batch.put_cf(&column, rows::key(self.reader.shard, client), record);
        }
        let meta = file.finish();
        let state = engine.column(Column::State);
        for tag in [Tag::Applied, Tag::Membership] {
            batch.delete_cf(&state, keys::group_row(self.group(), tag));
        }
        self.put_position(&mut batch, meta.applied, meta.membership.as_ref());
        engine.write(batch)?;
        engine.wait_synced()?;
        self.applied = meta.applied;
        self.membership = meta.membership.clone();
        Ok(meta)
    }

    fn group(&self) -> GroupId {
        GroupId::Registry(self.reader.shard)
    }

    fn check_next(&self, applied: Option<LogId>, id: LogId) -> Result<(), StoreError> {
        match applied {
            Some(applied) if id.index != applied.index + 1 => {
                Err(StoreError::NotNext { group: self.group(), index: id.index, expected: applied.index + 1 })
            }
            _ => Ok(()),
        }
    }

    fn put_rows(&self, batch: &mut WriteBatch, records: impl Iterator<Item = (ClientId, ClientRecord)>) {
        let column = self.reader.engine.column(Column::Registry);
        for (client, record) in records {
            batch.put_cf(&column, rows::key(self.reader.shard, client), record.encode(client));
        }
    }

    fn put_position(&self, batch: &mut WriteBatch, applied: Option<LogId>, membership: Option<&(LogId, Bytes)>) {
        if let Some(applied) = applied {
            state::put_applied(&self.reader.engine, batch, self.group(), applied);
        }
        if let Some((id, members)) = membership {
            state::put_membership(&self.reader.engine, batch, self.group(), *id, members);
        }
    }
}

/// The clients that one turn has touched, so that a command sees what the ones before it did.
struct Turn<'a> {
    reader: &'a RegistryReader,
    clients: HashMap<ClientId, Touched>,
}

struct Touched {
    record: Option<ClientRecord>,
    changed: bool,
}

impl Turn<'_> {
    fn obey(&mut self, index: u64, data: &EntryData) -> Result<Vec<Reply>, StoreError> {
        let shard = self.reader.shard;
        let batch = CommandBatch::decode(&data.to_bytes());
        let batch = batch.map_err(|why| StoreError::BadCommands { shard, index, why })?;
        batch.commands.iter().map(|command| self.one(command)).collect()
    }

    fn one(&mut self, command: &Command) -> Result<Reply, StoreError> {
        let client = command.client();
        let touched = match self.clients.entry(client) {
            Entry::Occupied(touched) => touched.into_mut(),
            Entry::Vacant(place) => place.insert(Touched { record: self.reader.record(client)?, changed: false }),
        };
        let (changed, reply) = decide(touched.record.as_ref(), command);
        if changed.is_some() {
            touched.record = changed;
            touched.changed = true;
        }
        Ok(reply)
    }

    fn changed(self) -> impl Iterator<Item = (ClientId, ClientRecord)> {
        let changed = self.clients.into_iter().filter(|(_, touched)| touched.changed);
        changed.filter_map(|(client, touched)| Some((client, touched.record?)))
    }
}
