//! What an entry of a partition's log says.
//!
//! ```text
//!  part 0:   version u8 = 1 | kind u8 | fields
//!    open    kind 0   nonce 16 | wall ms u64
//!    batch   kind 1   nonce 16 | first offset u64 | wall ms u64 | events u32 | batches u32
//!                     | (producer 16 | first number u64 | events u32) * batches
//!    trim    kind 2   upto index u64 | wall ms u64
//!
//!  parts 1.. of a batch, its event records:
//!    first delta u32 | events u32 | (length u32 | encoded event) * events
//! ```
//! Integers are little endian. The first event of a record has offset `first offset + first delta`; records follow each other
//! without a hole. Versions and kinds are never reused.

use anyport_protocol::{Nonce, Number, Offset, ProducerId, WallMs};
use bytes::{BufMut, Bytes, BytesMut};

use crate::log::EntryData;

const VERSION: u8 = 1;
const OPEN: u8 = 0;
const BATCH: u8 = 1;
const TRIM: u8 = 2;
const PRODUCER_BATCH_BYTES: usize = 28;
/// `first delta u32 | events u32`.
pub(super) const RECORD_HEAD_BYTES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionEntry {
    /// A sequencer begins: from here on only batches with this nonce are valid.
    Open {
        nonce: Nonce,
        wall: WallMs,
    },
    Batch(BatchHeader),
    /// Everything up to and including the entry at `upto` is to be forgotten.
    Trim {
        upto: u64,
        wall: WallMs,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub nonce: Nonce,
    pub first: Offset,
    pub wall: WallMs,
    pub count: u32,
    pub batches: Vec<ProducerBatch>,
}

/// Consecutive events of one producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerBatch {
    pub producer: ProducerId,
    pub first_number: Number,
    pub count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    #[error("it ends too early")]
    Short,
    #[error("{bytes} bytes follow its end")]
    Surplus { bytes: usize },
    #[error("its version is {version}, newer than this program")]
    NewerVersion { version: u8 },
    #[error("its kind {kind} is not known")]
    UnknownKind { kind: u8 },
    #[error("it announces {announced} events and its {what} have {found}")]
    CountsDisagree { announced: u64, what: &'static str, found: u64 },
    #[error("record {part} begins at {found} where {expected} comes next")]
    RecordOutOfPlace { part: usize, found: u32, expected: u64 },
    #[error("it has {count} events from offset {first} on, which are more than there are offsets")]
    PastLastOffset { first: Offset, count: u32 },
}

impl PartitionEntry {
    /// Understands an entry, and checks that its records are what its header says. Events are not looked at.
    pub fn parse(data: &EntryData) -> Result<Self, BadEntry> {
        let (head, records) = data.parts().split_first().ok_or(BadEntry::Short)?;
        let entry = Self::parse_head(head)?;
        match &entry {
            PartitionEntry::Batch(header) => check_records(header, records)?,
            _ if !records.is_empty() => {
                return Err(BadEntry::Surplus { bytes: records.iter().map(Bytes::len).sum() });
            }
            _ => {}
        }
        Ok(entry)
    }

    fn parse_head(head: &[u8]) -> Result<Self, BadEntry> {
        let mut fields = Fields(head);
        let entry = match Peek::read(&mut fields)? {
            Peek::Open { nonce, wall } => PartitionEntry::Open { nonce, wall },
            Peek::Trim { upto, wall } => PartitionEntry::Trim { upto, wall },
            Peek::Batch(head) => PartitionEntry::Batch(BatchHeader {
                nonce: head.nonce,
                first: head.first,
                wall: head.wall,
                count: head.count,
                batches: read_batches(&mut fields, head.count)?,
            }),
        };
        if fields.0.is_empty() { Ok(entry) } else { Err(BadEntry::Surplus { bytes: fields.0.len() }) }
    }
}

impl EntryData {
    pub fn open(nonce: Nonce, wall: WallMs) -> Self {
        let mut head = BytesMut::with_capacity(26);
        head.put_slice(&[VERSION, OPEN]);
        head.put_slice(nonce.as_bytes());
        head.put_u64_le(wall.0);
        Self::from_parts(vec![head.freeze()])
    }

    pub fn trim(upto: u64, wall: WallMs) -> Self {
        let mut head = BytesMut::with_capacity(18);
        head.put_slice(&[VERSION, TRIM]);
        head.put_u64_le(upto);
        head.put_u64_le(wall.0);
        Self::from_parts(vec![head.freeze()])
    }
}

impl BatchHeader {
    /// Part 0 of the entry.
    pub(super) fn encode(&self) -> Bytes {
        let mut head = BytesMut::with_capacity(42 + self.batches.len() * PRODUCER_BATCH_BYTES);
        head.put_slice(&[VERSION, BATCH]);
        head.put_slice(self.nonce.as_bytes());
        head.put_u64_le(self.first.0);
        head.put_u64_le(self.wall.0);
        head.put_u32_le(self.count);
        head.put_u32_le(
            u32::try_from(self.batches.len()).expect("a batch has at least one event, and events are counted in a u32"),
        );
        for batch in &self.batches {
            head.put_slice(batch.producer.as_bytes());
            head.put_u64_le(batch.first_number.0);
            head.put_u32_le(batch.count);
        }
        head.freeze()
    }
}

/// The fixed fields of part 0: all that reading needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Peek {
    Open { nonce: Nonce, wall: WallMs },
    Batch(BatchPeek),
    Trim { upto: u64, wall: WallMs },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct BatchPeek {
    pub(super) nonce: Nonce,
    pub(super) first: Offset,
    pub(super) wall: WallMs,
    pub(super) count: u32,
}

impl Peek {
    pub(super) fn parse(head: &[u8]) -> Result<Self, BadEntry> {
        Self::read(&mut Fields(head))
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, BadEntry> {
        match fields.take::<1>()? {
            [VERSION] => {}
            [version] => return Err(BadEntry::NewerVersion { version }),
        }
        match fields.take::<1>()? {
            [OPEN] => Ok(Peek::Open { nonce: Nonce::from_bytes(fields.take()?), wall: WallMs(fields.u64()?) }),
            [TRIM] => Ok(Peek::Trim { upto: fields.u64()?, wall: WallMs(fields.u64()?) }),
            [BATCH] => BatchPeek::read(fields).map(Peek::Batch),
            [kind] => Err(BadEntry::UnknownKind { kind }),
        }
    }
}

impl BatchPeek {
    fn read(fields: &mut Fields<'_>) -> Result<Self, BadEntry> {
        let (nonce, first, wall) = (Nonce::from_bytes(fields.take()?), Offset(fields.u64()?), WallMs(fields.u64()?));
        let count = fields.u32()?;
        // Not only a valid batch is asked where it ends: a trim may name any entry.
        match first.0.checked_add(u64::from(count)) {
            Some(_) => Ok(Self { nonce, first, wall, count }),
            None => Err(BadEntry::PastLastOffset { first, count }),
        }
    }
}

fn read_batches(fields: &mut Fields<'_>, announced: u32) -> Result<Vec<ProducerBatch>, BadEntry> {
    let batches = fields.u32()? as usize;
    // The count is not trusted with memory: that many must be there.
    if fields.0.len() / PRODUCER_BATCH_BYTES < batches {
        return Err(BadEntry::Short);
    }
    let batches = (0..batches)
        .map(|_| {
            let producer = ProducerId::from_bytes(fields.take()?);
            Ok(ProducerBatch { producer, first_number: Number(fields.u64()?), count: fields.u32()? })
        })
        .collect::<Result<Vec<_>, BadEntry>>()?;
    let found = batches.iter().map(|batch| u64::from(batch.count)).sum();
    agree(announced, "producer batches", found)?;
    Ok(batches)
}

fn check_records(header: &BatchHeader, records: &[Bytes]) -> Result<(), BadEntry> {
    let mut expected = 0;
    for (part, record) in (1..).zip(records) {
        let (head, _) = RecordCount::split(record).ok_or(BadEntry::Short)?;
        if u64::from(head.first_delta) != expected {
            return Err(BadEntry::RecordOutOfPlace { part, found: head.first_delta, expected });
        }
        expected += u64::from(head.count);
    }
    agree(header.count, "records", expected)
}

fn agree(announced: u32, what: &'static str, found: u64) -> Result<(), BadEntry> {
    let announced = u64::from(announced);
    if announced == found { Ok(()) } else { Err(BadEntry::CountsDisagree { announced, what, found }) }
}

/// What an event record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordCount {
    pub(super) first_delta: u32,
    pub(super) count: u32,
}

impl RecordCount {
    /// The head of a record, and its framed events.
    pub(super) fn split(record: &[u8]) -> Option<(Self, &[u8])> {
        let (&[a, b, c, d, e, f, g, h], framed) = record.split_first_chunk::<RECORD_HEAD_BYTES>()?;
        let first_delta = u32::from_le_bytes([a, b, c, d]);
        Some((Self { first_delta, count: u32::from_le_bytes([e, f, g, h]) }, framed))
    }
}

/// Fixed fields, taken from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], BadEntry> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(BadEntry::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadEntry> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadEntry> {
        self.take().map(u32::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::BatchBuilder;
    use proptest::prelude::*;

    const NONCE: [u8; 16] = *b"nonce-of-sixteen";
    const WALL: WallMs = WallMs(1_700_000_000_000);

    fn framed(events: &[&[u8]]) -> Vec<u8> {
        events.iter().flat_map(|event| [&(event.len() as u32).to_le_bytes(), *event].concat()).collect()
    }

    #[test]
    fn entries_are_as_they_were_first_published() {
        let open = EntryData::open(Nonce::from_bytes(NONCE), WALL);
        assert_eq!(open.parts(), [include_bytes!("../../tests/golden/partition-open.bin").as_slice()]);
        let trim = EntryData::trim(4711, WALL);
        assert_eq!(trim.parts(), [include_bytes!("../../tests/golden/partition-trim.bin").as_slice()]);

        let mut batch = BatchBuilder::new();
        batch
            .push(ProducerId::from_bytes([b'A'; 16]), Number(7), 2, &framed(&[b"first", b""]))
            .and_then(|()| batch.push(ProducerId::from_bytes([b'B'; 16]), Number(0), 1, &framed(&[b"third"])))
            .expect("well framed");
        let batch = batch.finish(Nonce::from_bytes(NONCE), Offset(1000), WALL);
        let golden: [&[u8]; 2] = [
            include_bytes!("../../tests/golden/partition-batch-head.bin"),
            include_bytes!("../../tests/golden/partition-batch-records.bin"),
        ];
        assert_eq!(batch.parts(), golden);
    }

    #[test]
    fn a_batch_that_would_pass_the_last_offset_is_refused() {
        let mut batch = BatchBuilder::new();
        batch.push(ProducerId::from_bytes([b'A'; 16]), Number(7), 2, &framed(&[b"first", b""])).expect("well framed");
        let first = Offset(u64::MAX - 1);
        let batch = batch.finish(Nonce::from_bytes(NONCE), first, WALL);
        assert_eq!(PartitionEntry::parse(&batch), Err(BadEntry::PastLastOffset { first, count: 2 }));
    }

    #[test]
    fn an_entry_of_a_newer_version_is_named_as_such() {
        let mut head = EntryData::open(Nonce::from_bytes(NONCE), WALL).to_bytes().to_vec();
        head[0] = 9;
        let newer = EntryData::from_bytes(head.into());
        assert_eq!(PartitionEntry::parse(&newer), Err(BadEntry::NewerVersion { version: 9 }));
    }

    proptest! {
        #[test]
        fn openings_and_trims_survive_their_bytes(nonce: [u8; 16], upto: u64, wall: u64) {
            let (nonce, wall) = (Nonce::from_bytes(nonce), WallMs(wall));
            prop_assert_eq!(PartitionEntry::parse(&EntryData::open(nonce, wall)), Ok(PartitionEntry::Open { nonce, wall }));
            prop_assert_eq!(PartitionEntry::parse(&EntryData::trim(upto, wall)), Ok(PartitionEntry::Trim { upto, wall }));
        }

        #[test]
        fn any_parts_are_parsed_or_refused(parts: Vec<Vec<u8>>, kind in 0..4u8, tagged: bool) {
            let mut parts = parts;
            if let Some(head) = parts.first_mut().filter(|_| tagged) {
                head.splice(0..0, [VERSION, kind]);
            }
            let _ = PartitionEntry::parse(&EntryData::from_parts(parts.into_iter().map(Bytes::from).collect()));
        }
    }
}
