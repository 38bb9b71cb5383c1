//! The metadata group's snapshot: all it holds, in some hundred bytes.
//!
//! ```text
//!  sealed (see sealed.rs) under the key "metadata snapshot":
//!    log id 24 | membership | facts
//!
//!  membership    u8 = 0, or u8 = 1 | log id 24 | length u32 | members
//!  facts         u8 = 0, or u8 = 1 | facts to the end (see encoding.rs)
//! ```
//! Integers are little endian.

use bytes::Bytes;

use super::encoding::FormatError;
use super::facts::ClusterFacts;
use crate::log::LogId;
use crate::sealed;

const KEY: &[u8] = b"metadata snapshot";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSnapshot {
    /// The last entry applied.
    pub at: LogId,
    /// The membership in force at that entry, and the entry it came with.
    pub membership: Option<(LogId, Bytes)>,
    /// None before the cluster is created.
    pub facts: Option<ClusterFacts>,
}

/// Why bytes are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMetadataSnapshot {
    #[error("the snapshot of the metadata cannot be read: {why}")]
    Seal { why: &'static str },
    #[error("the snapshot of the metadata ends within {field}")]
    Truncated { field: &'static str },
    #[error("the snapshot of the metadata has {found} where 0 or 1 says whether there is {field}")]
    Presence { field: &'static str, found: u8 },
    #[error("the snapshot of the metadata goes on for {count} bytes after its end")]
    TrailingBytes { count: usize },
    #[error("the facts in the snapshot of the metadata cannot be read: {0}")]
    Facts(#[from] FormatError),
}

impl MetadataSnapshot {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.at.to_bytes().to_vec();
        match &self.membership {
            None => body.push(0),
            Some((id, members)) => {
                let length = u32::try_from(members.len()).expect("a membership is a few hundred bytes");
                body.push(1);
                body.extend_from_slice(&id.to_bytes());
                body.extend_from_slice(&length.to_le_bytes());
                body.extend_from_slice(members);
            }
        }
        match &self.facts {
            None => body.push(0),
            Some(facts) => {
                body.push(1);
                body.extend_from_slice(&facts.encode());
            }
        }
        let mut bytes = Vec::new();
        sealed::seal(KEY, &[&body], &mut bytes);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMetadataSnapshot> {
        let mut rest = sealed::unseal(KEY, bytes).map_err(|why| BadMetadataSnapshot::Seal { why })?;
        let at = LogId::from_bytes(take(&mut rest, "the log id")?);
        let membership = if present(&mut rest, "a membership")? { Some(membership(&mut rest)?) } else { None };
        if present(&mut rest, "facts")? {
            return Ok(Self { at, membership, facts: Some(ClusterFacts::decode(rest)?) });
        }
        match rest.len() {
            0 => Ok(Self { at, membership, facts: None }),
            count => Err(BadMetadataSnapshot::TrailingBytes { count }),
        }
    }
}

fn membership(rest: &mut &[u8]) -> Result<(LogId, Bytes), BadMetadataSnapshot> {
    let id = LogId::from_bytes(take(rest, "the membership")?);
    let length = u32::from_le_bytes(*take(rest, "the membership")?) as usize;
    let (members, after) =
        rest.split_at_checked(length).ok_or(BadMetadataSnapshot::Truncated { field: "the membership" })?;
    *rest = after;
    Ok((id, Bytes::copy_from_slice(members)))
}

fn present(rest: &mut &[u8], field: &'static str) -> Result<bool, BadMetadataSnapshot> {
    match *take(rest, field)? {
        [0] => Ok(false),
        [1] => Ok(true),
        [found] => Err(BadMetadataSnapshot::Presence { field, found }),
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8], field: &'static str) -> Result<&'a [u8; N], BadMetadataSnapshot> {
    let (taken, after) = rest.split_first_chunk().ok_or(BadMetadataSnapshot::Truncated { field })?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/snapshot-1.bin");

    fn snapshot() -> MetadataSnapshot {
        let at = LogId { term: 2, node: 5, index: 4711 };
        let membership = Some((LogId { index: 9, ..at }, Bytes::from_static(b"members")));
        MetadataSnapshot { at, membership, facts: Some(ClusterFacts::example()) }
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        sealed::seal(KEY, &[body], &mut bytes);
        bytes
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        assert_eq!(MetadataSnapshot::decode(GOLDEN).expect("golden"), snapshot());
        assert_eq!(snapshot().encode(), GOLDEN);
    }

    #[test]
    fn every_cut_is_refused_even_if_its_seal_is_good() {
        let body = &GOLDEN[sealed::SEAL_BYTES..];
        for end in 0..body.len() {
            assert!(MetadataSnapshot::decode(&sealed(&body[..end])).is_err(), "{end}");
        }
        let bare = MetadataSnapshot { membership: None, facts: None, ..snapshot() }.encode();
        let longer = [&bare[sealed::SEAL_BYTES..], &[0]].concat();
        assert_eq!(MetadataSnapshot::decode(&sealed(&longer)), Err(BadMetadataSnapshot::TrailingBytes { count: 1 }));
    }

    proptest! {
        #[test]
        fn snapshots_survive_their_bytes(index: u64, members: Option<Vec<u8>>, created: bool, token_key: Vec<u8>) {
            let at = LogId { index, ..snapshot().at };
            let membership = members.map(|members| (at, Bytes::from(members)));
            let facts = created.then(|| ClusterFacts { token_key, ..ClusterFacts::example() });
            let snapshot = MetadataSnapshot { at, membership, facts };
            prop_assert_eq!(MetadataSnapshot::decode(&snapshot.encode()), Ok(snapshot));
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, body: Vec<u8>) {
            prop_assert!(MetadataSnapshot::decode(&bytes).is_err());
            let _ = MetadataSnapshot::decode(&sealed(&[&[0; 24][..], &body].concat()));
        }
    }
}
