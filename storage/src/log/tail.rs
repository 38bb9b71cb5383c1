//! The tail cache and the marks of one log: what is known of it without reading.
//!
//! Holds every entry that RocksDB may not have yet, however large they are together, and of the rest the newest ones up to the
//! configured bytes. Each append takes a ticket, and the committer tells the highest ticket written: an index would not do,
//! because after a truncation the same index is appended again while the old one may still be queued.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{LogEntry, LogId};
use crate::group::GroupId;

/// What the handles of one log share.
pub(crate) struct LogShared {
    pub(crate) group: GroupId,
    state: Mutex<LogState>,
}

pub(crate) struct LogState {
    pub(crate) purged: Option<LogId>,
    /// The last entry present, else the last purged.
    pub(crate) last: Option<LogId>,
    /// Index of the first entry present, or to come.
    pub(crate) start: u64,
    pub(crate) tail: Tail,
}

impl LogShared {
    pub(crate) fn new(
        group: GroupId,
        purged: Option<LogId>,
        last: Option<LogId>,
        start: u64,
        cache_bytes: usize,
    ) -> Self {
        let tail = Tail { entries: VecDeque::new(), bytes: 0, bytes_max: cache_bytes, ticket: 0, written: 0 };
        Self { group, state: Mutex::new(LogState { purged, last, start, tail }) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, LogState> {
        // Nothing panics half way through a change of this state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sent with an append to the committer.
pub(crate) struct Written {
    pub(crate) log: Arc<LogShared>,
    pub(crate) ticket: u64,
}

impl Written {
    pub(crate) fn tell(self) {
        let tail = &mut self.log.lock().tail;
        tail.written = tail.written.max(self.ticket);
        tail.evict();
    }
}

/// The newest entries, of dense indexes.
pub(crate) struct Tail {
    entries: VecDeque<Cached>,
    bytes: usize,
    bytes_max: usize,
    ticket: u64,
    written: u64,
}

struct Cached {
    entry: LogEntry,
    bytes: usize,
    ticket: u64,
}

/// What an entry costs beside its payload.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 128;

impl Tail {
    /// Adds entries that follow the last one, and gives the ticket to send with them.
    pub(crate) fn push(&mut self, entries: Vec<LogEntry>) -> u64 {
        self.ticket += 1;
        for entry in entries {
            let bytes = entry.len_bytes() + ENTRY_OVERHEAD_BYTES;
            self.bytes += bytes;
            self.entries.push_back(Cached { entry, bytes, ticket: self.ticket });
        }
        self.evict();
        self.ticket
    }

    /// Index of the first entry held.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|cached| cached.entry.id.index)
    }

    pub(crate) fn get(&self, index: u64) -> Option<&LogEntry> {
        let place = index.checked_sub(self.first()?)?;
        self.entries.get(usize::try_from(place).ok()?).map(|cached| &cached.entry)
    }

    /// Forgets entries from this index on.
    pub(crate) fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|cached| cached.entry.id.index >= from) {
            self.bytes -= self.entries.pop_back().map_or(0, |cached| cached.bytes);
        }
    }

    /// Forgets entries up to and including this index.
    pub(crate) fn purge(&mut self, upto: u64) {
        while self.entries.front().is_some_and(|cached| cached.entry.id.index <= upto) {
            self.pop_front();
        }
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max && self.entries.front().is_some_and(|cached| cached.ticket <= self.written) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.bytes -= self.entries.pop_front().map_or(0, |cached| cached.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{EntryData, Payload};
    use bytes::Bytes;

    fn entry(term: u64, index: u64) -> LogEntry {
        let data = EntryData::from_bytes(Bytes::from(vec![0; 1000]));
        LogEntry { id: LogId { term, node: 1, index }, payload: Payload::Data(data) }
    }

    fn log(cache_bytes: usize) -> Arc<LogShared> {
        Arc::new(LogShared::new(GroupId::Metadata, None, None, 0, cache_bytes))
    }

    #[test]
    fn entries_not_yet_written_are_never_evicted() {
        let log = log(2000);
        let first = log.lock().tail.push(vec![entry(1, 5), entry(1, 6), entry(1, 7)]);
        assert_eq!(log.lock().tail.first(), Some(5));
        Written { log: Arc::clone(&log), ticket: first }.tell();
        assert_eq!(log.lock().tail.first(), Some(7), "written, so only what fits is kept");
    }

    #[test]
    fn the_write_of_a_truncated_entry_does_not_count_for_its_successor() {
        let log = log(0);
        let old = log.lock().tail.push(vec![entry(1, 5)]);
        log.lock().tail.truncate(5);
        log.lock().tail.push(vec![entry(2, 5)]);
        Written { log: Arc::clone(&log), ticket: old }.tell();
        assert_eq!(log.lock().tail.get(5).map(|found| found.id.term), Some(2));
    }

    #[test]
    fn entries_are_found_by_index_and_purged_from_the_front() {
        let log = log(1 << 20);
        log.lock().tail.push((10..20).map(|index| entry(1, index)).collect());
        log.lock().tail.purge(12);
        let state = log.lock();
        assert!(state.tail.get(12).is_none());
        assert_eq!(state.tail.get(13).map(|found| found.id.index), Some(13));
        assert!(state.tail.get(20).is_none());
    }
}
