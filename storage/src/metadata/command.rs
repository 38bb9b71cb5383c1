//! What can be asked of the metadata group, one command per entry, and what is answered. All values: a command is replicated,
//! a reply may have to travel back to the broker that proposed it.
//!
//! Bytes as in `encoding.rs`: `{ "Create": { "cluster": bin16, "partitions": ... } }`.

use anyport_protocol::map::{PointKey, ProviderId, Selection, ServiceId, ServicePoint};
use anyport_protocol::{BrokerId, ClientId, LogEpoch, Offset, ReplicaId, WallMs};
use serde::{Deserialize, Serialize};

use super::encoding::{self, FormatError};
use super::facts::ClusterFacts;
use super::service_map::ServiceChange;
use super::state::{Assignment, EpochBegan};
use crate::group::GroupId;

/// A change of the metadata. `now` is the proposer's clock: applying reads none, so replicas cannot disagree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates the cluster, with the first replica of each group. The first one applied does; any other changes nothing.
    Create(ClusterFacts),
    /// Asks for a number, and a replica of the metadata. Repeated by the same start, it is answered alike. A key whose broker is
    /// away joins as new, and the number it had is used up.
    Join {
        #[serde(with = "serde_bytes")]
        key: [u8; 32],
        peer_address: String,
        client_address: String,
        zone: String,
        edge: bool,
        start: u64,
        now: WallMs,
    },
    /// A broker has started and says where it is. It does not end being away: renewing its lease does.
    Announce {
        broker: BrokerId,
        #[serde(with = "serde_bytes")]
        key: [u8; 32],
        peer_address: String,
        client_address: String,
        zone: String,
        start: u64,
        now: WallMs,
    },
    /// The broker has made no progress for the time of a lease. `start` says which process that was, here and below: what comes
    /// late does nothing to the next one.
    LeaseEnded {
        broker: BrokerId,
        start: u64,
        now: WallMs,
    },
    LeaseBegun {
        broker: BrokerId,
        start: u64,
    },
    Drain {
        broker: BrokerId,
        draining: bool,
    },
    /// Uses up the broker's number. Its replicas leave the assignments only as others take their place.
    Remove {
        broker: BrokerId,
        now: WallMs,
    },
    /// Says which brokers are to have a replica of a group. `version` is of the assignment that this one was made from. A broker
    /// that has a replica keeps it; any other gets a new one.
    Assign {
        group: GroupId,
        version: u64,
        voters: Vec<BrokerId>,
        learners: Vec<BrokerId>,
        leader: BrokerId,
    },
    /// This replica is damaged: its broker gets a new one in its place, which learns before it votes.
    Rebuild {
        group: GroupId,
        replica: ReplicaId,
    },
    /// The members a group has, as its leader says who knows the assignment of this version.
    Settled {
        group: GroupId,
        version: u64,
        members: Vec<ReplicaId>,
    },
    /// Logs may have lost their ends: what was told of them so far is good below these tails, one for each partition.
    BeginEpoch {
        epoch: LogEpoch,
        tails: Vec<Offset>,
    },
    /// An operator gives these brokers up, and has groups go on from the one replica named of each, which alone is the group from now on.
    /// If partitions are among them their logs may have lost their ends. All of it or nothing.
    Recover {
        lost: Vec<BrokerId>,
        groups: Vec<(GroupId, ReplicaId)>,
        /// Of these nothing is left: each begins empty, at a broker.
        empty: Vec<(GroupId, BrokerId)>,
        epoch: Option<EpochBegan>,
        now: WallMs,
    },
    /// A broker says how loaded it is.
    Load {
        broker: BrokerId,
        start: u64,
        load: u16,
    },
    /// An operator changes how clients see a service of the brokers.
    Shape {
        service: ServiceId,
        change: ServiceChange,
    },
    /// What of the map clients are given.
    Select {
        selection: Selection,
    },
    /// Somebody's service is in the map until this time; said again it stays longer.
    Advertise {
        point: Box<ServicePoint>,
        client: ClientId,
        until: WallMs,
        now: WallMs,
    },
    Withdraw {
        key: PointKey,
        client: ClientId,
    },
    /// A broker is about to stop: it is off the map before its clients look for another.
    Leave {
        broker: BrokerId,
        start: u64,
    },
    /// What nobody has advertised for as long as it said leaves the map.
    Expire {
        now: WallMs,
    },
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The facts that stand, whoever proposed them.
    Created(ClusterFacts),
    Joined {
        broker: BrokerId,
        /// Of the metadata group.
        replica: ReplicaId,
        facts: ClusterFacts,
    },
    Announced,
    /// The assignment as it now stands.
    Assigned(Assignment),
    /// Of every other command: it is as was asked for.
    Done,
    /// Nothing has changed.
    Refused(Refusal),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there is no cluster yet")]
    NotCreated,
    #[error("broker {broker} was removed from the cluster; its number is not used again")]
    Removed { broker: BrokerId },
    #[error("the cluster has no broker {broker}")]
    UnknownBroker { broker: BrokerId },
    #[error("broker {broker} has another key")]
    OtherKey { broker: BrokerId },
    #[error("the key is that of broker {broker}, which is alive")]
    KeyInUse { broker: BrokerId },
    #[error("broker {broker} has started anew since")]
    OtherStart { broker: BrokerId },
    #[error("broker {broker} is the last one")]
    LastBroker { broker: BrokerId },
    #[error("the cluster has {brokers} brokers; at most {limit} are possible")]
    TooManyBrokers { brokers: usize, limit: usize },
    #[error("an address or zone of {bytes} bytes; at most {limit} are possible")]
    TooLong { bytes: usize, limit: usize },
    #[error("the cluster has no group {group}")]
    UnknownGroup { group: GroupId },
    #[error("the assignment is at version {current} by now")]
    Stale { current: u64 },
    #[error("{group} is left without a voter")]
    NoVoter { group: GroupId },
    #[error("broker {broker} is named twice")]
    NamedTwice { broker: BrokerId },
    #[error("broker {broker} is to lead and has no vote")]
    LeaderWithoutVote { broker: BrokerId },
    #[error("{group} is to have no replica {replica}")]
    UnknownReplica { group: GroupId, replica: ReplicaId },
    #[error("the log epoch is {} already", current.0)]
    StaleEpoch { current: LogEpoch },
    #[error("the brokers offer no service {service}")]
    NotOfBrokers { service: ServiceId },
    #[error("the cluster itself is the provider {provider}")]
    ProviderTaken { provider: ProviderId },
    #[error("only the brokers themselves offer the service {service}")]
    OfBrokers { service: ServiceId },
    #[error("another client advertises this {service}, and its time is not over")]
    OfAnother { service: ServiceId },
    #[error("the map has {rows} rows of others' services; all together may have {limit} bytes")]
    MapFull { rows: usize, limit: usize },
    #[error("{found} tails for {expected} partitions")]
    OtherPartitions { expected: u16, found: usize },
}

