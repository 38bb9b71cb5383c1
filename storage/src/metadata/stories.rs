//! The rules of the metadata, one story each, on plain values.

use anyport_protocol::limits::{ADDRESS_BYTES_MAX, BROKERS_MAX, ZONE_BYTES_MAX};
use anyport_protocol::{BrokerId, LogEpoch, Offset, PartitionId, ReplicaId, WallMs};
use std::borrow::Borrow;

use super::*;
use crate::group::GroupId;

/// A cluster's metadata without a log or a store under it.
pub(super) struct Metadata {
    pub(super) state: ClusterState,
}

impl Metadata {
    /// With broker 0, which has the key `[0; 32]` and start 1000.
    fn new() -> Self {
        let facts = ClusterFacts { partitions: 2, registry_shards: 1, ..ClusterFacts::example() };
        let mut metadata = Self { state: ClusterState::default() };
        metadata.ask(Command::Create(facts));
        assert_eq!(metadata.ask(announce(0, 0, 1000)), Reply::Announced);
        metadata
    }

    pub(super) fn ask(&mut self, command: impl Borrow<Command>) -> Reply {
        let (changed, reply) = decide(&self.state, command.borrow());
        if let Some(changed) = changed {
            self.state = changed;
        }
        reply
    }

    /// The number given to who joins with this key.
    fn join(&mut self, key: u8, start: u64) -> BrokerId {
        match self.ask(join(key, start)) {
            Reply::Joined { broker, .. } => broker,
            other => panic!("not joined but {other:?}"),
        }
    }
}

const GROUP: GroupId = GroupId::Partition(PartitionId(1));

impl Metadata {
    /// With this many brokers, which have their numbers for keys.
    pub(super) fn of(brokers: u8) -> Self {
        let mut metadata = Self::new();
        for key in 1..brokers {
            assert_eq!(metadata.join(key, 1000), BrokerId(key.into()));
        }
        metadata
    }

    fn assignment(&self) -> &Assignment {
        &self.state.assignments[&GROUP]
    }

    /// Assigns the group anew, led by its first voter.
    pub(super) fn assign(&mut self, voters: &[u32], learners: &[u32]) -> Assignment {
        match self.ask(assign(self.assignment().version, voters, learners, voters[0])) {
            Reply::Assigned(assignment) => assignment,
            other => panic!("not assigned but {other:?}"),
        }
    }

    /// The group has become as it is assigned.
    fn settle(&mut self) {
        let (version, members) = (self.assignment().version, self.assignment().replicas().collect());
        assert_eq!(self.ask(Command::Settled { group: GROUP, version, members }), Reply::Done);
    }

    pub(super) fn lease_ended(&mut self, broker: u32) {
        let start = self.state.brokers[&BrokerId(broker)].start;
        assert_eq!(self.ask(lease_ended(broker, start)), Reply::Done);
    }
}

fn assign(version: u64, voters: &[u32], learners: &[u32], leader: u32) -> Command {
    let [voters, learners] = [voters, learners].map(|brokers| brokers.iter().copied().map(BrokerId).collect());
    Command::Assign { group: GROUP, version, voters, learners, leader: BrokerId(leader) }
}

fn lease_ended(broker: u32, start: u64) -> Command {
    Command::LeaseEnded { broker: BrokerId(broker), start, now: WallMs(5000) }
}

fn lease_begun(broker: u32, start: u64) -> Command {
    Command::LeaseBegun { broker: BrokerId(broker), start }
}

fn remove(broker: u32) -> Command {
    Command::Remove { broker: BrokerId(broker), now: WallMs(6000) }
}

fn replica(broker: u32, generation: u32) -> ReplicaId {
    ReplicaId::new(BrokerId(broker), generation)
}

fn join(key: u8, start: u64) -> Command {
    let (peer_address, client_address) = (format!("{key}.example:7401"), format!("{key}.example:7400"));
    let (key, zone, now) = ([key; 32], "north".to_owned(), WallMs(start));
    Command::Join { key, peer_address, client_address, zone, edge: false, start, now }
}

pub(super) fn announce(broker: u32, key: u8, start: u64) -> Command {
    let (peer_address, client_address) = (format!("{key}.example:7401"), format!("{key}.example:7400"));
    let (broker, key, zone, now) = (BrokerId(broker), [key; 32], "north".to_owned(), WallMs(start));
    Command::Announce { broker, key, peer_address, client_address, zone, start, now }
}

