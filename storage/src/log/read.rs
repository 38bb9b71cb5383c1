//! Reading a log: from the tail cache what it holds, from disk what is older.

use std::ops::Range;

use bytes::Bytes;
use rocksdb::{DBRawIterator, ErrorKind, ReadOptions};

use super::GroupLog;
use super::entry::{LogEntry, LogId};
use super::record::{Kind, RecordHead};
use crate::engine::Engine;
use crate::error::{DamageAt, StoreError};
use crate::group::GroupId;
use crate::{keys, sealed};

impl GroupLog {
    /// Entries of the range that exist, complete from its start, until `bytes_max` is passed; at least one if any exists.
    pub fn entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        loop {
            let present = self.present(&range);
            match self.present_entries(present.clone(), bytes_max) {
                // What was there when the read began was purged or truncated under it.
                Err(StoreError::Damaged(_)) if self.present(&present) != present => {}
                outcome => return outcome,
            }
        }
    }

    /// The part of the range that the log has.
    fn present(&self, range: &Range<u64>) -> Range<u64> {
        let state = self.shared.lock();
        let start = range.start.max(state.start);
        let end = state.last.map_or(state.start, |last| last.index + 1).min(range.end);
        start..end.max(start)
    }

    fn present_entries(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, StoreError> {
        let (cached_from, cached) = {
            let state = self.shared.lock();
            let cached_from = state.tail.first().unwrap_or(range.end).clamp(range.start, range.end);
            let mut room = Room { bytes: bytes_max, taken: false };
            // Those on disk come first, so what they will take is not known yet: too many clones of handles at most.
            let cached = (cached_from..range.end)
                .map_while(|index| state.tail.get(index).filter(|entry| room.take(entry)).cloned())
                .collect::<Vec<_>>();
            (cached_from, cached)
        };
        let mut room = Room { bytes: bytes_max, taken: false };
        let mut entries = self.entries_on_disk(range.start..cached_from, &mut room)?;
        if range.start + entries.len() as u64 == cached_from {
            entries.extend(cached.into_iter().take_while(|entry| room.take(entry)));
        }
        Ok(entries)
    }

    fn entries_on_disk(&self, range: Range<u64>, room: &mut Room) -> Result<Vec<LogEntry>, StoreError> {
        let mut entries = Vec::new();
        if range.is_empty() {
            return Ok(entries);
        }
        let mut records = Records::new(&self.engine, self.group(), range.clone(), READAHEAD_BYTES);
        let mut parts = Vec::new();
        let mut head: Option<RecordHead> = None;
        while let Some(record) = records.next()? {
            parts.push(Bytes::copy_from_slice(records.body()));
            head = record.head.or(head);
            if let Some(whole) = head.filter(|head| usize::from(head.parts) == parts.len()) {
                let entry = whole.assemble(std::mem::take(&mut parts));
                if !room.take(&entry) {
                    return Ok(entries);
                }
                entries.push(entry);
            }
        }
        records.ends_at(range.end)?;
        Ok(entries)
    }

    /// The id of an entry that is present, and its first part if it is data.
    pub(crate) fn first_part(&self, index: u64) -> Result<Option<(LogId, Option<Bytes>)>, StoreError> {
        {
            let state = self.shared.lock();
            if index < state.start || state.last.is_none_or(|last| index > last.index) {
                return Ok(None);
            }
            if let Some(entry) = state.tail.get(index) {
                return Ok(Some((entry.id, entry.first_data_part())));
            }
        }
        let found = first_part_on_disk(&self.engine, self.group(), index)?;
        Ok(found.map(|(head, part)| (head.id, (head.kind == Kind::Data).then_some(part))))
    }

    /// An entry, if the tail cache has it.
    pub(crate) fn cached(&self, index: u64) -> Option<LogEntry> {
        self.shared.lock().tail.get(index).cloned()
    }

    /// Index of the first entry the tail cache has.
    pub(crate) fn cached_from(&self) -> Option<u64> {
        self.shared.lock().tail.first()
    }
}

const READAHEAD_BYTES: usize = 256 << 10;

/// How many bytes may still be returned; the first entry always may.
struct Room {
    bytes: usize,
    taken: bool,
}

impl Room {
    fn take(&mut self, entry: &LogEntry) -> bool {
        let bytes = entry.len_bytes();
        if self.taken && bytes > self.bytes {
            self.bytes = 0;
            return false;
        }
        self.taken = true;
        self.bytes = self.bytes.saturating_sub(bytes);
        true
    }
}

/// The head and the first part of an entry, read from disk.
pub(crate) fn first_part_on_disk(
    engine: &Engine,
    group: GroupId,
    index: u64,
) -> Result<Option<(RecordHead, Bytes)>, StoreError> {
    let key = keys::record(index, 0);
    let damaged = |found| StoreError::from(DamageAt::Record { group, index, part: 0, found });
    let value = engine
        .db()
        .get_pinned_cf(&engine.log_column(group), key)
        .map_err(|error| read_error(group, index, 0, &error))?;
    let Some(value) = value else { return Ok(None) };
    let body = sealed::unseal(&key, &value).map_err(damaged)?;
    let (head, part) = RecordHead::parse(index, body).map_err(damaged)?;
    Ok(Some((head, Bytes::copy_from_slice(part))))
}

