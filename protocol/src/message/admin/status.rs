//! How a cluster is: facts as one broker knows them, and what follows from them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BrokerId, ClusterId, OffsetRange, PartitionId, ReplicaId, WallMs};

/// Asks how the cluster is, as the broker that is asked sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatusQuestion {}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub cluster: ClusterId,
    pub created: WallMs,
    /// By the clock of the broker that answers.
    pub now: WallMs,
    pub answered_by: BrokerId,
    /// `lan` or `wan`.
    pub timing: String,
    /// Copies of each group that are wanted, where there are brokers enough.
    pub replication: u8,
    /// A broker that is away for so long is given up, and its replicas are rebuilt elsewhere.
    pub replace_after_ms: u64,
    /// By number.
    pub brokers: Vec<BrokerStatus>,
    /// The metadata group first, then registry shards, then partitions.
    pub groups: Vec<GroupStatus>,
    /// Numbers that are used up.
    #[serde(default)]
    pub removed: Vec<RemovedBroker>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerStatus {
    pub broker: BrokerId,
    pub peer_address: String,
    pub client_address: String,
    #[serde(default)]
    pub zone: String,
    /// It has no replicas, by its own wish.
    #[serde(default)]
    pub edge: bool,
    pub joined: WallMs,
    #[serde(default)]
    pub draining: bool,
    /// Its lease has ended so long ago: the cluster does not count on it.
    #[serde(default)]
    pub away_for_ms: Option<u64>,
    /// The broker that answers is it, or has a live connection with it.
    pub reached: bool,
    /// Program and version, where known.
    #[serde(default)]
    pub agent: Option<String>,
    /// Another number after each start of its process.
    #[serde(default)]
    pub start: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemovedBroker {
    pub broker: BrokerId,
    pub at: WallMs,
}

/// One replicated log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupName {
    Metadata,
    Registry(u16),
    Partition(PartitionId),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupStatus {
    pub group: GroupName,
    /// Of its assignment: grows with each change of who has it.
    pub version: u64,
    /// Who should lead it.
    pub preferred_leader: BrokerId,
    /// Who does, and has heard of a majority lately, as far as the broker that answers knows.
    #[serde(default)]
    pub leader: Option<BrokerId>,
    pub replicas: Vec<ReplicaStatus>,
    /// The end of its log, and how far it is applied, where the leader or a replica of the broker that answers says so.
    #[serde(default)]
    pub last_index: Option<u64>,
    #[serde(default)]
    pub applied: Option<u64>,
    /// Head and tail, of a partition.
    #[serde(default)]
    pub events: Option<OffsetRange>,
    /// What is being done about its replicas, in words.
    #[serde(default)]
    pub moving: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub replica: ReplicaId,
    pub role: ReplicaRole,
    pub state: ReplicaState,
    /// How far the leader knows that it has the log.
    #[serde(default)]
    pub matched: Option<u64>,
    /// Events of a partition that it does not have yet.
    #[serde(default)]
    pub lag_events: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaRole {
    /// It is assigned to vote, whether or not the group has come to that yet.
    Voter,
    /// It is assigned to have a copy, and has no vote.
    Learner,
    /// It is no longer assigned, and the group still has it.
    #[serde(other)]
    Leaving,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaState {
    /// It runs and is as far as its leader, give or take what is on the way.
    UpToDate,
    /// It runs and catches up.
    Behind,
    /// Its broker is away, or cannot be reached from the one that answers.
    Away,
    /// What it has cannot be used, as was found when its broker started; it is to be rebuilt under a new name.
    Damaged,
    /// It has stopped after a failure, and stays so until its broker is started again.
    Dead,
    /// Its broker answers, and says nothing of it: it is only just to be there, or could not be started. Or a later version's word.
    #[serde(other)]
    Unknown,
}

impl ReplicaState {
    /// It can vote.
    pub fn runs(self) -> bool {
        matches!(self, Self::UpToDate | Self::Behind)
    }
}

impl ClusterStatus {
    pub fn broker(&self, broker: BrokerId) -> Option<&BrokerStatus> {
        self.brokers.iter().find(|status| status.broker == broker)
    }

    pub fn group(&self, name: GroupName) -> Option<&GroupStatus> {
        self.groups.iter().find(|status| status.group == name)
    }

    /// How many replicas a broker has, leaving ones too.
    pub fn replicas_of(&self, broker: BrokerId) -> usize {
        self.groups.iter().filter(|group| group.replica_of(broker).is_some()).count()
    }

    pub fn leads(&self, broker: BrokerId) -> usize {
        self.groups.iter().filter(|group| group.leader == Some(broker)).count()
    }

    /// Nothing is lost with it: it has no replica, but for a copy of the metadata that does not vote.
    pub fn is_drained(&self, broker: BrokerId) -> bool {
        self.groups.iter().all(|group| match group.replica_of(broker) {
            None => true,
            Some(replica) => group.group == GroupName::Metadata && replica.role == ReplicaRole::Learner,
        })
    }
}

impl GroupStatus {
    pub fn replica_of(&self, broker: BrokerId) -> Option<&ReplicaStatus> {
        // A new replica of a broker may stand beside its old one that is leaving.
        let of_broker = || self.replicas.iter().filter(|status| status.replica.broker() == broker);
        of_broker().find(|status| status.role != ReplicaRole::Leaving).or_else(|| of_broker().next())
    }

    pub fn voters(&self) -> impl Iterator<Item = &ReplicaStatus> {
        self.replicas.iter().filter(|status| status.role == ReplicaRole::Voter)
    }

    /// Enough voters run to elect a leader and to commit.
    pub fn has_majority(&self) -> bool {
        let (voters, running) = (self.voters().count(), self.voters().filter(|voter| voter.state.runs()).count());
        // The old voters decide as long as they have not handed over.
        let leaving = self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Leaving);
        let old = leaving.filter(|replica| replica.state.runs()).count();
        self.leader.is_some() || running + old > voters / 2
    }

    /// It has fewer good copies than voters are assigned. A copy that is leaving still is one.
    pub fn is_under_replicated(&self) -> bool {
        let is_copy =
            |replica: &&ReplicaStatus| replica.role != ReplicaRole::Learner && replica.state == ReplicaState::UpToDate;
        self.replicas.iter().filter(is_copy).count() < self.voters().count()
    }

    /// Entries of the log that a replica is not known to have.
    pub fn lag(&self, replica: &ReplicaStatus) -> Option<u64> {
        Some(self.last_index?.saturating_sub(replica.matched?))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata => f.write_str("metadata"),
            Self::Registry(shard) => write!(f, "registry {shard}"),
            Self::Partition(partition) => write!(f, "partition {partition}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(broker: u32, role: ReplicaRole, state: ReplicaState) -> ReplicaStatus {
        ReplicaStatus { replica: ReplicaId::new(BrokerId(broker), 1), role, state, matched: Some(7), lag_events: None }
    }

    fn group(replicas: Vec<ReplicaStatus>) -> GroupStatus {
        GroupStatus {
            group: GroupName::Partition(PartitionId(3)),
            version: 1,
            preferred_leader: BrokerId(0),
            leader: None,
            replicas,
            last_index: Some(10),
            applied: Some(10),
            events: None,
            moving: None,
        }
    }

    #[test]
    fn a_word_of_a_later_version_is_read_as_the_most_careful_one() {
        let state = |word: &str| rmp_serde::from_slice::<ReplicaState>(&rmp_serde::to_vec_named(word).expect("encode"));
        assert_eq!(state("up_to_date").expect("known"), ReplicaState::UpToDate);
        assert_eq!(state("sublimated").expect("read all the same"), ReplicaState::Unknown);
    }

    #[test]
    fn a_majority_is_more_than_half_of_the_voters() {
        use ReplicaRole::{Learner, Voter};
        use ReplicaState::{Away, Behind, UpToDate};
        let two = group(vec![replica(0, Voter, UpToDate), replica(1, Voter, Behind), replica(2, Voter, Away)]);
        assert!(two.has_majority() && two.is_under_replicated());
        let one = group(vec![replica(0, Voter, UpToDate), replica(1, Voter, Away), replica(2, Voter, Away)]);
        assert!(!one.has_majority());
        let alone = group(vec![replica(0, Voter, UpToDate), replica(1, Learner, Away)]);
        assert!(alone.has_majority() && !alone.is_under_replicated());
    }

    #[test]
    fn a_copy_that_moves_is_not_missed_while_the_old_one_is_there() {
        use ReplicaRole::{Leaving, Voter};
        use ReplicaState::{Away, Behind, UpToDate};
        let moving =
            |old| group(vec![replica(0, Voter, UpToDate), replica(3, Voter, Behind), replica(1, Leaving, old)]);
        assert!(!moving(UpToDate).is_under_replicated());
        assert!(moving(Away).is_under_replicated());
        assert_eq!(moving(UpToDate).lag(&replica(3, Voter, Behind)), Some(3));
    }

    #[test]
    fn a_broker_is_drained_when_nothing_of_it_is_missed() {
        use ReplicaRole::{Learner, Voter};
        use ReplicaState::UpToDate;
        let mut metadata = group(vec![replica(0, Voter, UpToDate), replica(1, Learner, UpToDate)]);
        metadata.group = GroupName::Metadata;
        let mut status = ClusterStatus {
            cluster: ClusterId([7; 16]),
            created: WallMs(0),
            now: WallMs(0),
            answered_by: BrokerId(0),
            timing: "lan".into(),
            replication: 3,
            replace_after_ms: 600_000,
            brokers: Vec::new(),
            groups: vec![metadata],
            removed: Vec::new(),
        };
        assert!(status.is_drained(BrokerId(1)) && !status.is_drained(BrokerId(0)));
        status.groups.push(group(vec![replica(1, Learner, UpToDate)]));
        assert!(!status.is_drained(BrokerId(1)));
    }
}
