//! One group's assignment while it is planned.

use std::collections::BTreeSet;

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::{Assignment, ClusterState, Command};

use super::{Standing, standing};

/// How many replicas a group is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub voters: usize,
    pub learners: usize,
}

#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub group: GroupId,
    present: &'a Assignment,
    /// Whether it may be changed.
    pub free: bool,
    /// Voters come first. Of the metadata the voters alone: all other brokers learn it.
    pub members: Vec<BrokerId>,
    /// How many of the members vote.
    votes: usize,
    pub leader: BrokerId,
}

impl<'a> Draft<'a> {
    pub fn of(state: &ClusterState, group: GroupId, present: &'a Assignment) -> Self {
        let lost = |replica: ReplicaId| standing(state, replica.broker()) == Standing::Lost;
        // Whoever plans leads the metadata, so there is a majority of that, whoever was to vote.
        let has_voter = group == GroupId::Metadata || !present.voters.iter().copied().all(lost);
        let free = (present.is_settled() || present.replicas().any(lost)) && has_voter;
        let learners = if group == GroupId::Metadata { &[][..] } else { &present.learners };
        let mut members: Vec<_> = present.voters.iter().chain(learners).map(|replica| replica.broker()).collect();
        // If only one keeps its vote, then the one that leads.
        let leader = present.leader;
        members.sort_by_key(|member| *member != leader);
        Self { group, present, free, members, votes: present.voters.len(), leader }
    }

    /// Whether its replicas weigh on their brokers.
    pub fn is_load(&self) -> bool {
        self.group != GroupId::Metadata
    }

    pub fn has_now(&self, broker: BrokerId) -> bool {
        self.present.replica_of(broker).is_some()
    }

    pub fn votes_now(&self, broker: BrokerId) -> bool {
        self.present.voters.iter().any(|voter| voter.broker() == broker)
    }

    pub fn voters(&self) -> &[BrokerId] {
        &self.members[..self.votes]
    }

    pub fn replace(&mut self, from: BrokerId, to: BrokerId) {
        let member = self.members.iter_mut().find(|member| **member == from);
        *member.expect("a replica moves from where it is") = to;
    }

    /// Gives the votes to those that have one, then to those that are there to take one. One who is away could not learn what it
    /// is to vote on. While there are too few, an even one more would not survive more.
    pub fn choose_voters(&mut self, state: &ClusterState, target: usize) {
        let is_host = |broker: BrokerId| standing(state, broker) == Standing::Host;
        let mut members = std::mem::take(&mut self.members);
        members.sort_by_key(|member| (!self.votes_now(*member), !is_host(*member)));
        let voting = members.iter().filter(|member| self.votes_now(**member)).count();
        let able = members.iter().filter(|member| self.votes_now(**member) || is_host(**member)).count();
        self.votes = if able >= target { target } else { voting.max(able.saturating_sub(1 - able % 2)) };
        self.members = members;
    }

    /// What is to be asked of the metadata group, unless all is as it was.
    pub fn command(&self, state: &ClusterState) -> Option<Command> {
        // Without a voter that is left to it, only a person can help the group.
        if !self.free || self.votes == 0 {
            return None;
        }
        let (voters, learners, leader) = (self.voters().to_vec(), self.learners(state), self.leader);
        let same = |replicas: &[ReplicaId], brokers: &[BrokerId]| {
            let present: BTreeSet<_> = replicas.iter().map(|replica| replica.broker()).collect();
            present == brokers.iter().copied().collect()
        };
        let Assignment { version, voters: voting, learners: learning, leader: leading, .. } = self.present;
        let changed = !same(voting, &voters) || !same(learning, &learners) || *leading != leader;
        changed.then_some(Command::Assign { group: self.group, version: *version, voters, learners, leader })
    }

    fn learners(&self, state: &ClusterState) -> Vec<BrokerId> {
        if self.is_load() {
            return self.members[self.votes..].to_vec();
        }
        let has = self.present.replicas().map(ReplicaId::broker);
        let stays = |broker: &BrokerId| standing(state, *broker) != Standing::Lost;
        let all: BTreeSet<_> = has.filter(stays).chain(state.brokers.keys().copied()).collect();
        all.into_iter().filter(|broker| !self.voters().contains(broker)).collect()
    }
}
