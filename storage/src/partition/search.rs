//! Searching the offset index: where a time begins, and how far the log may be trimmed.

use anyport_protocol::{Offset, WallMs};

use super::offsets::{OffsetRow, OffsetRows};
use super::reader::PartitionReader;
use super::view::Reach;
use super::walk::Walk;
use crate::error::StoreError;

impl PartitionReader {
    /// The first offset appended at or after this time; the tail if there is none.
    pub fn offset_at(&self, wall: WallMs) -> Result<Offset, StoreError> {
        self.unless_trimmed(|reach| {
            let bounds = reach.bounds();
            if bounds.head == bounds.tail {
                return Ok(bounds.tail);
            }
            let mut walk = self.walk_near(reach, wall)?;
            while let Some(record) = walk.next()? {
                if record.wall >= wall {
                    return Ok(record.first.max(bounds.head));
                }
            }
            Ok(bounds.tail)
        })
    }

    /// From shortly before the first event appended at or after this time, in a log that has events.
    fn walk_near(&self, reach: &Reach, wall: WallMs) -> Result<Walk<'_>, StoreError> {
        let bounds = reach.bounds();
        let before = OffsetRows::new(&self.engine, self.id, bounds).last_where(|row| row.wall < wall)?;
        let near = before.map_or(bounds.head, |row| row.offset);
        Walk::to(&self.engine, self.id, reach, near, WALK_READAHEAD_BYTES)
    }

    /// When the first retained event at or after this offset was appended; none if there is none.
    pub fn appended_at(&self, offset: Offset) -> Result<Option<WallMs>, StoreError> {
        self.unless_trimmed(|reach| {
            let bounds = reach.bounds();
            let offset = offset.max(bounds.head);
            if offset >= bounds.tail {
                return Ok(None);
            }
            let mut walk = Walk::to(&self.engine, self.id, reach, offset, WALK_READAHEAD_BYTES)?;
            while let Some(record) = walk.next()? {
                if record.end() > offset {
                    return Ok(Some(record.wall));
                }
            }
            Ok(None)
        })
    }

    /// Up to which entry the log may be trimmed so that only entries older than `older_than` go, or only as many as leave
    /// `bytes_max` bytes; the further of both. The end of a valid, applied entry; none if there is nothing to trim.
    pub fn trim_candidate(
        &self,
        older_than: Option<WallMs>,
        bytes_max: Option<u64>,
    ) -> Result<Option<u64>, StoreError> {
        self.unless_trimmed(|reach| {
            let bounds = reach.bounds();
            if bounds.head == bounds.tail {
                return Ok(None);
            }
            let mut candidate = None;
            if let Some(older_than) = older_than {
                // Rows are sparse, and what follows the last one may be all there will ever be.
                let mut walk = self.walk_near(reach, older_than)?;
                while let Some(record) = walk.next()?.filter(|record| record.wall < older_than) {
                    // An entry has one time, so the whole entry of such a record is older.
                    candidate = Some(record.index);
                }
            }
            let mut rows = OffsetRows::new(&self.engine, self.id, bounds);
            if let Some(excess) = bytes_max.and_then(|max| reach.total.checked_sub(max))
                && let Some(row) = rows.last_where(|row| row.total <= excess)?
            {
                candidate = candidate.max(entry_before(&mut rows, row)?);
            }
            Ok(candidate)
        })
    }

    /// Repeats a search that a trim overtook: what it looked at is gone.
    fn unless_trimmed<T>(&self, search: impl Fn(&Reach) -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            let reach = self.shared.reach();
            match search(&reach) {
                Err(StoreError::Damaged(_)) if self.shared.reach().trim != reach.trim => {}
                outcome => return outcome,
            }
        }
    }
}

const WALK_READAHEAD_BYTES: usize = 64 << 10;

/// The last entry that has a row before this row's entry: it ends where this one begins, or earlier.
fn entry_before(rows: &mut OffsetRows<'_>, kept: OffsetRow) -> Result<Option<u64>, StoreError> {
    let mut row = rows.at_or_before(kept.offset)?;
    while let Some(found) = row {
        if found.index < kept.index {
            return Ok(Some(found.index));
        }
        row = rows.previous(&found)?;
    }
    Ok(None)
}
