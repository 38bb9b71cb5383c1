//! What each producer has stored in this partition, so that a batch sent again is stored once.
//!
//! ```text
//!  key: partition u16 BE | producer 16
//!  value, sealed: next number u64 | last index u64 | batches u8 | (first number u64 | events u32 | first offset u64) * batches
//! ```
//! Integers in values are little endian. A row lives as long as the last entry that changed it is retained: one whose last
//! index is trimmed counts as absent at once, on every replica, and is deleted when the sweep comes by.

use std::collections::{HashMap, HashSet};

use anyport_protocol::{Number, Offset, PartitionId, ProducerId};
use rocksdb::{ReadOptions, WriteBatch};

use super::entry::{BadEntry, Fields, ProducerBatch};
use super::view::TrimPoint;
use crate::column::Column;
use crate::engine::{Engine, row_error};
use crate::error::StoreError;
use crate::{keys, sealed};

/// Batches remembered: more than a publisher has in flight.
const RECENT_MAX: usize = 8;
/// Rows the machine keeps in memory; past it, it begins anew.
const CACHED_MAX: usize = 16 << 10;
/// Rows one trim looks at: bounds how long applying it takes.
const SWEPT_PER_TRIM: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerRow {
    /// The number the producer's next event has.
    pub next: Number,
    /// The last few batches, oldest first: first number, events, first offset.
    pub recent: Vec<(Number, u32, Offset)>,
    /// The last entry that changed the row.
    pub last_index: u64,
}

impl ProducerRow {
    fn add(&mut self, batch: &ProducerBatch, first: Offset, index: u64) {
        if self.recent.len() == RECENT_MAX {
            self.recent.remove(0);
        }
        self.recent.push((batch.first_number, batch.count, first));
        self.next = batch.first_number.plus(u64::from(batch.count));
        self.last_index = index;
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(17 + self.recent.len() * 20);
        body.extend(self.next.0.to_le_bytes());
        body.extend(self.last_index.to_le_bytes());
        body.push(u8::try_from(self.recent.len()).expect("at most RECENT_MAX are kept"));
        for (first, count, offset) in &self.recent {
            body.extend(first.0.to_le_bytes());
            body.extend(count.to_le_bytes());
            body.extend(offset.0.to_le_bytes());
        }
        body
    }

    pub(super) fn decode(body: &[u8]) -> Result<Self, BadEntry> {
        let mut fields = Fields(body);
        let (next, last_index) = (Number(fields.u64()?), fields.u64()?);
        let [batches] = fields.take()?;
        let recent = (0..batches)
            .map(|_| Ok((Number(fields.u64()?), fields.u32()?, Offset(fields.u64()?))))
            .collect::<Result<_, BadEntry>>()?;
        if fields.0.is_empty() { Ok(Self { next, recent, last_index }) } else { Err(BadEntry::Short) }
    }
}

/// A producer's row as of this trim: none if its last entry is trimmed, and without the batches that are.
pub(super) fn row(
    engine: &Engine,
    partition: PartitionId,
    id: &ProducerId,
    trim: Option<&TrimPoint>,
) -> Result<Option<ProducerRow>, StoreError> {
    let key = keys::producer(partition, id);
    let Some(body) = engine.get(Column::Producers, &key)? else { return Ok(None) };
    let row = ProducerRow::decode(&body).map_err(|_| Engine::bad_row(Column::Producers, &key, "not a producer row"))?;
    Ok(retained(row, trim))
}

/// What is left of a row: the same on a replica that saw the trimmed entries and on one that never did.
fn retained(mut row: ProducerRow, trim: Option<&TrimPoint>) -> Option<ProducerRow> {
    let Some(trim) = trim else { return Some(row) };
    row.recent.retain(|(_, _, first)| *first >= trim.head);
    (row.last_index > trim.upto.index).then_some(row)
}

/// The machine's rows: what was read or changed lately, and what is not yet written.
#[derive(Debug, Default)]
pub(super) struct Producers {
    cached: HashMap<ProducerId, ProducerRow>,
    changed: HashSet<ProducerId>,
    /// Where the next sweep begins.
    sweep_from: Vec<u8>,
}

