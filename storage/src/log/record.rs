//! How an entry is laid out in records.
//!
//! ```text
//!  key: index u64 BE | part u16 BE          value, sealed:
//!
//!  part 0      | term u64 | node u64 | kind u8 | parts u16 | bytes of the first part ...
//!  part 1..    | bytes of that part ...
//!
//!  kind: 0 blank, 1 membership, 2 data        parts: how many records the entry has, at least 1
//! ```
//! Integers in values are little endian. Kinds are never reused.

use bytes::Bytes;
use rocksdb::WriteBatch;

use super::entry::{EntryData, LogEntry, LogId, Payload};
use crate::error::StoreError;
use crate::group::GroupId;
use crate::{keys, sealed};

const HEAD_BYTES: usize = 19;

/// The part number is a u16, and the count of parts one too.
const PARTS_MAX: usize = u16::MAX as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blank,
    Membership,
    Data,
}

/// What part 0 says of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHead {
    pub(crate) id: LogId,
    pub(crate) kind: Kind,
    pub(crate) parts: u16,
}

impl RecordHead {
    pub(crate) fn encode(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&self.id.term.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.id.node.to_le_bytes());
        bytes[16] = match self.kind {
            Kind::Blank => 0,
            Kind::Membership => 1,
            Kind::Data => 2,
        };
        bytes[17..].copy_from_slice(&self.parts.to_le_bytes());
        bytes
    }

    /// Splits the body of part 0 of entry `index` into its head and the first part.
    pub(crate) fn parse(index: u64, body: &[u8]) -> Result<(Self, &[u8]), &'static str> {
        let (head, rest) = body.split_first_chunk::<HEAD_BYTES>().ok_or("shorter than the head of an entry")?;
        let field = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        let kind = match head[16] {
            0 => Kind::Blank,
            1 => Kind::Membership,
            2 => Kind::Data,
            _ => return Err("kind of entry is not known"),
        };
        let parts = u16::from_le_bytes([head[17], head[18]]);
        if parts == 0 {
            return Err("an entry of no parts");
        }
        Ok((Self { id: LogId { term: field(0), node: field(8), index }, kind, parts }, rest))
    }

    /// The entry these parts make.
    pub(crate) fn assemble(&self, parts: Vec<Bytes>) -> LogEntry {
        let data = EntryData::from_parts(parts);
        let payload = match self.kind {
            Kind::Blank => Payload::Blank,
            Kind::Membership => Payload::Membership(data.to_bytes()),
            Kind::Data => Payload::Data(data),
        };
        LogEntry { id: self.id, payload }
    }
}

/// Puts an entry's records into a batch. `scratch` is reused between entries.
pub(crate) fn put_entry(
    batch: &mut WriteBatch,
    column: &impl rocksdb::AsColumnFamilyRef,
    group: GroupId,
    entry: &LogEntry,
    scratch: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let (kind, data) = match &entry.payload {
        Payload::Blank => (Kind::Blank, EntryData::from_bytes(Bytes::new())),
        Payload::Membership(bytes) => (Kind::Membership, EntryData::from_bytes(bytes.clone())),
        Payload::Data(data) => (Kind::Data, data.clone()),
    };
    let index = entry.id.index;
    let parts = u16::try_from(data.parts().len()).map_err(|_| StoreError::TooManyParts {
        group,
        index,
        parts: data.parts().len(),
        limit: PARTS_MAX,
    })?;
    let head = RecordHead { id: entry.id, kind, parts }.encode();
    for (part, bytes) in (0u16..).zip(data.parts()) {
        let key = keys::record(index, part);
        let head: &[u8] = if part == 0 { &head } else { &[] };
        sealed::seal(&key, &[head, bytes], scratch);
        batch.put_cf(column, key, &scratch);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn heads_survive_their_bytes(term: u64, node: u64, index: u64, kind in 0..3u8, parts in 1..=u16::MAX, rest: Vec<u8>) {
            let kind = [Kind::Blank, Kind::Membership, Kind::Data][usize::from(kind)];
            let head = RecordHead { id: LogId { term, node, index }, kind, parts };
            let body = [head.encode().as_slice(), &rest].concat();
            prop_assert_eq!(RecordHead::parse(index, &body), Ok((head, rest.as_slice())));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(body: Vec<u8>) {
            let _ = RecordHead::parse(1, &body);
        }
    }

    #[test]
    fn a_record_is_as_it_was_first_published() {
        let head = RecordHead { id: LogId { term: 3, node: 7, index: 42 }, kind: Kind::Data, parts: 2 };
        let mut value = Vec::new();
        sealed::seal(&keys::record(42, 0), &[&head.encode(), b"first part"], &mut value);
        assert_eq!(value, include_bytes!("../../tests/golden/record-part0.bin"));
    }
}
