//! What the brokers of a cluster know of each other, and which of them has a replica of what.

use std::collections::BTreeMap;

use anyport_protocol::{BrokerId, LogEpoch, Offset, ReplicaId, WallMs};
use serde::{Deserialize, Serialize};

use super::encoding::{self, FormatError};
use super::facts::ClusterFacts;
use super::service_map::MapState;
use crate::group::GroupId;

/// All that the metadata group holds. Written as MessagePack by name behind a version, see `encoding.rs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    /// None until the cluster's creation is applied. Stored in a row of its own, as ever since the first version.
    #[serde(skip)]
    pub facts: Option<ClusterFacts>,
    pub brokers: BTreeMap<BrokerId, BrokerRecord>,
    /// Numbers that are used up, and since when.
    pub removed: BTreeMap<BrokerId, WallMs>,
    /// Of every group, the metadata's own among them.
    pub assignments: BTreeMap<GroupId, Assignment>,
    /// The newest last.
    pub epochs: Vec<EpochBegan>,
    pub next_broker: BrokerId,
    /// One counter for all groups.
    pub next_generation: u32,
    /// Clusters of the first versions had none.
    #[serde(default, skip_serializing_if = "MapState::is_default")]
    pub map: MapState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRecord {
    pub id: BrokerId,
    /// SHA-256 of its certificate's public key: who has the key is the broker.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
    pub peer_address: String,
    pub client_address: String,
    pub zone: String,
    /// It serves clients and has no replica but of the metadata.
    pub edge: bool,
    /// Drawn at each start of its process.
    pub start: u64,
    /// When its lease ended; none while it has one.
    pub away_since: Option<WallMs>,
    /// Somebody wants its replicas to be elsewhere.
    pub draining: bool,
    pub joined: WallMs,
    /// How much of what it can take it has, in thousandths, as it last said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub load: u16,
    /// Its process is about to end, and has taken itself off the map. The next one begins anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// Which replicas a group is to have, and which it has. A broker has at most one of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Grows with each change of what the group is to have.
    pub version: u64,
    pub voters: Vec<ReplicaId>,
    pub learners: Vec<ReplicaId>,
    /// The voter that is to lead, if it can.
    pub leader: BrokerId,
    /// All members, as the group itself last said.
    pub settled: Vec<ReplicaId>,
    /// Members that are to go because they are damaged: whatever is assigned, they are not taken up again.
    #[serde(default)]
    pub damaged: Vec<ReplicaId>,
}

/// From here on, positions of older log epochs are good only below these tails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochBegan {
    pub epoch: LogEpoch,
    /// By partition.
    pub tails: Vec<Offset>,
}

impl Default for ClusterState {
    fn default() -> Self {
        Self {
            facts: None,
            brokers: BTreeMap::new(),
            removed: BTreeMap::new(),
            assignments: BTreeMap::new(),
            epochs: Vec::new(),
            next_broker: BrokerId(BrokerId::FIRST.0 + 1),
            next_generation: ReplicaId::FIRST.generation() + 1,
            map: MapState::default(),
        }
    }
}

impl ClusterState {
    /// A cluster just created: its first broker, which has yet to announce itself, has the only replica of every group.
    pub fn created(facts: ClusterFacts) -> Self {
        let groups = GroupId::all(facts.registry_shards, facts.partitions);
        let assignments = groups.map(|group| (group, Assignment::first())).collect();
        Self { assignments, facts: Some(facts), ..Self::default() }
    }

    /// A broker that holds a lease.
    pub fn is_alive(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(|record| record.away_since.is_none())
    }

    /// Without the facts.
    pub(super) fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    pub(super) fn decode(facts: Option<ClusterFacts>, bytes: &[u8]) -> Result<Self, FormatError> {
        let state: Self = encoding::decode(bytes)?;
        Ok(Self { facts, ..state })
    }
}

impl Assignment {
    fn first() -> Self {
        let first = vec![ReplicaId::FIRST];
        let (learners, damaged) = (Vec::new(), Vec::new());
        Self { version: 1, voters: first.clone(), learners, leader: BrokerId::FIRST, settled: first, damaged }
    }

    /// What the group is to have: voters, then learners.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> {
        self.voters.iter().chain(&self.learners).copied()
    }

    /// The replica that this broker is to have.
    pub fn replica_of(&self, broker: BrokerId) -> Option<ReplicaId> {
        self.replicas().find(|replica| replica.broker() == broker)
    }

    /// Whether the group has just what it is to have.
    pub fn is_settled(&self) -> bool {
        let (mut wanted, mut present): (Vec<_>, _) = (self.replicas().collect(), self.settled.clone());
        wanted.sort_unstable();
        present.sort_unstable();
        wanted == present
    }
}

#[cfg(test)]
impl ClusterState {
    /// Two brokers, one of them away, and one that was removed.
    pub(super) fn example() -> Self {
        let facts = ClusterFacts { partitions: 1, registry_shards: 1, ..ClusterFacts::example() };
        let record = |id, away_since| BrokerRecord {
            id: BrokerId(id),
            key: *b"of thirty-two bytes, as a digest",
            peer_address: format!("b{id}.example:7401"),
            client_address: format!("b{id}.example:7400"),
            zone: "north".to_owned(),
            edge: id > 0,
            start: 0x1234_5678_9abc_def0,
            away_since,
            draining: id == 0,
            joined: WallMs(1_790_000_000_456),
            load: 0,
            leaving: false,
        };
        let mut state = Self::created(facts);
        state.brokers = BTreeMap::from([(BrokerId(0), record(0, None)), (BrokerId(2), record(2, Some(WallMs(7))))]);
        state.removed = BTreeMap::from([(BrokerId(1), WallMs(1_790_000_000_789))]);
        let metadata = state.assignments.get_mut(&GroupId::Metadata).expect("of every group");
        metadata.learners.push(ReplicaId::new(BrokerId(2), 9));
        metadata.damaged.push(ReplicaId::new(BrokerId(2), 8));
        state.epochs.push(EpochBegan { epoch: LogEpoch(2), tails: vec![Offset(1 << 40)] });
        (state.next_broker, state.next_generation) = (BrokerId(3), 10);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/cluster-1.bin");

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        let example = ClusterState::example();
        assert_eq!(ClusterState::decode(example.facts.clone(), GOLDEN), Ok(example.clone()));
        assert_eq!(example.encode(), GOLDEN);
    }
}