fn refused(refusal: Refusal) -> Reply {
    Reply::Refused(refusal)
}

#[test]
fn who_joins_gets_the_next_number_and_a_replica_of_the_metadata_that_learns() {
    let mut metadata = Metadata::new();
    let (broker, replica) = (BrokerId(1), ReplicaId::new(BrokerId(1), 2));
    let facts = metadata.state.facts.clone().expect("created");
    assert_eq!(metadata.ask(join(7, 2000)), Reply::Joined { broker, replica, facts });
    assert_eq!(metadata.state.assignments[&GroupId::Metadata].learners, [replica]);
    assert_eq!(metadata.join(8, 3000), BrokerId(2));
}

#[test]
fn a_cluster_of_sixty_four_brokers_takes_no_other() {
    let mut metadata = Metadata::new();
    for key in 1..BROKERS_MAX {
        metadata.join(u8::try_from(key).expect("few"), 2000);
    }
    let (brokers, limit) = (BROKERS_MAX, BROKERS_MAX);
    assert_eq!(metadata.ask(join(200, 2000)), refused(Refusal::TooManyBrokers { brokers, limit }));
    metadata.ask(Command::Remove { broker: BrokerId(5), now: WallMs(3000) });
    assert_eq!(metadata.join(200, 2000), BrokerId(64), "the place is free, the number is not");
}

#[test]
fn an_address_or_a_zone_that_is_too_long_is_refused_with_the_limit() {
    let long = |peer: usize, client: usize, zone: usize| {
        let [peer_address, client_address, zone] = [peer, client, zone].map(|bytes| "x".repeat(bytes));
        Command::Join { key: [1; 32], peer_address, client_address, zone, edge: false, start: 1, now: WallMs(1) }
    };
    let (address, zone) = (ADDRESS_BYTES_MAX, ZONE_BYTES_MAX);
    let mut metadata = Metadata::new();
    for (command, limit) in
        [(long(address + 1, 1, 1), address), (long(1, address + 1, 1), address), (long(1, 1, zone + 1), zone)]
    {
        assert_eq!(metadata.ask(command), refused(Refusal::TooLong { bytes: limit + 1, limit }));
    }
    assert!(matches!(metadata.ask(long(address, address, zone)), Reply::Joined { .. }));
}

#[test]
fn nothing_is_known_before_the_cluster_is_created() {
    for command in [join(1, 1000), announce(0, 0, 1000), remove(0), assign(1, &[0], &[], 0)] {
        assert_eq!(decide(&ClusterState::default(), &command), (None, refused(Refusal::NotCreated)));
    }
}

#[test]
fn the_broker_that_created_the_cluster_is_the_one_that_announces_itself_first() {
    let mut metadata = Metadata::new();
    assert_eq!(metadata.state.brokers[&BrokerId::FIRST].joined, WallMs(1000));
    assert_eq!(metadata.assignment().replica_of(BrokerId::FIRST), Some(ReplicaId::FIRST));
    assert_eq!(metadata.ask(announce(0, 9, 2000)), refused(Refusal::OtherKey { broker: BrokerId::FIRST }));
    assert_eq!(metadata.ask(announce(1, 1, 2000)), refused(Refusal::UnknownBroker { broker: BrokerId(1) }));
}

#[test]
fn who_joins_again_because_the_answer_was_lost_is_answered_alike() {
    let mut metadata = Metadata::new();
    let joined = metadata.ask(join(7, 2000));
    assert!(matches!(joined, Reply::Joined { .. }));
    let before = metadata.state.clone();
    assert_eq!((metadata.ask(join(7, 2000)), &metadata.state), (joined, &before));
}

#[test]
fn the_key_of_a_broker_that_is_alive_is_refused_to_another() {
    let mut metadata = Metadata::of(2);
    let in_use = refused(Refusal::KeyInUse { broker: BrokerId(1) });
    assert_eq!(metadata.ask(join(1, 2000)), in_use);
    assert_eq!(metadata.ask(announce(0, 1, 2000)), in_use);
}

#[test]
fn who_comes_back_without_its_number_joins_as_new_and_the_number_is_used_up() {
    let mut metadata = Metadata::of(2);
    metadata.assign(&[0], &[1]);
    metadata.lease_ended(1);
    assert_eq!(metadata.join(1, 2000), BrokerId(2));
    assert_eq!(metadata.state.removed[&BrokerId(1)], WallMs(2000));
    assert_eq!(metadata.assignment().learners, [replica(1, 3)], "until another broker takes its place");

    metadata.ask(remove(2));
    assert_eq!(metadata.join(1, 3000), BrokerId(3));
}

