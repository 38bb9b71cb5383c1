//! The offset index: sparse rows saying where in the log an offset lies.
//!
//! ```text
//!  key: partition u16 BE | first offset of a record u64 BE
//!  value, sealed: index u64 | part u16 | wall ms u64 | total u64        little endian; total = bytes of all records before
//! ```
//! A record gets a row if it begins 64 events or 16 KiB after the last row, so finding any event reads little more than that.

use anyport_protocol::{Offset, PartitionId, WallMs};
use rocksdb::{DBRawIterator, ReadOptions, WriteBatch};

use super::entry::{BadEntry, Fields};
use super::position::{LastRow, Position};
use super::view::Bounds;
use crate::column::Column;
use crate::engine::{Engine, row_error};
use crate::error::StoreError;
use crate::{keys, sealed};

const EVENTS_BETWEEN_ROWS: u64 = 64;
const BYTES_BETWEEN_ROWS: u64 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetRow {
    pub(super) offset: Offset,
    pub(super) index: u64,
    pub(super) part: u16,
    pub(super) wall: WallMs,
    pub(super) total: u64,
}

impl OffsetRow {
    /// Puts the row if the last one is far enough behind.
    pub(super) fn put_if_due(
        &self,
        engine: &Engine,
        batch: &mut WriteBatch,
        partition: PartitionId,
        position: &mut Position,
    ) {
        let due = position.last_row.is_none_or(|last| {
            self.offset.0 - last.offset.0 >= EVENTS_BETWEEN_ROWS || self.total - last.total >= BYTES_BETWEEN_ROWS
        });
        if due {
            engine.put(batch, Column::Offsets, &keys::offset(partition, self.offset), &[&self.encode()]);
            position.last_row = Some(LastRow { offset: self.offset, total: self.total });
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(26);
        body.extend(self.index.to_le_bytes());
        body.extend(self.part.to_le_bytes());
        body.extend(self.wall.0.to_le_bytes());
        body.extend(self.total.to_le_bytes());
        body
    }

    pub(super) fn decode(offset: Offset, body: &[u8]) -> Result<Self, BadEntry> {
        let mut fields = Fields(body);
        let index = fields.u64()?;
        let part = u16::from_le_bytes(fields.take()?);
        let (wall, total) = (WallMs(fields.u64()?), fields.u64()?);
        if fields.0.is_empty() { Ok(Self { offset, index, part, wall, total }) } else { Err(BadEntry::Short) }
    }
}

/// Looks rows of one partition up. Rows below the head count as absent.
pub(super) struct OffsetRows<'a> {
    iter: DBRawIterator<'a>,
    partition: PartitionId,
    bounds: Bounds,
}

impl<'a> OffsetRows<'a> {
    pub(super) fn new(engine: &'a Engine, partition: PartitionId, bounds: Bounds) -> Self {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(keys::offset(partition, bounds.head));
        options.set_iterate_upper_bound(keys::offset(partition, bounds.tail));
        let iter = engine.db().raw_iterator_cf_opt(&engine.column(Column::Offsets), options);
        Self { iter, partition, bounds }
    }

    /// The last row at or before this offset.
    pub(super) fn at_or_before(&mut self, offset: Offset) -> Result<Option<OffsetRow>, StoreError> {
        self.iter.seek_for_prev(keys::offset(self.partition, offset));
        self.found(offset)
    }

    /// The row before the one found last.
    pub(super) fn previous(&mut self, found: &OffsetRow) -> Result<Option<OffsetRow>, StoreError> {
        if !self.iter.valid() {
            return Ok(None);
        }
        self.iter.prev();
        self.found(found.offset)
    }

    /// The last row for which `holds` is true. Over the rows in order it must be true first and false from some row on.
    pub(super) fn last_where(&mut self, holds: impl Fn(&OffsetRow) -> bool) -> Result<Option<OffsetRow>, StoreError> {
        let (mut low, mut high) = (self.bounds.head.0, self.bounds.tail.0);
        let mut last = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at_or_before(Offset(middle))? {
                Some(row) if !holds(&row) => high = row.offset.0,
                row => {
                    last = row.or(last);
                    low = middle + 1;
                }
            }
        }
        Ok(last)
    }

    fn found(&self, near: Offset) -> Result<Option<OffsetRow>, StoreError> {
        let near = keys::offset(self.partition, near);
        let Some((key, value)) = self.iter.item() else {
            self.iter.status().map_err(|error| row_error(Column::Offsets, &near, &error))?;
            return Ok(None);
        };
        let damage = |found| Engine::bad_row(Column::Offsets, key, found);
        let offset = keys::parse_offset(key).ok_or_else(|| damage("not an offset's key"))?;
        let body = sealed::unseal(key, value).map_err(damage)?;
        OffsetRow::decode(offset, body).map(Some).map_err(|_| damage("not an offset row"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_is_as_it_was_first_published() {
        let row = OffsetRow { offset: Offset(9), index: 4711, part: 3, wall: WallMs(1_700_000_000_000), total: 65_536 };
        assert_eq!(row.encode(), include_bytes!("../../tests/golden/offset-row.bin"));
    }

    proptest! {
        #[test]
        fn rows_survive_their_bytes(offset: u64, index: u64, part: u16, wall: u64, total: u64) {
            let row = OffsetRow { offset: Offset(offset), index, part, wall: WallMs(wall), total };
            prop_assert_eq!(OffsetRow::decode(row.offset, &row.encode()), Ok(row));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = OffsetRow::decode(Offset(0), &bytes);
        }
    }
}
