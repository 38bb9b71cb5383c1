//! What holds of the metadata whatever is asked of it, in any order.

use std::collections::{BTreeMap, BTreeSet};

use anyport_protocol::{BrokerId, LogEpoch, Offset, PartitionId, ReplicaId, WallMs};
use proptest::prelude::*;

use super::*;
use crate::group::GroupId;

fn facts(token: u8) -> ClusterFacts {
    ClusterFacts { partitions: 2, registry_shards: 1, token_key: vec![token], ..ClusterFacts::example() }
}

/// A command to be: versions and replicas are those of the state that it is made from, or near them.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Plain(Command),
    Assign {
        group: GroupId,
        late: bool,
        voters: Vec<BrokerId>,
        learners: Vec<BrokerId>,
        leader: Option<BrokerId>,
    },
    Rebuild {
        group: GroupId,
        which: prop::sample::Index,
    },
    Recover {
        group: GroupId,
        which: prop::sample::Index,
        lost: Vec<BrokerId>,
    },
    /// The members are those of a set bit.
    Settled {
        group: GroupId,
        late: bool,
        members: u16,
    },
}

impl Step {
    pub(super) fn command(&self, state: &ClusterState) -> Command {
        let version = |group, late| {
            let current = state.assignments.get(&group).map_or(1, |assignment| assignment.version);
            current - u64::from(late)
        };
        match self.clone() {
            Self::Plain(command) => command,
            Self::Assign { group, late, voters, learners, leader } => {
                let leader = leader.or(voters.first().copied()).unwrap_or(BrokerId::FIRST);
                Command::Assign { group, version: version(group, late), voters, learners, leader }
            }
            Self::Rebuild { group, which } => {
                let replicas = has_had(state, group);
                let replica = if replicas.is_empty() { ReplicaId::FIRST } else { *which.get(&replicas) };
                Command::Rebuild { group, replica }
            }
            Self::Recover { group, which, lost } => {
                let replicas = has_had(state, group);
                let replica = if replicas.is_empty() { ReplicaId::FIRST } else { *which.get(&replicas) };
                Command::Recover {
                    lost,
                    groups: vec![(group, replica)],
                    empty: Vec::new(),
                    epoch: None,
                    now: WallMs(7),
                }
            }
            Self::Settled { group, late, members } => {
                let chosen = |at: &usize| members >> (at % 16) & 1 == 1;
                let replicas = has_had(state, group).into_iter().enumerate();
                let members = replicas.filter(|(at, _)| chosen(at)).map(|(_, replica)| replica).collect();
                Command::Settled { group, version: version(group, late), members }
            }
        }
    }
}

/// What a group may have for members.
fn has_had(state: &ClusterState, group: GroupId) -> Vec<ReplicaId> {
    let present = state.assignments.get(&group);
    present.map_or_else(Vec::new, |present| present.replicas().chain(present.settled.iter().copied()).collect())
}

fn group() -> impl Strategy<Value = GroupId> {
    let partition = |id| GroupId::Partition(PartitionId(id));
    prop::sample::select(vec![GroupId::Metadata, GroupId::Registry(0), partition(0), partition(1), partition(9)])
}

fn brokers(at_most: usize) -> impl Strategy<Value = Vec<BrokerId>> {
    prop::collection::vec(broker(), 0..=at_most)
}

fn broker() -> impl Strategy<Value = BrokerId> {
    (0..8u32).prop_map(BrokerId)
}

/// Few numbers, keys and starts, so that commands meet.
pub(super) fn any_step() -> impl Strategy<Value = Step> {
    let (key, start, now) = (0..5u8, 0..3u64, (0..100u64).prop_map(WallMs));
    let late = || prop::bool::weighted(0.1);
    prop_oneof![
        1 => (0..3u8).prop_map(|token| Step::Plain(Command::Create(facts(token)))),
        8 => (key.clone(), start.clone(), any::<bool>(), now.clone()).prop_map(|(key, start, edge, now)| join(key, start, edge, now)),
        4 => (broker(), key, start.clone(), now.clone()).prop_map(|(broker, key, start, now)| announce(broker, key, start, now)),
        4 => (broker(), start.clone(), now.clone())
            .prop_map(|(broker, start, now)| Step::Plain(Command::LeaseEnded { broker, start, now })),
        4 => (broker(), start).prop_map(|(broker, start)| Step::Plain(Command::LeaseBegun { broker, start })),
        1 => (broker(), any::<bool>()).prop_map(|(broker, draining)| Step::Plain(Command::Drain { broker, draining })),
        2 => (broker(), now).prop_map(|(broker, now)| Step::Plain(Command::Remove { broker, now })),
        12 => (group(), late(), brokers(3), brokers(2), prop::option::weighted(0.1, broker()))
            .prop_map(|(group, late, voters, learners, leader)| Step::Assign { group, late, voters, learners, leader }),
        4 => (group(), any::<prop::sample::Index>()).prop_map(|(group, which)| Step::Rebuild { group, which }),
        1 => (group(), any::<prop::sample::Index>(), brokers(2))
            .prop_map(|(group, which, lost)| Step::Recover { group, which, lost }),
        8 => (group(), late(), any::<u16>()).prop_map(|(group, late, members)| Step::Settled { group, late, members }),
        1 => (0..4u32, prop::collection::vec((0..9u64).prop_map(Offset), 2..4))
            .prop_map(|(epoch, tails)| Step::Plain(Command::BeginEpoch { epoch: LogEpoch(epoch), tails })),
    ]
}

