//! What a cluster is created with and keeps for life.

use std::fmt;

use anyport_protocol::{ClusterId, WallMs};
use serde::{Deserialize, Serialize};

use super::encoding::{self, FormatError};

/// Written as MessagePack by name behind a version, see `encoding.rs`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterFacts {
    pub cluster: ClusterId,
    pub partitions: u16,
    pub registry_shards: u16,
    /// By the clock of the broker that proposed them.
    pub created: WallMs,
    /// Signs the tokens of clients. What it is made of is the broker's business.
    #[serde(with = "serde_bytes")]
    pub token_key: Vec<u8>,
    /// Clusters of the first versions were made without what follows.
    #[serde(default)]
    pub timing: Timing,
    /// Voters of a partition or a registry shard, if there are brokers enough.
    #[serde(default = "default_replication")]
    pub replication: u8,
    /// For how long a broker may be away before its replicas are placed on others.
    #[serde(default = "default_replace_after_ms")]
    pub replace_after_ms: u64,
}

/// How patient the members of a group are with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timing {
    /// Brokers within a few milliseconds of each other.
    #[default]
    Lan,
    /// Brokers up to hundreds of milliseconds apart.
    Wan,
}

fn default_replication() -> u8 {
    ClusterFacts::DEFAULT_REPLICATION
}

fn default_replace_after_ms() -> u64 {
    ClusterFacts::DEFAULT_REPLACE_AFTER_MS
}

impl ClusterFacts {
    pub const DEFAULT_REPLICATION: u8 = 3;
    /// Copying a replica costs more than waiting out a restart.
    pub const DEFAULT_REPLACE_AFTER_MS: u64 = 600_000;

    pub(super) fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        encoding::decode(bytes)
    }
}

/// Without the key: facts end up in logs.
impl fmt::Debug for ClusterFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterFacts")
            .field("cluster", &self.cluster)
            .field("partitions", &self.partitions)
            .field("registry_shards", &self.registry_shards)
            .field("created", &self.created)
            .field("timing", &self.timing)
            .field("replication", &self.replication)
            .field("replace_after_ms", &self.replace_after_ms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
impl ClusterFacts {
    pub(super) fn example() -> Self {
        Self {
            cluster: ClusterId::from_bytes(*b"cluster of a day"),
            partitions: 8,
            registry_shards: 4,
            created: WallMs(1_790_000_000_123),
            token_key: b"a key that signs".to_vec(),
            timing: Timing::Wan,
            replication: 5,
            replace_after_ms: 60_000,
        }
    }

    /// As it is read where the first versions wrote it.
    pub(super) fn example_of_the_first_versions() -> Self {
        Self {
            timing: Timing::Lan,
            replication: Self::DEFAULT_REPLICATION,
            replace_after_ms: Self::DEFAULT_REPLACE_AFTER_MS,
            ..Self::example()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/facts-1-timing.bin");
    const OF_THE_FIRST_VERSIONS: &[u8] = include_bytes!("../../tests/golden/metadata/facts-1.bin");

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        assert_eq!(ClusterFacts::decode(GOLDEN).expect("golden"), ClusterFacts::example());
        assert_eq!(ClusterFacts::example().encode(), GOLDEN);
        let first = ClusterFacts::decode(OF_THE_FIRST_VERSIONS).expect("golden");
        assert_eq!(first, ClusterFacts::example_of_the_first_versions());
    }

    #[test]
    fn the_key_is_not_shown() {
        let shown = format!("{:?}", ClusterFacts { token_key: vec![213; 3], ..ClusterFacts::example() });
        assert!(shown.contains("partitions: 8") && !shown.contains("213"), "{shown}");
    }
}
