//! Walking the valid event records of a partition's log on disk, judging each entry by the rule as the machine did.

use anyport_protocol::{Nonce, Offset, PartitionId, WallMs};

use super::entry::{BatchPeek, Peek, RecordCount};
use super::offsets::{OffsetRow, OffsetRows};
use super::view::{Reach, TrimPoint};
use crate::column::Column;
use crate::engine::Engine;
use crate::error::{DamageAt, StoreError};
use crate::group::GroupId;
use crate::keys;
use crate::log::{Kind, Records, first_part_on_disk};

/// An event record of a valid entry; [`Walk::framed`] is its events.
#[derive(Clone, Copy, Debug)]
pub(super) struct WalkedRecord {
    pub(super) first: Offset,
    pub(super) count: u32,
    pub(super) index: u64,
    pub(super) wall: WallMs,
}

impl WalkedRecord {
    pub(super) fn end(&self) -> Offset {
        self.first.plus(u64::from(self.count))
    }
}

pub(super) struct Walk<'a> {
    records: Records<'a>,
    /// In force at the entry walked last.
    nonce: Option<Nonce>,
    /// The valid batch whose records are being walked.
    batch: Option<BatchPeek>,
    next: Offset,
    tail: Offset,
    /// Bytes of all records before the next one.
    total: u64,
}

impl<'a> Walk<'a> {
    /// Begins at or shortly before this offset, which is within the reach. Ends at the reach's tail.
    pub(super) fn to(
        engine: &'a Engine,
        partition: PartitionId,
        reach: &Reach,
        offset: Offset,
        readahead_bytes: usize,
    ) -> Result<Self, StoreError> {
        let start = Start {
            engine,
            partition,
            end: reach.applied.map_or(0, |id| id.index + 1),
            tail: reach.tail,
            readahead_bytes,
        };
        match (OffsetRows::new(engine, partition, reach.bounds()).at_or_before(offset)?, &reach.trim) {
            (Some(row), _) => start.at_row(&row),
            (None, Some(trim)) => Ok(start.after_trim(trim)),
            (None, None) => {
                Err(Engine::bad_row(Column::Offsets, &keys::offset(partition, offset), "no row at or before it"))
            }
        }
    }

    /// The next record; none at the tail.
    pub(super) fn next(&mut self) -> Result<Option<WalkedRecord>, StoreError> {
        while self.next < self.tail {
            let Some(found) = self.records.next()? else { return Err(self.records.damage("missing")) };
            match found.head {
                Some(head) => {
                    self.batch = self.judge(head.kind);
                    if self.batch.is_none() {
                        self.records.skip_entry();
                    }
                }
                None => match self.batch {
                    Some(batch) => return self.record(found.index, &batch).map(Some),
                    None => self.records.skip_entry(),
                },
            }
        }
        Ok(None)
    }

    /// The batch whose part 0 this is, if it is valid.
    fn judge(&mut self, kind: Kind) -> Option<BatchPeek> {
        if kind != Kind::Data {
            return None;
        }
        // What cannot be parsed was never applied: the machine refuses to go on at it.
        match Peek::parse(self.records.body()).ok()? {
            Peek::Open { nonce, .. } => {
                self.nonce = Some(nonce);
                None
            }
            Peek::Batch(batch) => (Some(batch.nonce) == self.nonce && batch.first == self.next).then_some(batch),
            Peek::Trim { .. } => None,
        }
    }

    fn record(&mut self, index: u64, batch: &BatchPeek) -> Result<WalkedRecord, StoreError> {
        let body = self.records.body();
        let head = RecordCount::split(body).map(|(head, _)| head);
        let head = head.ok_or_else(|| self.records.damage("shorter than its head"))?;
        let first = batch.first.plus(u64::from(head.first_delta));
        if first != self.next {
            return Err(self.records.damage("its events are not those that come next"));
        }
        self.total += body.len() as u64;
        let record = WalkedRecord { first, count: head.count, index, wall: batch.wall };
        self.next = record.end();
        Ok(record)
    }

    /// The framed events of the record returned last.
    pub(super) fn framed(&self) -> &[u8] {
        RecordCount::split(self.records.body()).map_or(&[], |(_, framed)| framed)
    }

    /// Bytes of all records up to and including the one returned last.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn damage(&self, found: &'static str) -> StoreError {
        self.records.damage(found)
    }
}

struct Start<'a> {
    engine: &'a Engine,
    partition: PartitionId,
    /// Index after the last one applied.
    end: u64,
    tail: Offset,
    readahead_bytes: usize,
}

impl<'a> Start<'a> {
    /// A row stands within a valid batch, so that batch's nonce is the one in force.
    fn at_row(&self, row: &OffsetRow) -> Result<Walk<'a>, StoreError> {
        let group = GroupId::Partition(self.partition);
        let damage = |found| StoreError::from(DamageAt::Record { group, index: row.index, part: 0, found });
        let (head, part) = first_part_on_disk(self.engine, group, row.index)?.ok_or_else(|| damage("missing"))?;
        let Ok(Peek::Batch(batch)) = Peek::parse(&part) else { return Err(damage("an offset row says it is a batch")) };
        let records =
            Records::from_part(self.engine, group, row.index..self.end, (row.part, head.parts), self.readahead_bytes);
        let (nonce, batch) = (Some(batch.nonce), Some(batch));
        Ok(Walk { records, nonce, batch, next: row.offset, tail: self.tail, total: row.total })
    }

    fn after_trim(&self, trim: &TrimPoint) -> Walk<'a> {
        let range = trim.upto.index + 1..self.end;
        let records = Records::new(self.engine, GroupId::Partition(self.partition), range, self.readahead_bytes);
        Walk { records, nonce: Some(trim.nonce), batch: None, next: trim.head, tail: self.tail, total: trim.total }
    }
}