impl Producers {
    /// Notes that a batch was stored.
    pub(super) fn stored(
        &mut self,
        engine: &Engine,
        partition: PartitionId,
        trim: Option<&TrimPoint>,
        batch: &ProducerBatch,
        (first, index): (Offset, u64),
    ) -> Result<(), StoreError> {
        let mut known = match self.cached.remove(&batch.producer) {
            Some(cached) => retained(cached, trim),
            None => row(engine, partition, &batch.producer, trim)?,
        }
        .unwrap_or_default();
        known.add(batch, first, index);
        self.cached.insert(batch.producer, known);
        self.changed.insert(batch.producer);
        Ok(())
    }

    /// Puts the changed rows into the batch.
    pub(super) fn flush(&mut self, engine: &Engine, partition: PartitionId, batch: &mut WriteBatch) {
        for id in self.changed.drain() {
            let row = self.cached.get(&id).expect("a changed row stays cached until it is flushed");
            engine.put(batch, Column::Producers, &keys::producer(partition, &id), &[&row.encode()]);
        }
        if self.cached.len() > CACHED_MAX {
            self.cached.clear();
        }
    }

    /// Deletes some of the rows whose last entry is trimmed; the next trim goes on where this one stopped.
    pub(super) fn sweep(
        &mut self,
        engine: &Engine,
        partition: PartitionId,
        trim: &TrimPoint,
        batch: &mut WriteBatch,
    ) -> Result<(), StoreError> {
        let (first, end) = keys::of_partition(partition);
        let from = if self.sweep_from > first { &self.sweep_from } else { &first };
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from.clone());
        options.set_iterate_upper_bound(end);
        options.fill_cache(false);
        let column = engine.column(Column::Producers);
        let mut iter = engine.db().raw_iterator_cf_opt(&column, options);
        iter.seek_to_first();
        for _ in 0..SWEPT_PER_TRIM {
            let Some((key, value)) = iter.item() else { break };
            let body = sealed::unseal(key, value).map_err(|found| Engine::bad_row(Column::Producers, key, found))?;
            let row =
                ProducerRow::decode(body).map_err(|_| Engine::bad_row(Column::Producers, key, "not a producer row"))?;
            if row.last_index <= trim.upto.index {
                batch.delete_cf(&column, key);
            }
            iter.next();
        }
        self.sweep_from = iter.key().map(<[u8]>::to_vec).unwrap_or_default();
        iter.status().map_err(|error| row_error(Column::Producers, &first, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_survive_their_bytes(next: u64, last_index: u64, recent in prop::collection::vec(any::<(u64, u32, u64)>(), 0..=RECENT_MAX)) {
            let recent = recent.into_iter().map(|(first, count, offset)| (Number(first), count, Offset(offset))).collect();
            let row = ProducerRow { next: Number(next), recent, last_index };
            prop_assert_eq!(ProducerRow::decode(&row.encode()), Ok(row));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = ProducerRow::decode(&bytes);
        }
    }

    #[test]
    fn a_row_is_as_it_was_first_published() {
        let row = ProducerRow { next: Number(12), recent: vec![(Number(10), 2, Offset(1000))], last_index: 4711 };
        assert_eq!(row.encode(), include_bytes!("../../tests/golden/producer-row.bin"));
    }

    #[test]
    fn a_row_remembers_the_last_eight_batches() {
        let mut row = ProducerRow::default();
        for number in 0..20 {
            let batch = ProducerBatch {
                producer: ProducerId::from_bytes([1; 16]),
                first_number: Number(number * 10),
                count: 10,
            };
            row.add(&batch, Offset(1000 + number * 10), number);
        }
        assert_eq!(row.next, Number(200));
        assert_eq!(row.recent.len(), RECENT_MAX);
        assert_eq!(row.recent.last(), Some(&(Number(190), 10, Offset(1190))));
        assert_eq!(row.last_index, 19);
    }
}