/// The id of an entry that must be on disk.
pub(crate) fn id_on_disk(engine: &Engine, group: GroupId, index: u64) -> Result<LogId, StoreError> {
    let found = first_part_on_disk(engine, group, index)?;
    let missing = DamageAt::Record { group, index, part: 0, found: "missing" };
    found.map(|(head, _)| head.id).ok_or_else(|| missing.into())
}

pub(super) fn read_error(group: GroupId, index: u64, part: u16, error: &rocksdb::Error) -> StoreError {
    match error.kind() {
        ErrorKind::Corruption => {
            DamageAt::Record { group, index, part, found: "RocksDB finds its file corrupt" }.into()
        }
        _ => StoreError::Read { what: "log", cause: error.to_string().into() },
    }
}

/// Walks a log's records on disk, in order, and demands that none is missing.
pub(crate) struct Records<'a> {
    iter: DBRawIterator<'a>,
    group: GroupId,
    /// What must come next.
    index: u64,
    part: u16,
    /// Parts of the entry that `part` belongs to, once part 0 was seen.
    parts: u16,
    /// The iterator stands on the record returned last.
    returned: bool,
    /// Where in that record's value its body begins.
    body_at: usize,
}

/// A record that the walk stands on; [`Records::body`] is its body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundRecord {
    pub(crate) index: u64,
    /// Part 0 only.
    pub(crate) head: Option<RecordHead>,
}

impl<'a> Records<'a> {
    /// Begins with part 0 of the range's first entry.
    pub(crate) fn new(engine: &'a Engine, group: GroupId, range: Range<u64>, readahead_bytes: usize) -> Self {
        Self::from_part(engine, group, range, (0, 0), readahead_bytes)
    }

    /// Begins within the range's first entry, of which `of` parts are known to exist.
    pub(crate) fn from_part(
        engine: &'a Engine,
        group: GroupId,
        range: Range<u64>,
        (part, of): (u16, u16),
        readahead_bytes: usize,
    ) -> Self {
        let mut options = ReadOptions::default();
        // Bounded from below, so that no iterator walks what is purged, and from above, so that readahead stops.
        options.set_iterate_lower_bound(keys::record(range.start, part));
        options.set_iterate_upper_bound(keys::record(range.end, 0));
        options.set_readahead_size(readahead_bytes);
        // A replay must not push everybody else's blocks out of the cache.
        options.fill_cache(false);
        let mut iter = engine.db().raw_iterator_cf_opt(&engine.log_column(group), options);
        iter.seek(keys::record(range.start, part));
        Self { iter, group, index: range.start, part, parts: of, returned: false, body_at: 0 }
    }

    /// The next record, or none at the range's end.
    pub(crate) fn next(&mut self) -> Result<Option<FoundRecord>, StoreError> {
        if self.returned {
            self.iter.next();
            self.step();
        }
        self.returned = self.iter.valid();
        if !self.returned {
            self.iter.status().map_err(|error| read_error(self.group, self.index, self.part, &error))?;
            return if self.part == 0 { Ok(None) } else { Err(self.damage("missing")) };
        }
        self.check().map(Some).map_err(|found| self.damage(found))
    }

    /// Checks the record that the iterator stands on.
    fn check(&mut self) -> Result<FoundRecord, &'static str> {
        let (index, part) = (self.index, self.part);
        let (key, value) = self.iter.item().ok_or("missing")?;
        if keys::parse_record(key) != Some((index, part)) {
            return Err("missing");
        }
        let mut body = sealed::unseal(key, value)?;
        let mut head = None;
        if part == 0 {
            let (found, rest) = RecordHead::parse(index, body)?;
            (self.parts, head, body) = (found.parts, Some(found), rest);
        }
        self.body_at = value.len() - body.len();
        Ok(FoundRecord { index, head })
    }

    /// The body of the record returned last; of part 0, what follows the head.
    pub(crate) fn body(&self) -> &[u8] {
        self.iter.value().and_then(|value| value.get(self.body_at..)).unwrap_or_default()
    }

    /// Goes on with the entry after the one returned last.
    pub(crate) fn skip_entry(&mut self) {
        if self.part + 1 < self.parts {
            (self.index, self.part, self.returned) = (self.index + 1, 0, false);
            self.iter.seek(keys::record(self.index, 0));
        }
    }

    /// Checks, after the last record, that the log reached this index.
    pub(crate) fn ends_at(&self, end: u64) -> Result<(), StoreError> {
        if self.index == end { Ok(()) } else { Err(self.damage("missing")) }
    }

    fn step(&mut self) {
        (self.index, self.part) =
            if self.part + 1 < self.parts { (self.index, self.part + 1) } else { (self.index + 1, 0) };
    }

    /// Damage at the record that the walk stands on, or that must come next.
    pub(crate) fn damage(&self, found: &'static str) -> StoreError {
        DamageAt::Record { group: self.group, index: self.index, part: self.part, found }.into()
    }
}
