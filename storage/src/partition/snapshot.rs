//! A partition's snapshot: what held at the index the log was trimmed to. Everything else follows from the retained log, so a
//! new replica is fed by ordinary replication.
//!
//! ```text
//!  sealed (see sealed.rs) under the key "partition snapshot":
//!    log id 24 | head u64 | nonce 16 | members? u8 | [ log id 24 | members ... ]
//! ```
//! Integers are little endian.

use anyport_protocol::{Nonce, Offset};
use bytes::Bytes;

use super::entry::{BadEntry, Fields};
use crate::log::LogId;
use crate::sealed;

const KEY: &[u8] = b"partition snapshot";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSnapshot {
    /// The last entry trimmed.
    pub at: LogId,
    /// The first offset retained.
    pub head: Offset,
    /// The nonce in force at that entry.
    pub nonce: Nonce,
    /// The membership in force at that entry, and the entry it came with.
    pub membership: Option<(LogId, Bytes)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a partition's snapshot cannot be read: {why}")]
pub struct BadSnapshot {
    pub why: &'static str,
}

impl PartitionSnapshot {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (id, head) = (self.at.to_bytes(), self.head.0.to_le_bytes());
        let fixed: [&[u8]; 3] = [&id, &head, self.nonce.as_bytes()];
        match &self.membership {
            None => sealed::seal(KEY, &[&fixed.concat(), &[0]], &mut bytes),
            Some((id, members)) => {
                sealed::seal(KEY, &[&fixed.concat(), &[1], &id.to_bytes(), members], &mut bytes);
            }
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadSnapshot> {
        let body = sealed::unseal(KEY, bytes).map_err(|why| BadSnapshot { why })?;
        Self::fields(body).map_err(|_| BadSnapshot { why: "its fields do not fit its length" })
    }

    fn fields(body: &[u8]) -> Result<Self, BadEntry> {
        let mut fields = Fields(body);
        let at = LogId::from_bytes(&fields.take()?);
        let head = Offset(fields.u64()?);
        let nonce = Nonce::from_bytes(fields.take()?);
        let membership = match fields.take()? {
            [0] if fields.0.is_empty() => None,
            [1] => Some((LogId::from_bytes(&fields.take()?), Bytes::copy_from_slice(fields.0))),
            _ => return Err(BadEntry::Surplus { bytes: fields.0.len() }),
        };
        Ok(Self { at, head, nonce, membership })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn snapshot() -> PartitionSnapshot {
        let at = LogId { term: 2, node: 5, index: 4711 };
        let membership = Some((LogId { index: 9, ..at }, Bytes::from_static(b"members")));
        PartitionSnapshot { at, head: Offset(123_456), nonce: Nonce::from_bytes(*b"nonce-of-sixteen"), membership }
    }

    #[test]
    fn a_snapshot_is_as_it_was_first_published() {
        assert_eq!(snapshot().encode(), include_bytes!("../../tests/golden/partition-snapshot.bin"));
    }

    proptest! {
        #[test]
        fn snapshots_survive_their_bytes(index: u64, head: u64, nonce: [u8; 16], members: Option<Vec<u8>>) {
            let at = LogId { index, ..snapshot().at };
            let membership = members.map(|members| (at, Bytes::from(members)));
            let snapshot = PartitionSnapshot { at, head: Offset(head), nonce: Nonce::from_bytes(nonce), membership };
            prop_assert_eq!(PartitionSnapshot::decode(&snapshot.encode()), Ok(snapshot));
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            prop_assert!(PartitionSnapshot::decode(&bytes).is_err());
        }
    }
}
