//! Applying committed entries: the rule of what is valid, in one place.

use anyport_protocol::OffsetRange;
use rocksdb::WriteBatch;

use super::entry::{BatchHeader, PartitionEntry, Peek, RecordCount};
use super::machine::{PartitionEffect, PartitionMachine};
use super::offsets::OffsetRow;
use super::view::{Placed, Reach, TrimPoint};
use super::walk::Walk;
use crate::column::Column;
use crate::error::StoreError;
use crate::group::GroupId;
use crate::keys;
use crate::log::{EntryData, LogEntry, Payload};

impl PartitionMachine {
    /// Applies entries that follow the last one applied, durable in the log: one effect for each, one unsynced write for all
    /// (a `Trim` among them begins another). After a crash what was not synced is applied again from the log, to the same end.
    pub fn apply(&mut self, entries: &[LogEntry]) -> Result<Vec<PartitionEffect>, StoreError> {
        let mut batch = WriteBatch::default();
        let mut effects = Vec::with_capacity(entries.len());
        for entry in entries {
            effects.push(self.apply_one(&mut batch, entry)?);
            self.applied = Some(entry.id);
        }
        self.commit(batch)?;
        Ok(effects)
    }

    fn apply_one(&mut self, batch: &mut WriteBatch, entry: &LogEntry) -> Result<PartitionEffect, StoreError> {
        let group = GroupId::Partition(self.id);
        let index = entry.id.index;
        if let Some(applied) = self.applied.filter(|applied| applied.index + 1 != index) {
            return Err(StoreError::NotNext { group, index, expected: applied.index + 1 });
        }
        let data = match &entry.payload {
            Payload::Blank => return Ok(PartitionEffect::Nothing),
            Payload::Membership(members) => {
                self.history.change_members(&self.engine, batch, entry.id, members.clone());
                return Ok(PartitionEffect::Nothing);
            }
            Payload::Data(data) => data,
        };
        match PartitionEntry::parse(data).map_err(|why| StoreError::BadEntry { group, index, why })? {
            PartitionEntry::Open { nonce, .. } => {
                self.history.open(&self.engine, batch, index, nonce);
                Ok(PartitionEffect::Opened { nonce })
            }
            PartitionEntry::Batch(header) => self.store(batch, index, &header, data),
            PartitionEntry::Trim { upto, .. } => self.trim(batch, index, upto),
        }
    }

    /// The rule: valid if the nonce is that of the latest `Open` and the first offset is the tail.
    fn store(
        &mut self,
        batch: &mut WriteBatch,
        index: u64,
        header: &BatchHeader,
        data: &EntryData,
    ) -> Result<PartitionEffect, StoreError> {
        let first = self.position.tail;
        if self.history.nonce() != Some(header.nonce) || header.first != first {
            return Ok(PartitionEffect::Void);
        }
        for (part, record) in (1u16..).zip(&data.parts()[1..]) {
            let head = RecordCount::split(record).map_or(0, |(head, _)| head.first_delta);
            let offset = first.plus(u64::from(head));
            let row = OffsetRow { offset, index, part, wall: header.wall, total: self.position.total };
            row.put_if_due(&self.engine, batch, self.id, &mut self.position);
            self.position.total += record.len() as u64;
        }
        let trim = self.position.trim;
        let mut at = first;
        for produced in &header.batches {
            self.producers.stored(&self.engine, self.id, trim.as_ref(), produced, (at, index))?;
            at = at.plus(u64::from(produced.count));
        }
        self.position.tail = first.plus(u64::from(header.count));
        self.placed.push(Placed { first, count: header.count, index });
        Ok(PartitionEffect::Stored(OffsetRange::new(first, self.position.tail)))
    }

    /// Valid if `upto` is the end of a valid batch that is still retained and already applied.
    fn trim(&mut self, batch: &mut WriteBatch, index: u64, upto: u64) -> Result<PartitionEffect, StoreError> {
        if upto >= index || self.position.trim.is_some_and(|trim| upto <= trim.upto.index) {
            return Ok(PartitionEffect::Void);
        }
        // What was applied before it must be on disk, because the trim is judged by walking there.
        self.commit(std::mem::take(batch))?;
        let Some(point) = self.trim_point(upto)? else { return Ok(PartitionEffect::Void) };
        self.position.trim = Some(point);
        // Readers learn of the new head before its rows go: one who then misses a row looks again.
        self.shared.change().reach.trim = Some(point);
        let (first, _) = keys::of_partition(self.id);
        let head = keys::offset(self.id, point.head);
        batch.delete_range_cf(&self.engine.column(Column::Offsets), first.as_slice(), head.as_slice());
        self.history.prune(&self.engine, batch, upto);
        self.producers.sweep(&self.engine, self.id, &point, batch)?;
        Ok(PartitionEffect::Trimmed { head: point.head, upto: point.upto })
    }

    fn trim_point(&self, upto: u64) -> Result<Option<TrimPoint>, StoreError> {
        let Some((id, part)) = self.log.first_part(upto)? else { return Ok(None) };
        let Some(Peek::Batch(batch)) = part.and_then(|part| Peek::parse(&part).ok()) else { return Ok(None) };
        let end = batch.first.plus(u64::from(batch.count));
        let reach = self.reach();
        if batch.count == 0 || batch.first < reach.bounds().head || end > reach.tail {
            return Ok(None);
        }
        let mut walk =
            Walk::to(&self.engine, self.id, &Reach { tail: end, ..reach }, batch.first, WALK_READAHEAD_BYTES)?;
        while let Some(record) = walk.next()? {
            if record.end() > batch.first && record.index != upto {
                return Ok(None);
            }
        }
        // A batch is valid only under an opening, so there is a nonce.
        let Some(nonce) = self.history.nonce_at(upto) else { return Ok(None) };
        Ok(Some(TrimPoint { upto: id, head: end, total: walk.total(), nonce }))
    }
}

const WALK_READAHEAD_BYTES: usize = 64 << 10;