fn join(key: u8, start: u64, edge: bool, now: WallMs) -> Step {
    let [peer_address, client_address, zone] = [key.to_string(), key.to_string(), String::new()];
    Step::Plain(Command::Join { key: [key; 32], peer_address, client_address, zone, edge, start, now })
}

fn announce(broker: BrokerId, key: u8, start: u64, now: WallMs) -> Step {
    let [peer_address, client_address, zone] = [start.to_string(), start.to_string(), String::new()];
    Step::Plain(Command::Announce { broker, key: [key; 32], peer_address, client_address, zone, start, now })
}

/// Everything that was ever given.
#[derive(Default)]
struct Given {
    brokers: BTreeSet<BrokerId>,
    replicas: BTreeMap<u32, (GroupId, BrokerId)>,
    damaged: BTreeSet<ReplicaId>,
}

impl Given {
    /// One step, whatever the step.
    fn check(&mut self, before: &ClusterState, command: &Command, reply: &Reply, after: &ClusterState) {
        assert_eq!(before.facts, after.facts);
        self.check_brokers(before, after);
        self.check_replicas(after);
        for (group, assignment) in &after.assignments {
            check_assignment(&before.assignments[group], assignment);
        }
        if let Command::Assign { group, version, .. } = command
            && before.assignments.get(group).is_some_and(|present| present.version != *version)
        {
            assert!(matches!(reply, Reply::Refused(Refusal::Stale { .. })));
        }
        if let (Command::Rebuild { replica, .. }, Reply::Assigned(_)) = (command, reply) {
            self.damaged.insert(*replica);
        }
    }

    fn check_brokers(&mut self, before: &ClusterState, after: &ClusterState) {
        for broker in after.brokers.keys().filter(|broker| !before.brokers.contains_key(broker)) {
            assert!(self.brokers.insert(*broker), "a number came twice");
            assert!(*broker < after.next_broker);
        }
        assert!(before.removed.iter().all(|(broker, since)| after.removed.get(broker) == Some(since)));
        assert!(after.removed.keys().all(|broker| !after.brokers.contains_key(broker)), "a removed broker came back");
        let keys: BTreeSet<_> = after.brokers.values().map(|record| record.key).collect();
        assert_eq!(keys.len(), after.brokers.len(), "two brokers have one key");
    }

    /// A generation is given once: to one broker, for one group.
    fn check_replicas(&mut self, state: &ClusterState) {
        for (&group, assignment) in &state.assignments {
            for replica in assignment.replicas().filter(|replica| *replica != ReplicaId::FIRST) {
                assert!(replica.generation() < state.next_generation);
                let given = self.replicas.entry(replica.generation()).or_insert((group, replica.broker()));
                assert_eq!(*given, (group, replica.broker()), "a generation came twice");
                assert!(!self.damaged.contains(&replica), "a damaged replica came back");
            }
        }
    }
}

fn check_assignment(before: &Assignment, after: &Assignment) {
    assert!(after.voters.iter().any(|voter| voter.broker() == after.leader), "the leader has no vote");
    let brokers: BTreeSet<_> = after.replicas().map(ReplicaId::broker).collect();
    assert_eq!(brokers.len(), after.replicas().count(), "a broker has two replicas of a group");
    let same = (&before.voters, &before.learners, before.leader) == (&after.voters, &after.learners, after.leader);
    assert!(after.version > before.version || (same && after.version == before.version));
}

proptest! {
    #[test]
    fn numbers_and_generations_are_given_once_and_nothing_gone_comes_back(steps in prop::collection::vec(any_step(), 0..120)) {
        let mut state = ClusterState::created(facts(0));
        let mut given = Given::default();
        for step in &steps {
            let command = step.command(&state);
            let (changed, reply) = decide(&state, &command);
            prop_assert!(changed.is_none() || !matches!(reply, Reply::Refused(_)), "a refusal changes nothing");
            let copy = ClusterState::decode(state.facts.clone(), &state.encode()).expect("own encoding");
            prop_assert_eq!(&decide(&copy, &command), &(changed.clone(), reply.clone()), "another replica would disagree");
            let after = changed.unwrap_or_else(|| state.clone());
            given.check(&state, &command, &reply, &after);
            state = after;
        }
    }
}