#[test]
fn a_removed_broker_never_comes_back() {
    let mut metadata = Metadata::of(3);
    assert_eq!(metadata.ask(remove(1)), Reply::Done);
    assert_eq!(metadata.ask(remove(1)), Reply::Done);
    let broker = BrokerId(1);
    let drain = Command::Drain { broker, draining: false };
    let assigned = assign(1, &[0, 1], &[], 0);
    for command in [announce(1, 1, 2000), lease_begun(1, 1000), lease_ended(1, 1000), drain, assigned] {
        assert_eq!(metadata.ask(command), refused(Refusal::Removed { broker }));
    }
}

#[test]
fn the_last_broker_is_not_removed() {
    let mut metadata = Metadata::of(2);
    assert_eq!(metadata.ask(remove(7)), refused(Refusal::UnknownBroker { broker: BrokerId(7) }));
    assert_eq!(metadata.ask(remove(0)), Reply::Done);
    assert_eq!(metadata.ask(remove(1)), refused(Refusal::LastBroker { broker: BrokerId(1) }));
}

#[test]
fn a_lease_is_that_of_one_process() {
    let mut metadata = Metadata::of(2);
    metadata.ask(announce(1, 1, 2000));
    assert_eq!(metadata.ask(lease_ended(1, 1000)), refused(Refusal::OtherStart { broker: BrokerId(1) }));
    assert!(metadata.state.is_alive(BrokerId(1)));

    metadata.ask(lease_ended(1, 2000));
    metadata.ask(announce(1, 1, 3000));
    assert!(!metadata.state.is_alive(BrokerId(1)), "it has started, and made no progress yet");
    assert_eq!(metadata.ask(lease_begun(1, 2000)), refused(Refusal::OtherStart { broker: BrokerId(1) }));
    assert_eq!(metadata.ask(lease_begun(1, 3000)), Reply::Done);
    assert!(metadata.state.is_alive(BrokerId(1)));
}

#[test]
fn a_lease_that_ended_twice_ended_the_first_time() {
    let mut metadata = Metadata::of(2);
    metadata.lease_ended(1);
    let again = Command::LeaseEnded { broker: BrokerId(1), start: 1000, now: WallMs(9000) };
    assert_eq!(metadata.ask(again), Reply::Done);
    assert_eq!(metadata.state.brokers[&BrokerId(1)].away_since, Some(WallMs(5000)));
}

#[test]
fn a_broker_that_moves_keeps_all_but_where_it_is() {
    let mut metadata = Metadata::of(2);
    let broker = BrokerId(1);
    metadata.ask(Command::Drain { broker, draining: true });
    let (peer_address, client_address, zone) = ("new:1".to_owned(), "new:2".to_owned(), "south".to_owned());
    let before = metadata.state.brokers[&broker].clone();
    let moved = BrokerRecord { peer_address, client_address, zone, start: 2000, ..before };
    let (peer_address, client_address, zone) =
        (moved.peer_address.clone(), moved.client_address.clone(), moved.zone.clone());
    let (key, start, now) = ([1; 32], 2000, WallMs(9000));
    metadata.ask(Command::Announce { broker, key, peer_address, client_address, zone, start, now });
    assert_eq!(metadata.state.brokers[&broker], moved);
}

#[test]
fn a_broker_keeps_the_replica_it_has_and_any_other_gets_a_new_one() {
    let mut metadata = Metadata::of(3);
    let assigned = metadata.assign(&[1, 0], &[2]);
    assert_eq!((assigned.voters, assigned.learners), (vec![replica(1, 4), ReplicaId::FIRST], vec![replica(2, 5)]));
    assert_eq!((assigned.version, assigned.leader, assigned.settled), (2, BrokerId(1), vec![ReplicaId::FIRST]));
    let assigned = metadata.assign(&[2, 1], &[]);
    assert_eq!(assigned.voters, [replica(2, 5), replica(1, 4)]);
}

