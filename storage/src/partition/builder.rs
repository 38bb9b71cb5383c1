//! Building a batch entry: events that are already framed are copied into records, cut at event boundaries.

use anyport_protocol::limits::{ENTRY_BYTES_TARGET, RECORD_BYTES_TARGET};
use anyport_protocol::{Nonce, Number, Offset, ProducerId, WallMs};
use bytes::{BufMut, Bytes, BytesMut};

use super::entry::{BatchHeader, ProducerBatch, RECORD_HEAD_BYTES};
use crate::log::EntryData;

/// Collects producers' batches into one entry. Each event's bytes are copied once.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    /// The records one after the other.
    buffer: BytesMut,
    /// Where each record but the last ends.
    ends: Vec<usize>,
    /// Events in the last record.
    in_record: u32,
    events: u32,
    batches: Vec<ProducerBatch>,
}

/// The bytes of a batch are not `count` times `length u32 | event`. Nothing was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFraming {
    #[error("event {event} ends {missing} bytes after the batch does")]
    CutShort { event: u32, missing: usize },
    #[error("the batch names {named} events and has {found}")]
    Count { named: u32, found: u32 },
    #[error("the batch is empty")]
    Empty,
    #[error("an entry holds no more than 2^32 events")]
    Full,
}

impl BatchBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one producer's consecutive events, framed as `(length u32 little endian | event) * count`.
    pub fn push(
        &mut self,
        producer: ProducerId,
        first_number: Number,
        count: u32,
        framed: &[u8],
    ) -> Result<(), BadFraming> {
        match count_events(framed)? {
            0 => return Err(BadFraming::Empty),
            found if found != count => return Err(BadFraming::Count { named: count, found }),
            _ => {}
        }
        self.events.checked_add(count).ok_or(BadFraming::Full)?;
        if self.buffer.is_empty() {
            // Room for a whole entry, so that filling it never copies what is already there.
            self.buffer.reserve((ENTRY_BYTES_TARGET + RECORD_BYTES_TARGET).max(framed.len() * 2));
        }
        self.copy(framed);
        self.batches.push(ProducerBatch { producer, first_number, count });
        Ok(())
    }

    /// Copies events run by run: a run is what still fits the record.
    fn copy(&mut self, framed: &[u8]) {
        let mut run = 0;
        let mut at = 0;
        while let Some(length) = frame_bytes(&framed[at..]) {
            let record = self.buffer.len() - self.record_start() + (at - run);
            if self.in_record == 0 || record + length > RECORD_BYTES_TARGET {
                self.buffer.put_slice(&framed[run..at]);
                run = at;
                self.begin_record();
            }
            self.in_record += 1;
            self.events += 1;
            at += length;
        }
        self.buffer.put_slice(&framed[run..]);
    }

    fn begin_record(&mut self) {
        if self.in_record > 0 {
            self.note_count();
            self.ends.push(self.buffer.len());
        }
        self.in_record = 0;
        self.buffer.put_u32_le(self.events);
        self.buffer.put_u32_le(0);
    }

    /// Writes into the head of the last record how many events it has.
    fn note_count(&mut self) {
        let at = self.record_start() + 4;
        self.buffer[at..at + 4].copy_from_slice(&self.in_record.to_le_bytes());
    }

    fn record_start(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Bytes of the records so far.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    pub fn events(&self) -> u32 {
        self.events
    }

    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The entry, whose first event has offset `first`.
    pub fn finish(mut self, nonce: Nonce, first: Offset, wall: WallMs) -> EntryData {
        if self.in_record > 0 {
            self.note_count();
            self.ends.push(self.buffer.len());
        }
        let header = BatchHeader { nonce, first, wall, count: self.events, batches: self.batches };
        let mut parts = Vec::with_capacity(self.ends.len() + 1);
        parts.push(header.encode());
        // The log's tail cache holds on to the records, so they must not hold on to a buffer much larger than they are.
        let fits = self.buffer.len() >= self.buffer.capacity() / 4 * 3;
        let records = if fits { self.buffer.freeze() } else { Bytes::copy_from_slice(&self.buffer) };
        let mut start = 0;
        for end in self.ends {
            parts.push(records.slice(start..end));
            start = end;
        }
        EntryData::from_parts(parts)
    }
}

/// Bytes of the frame that begins here, its length field included; none at the end. The framing was checked.
fn frame_bytes(framed: &[u8]) -> Option<usize> {
    framed.first_chunk::<4>().map(|length| 4 + u32::from_le_bytes(*length) as usize)
}

