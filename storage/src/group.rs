//! Which Raft group a log or a row belongs to.

use std::fmt;

use anyport_protocol::PartitionId;
use serde::{Deserialize, Serialize};

/// One Raft group of this broker. Shown as `metadata`, `registry-0`, `partition-3`, which is also its column family's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GroupId {
    Metadata,
    Registry(u16),
    Partition(PartitionId),
}

impl GroupId {
    /// Every group of a store with that many registry shards and partitions.
    pub(crate) fn all(registry_shards: u16, partitions: u16) -> impl Iterator<Item = GroupId> {
        std::iter::once(GroupId::Metadata)
            .chain((0..registry_shards).map(GroupId::Registry))
            .chain((0..partitions).map(|id| GroupId::Partition(PartitionId(id))))
    }

    /// Three bytes that begin the group's keys in shared column families, and name it between brokers: kind, then number, big
    /// endian. Never reused.
    pub fn code(self) -> [u8; 3] {
        let (kind, number) = match self {
            GroupId::Metadata => (0, 0),
            GroupId::Registry(shard) => (1, shard),
            GroupId::Partition(id) => (2, id.0),
        };
        let [high, low] = number.to_be_bytes();
        [kind, high, low]
    }

    pub fn from_code([kind, high, low]: [u8; 3]) -> Option<Self> {
        match (kind, u16::from_be_bytes([high, low])) {
            (0, 0) => Some(GroupId::Metadata),
            (1, shard) => Some(GroupId::Registry(shard)),
            (2, id) => Some(GroupId::Partition(PartitionId(id))),
            _ => None,
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupId::Metadata => f.write_str("metadata"),
            GroupId::Registry(shard) => write!(f, "registry-{shard}"),
            GroupId::Partition(id) => write!(f, "partition-{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_code() {
        for group in GroupId::all(300, 300) {
            assert_eq!(GroupId::from_code(group.code()), Some(group));
        }
        assert_eq!([[0, 0, 1], [3, 0, 0]].map(GroupId::from_code), [None, None]);
    }
}