#[test]
fn a_broker_that_is_taken_back_before_it_has_left_keeps_its_replica() {
    let mut metadata = Metadata::of(2);
    metadata.assign(&[0, 1], &[]);
    metadata.settle();
    metadata.assign(&[0], &[]);
    assert_eq!(metadata.assign(&[0, 1], &[]).voters, [ReplicaId::FIRST, replica(1, 3)]);

    metadata.assign(&[0], &[]);
    metadata.settle();
    assert_eq!(metadata.assign(&[0, 1], &[]).voters, [ReplicaId::FIRST, replica(1, 4)], "it has left");
}

#[test]
fn an_assignment_made_from_an_old_one_changes_nothing() {
    let mut metadata = Metadata::of(2);
    metadata.assign(&[0, 1], &[]);
    let before = metadata.state.clone();
    for version in [1, 3] {
        assert_eq!(metadata.ask(assign(version, &[0], &[], 0)), refused(Refusal::Stale { current: 2 }));
        let settled = Command::Settled { group: GROUP, version, members: vec![] };
        assert_eq!(metadata.ask(settled), refused(Refusal::Stale { current: 2 }));
    }
    assert_eq!(metadata.state, before);
}

#[test]
fn an_assignment_that_makes_no_sense_is_refused() {
    let mut metadata = Metadata::of(2);
    let group = GROUP;
    for (voters, learners, leader, refusal) in [
        (&[][..], &[0][..], 0, Refusal::NoVoter { group }),
        (&[0, 0], &[], 0, Refusal::NamedTwice { broker: BrokerId(0) }),
        (&[0], &[1, 0], 0, Refusal::NamedTwice { broker: BrokerId(0) }),
        (&[0], &[1], 1, Refusal::LeaderWithoutVote { broker: BrokerId(1) }),
        (&[0, 7], &[], 0, Refusal::UnknownBroker { broker: BrokerId(7) }),
    ] {
        assert_eq!(metadata.ask(assign(1, voters, learners, leader)), refused(refusal));
    }
    let group = GroupId::Partition(PartitionId(2));
    let (voters, learners, leader) = (vec![BrokerId(0)], vec![], BrokerId(0));
    let elsewhere = Command::Assign { group, version: 1, voters, learners, leader };
    assert_eq!(metadata.ask(elsewhere), refused(Refusal::UnknownGroup { group }));
}

#[test]
fn a_removed_broker_keeps_its_replica_until_another_takes_its_place() {
    let mut metadata = Metadata::of(4);
    metadata.assign(&[0, 1, 2], &[]);
    metadata.ask(remove(2));
    assert_eq!(metadata.assign(&[1, 0, 2], &[]).voters.len(), 3);
    assert_eq!(metadata.assign(&[0, 1, 3], &[]).replica_of(BrokerId(2)), None);
    let version = metadata.assignment().version;
    let back = assign(version, &[0, 1, 2], &[], 0);
    assert_eq!(metadata.ask(back), refused(Refusal::Removed { broker: BrokerId(2) }));
}

#[test]
fn a_damaged_voter_is_built_anew_as_a_learner_and_another_leads() {
    let mut metadata = Metadata::of(3);
    let damaged = metadata.assign(&[1, 0, 2], &[]).voters[0];
    metadata.settle();
    let group = GROUP;
    let Reply::Assigned(rebuilt) = metadata.ask(Command::Rebuild { group, replica: damaged }) else { panic!() };
    assert_eq!((&rebuilt.learners, rebuilt.leader), (&vec![replica(1, 6)], BrokerId(0)));
    assert_eq!((rebuilt.voters.len(), &rebuilt.damaged, rebuilt.is_settled()), (2, &vec![damaged], false));
    let again = refused(Refusal::UnknownReplica { group, replica: damaged });
    assert_eq!(metadata.ask(Command::Rebuild { group, replica: damaged }), again);

    metadata.settle();
    assert!(metadata.assignment().damaged.is_empty() && metadata.assignment().is_settled());
}

#[test]
fn a_damaged_replica_is_never_taken_up_again() {
    let mut metadata = Metadata::of(2);
    let damaged = metadata.assign(&[0, 1], &[]).voters[1];
    metadata.settle();
    metadata.ask(Command::Rebuild { group: GROUP, replica: damaged });
    metadata.assign(&[0], &[]);
    assert_eq!(metadata.assign(&[0], &[1]).learners, [replica(1, 5)], "the group still has the damaged one");
}

