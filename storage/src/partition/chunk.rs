//! What a read returns: records as they lie in the log, and a view of their events that copies nothing.

use anyport_protocol::{Offset, OffsetRange};
use bytes::Bytes;

use super::builder::{count_events, event_at};

/// Consecutive events. The first record may begin before the range; [`Chunk::events`] leaves out what is outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    pub range: OffsetRange,
    pub records: Vec<Record>,
}

/// Consecutive events, framed as `(length u32 little endian | event) * count`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub first: Offset,
    pub count: u32,
    pub framed: Bytes,
}

impl Record {
    /// A record whose framing is what it claims to be.
    pub(super) fn checked(first: Offset, count: u32, framed: Bytes) -> Result<Self, &'static str> {
        match count_events(&framed) {
            Ok(found) if found == count => Ok(Self { first, count, framed }),
            _ => Err("events are not framed as the record says"),
        }
    }

    pub fn end(&self) -> Offset {
        self.first.plus(u64::from(self.count))
    }
}

impl Chunk {
    /// The events of the range, in order. The bytes are slices of the records.
    pub fn events(&self) -> impl Iterator<Item = (Offset, Bytes)> + '_ {
        let range = self.range;
        self.records
            .iter()
            .flat_map(move |record| Events::from(record, range.start))
            .take_while(move |(at, _)| *at < range.end)
    }

    /// Bytes of the records.
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.framed.len()).sum()
    }
}

struct Events<'a> {
    record: &'a Record,
    offset: Offset,
    at: usize,
}

impl<'a> Events<'a> {
    fn from(record: &'a Record, start: Offset) -> Self {
        let mut events = Self { record, offset: record.first, at: 0 };
        while events.offset < start && events.pass_over().is_some() {}
        events
    }

    fn pass_over(&mut self) -> Option<()> {
        let length = self.record.framed.get(self.at..)?.first_chunk::<4>()?;
        self.at += 4 + u32::from_le_bytes(*length) as usize;
        self.offset = self.offset.plus(1);
        Some(())
    }
}

impl Iterator for Events<'_> {
    type Item = (Offset, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (event, next) = event_at(&self.record.framed, self.at)?;
        let offset = self.offset;
        self.at = next;
        self.offset = offset.plus(1);
        Some((offset, event))
    }
}
