//! Changing a log. Every change goes through the committer's queue in the order it was made, and shows at once to readers.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::GroupLog;
use super::entry::{LogEntry, LogId};
use super::record::put_entry;
use super::tail::{ENTRY_OVERHEAD_BYTES, LogState, Written};
use crate::Done;
use crate::column::Column;
use crate::committer::{Durability, Job};
use crate::error::StoreError;
use crate::keys::{self, Tag};
use crate::state;

impl GroupLog {
    /// Appends entries that follow the last one. They are readable when this returns; `done` is called when they are durable.
    /// If this returns an error nothing was appended and `done` is never called.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) -> Result<(), StoreError> {
        self.engine.check()?;
        let mut batch = self.encode(&entries)?;
        let refused = {
            let mut log = self.shared.lock();
            self.check_next(&log, &entries)?;
            if let (Some(first), None) = (entries.first(), log.last) {
                log.start = first.id.index;
                let row = keys::group_row(self.group(), Tag::Start);
                self.engine.put(&mut batch, Column::State, &row, &[&log.start.to_le_bytes()]);
            }
            log.last = entries.last().map(|entry| entry.id).or(log.last);
            let ticket = log.tail.push(entries);
            let written = Some(Written { log: Arc::clone(&self.shared), ticket });
            // Under the lock, so that the queue has the order of the changes.
            self.engine.submit(Job { batch, durability: Durability::AsStore, written, done })
        };
        refused.tell();
        Ok(())
    }

    fn encode(&self, entries: &[LogEntry]) -> Result<WriteBatch, StoreError> {
        let bytes = entries.iter().map(|entry| entry.len_bytes() + ENTRY_OVERHEAD_BYTES).sum::<usize>();
        // Room for the keys and heads of records too, so that the batch is not copied as it grows.
        let mut batch = WriteBatch::with_capacity_bytes(bytes + bytes / 64);
        let mut scratch = Vec::new();
        let column = self.engine.log_column(self.group());
        for entry in entries {
            put_entry(&mut batch, &column, self.group(), entry, &mut scratch)?;
        }
        Ok(batch)
    }

    fn check_next(&self, log: &LogState, entries: &[LogEntry]) -> Result<(), StoreError> {
        let mut expected = log.last.map(|last| last.index + 1);
        for entry in entries {
            match expected {
                Some(expected) if expected != entry.id.index => {
                    return Err(StoreError::NotNext { group: self.group(), index: entry.id.index, expected });
                }
                _ => expected = Some(entry.id.index + 1),
            }
        }
        Ok(())
    }

    /// Keeps the vote. Synced before `done` is called, in relaxed mode too: a vote that is forgotten is given twice.
    pub fn save_vote(&self, vote: &[u8], done: Done) {
        let mut batch = WriteBatch::default();
        self.engine.put(&mut batch, Column::State, &keys::group_row(self.group(), Tag::Vote), &[vote]);
        let refused = {
            let _in_order = self.shared.lock();
            self.engine.submit(Job { batch, durability: Durability::Synced, written: None, done })
        };
        refused.tell();
    }

    /// Removes the entries from this index on.
    pub fn truncate(&self, from_index: u64, done: Done) {
        let mut log = self.shared.lock();
        let batch = match self.forget_from(&mut log, from_index) {
            Ok(batch) => batch,
            Err(error) => {
                drop(log);
                return done(Err(error));
            }
        };
        let refused = self.engine.submit(Job { batch, durability: Durability::AsStore, written: None, done });
        drop(log);
        refused.tell();
    }

    fn forget_from(&self, log: &mut LogState, from_index: u64) -> Result<WriteBatch, StoreError> {
        let mut batch = WriteBatch::default();
        let Some(last) = log.last.filter(|last| from_index <= last.index && last.index >= log.start) else {
            return Ok(batch);
        };
        let from = from_index.max(log.start);
        log.last = self.last_before(log, from)?;
        // Bounded by the last entry, so that the tombstone never covers what is appended later.
        let (from_key, to_key) = (keys::record(from, 0), keys::record(last.index, u16::MAX));
        batch.delete_range_cf(&self.engine.log_column(self.group()), from_key, to_key);
        log.tail.truncate(from);
        Ok(batch)
    }

    /// The id of the entry before this index: the last one after a truncation.
    fn last_before(&self, log: &LogState, index: u64) -> Result<Option<LogId>, StoreError> {
        if index == log.start {
            return Ok(log.purged);
        }
        if let Some(entry) = log.tail.get(index - 1) {
            return Ok(Some(entry.id));
        }
        // Not in the tail, so it was written.
        super::read::id_on_disk(&self.engine, self.group(), index - 1).map(Some)
    }

    /// Forgets the entries up to and including this one, which need not be present. The mark is durable before any file goes,
    /// and before `done` is called.
    pub fn purge(&self, upto: LogId, done: Done) {
        let mut log = self.shared.lock();
        let mut batch = WriteBatch::default();
        let broom = self.engine.keeper().broom(self.group());
        let mut swept = None;
        if log.purged.is_none_or(|purged| purged.index < upto.index) {
            log.purged = Some(upto);
            log.start = upto.index + 1;
            log.tail.purge(upto.index);
            if log.last.is_none_or(|last| last.index <= upto.index) {
                log.last = Some(upto);
            }
            state::put_log_id(&self.engine, &mut batch, self.group(), Tag::Purged, upto);
            swept = Some(upto.index);
        }
        let done: Done = Box::new(move |outcome| {
            if let (Ok(()), Some(upto)) = (&outcome, swept) {
                broom.sweep(upto);
            }
            done(outcome);
        });
        let refused = self.engine.submit(Job { batch, durability: Durability::Synced, written: None, done });
        drop(log);
        refused.tell();
    }

    /// Notes the last committed entry. Not synced: after a crash an older one, or none, is as good.
    pub fn save_committed(&self, id: Option<LogId>) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        match id {
            Some(id) => state::put_log_id(&self.engine, &mut batch, self.group(), Tag::Committed, id),
            None => batch.delete_cf(&self.engine.column(Column::State), keys::group_row(self.group(), Tag::Committed)),
        }
        self.engine.write(batch)
    }
}
