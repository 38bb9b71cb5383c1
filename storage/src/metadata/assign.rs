//! The rules of assignments: who has a replica of a group, and under which id.
//!
//! An id is given once. A broker keeps the one it has, as long as the group may count it among its members: a new one would
//! cost it what it holds. Only damage ends an id before its broker.

use std::collections::BTreeSet;

use anyport_protocol::{BrokerId, ReplicaId};

use super::command::{Refusal, Reply};
use super::state::{Assignment, ClusterState};
use crate::group::GroupId;

impl ClusterState {
    pub(super) fn assign(
        &mut self,
        group: GroupId,
        version: u64,
        voters: &[BrokerId],
        learners: &[BrokerId],
        leader: BrokerId,
    ) -> Result<Reply, Refusal> {
        let present = self.assignment(group)?.clone();
        if present.version != version {
            return Err(Refusal::Stale { current: present.version });
        }
        self.check_members(&present, voters, learners)?;
        if voters.is_empty() {
            return Err(Refusal::NoVoter { group });
        }
        if !voters.contains(&leader) {
            return Err(Refusal::LeaderWithoutVote { broker: leader });
        }
        let mut replica = |&broker: &BrokerId| present.kept_by(broker).unwrap_or_else(|| self.new_replica(broker));
        let (voters, learners) = (voters.iter().map(&mut replica).collect(), learners.iter().map(replica).collect());
        self.change(group, |assignment| {
            (assignment.voters, assignment.learners, assignment.leader) = (voters, learners, leader);
        })
    }

    /// A broker that is not, or is no more, of the cluster may keep what it has and gets nothing.
    fn check_members(
        &mut self,
        present: &Assignment,
        voters: &[BrokerId],
        learners: &[BrokerId],
    ) -> Result<(), Refusal> {
        let mut named = BTreeSet::new();
        for &broker in voters.iter().chain(learners) {
            if !named.insert(broker) {
                return Err(Refusal::NamedTwice { broker });
            }
            if present.replica_of(broker).is_none() {
                self.known(broker)?;
            }
        }
        Ok(())
    }

    pub(super) fn rebuild(&mut self, group: GroupId, replica: ReplicaId) -> Result<Reply, Refusal> {
        let broker = replica.broker();
        if self.assignment(group)?.replica_of(broker) != Some(replica) {
            return Err(Refusal::UnknownReplica { group, replica });
        }
        self.known(broker)?;
        let new = self.new_replica(broker);
        let others = |replicas: &[ReplicaId]| replicas.iter().copied().filter(|&other| other != replica).collect();
        let present = self.assignment(group)?;
        let (voters, mut learners): (Vec<_>, Vec<_>) = (others(&present.voters), others(&present.learners));
        learners.push(new);
        let first = voters.first().ok_or(Refusal::NoVoter { group })?.broker();
        self.change(group, |assignment| {
            if assignment.leader == broker {
                assignment.leader = first;
            }
            assignment.damaged.push(replica);
            (assignment.voters, assignment.learners) = (voters, learners);
        })
    }

    /// Whoever else had a replica has no say: there is no majority that could be asked. Copies on brokers that are left learn from the one.
    pub(super) fn go_on_from(&mut self, group: GroupId, replica: ReplicaId) -> Result<Reply, Refusal> {
        self.known(replica.broker())?;
        let present = self.assignment(group)?;
        let is_one = present.replicas().chain(present.settled.iter().copied()).any(|one| one == replica);
        if !is_one || present.damaged.contains(&replica) {
            return Err(Refusal::UnknownReplica { group, replica });
        }
        let mut named = BTreeSet::from([replica.broker()]);
        let mut others: Vec<_> = present.replicas().chain(present.settled.iter().copied()).collect();
        others.retain(|other| !present.damaged.contains(other));
        others.retain(|other| self.brokers.contains_key(&other.broker()) && named.insert(other.broker()));
        self.change(group, |assignment| {
            let alone = vec![replica];
            (assignment.voters, assignment.settled, assignment.leader) = (alone.clone(), alone, replica.broker());
            (assignment.learners, assignment.damaged) = (others, Vec::new());
        })
    }

    /// Of the group nothing is left.
    pub(super) fn begin_empty(&mut self, group: GroupId, broker: BrokerId) -> Result<Reply, Refusal> {
        self.known(broker)?;
        self.assignment(group)?;
        let begins = self.new_replica(broker);
        self.change(group, |assignment| {
            (assignment.voters, assignment.leader) = (vec![begins], broker);
            assignment.learners.clear();
            assignment.settled.clear();
            assignment.damaged.clear();
        })
    }

    pub(super) fn settled(&mut self, group: GroupId, version: u64, members: &[ReplicaId]) -> Result<Reply, Refusal> {
        let assignment = self.assignment(group)?;
        if assignment.version != version {
            return Err(Refusal::Stale { current: assignment.version });
        }
        assignment.settled = members.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        assignment.damaged.retain(|damaged| members.contains(damaged));
        Ok(Reply::Done)
    }

    /// The broker's replica, a learner if it had none. Learners decide nothing, so this waits for nobody.
    pub(super) fn with_learner(&mut self, group: GroupId, broker: BrokerId) -> Result<ReplicaId, Refusal> {
        if let Some(replica) = self.assignment(group)?.replica_of(broker) {
            return Ok(replica);
        }
        let replica = self.new_replica(broker);
        self.change(group, |assignment| assignment.learners.push(replica))?;
        Ok(replica)
    }

    fn assignment(&mut self, group: GroupId) -> Result<&mut Assignment, Refusal> {
        self.assignments.get_mut(&group).ok_or(Refusal::UnknownGroup { group })
    }

    fn change(&mut self, group: GroupId, change: impl FnOnce(&mut Assignment)) -> Result<Reply, Refusal> {
        let assignment = self.assignment(group)?;
        change(assignment);
        assignment.version += 1;
        Ok(Reply::Assigned(assignment.clone()))
    }

    fn new_replica(&mut self, broker: BrokerId) -> ReplicaId {
        let replica = ReplicaId::new(broker, self.next_generation);
        let next = self.next_generation.checked_add(1);
        self.next_generation = next.expect("counts single replicas from 1, so 2^32 of them cannot have been");
        replica
    }
}

impl Assignment {
    /// The id under which a broker has, or may still have, a replica.
    fn kept_by(&self, broker: BrokerId) -> Option<ReplicaId> {
        let mut replicas = self.replicas().chain(self.settled.iter().copied());
        replicas.find(|replica| replica.broker() == broker && !self.damaged.contains(replica))
    }
}
