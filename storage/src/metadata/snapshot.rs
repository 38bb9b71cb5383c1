//! The metadata group's snapshot: all it holds, in some thousand bytes.
//!
//! ```text
//!  version 2, sealed (see sealed.rs) under the key "metadata snapshot 2":
//!    log id 24 | membership | state
//!
//!  membership    u8 = 0, or u8 = 1 | log id 24 | length u32 | members
//!  state         u8 = 0, or u8 = 1 | length u32 | facts | the rest of the state, to the end (both: see encoding.rs)
//!
//!  version 1, sealed under the key "metadata snapshot", only read:
//!    log id 24 | membership | facts
//!
//!  facts         u8 = 0, or u8 = 1 | facts to the end
//! ```
//! Integers are little endian.

use std::sync::Arc;

use bytes::Bytes;

use super::encoding::FormatError;
use super::facts::ClusterFacts;
use super::state::ClusterState;
use crate::log::LogId;
use crate::sealed;

pub(super) const KEY: &[u8] = b"metadata snapshot 2";
pub(super) const KEY_1: &[u8] = b"metadata snapshot";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataSnapshot {
    /// The last entry applied.
    pub at: LogId,
    /// The membership in force at that entry, and the entry it came with.
    pub membership: Option<(LogId, Bytes)>,
    pub state: Arc<ClusterState>,
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
    Facts(FormatError),
    #[error("the state in the snapshot of the metadata cannot be read: {0}")]
    State(FormatError),
}

impl MetadataSnapshot {
    pub fn encode(&self) -> Vec<u8> {
        let mut body = self.at.to_bytes().to_vec();
        match &self.membership {
            None => body.push(0),
            Some((id, members)) => {
                body.push(1);
                body.extend_from_slice(&id.to_bytes());
                push(&mut body, members);
            }
        }
        match &self.state.facts {
            // Before there are facts there is nothing else.
            None => body.push(0),
            Some(facts) => {
                body.push(1);
                push(&mut body, &facts.encode());
                body.extend_from_slice(&self.state.encode());
            }
        }
        let mut bytes = Vec::new();
        sealed::seal(KEY, &[&body], &mut bytes);
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadMetadataSnapshot> {
        if let Ok(mut rest) = sealed::unseal(KEY_1, bytes) {
            return Self::read(&mut rest, state_of_version_1);
        }
        let mut rest = sealed::unseal(KEY, bytes).map_err(|why| BadMetadataSnapshot::Seal { why })?;
        Self::read(&mut rest, state)
    }

    fn read(
        rest: &mut &[u8],
        state: impl FnOnce(&[u8]) -> Result<ClusterState, BadMetadataSnapshot>,
    ) -> Result<Self, BadMetadataSnapshot> {
        let at = LogId::from_bytes(take(rest, "the log id")?);
        let membership = if present(rest, "a membership")? { Some(membership(rest)?) } else { None };
        let state = if present(rest, "a state")? { state(rest)? } else { nothing(rest)? };
        Ok(Self { at, membership, state: Arc::new(state) })
    }
}

fn state(mut rest: &[u8]) -> Result<ClusterState, BadMetadataSnapshot> {
    let facts = ClusterFacts::decode(take_measured(&mut rest, "the facts")?).map_err(BadMetadataSnapshot::Facts)?;
    ClusterState::decode(Some(facts), rest).map_err(BadMetadataSnapshot::State)
}

/// Nothing had become of a cluster since it was created.
fn state_of_version_1(rest: &[u8]) -> Result<ClusterState, BadMetadataSnapshot> {
    ClusterFacts::decode(rest).map(ClusterState::created).map_err(BadMetadataSnapshot::Facts)
}

fn nothing(rest: &[u8]) -> Result<ClusterState, BadMetadataSnapshot> {
    match rest.len() {
        0 => Ok(ClusterState::default()),
        count => Err(BadMetadataSnapshot::TrailingBytes { count }),
    }
}

fn push(body: &mut Vec<u8>, measured: &[u8]) {
    let length = u32::try_from(measured.len()).expect("a membership and facts are some hundred bytes");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(measured);
}

fn membership(rest: &mut &[u8]) -> Result<(LogId, Bytes), BadMetadataSnapshot> {
    let id = LogId::from_bytes(take(rest, "the membership")?);
    Ok((id, Bytes::copy_from_slice(take_measured(rest, "the membership")?)))
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

fn take_measured<'a>(rest: &mut &'a [u8], field: &'static str) -> Result<&'a [u8], BadMetadataSnapshot> {
    let length = u32::from_le_bytes(*take(rest, field)?) as usize;
    let (taken, after) = rest.split_at_checked(length).ok_or(BadMetadataSnapshot::Truncated { field })?;
    *rest = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/snapshot-2.bin");
    const OF_VERSION_1: &[u8] = include_bytes!("../../tests/golden/metadata/snapshot-1.bin");

    fn snapshot() -> MetadataSnapshot {
        let at = LogId { term: 2, node: 5, index: 4711 };
        let membership = Some((LogId { index: 9, ..at }, Bytes::from_static(b"members")));
        MetadataSnapshot { at, membership, state: Arc::new(ClusterState::example()) }
    }

    fn sealed(key: &[u8], body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        sealed::seal(key, &[body], &mut bytes);
        bytes
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        assert_eq!(MetadataSnapshot::decode(GOLDEN).expect("golden"), snapshot());
        assert_eq!(snapshot().encode(), GOLDEN);
    }

    #[test]
    fn a_snapshot_of_version_1_is_of_a_cluster_to_which_nothing_has_happened() {
        let state = Arc::new(ClusterState::created(ClusterFacts::example_of_the_first_versions()));
        assert_eq!(MetadataSnapshot::decode(OF_VERSION_1), Ok(MetadataSnapshot { state, ..snapshot() }));
    }

    #[test]
    fn every_cut_is_refused_even_if_its_seal_is_good() {
        for (key, golden) in [(KEY, GOLDEN), (KEY_1, OF_VERSION_1)] {
            let body = &golden[sealed::SEAL_BYTES..];
            for end in 0..body.len() {
                assert!(MetadataSnapshot::decode(&sealed(key, &body[..end])).is_err(), "{end}");
            }
        }
        let bare = MetadataSnapshot { membership: None, state: Arc::default(), ..snapshot() }.encode();
        let longer = [&bare[sealed::SEAL_BYTES..], &[0]].concat();
        let refused = MetadataSnapshot::decode(&sealed(KEY, &longer));
        assert_eq!(refused, Err(BadMetadataSnapshot::TrailingBytes { count: 1 }));
    }

    proptest! {
        #[test]
        fn snapshots_survive_their_bytes(index: u64, members: Option<Vec<u8>>, created: bool, token_key: Vec<u8>) {
            let at = LogId { index, ..snapshot().at };
            let membership = members.map(|members| (at, Bytes::from(members)));
            let facts = ClusterFacts { token_key, ..ClusterFacts::example() };
            let state = Arc::new(if created { ClusterState::created(facts) } else { ClusterState::default() });
            let snapshot = MetadataSnapshot { at, membership, state };
            prop_assert_eq!(MetadataSnapshot::decode(&snapshot.encode()), Ok(snapshot));
        }

        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, body: Vec<u8>) {
            prop_assert!(MetadataSnapshot::decode(&bytes).is_err());
            for key in [KEY, KEY_1] {
                let _ = MetadataSnapshot::decode(&sealed(key, &[&[0; 24][..], &body].concat()));
            }
        }
    }
}