impl Command {
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        encoding::decode(bytes)
    }
}

impl Reply {
    pub fn encode(&self) -> Vec<u8> {
        encoding::encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        encoding::decode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::PartitionId;
    use anyport_protocol::map::{MapCommand, Policy, Sphere, SphereEpoch};
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../tests/golden/metadata/commands-1.bin");
    const OF_THE_FIRST_VERSIONS: &[u8] = include_bytes!("../../tests/golden/metadata/create-1.bin");

    /// One of each.
    fn examples() -> Vec<Command> {
        let (broker, start, now) = (BrokerId(3), 0x1234_5678_9abc_def0, WallMs(1_790_000_000_456));
        let key = *b"of thirty-two bytes, as a digest";
        let [peer_address, client_address] = ["b3.example:7401", "b3.example:7400"].map(str::to_owned);
        let (group, zone) = (GroupId::Partition(PartitionId(5)), "north".to_owned());
        let sphere = Sphere { provider: "weather".parse().expect("a good name"), epoch: SphereEpoch(3) };
        let host = "w.example:80".parse().expect("a good address");
        let advertised = ServicePoint::new("forecast".parse().expect("a good name"), sphere, host);
        let (announced_from, announced_to) = (peer_address.clone(), client_address.clone());
        vec![
            Command::Create(ClusterFacts::example()),
            Command::Join { key, peer_address, client_address, zone: zone.clone(), edge: true, start, now },
            Command::Announce {
                broker,
                key,
                peer_address: announced_from,
                client_address: announced_to,
                zone,
                start,
                now,
            },
            Command::LeaseEnded { broker, start, now },
            Command::LeaseBegun { broker, start },
            Command::Drain { broker, draining: true },
            Command::Remove { broker, now },
            Command::Assign { group, version: 7, voters: vec![broker], learners: vec![BrokerId(4)], leader: broker },
            Command::Rebuild { group: GroupId::Registry(2), replica: ReplicaId::new(broker, 9) },
            Command::Settled { group: GroupId::Metadata, version: 8, members: vec![ReplicaId::FIRST] },
            Command::BeginEpoch { epoch: LogEpoch(2), tails: vec![Offset(1), Offset(1 << 40)] },
            Command::Recover {
                lost: vec![BrokerId(1), BrokerId(2)],
                groups: vec![(group, ReplicaId::new(broker, 9))],
                empty: vec![(GroupId::Registry(2), broker)],
                epoch: Some(EpochBegan { epoch: LogEpoch(3), tails: vec![Offset(7), Offset(u64::MAX)] }),
                now,
            },
            Command::Load { broker, start, load: 250 },
            Command::Shape {
                service: ServiceId::known(ServiceId::SESSION),
                change: ServiceChange {
                    policy: Some(Policy::Nearest),
                    by_shard: Some(true),
                    new_epoch: Some(vec![MapCommand::Refetch, MapCommand::Wait { upto_ms: 5000 }]),
                },
            },
            Command::Select { selection: Selection::LeastLoaded { at_most: 8 } },
            Command::Withdraw { key: advertised.key(), client: ClientId([8; 16]) },
            Command::Advertise {
                point: Box::new(advertised),
                client: ClientId([8; 16]),
                until: WallMs(now.0 + 30_000),
                now,
            },
            Command::Expire { now },
            Command::Leave { broker, start },
        ]
    }

    #[test]
    fn golden_bytes_read_as_ever_and_are_written_alike() {
        let mut rest = GOLDEN;
        for command in examples() {
            let bytes = command.encode();
            let golden = rest.split_off(..bytes.len()).expect("as long");
            assert_eq!((golden, Command::decode(golden)), (bytes.as_slice(), Ok(command)));
        }
        assert_eq!(rest, b"");
        let first = Command::Create(ClusterFacts::example_of_the_first_versions());
        assert_eq!(Command::decode(OF_THE_FIRST_VERSIONS), Ok(first));
    }

    #[test]
    fn a_newer_version_a_cut_and_a_tail_are_refused() {
        assert_eq!(Command::decode(&[]), Err(FormatError::Empty));
        assert_eq!(Command::decode(&[2, 0x80]), Err(FormatError::UnknownVersion { version: 2 }));
        for bytes in examples().iter().map(Command::encode) {
            for end in 1..bytes.len() {
                assert!(matches!(Command::decode(&bytes[..end]), Err(FormatError::Malformed { .. })), "{end}");
            }
            let longer = [&bytes[..], &[0xc0]].concat();
            assert_eq!(Command::decode(&longer), Err(FormatError::TrailingBytes { count: 1 }));
        }
    }

    #[test]
    fn a_reply_survives_its_bytes() {
        let facts = ClusterFacts::example();
        let joined = Reply::Joined { broker: BrokerId(3), replica: ReplicaId::new(BrokerId(3), 9), facts };
        for reply in [joined, Reply::Done, Reply::Refused(Refusal::Stale { current: 7 })] {
            assert_eq!(Reply::decode(&reply.encode()), Ok(reply));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_an_error_and_no_panic(bytes: Vec<u8>, which: prop::sample::Index, at: prop::sample::Index, changed: u8) {
            let _ = Command::decode(&[&[1][..], &bytes].concat());
            let mut near = which.get(&examples()).encode();
            let at = at.index(near.len());
            near[at] = changed;
            let _ = Command::decode(&near);
        }
    }
}