#[test]
fn the_only_voter_cannot_be_built_anew() {
    let mut metadata = Metadata::of(2);
    let rebuild = Command::Rebuild { group: GROUP, replica: ReplicaId::FIRST };
    assert_eq!(metadata.ask(rebuild), refused(Refusal::NoVoter { group: GROUP }));
}

#[test]
fn log_epochs_only_grow() {
    let mut metadata = Metadata::new();
    let begin = |epoch, tails: &[u64]| Command::BeginEpoch {
        epoch: LogEpoch(epoch),
        tails: tails.iter().copied().map(Offset).collect(),
    };
    assert_eq!(metadata.ask(begin(2, &[7, 8])), Reply::Done);
    assert_eq!(metadata.ask(begin(2, &[7, 8])), Reply::Done);
    let stale = refused(Refusal::StaleEpoch { current: LogEpoch(2) });
    assert_eq!(metadata.ask(begin(2, &[7, 9])), stale);
    assert_eq!(metadata.ask(begin(1, &[7, 8])), stale);
    assert_eq!(metadata.ask(begin(3, &[7])), refused(Refusal::OtherPartitions { expected: 2, found: 1 }));
    assert_eq!(metadata.state.epochs.len(), 1);
}

#[test]
fn who_is_given_up_is_gone_and_the_one_copy_that_is_left_is_the_group() {
    let mut metadata = Metadata::of(3);
    metadata.assign(&[0, 1, 2], &[]);
    metadata.settle();
    let recover = |lost: &[u32], replica, tails: &[u64]| Command::Recover {
        lost: lost.iter().copied().map(BrokerId).collect(),
        groups: vec![(GROUP, replica)],
        empty: Vec::new(),
        epoch: Some(EpochBegan { epoch: LogEpoch(1), tails: tails.iter().copied().map(Offset).collect() }),
        now: WallMs(5000),
    };
    let before = metadata.state.clone();
    // All of it or nothing.
    assert_eq!(
        metadata.ask(recover(&[0, 1], ReplicaId::FIRST, &[1, 2])),
        refused(Refusal::Removed { broker: BrokerId(0) })
    );
    assert_eq!(
        metadata.ask(recover(&[1, 2], replica(0, 99), &[1, 2])),
        refused(Refusal::UnknownReplica { group: GROUP, replica: replica(0, 99) })
    );
    assert_eq!(
        metadata.ask(recover(&[0, 1, 2], ReplicaId::FIRST, &[1, 2])),
        refused(Refusal::LastBroker { broker: BrokerId(2) })
    );
    assert_eq!(
        metadata.ask(recover(&[1, 2], ReplicaId::FIRST, &[1])),
        refused(Refusal::OtherPartitions { expected: 2, found: 1 })
    );
    assert_eq!(metadata.state, before);

    for _ in 0..2 {
        assert_eq!(metadata.ask(recover(&[1, 2], ReplicaId::FIRST, &[1, 2])), Reply::Done, "it may be repeated");
        let alone = vec![ReplicaId::FIRST];
        assert_eq!((&metadata.assignment().voters, &metadata.assignment().settled), (&alone, &alone));
        assert_eq!(metadata.assignment().leader, BrokerId(0));
        assert_eq!(metadata.state.brokers.keys().collect::<Vec<_>>(), [&BrokerId(0)]);
        assert_eq!(metadata.state.epochs.len(), 1);
    }
}

#[test]
fn copies_on_brokers_that_are_left_keep_their_names_and_learn_from_the_one() {
    let mut metadata = Metadata::of(4);
    metadata.assign(&[0, 1, 2], &[3]);
    metadata.settle();
    let [first, learner] = [0, 3].map(|broker| metadata.assignment().replica_of(BrokerId(broker)).expect("it has one"));
    let (lost, groups) = (vec![BrokerId(1), BrokerId(2)], vec![(GROUP, first)]);
    let (empty, now) = (vec![(GroupId::Registry(0), BrokerId(3))], WallMs(5000));
    assert_eq!(metadata.ask(Command::Recover { lost, groups, empty, epoch: None, now }), Reply::Done);
    let begun = &metadata.state.assignments[&GroupId::Registry(0)];
    assert_eq!((begun.voters[0].broker(), &begun.settled), (BrokerId(3), &Vec::new()), "under a name of its own");
    assert_ne!(begun.voters[0], learner);
    assert_eq!((&metadata.assignment().voters, &metadata.assignment().learners), (&vec![first], &vec![learner]));
    assert_eq!(metadata.assignment().settled, [first]);
}