/// How many events there are, if the framing ends where the bytes do.
pub(super) fn count_events(framed: &[u8]) -> Result<u32, BadFraming> {
    let mut rest = framed;
    let mut events = 0u32;
    while !rest.is_empty() {
        let length = frame_bytes(rest).unwrap_or(4);
        let missing = length.saturating_sub(rest.len());
        rest = rest.get(length..).ok_or(BadFraming::CutShort { event: events, missing })?;
        events = events.checked_add(1).ok_or(BadFraming::Full)?;
    }
    Ok(events)
}

/// The event that begins at `at`, and where the next one begins.
pub(super) fn event_at(framed: &Bytes, at: usize) -> Option<(Bytes, usize)> {
    let length = frame_bytes(framed.get(at..)?)?;
    let end = at.checked_add(length)?;
    (end <= framed.len()).then(|| (framed.slice(at + 4..end), end))
}

const _: () = assert!(RECORD_HEAD_BYTES < RECORD_BYTES_TARGET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{PartitionEntry, Record, entry::RecordCount};
    use proptest::prelude::*;

    fn framed(events: &[Vec<u8>]) -> Vec<u8> {
        events.iter().flat_map(|event| [&(event.len() as u32).to_le_bytes(), event.as_slice()].concat()).collect()
    }

    fn producer(id: u8) -> ProducerId {
        ProducerId::from_bytes([id; 16])
    }

    /// Events of one entry, with the bytes of each record they lie in.
    fn events(data: &EntryData) -> Vec<(u64, Bytes)> {
        let mut events = Vec::new();
        for part in &data.parts()[1..] {
            let (head, bytes) = RecordCount::split(part).expect("a record has a head");
            let record =
                Record { first: Offset(u64::from(head.first_delta)), count: head.count, framed: part.slice_ref(bytes) };
            let mut at = 0;
            while let Some((event, next)) = event_at(&record.framed, at) {
                events.push((events.len() as u64, event));
                at = next;
            }
            assert_eq!(events.len() as u64, record.end().0, "records follow each other without a hole");
        }
        events
    }

    fn sizes() -> impl Strategy<Value = Vec<Vec<usize>>> {
        let size = prop_oneof![8 => 0..600usize, 1 => 10_000..20_000usize];
        prop::collection::vec(prop::collection::vec(size, 1..80), 1..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_entry_gives_back_the_events_it_was_built_of(batches in sizes()) {
            let batches: Vec<Vec<Vec<u8>>> = batches
                .into_iter()
                .enumerate()
                .map(|(at, sizes)| sizes.into_iter().map(|size| vec![at as u8; size]).collect())
                .collect();
            let mut builder = BatchBuilder::new();
            for (at, batch) in (0..).zip(&batches) {
                let pushed = builder.push(producer(at), Number(5), batch.len() as u32, &framed(batch));
                prop_assert_eq!(pushed, Ok(()));
            }
            let all = batches.concat();
            prop_assert_eq!(builder.events() as usize, all.len());
            let data = builder.finish(Nonce::from_bytes([1; 16]), Offset(77), WallMs(5));
            for (part, record) in data.parts().iter().enumerate().skip(1) {
                let alone = RecordCount::split(record).is_some_and(|(head, _)| head.count == 1);
                prop_assert!(record.len() <= RECORD_BYTES_TARGET || alone, "record {} has {} bytes", part, record.len());
            }
            let found = events(&data).into_iter().map(|(_, event)| event.to_vec()).collect::<Vec<_>>();
            prop_assert_eq!(&found, &all);
            let parsed = PartitionEntry::parse(&data);
            prop_assert!(matches!(parsed, Ok(PartitionEntry::Batch(header)) if header.batches.len() == batches.len()));
        }

        #[test]
        fn any_bytes_are_taken_or_refused(bytes: Vec<u8>, count in 0..4u32) {
            let mut builder = BatchBuilder::new();
            if builder.push(producer(1), Number(0), count, &bytes).is_err() {
                prop_assert!(builder.is_empty());
            }
        }
    }

    #[test]
    fn a_batch_that_lies_about_itself_adds_nothing() {
        let mut builder = BatchBuilder::new();
        let two = framed(&[vec![1; 10], vec![2; 10]]);
        assert_eq!(builder.push(producer(1), Number(0), 3, &two), Err(BadFraming::Count { named: 3, found: 2 }));
        let cut = &two[..two.len() - 4];
        assert_eq!(builder.push(producer(1), Number(0), 2, cut), Err(BadFraming::CutShort { event: 1, missing: 4 }));
        assert_eq!(builder.push(producer(1), Number(0), 0, &[]), Err(BadFraming::Empty));
        assert!(builder.is_empty() && builder.bytes() == 0);
    }
}
