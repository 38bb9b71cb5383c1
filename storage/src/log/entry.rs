//! A Raft log entry in our own words: no type of a consensus engine reaches the disk.

use std::fmt;

use anyport_protocol::limits::RECORD_BYTES_TARGET;
use bytes::{Bytes, BytesMut};

/// Names an entry: who proposed it, when, and where it stands. Ordered by term first, as Raft compares logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    pub term: u64,
    pub node: u64,
    pub index: u64,
}

impl LogId {
    /// Bytes of [`LogId::to_bytes`].
    pub(crate) const BYTES: usize = 24;

    /// `term u64 | node u64 | index u64`, little endian.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.term.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.node.to_le_bytes());
        bytes[16..].copy_from_slice(&self.index.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let field = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(eight)
        };
        Self { term: field(0), node: field(8), index: field(16) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.node, self.index)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub id: LogId,
    pub payload: Payload,
}

impl LogEntry {
    /// Bytes of the payload, which is what limits on memory and on appends count.
    pub fn len_bytes(&self) -> usize {
        match &self.payload {
            Payload::Blank => 0,
            Payload::Membership(bytes) => bytes.len(),
            Payload::Data(data) => data.len_bytes(),
        }
    }

    /// The first part, if the entry is data.
    pub(crate) fn first_data_part(&self) -> Option<Bytes> {
        match &self.payload {
            Payload::Data(data) => data.parts.first().cloned(),
            Payload::Blank | Payload::Membership(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Blank,
    /// Who the group's members are, in the consensus adapter's encoding.
    Membership(Bytes),
    Data(EntryData),
}

/// What Raft replicates, already cut into the records that the store keeps: at most 16 KiB each, except that a part which
/// cannot be cut (an event over 16 KiB) has a record of its own. There is always a first part, be it empty.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryData {
    parts: Vec<Bytes>,
}

impl EntryData {
    pub fn from_parts(mut parts: Vec<Bytes>) -> Self {
        if parts.is_empty() {
            parts.push(Bytes::new());
        }
        Self { parts }
    }

    /// Cuts bytes that have no structure the store knows of.
    pub fn from_bytes(mut bytes: Bytes) -> Self {
        let mut parts = Vec::with_capacity(bytes.len() / RECORD_BYTES_TARGET + 1);
        while bytes.len() > RECORD_BYTES_TARGET {
            parts.push(bytes.split_to(RECORD_BYTES_TARGET));
        }
        parts.push(bytes);
        Self { parts }
    }

    /// The parts joined: the inverse of [`EntryData::from_bytes`]. Copies only if there are several.
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = self.parts.as_slice() {
            return only.clone();
        }
        let mut joined = BytesMut::with_capacity(self.len_bytes());
        self.parts.iter().for_each(|part| joined.extend_from_slice(part));
        joined.freeze()
    }

    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    pub fn len_bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryData({} parts, {} bytes)", self.parts.len(), self.len_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn cut_bytes_join_to_the_same(len in 0..100_000usize) {
            let bytes = Bytes::from((0..len).map(|at| at as u8).collect::<Vec<_>>());
            let data = EntryData::from_bytes(bytes.clone());
            prop_assert!(data.parts().iter().all(|part| part.len() <= RECORD_BYTES_TARGET));
            prop_assert_eq!(data.len_bytes(), len);
            prop_assert_eq!(data.to_bytes(), bytes);
        }

        #[test]
        fn a_log_id_survives_its_bytes(term: u64, node: u64, index: u64) {
            let id = LogId { term, node, index };
            prop_assert_eq!(LogId::from_bytes(&id.to_bytes()), id);
        }
    }
}
