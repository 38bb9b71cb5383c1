//! What can be asked of the metadata group, one command per entry, and what is answered.
//!
//! Bytes as in `encoding.rs`: `{ "Create": { "cluster": bin16, "partitions": ... } }`.

use serde::{Deserialize, Serialize};

use super::encoding::{self, FormatError};
use super::facts::ClusterFacts;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates the cluster. The first one applied does; any other changes nothing.
    Create(ClusterFacts),
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The facts that stand, whoever proposed them.
    Created(ClusterFacts),
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        encoding::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/create-1.bin");

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        let create = Command::Create(ClusterFacts::example());
        assert_eq!(Command::decode(GOLDEN).expect("golden"), create);
        assert_eq!(create.encode(), GOLDEN);
    }

    #[test]
    fn a_newer_version_a_cut_and_a_tail_are_refused() {
        assert_eq!(Command::decode(&[]), Err(FormatError::Empty));
        assert_eq!(Command::decode(&[2, 0x80]), Err(FormatError::UnknownVersion { version: 2 }));
        for end in 1..GOLDEN.len() {
            assert!(matches!(Command::decode(&GOLDEN[..end]), Err(FormatError::Malformed { .. })), "{end}");
        }
        let longer = [GOLDEN, &[0xc0]].concat();
        assert_eq!(Command::decode(&longer), Err(FormatError::TrailingBytes { count: 1 }));
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, at: prop::sample::Index, changed: u8) {
            let _ = Command::decode(&[&[1][..], &bytes].concat());
            let mut near = GOLDEN.to_vec();
            let at = at.index(near.len());
            near[at] = changed;
            let _ = Command::decode(&near);
        }
    }
}
