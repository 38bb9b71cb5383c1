//! The rules of the metadata, one story each, on plain values.

use anyport_protocol::limits::{ADDRESS_BYTES_MAX, BROKERS_MAX, ZONE_BYTES_MAX};
use anyport_protocol::{BrokerId, ReplicaId, WallMs};

use super::*;
use crate::group::GroupId;

/// A cluster's metadata without a log or a store under it.
struct Metadata {
    state: ClusterState,
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

    fn ask(&mut self, command: Command) -> Reply {
        let (changed, reply) = decide(&self.state, &command);
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

fn join(key: u8, start: u64) -> Command {
    let (peer_address, client_address) = (format!("{key}.example:7401"), format!("{key}.example:7400"));
    let (key, zone, now) = ([key; 32], "north".to_owned(), WallMs(start));
    Command::Join { key, peer_address, client_address, zone, edge: false, start, now }
}

fn announce(broker: u32, key: u8, start: u64) -> Command {
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
