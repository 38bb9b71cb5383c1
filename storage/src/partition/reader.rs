//! Reading what is applied: events by offset, offsets by time, producers by id.

use std::fmt;
use std::sync::Arc;

use anyport_protocol::{Offset, OffsetRange, PartitionId, ProducerId};
use bytes::Bytes;

use super::chunk::{Chunk, Record};
use super::entry::RecordCount;
use super::producers::{self, ProducerRow};
use super::view::{Bounds, PartitionShared, Placed, Reach};
use super::walk::Walk;
use crate::engine::Engine;
use crate::error::{DamageAt, StoreError};
use crate::group::GroupId;
use crate::log::{GroupLog, Payload};

/// A cheap handle; clones read at the same time, and while the machine applies.
#[derive(Clone)]
pub struct PartitionReader {
    pub(super) id: PartitionId,
    pub(super) engine: Arc<Engine>,
    pub(super) log: GroupLog,
    pub(super) shared: Arc<PartitionShared>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("events below {head} are gone")]
    Trimmed { head: Offset },
    #[error("nothing is applied from here on yet; the tail is {tail}")]
    NotYet { tail: Offset },
    #[error("{at}")]
    Damaged { at: DamageAt },
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Damaged(at) => ReadError::Damaged { at },
            error => ReadError::Store(error),
        }
    }
}

impl PartitionReader {
    pub(crate) fn new(id: PartitionId, engine: Arc<Engine>, log: GroupLog, shared: Arc<PartitionShared>) -> Self {
        Self { id, engine, log, shared }
    }

    pub fn bounds(&self) -> Bounds {
        self.shared.reach().bounds()
    }

    /// Bytes of all retained records.
    pub fn retained_bytes(&self) -> u64 {
        self.shared.reach().retained_bytes()
    }

    /// What the producer has stored here, unless the last entry that says so is trimmed.
    pub fn producer(&self, id: ProducerId) -> Result<Option<ProducerRow>, StoreError> {
        producers::row(&self.engine, self.id, &id, self.shared.reach().trim.as_ref())
    }

    /// Events from this offset on: whole records, at least one, until `bytes_max` is passed.
    pub fn read(&self, from: Offset, bytes_max: usize) -> Result<Chunk, ReadError> {
        loop {
            let (reach, placed) = {
                let view = self.shared.view();
                (view.reach, view.placed_from(from, PLACED_PER_READ))
            };
            let Bounds { head, tail } = reach.bounds();
            if from < head {
                return Err(ReadError::Trimmed { head });
            }
            if from >= tail {
                return Err(ReadError::NotYet { tail });
            }
            let mut chunk = Building::new(from, bytes_max);
            self.read_cached(&placed, &mut chunk)?;
            if !chunk.records.is_empty() {
                return Ok(chunk.finish());
            }
            match self.read_disk(&reach, &mut chunk) {
                Ok(()) => return Ok(chunk.finish()),
                // What looks like damage may be a trim that overtook the read.
                Err(StoreError::Damaged(_)) if self.shared.reach().trim != reach.trim => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes what the log's tail cache still has of these batches.
    fn read_cached(&self, placed: &[Placed], chunk: &mut Building) -> Result<(), StoreError> {
        for batch in placed {
            let Some(entry) = self.log.cached(batch.index) else { return Ok(()) };
            let Payload::Data(data) = &entry.payload else { return Ok(()) };
            for (part, record) in (1u16..).zip(data.parts().iter().skip(1)) {
                let damage =
                    |found| DamageAt::Record { group: GroupId::Partition(self.id), index: batch.index, part, found };
                let (head, framed) = RecordCount::split(record).ok_or_else(|| damage("shorter than its head"))?;
                let first = batch.first.plus(u64::from(head.first_delta));
                if !chunk.wants(first, head.count) {
                    continue;
                }
                if chunk.is_full() || !chunk.continues_at(first) {
                    return Ok(());
                }
                let framed = record.slice_ref(framed);
                chunk.push(Record::checked(first, head.count, framed).map_err(damage)?);
            }
        }
        Ok(())
    }

    fn read_disk(&self, reach: &Reach, chunk: &mut Building) -> Result<(), StoreError> {
        let readahead = chunk.bytes_max.clamp(READAHEAD_BYTES_MIN, READAHEAD_BYTES_MAX);
        let mut walk = Walk::to(&self.engine, self.id, reach, chunk.from, readahead)?;
        while !chunk.is_full() {
            let Some(found) = walk.next()? else { break };
            if chunk.wants(found.first, found.count) {
                let framed = Bytes::copy_from_slice(walk.framed());
                let record = Record::checked(found.first, found.count, framed).map_err(|found| walk.damage(found))?;
                chunk.push(record);
            }
        }
        Ok(())
    }
}

/// Batches that one read takes from memory at most.
const PLACED_PER_READ: usize = 256;
const READAHEAD_BYTES_MIN: usize = 32 << 10;
/// Larger ones cost more in fresh memory than they save in reads.
const READAHEAD_BYTES_MAX: usize = 256 << 10;

struct Building {
    from: Offset,
    bytes: usize,
    bytes_max: usize,
    records: Vec<Record>,
}

impl Building {
    fn new(from: Offset, bytes_max: usize) -> Self {
        Self { from, bytes: 0, bytes_max, records: Vec::new() }
    }

    /// Not a record that ends before the read begins.
    fn wants(&self, first: Offset, count: u32) -> bool {
        first.plus(u64::from(count)) > self.from
    }

    fn continues_at(&self, first: Offset) -> bool {
        self.records.last().is_none_or(|last| last.end() == first)
    }

    fn is_full(&self) -> bool {
        !self.records.is_empty() && self.bytes >= self.bytes_max
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.framed.len();
        self.records.push(record);
    }

    fn finish(self) -> Chunk {
        let end = self.records.last().map_or(self.from, Record::end);
        Chunk { range: OffsetRange::new(self.from, end), records: self.records }
    }
}

impl fmt::Debug for PartitionReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionReader").field("id", &self.id).field("view", &self.shared).finish()
    }
}
