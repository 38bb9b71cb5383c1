//! How the map follows the metadata, one story each, on plain values.

use anyport_protocol::limits::{CONTROL_FRAME_BYTES_MAX, MAP_ROW_BYTES_MAX};
use anyport_protocol::map::{Map, MapCommand, Policy, Selection, ServiceId, ServicePoint, Sphere, SphereEpoch};
use anyport_protocol::{BrokerId, ClientId, WallMs};

use super::stories::{Metadata, announce};
use super::*;
use crate::group::GroupId;

impl Metadata {
    fn map(&self) -> Map {
        self.state.service_map()
    }

    /// Whose sessions the map offers, by broker: the join and announcement name `c{key}:7400`.
    fn sessions(&self) -> Vec<ServicePoint> {
        self.map().of(ServiceId::SESSION, WallMs(0)).cloned().collect()
    }

    fn shape(&mut self, change: ServiceChange) -> Reply {
        self.ask(Command::Shape { service: ServiceId::known(ServiceId::SESSION), change })
    }
}

/// Who advertises.
const OWNER: ClientId = ClientId([8; 16]);

fn forecast() -> ServicePoint {
    let sphere = Sphere { provider: "weather".parse().expect("a good name"), epoch: SphereEpoch(1) };
    let host = "w.example:80".parse().expect("a good address");
    ServicePoint::new("forecast".parse().expect("a good name"), sphere, host)
}

fn advertise(point: ServicePoint, until: u64, now: u64) -> Command {
    Command::Advertise { point: Box::new(point), client: OWNER, until: WallMs(until), now: WallMs(now) }
}

#[test]
fn a_broker_is_in_the_map_while_it_has_a_lease_and_weighs_nothing_while_it_is_drained() {
    let mut metadata = Metadata::of(3);
    assert_eq!(metadata.map().points().len(), 3 * ServiceId::OF_A_BROKER.len());
    metadata.lease_ended(1);
    assert_eq!(metadata.sessions().len(), 2);
    assert_eq!(metadata.ask(Command::Drain { broker: BrokerId(2), draining: true }), Reply::Done);
    let weights: Vec<u16> = metadata.sessions().iter().map(|point| point.weight).collect();
    assert_eq!(weights, [ServicePoint::WEIGHT_DEFAULT, 0]);
}

#[test]
fn who_stops_takes_itself_off_the_map_and_is_on_it_again_when_it_starts_anew() {
    let mut metadata = Metadata::of(2);
    metadata.ask(Command::Leave { broker: BrokerId(0), start: 1000 });
    assert_eq!(metadata.sessions().len(), 1);
    assert_eq!(metadata.ask(announce(0, 0, 2000)), Reply::Announced);
    assert_eq!(metadata.sessions().len(), 2);
    metadata.ask(Command::Leave { broker: BrokerId(0), start: 1000 });
    assert_eq!(metadata.sessions().len(), 2, "what comes late does nothing to the next process");
}

#[test]
fn the_revision_grows_with_what_is_in_the_map_and_with_nothing_else() {
    let mut metadata = Metadata::of(3);
    let before = metadata.map();
    metadata.assign(&[0, 1], &[2]);
    assert_eq!(metadata.map(), before, "who has a replica of what is not in it");
    let start = metadata.state.brokers[&BrokerId(1)].start;
    metadata.ask(Command::Load { broker: BrokerId(1), start, load: 300 });
    assert_eq!(metadata.map().revision, before.revision + 1);
    metadata.ask(Command::Load { broker: BrokerId(1), start, load: 300 });
    assert_eq!(metadata.map().revision, before.revision + 1, "said again it changes nothing");
    let late = metadata.ask(Command::Load { broker: BrokerId(1), start: start - 1, load: 9 });
    assert!(matches!(late, Reply::Refused(Refusal::OtherStart { .. })), "{late:?}");
    metadata.ask(Command::Select { selection: Selection::NearestZone });
    assert_eq!(metadata.map().revision, before.revision + 2, "clients are given another part of it");
}

#[test]
fn no_revision_is_given_twice_when_the_last_changes_are_lost() {
    let mut metadata = Metadata::of(3);
    let told = metadata.map().revision + 100;
    let recover = Command::Recover {
        lost: vec![BrokerId(1)],
        groups: Vec::new(),
        empty: Vec::new(),
        epoch: None,
        now: WallMs(7),
    };
    assert_eq!(metadata.ask(recover), Reply::Done);
    assert!(metadata.map().revision > told);
}

#[test]
fn an_epoch_begins_when_an_operator_says_so_and_at_no_restart() {
    let mut metadata = Metadata::of(2);
    metadata.lease_ended(1);
    let start = metadata.state.brokers[&BrokerId(1)].start;
    metadata.ask(Command::LeaseBegun { broker: BrokerId(1), start });
    assert!(metadata.sessions().iter().all(|point| point.sphere.epoch == SphereEpoch(0)));
    let commands = vec![MapCommand::DropState, MapCommand::Resubscribe];
    let change = ServiceChange { new_epoch: Some(commands.clone()), ..ServiceChange::default() };
    assert_eq!(metadata.shape(change), Reply::Done);
    for point in metadata.sessions() {
        assert_eq!((point.sphere.epoch, &point.commands), (SphereEpoch(1), &commands));
    }
    let publish = metadata.map().of(ServiceId::PUBLISH, WallMs(0)).next().expect("offered").sphere.epoch;
    assert_eq!(publish, SphereEpoch(0), "of one service");
}

#[test]
fn an_operator_chooses_how_clients_choose() {
    let mut metadata = Metadata::of(2);
    let change = ServiceChange { policy: Some(Policy::Sticky), by_shard: Some(true), ..ServiceChange::default() };
    assert_eq!(metadata.shape(change), Reply::Done);
    let leader = metadata.state.assignments[&GroupId::Registry(0)].leader;
    for (broker, point) in [BrokerId(0), BrokerId(1)].into_iter().zip(metadata.sessions()) {
        let buckets = point.bucket.expect("by shard").buckets;
        assert_eq!((point.policy, buckets), (Policy::Sticky, if broker == leader { vec![0] } else { vec![] }));
    }
    let other = Command::Shape { service: "forecast".parse().expect("good"), change: ServiceChange::default() };
    assert!(matches!(metadata.ask(other), Reply::Refused(Refusal::NotOfBrokers { .. })));
}

#[test]
fn what_others_advertise_is_in_the_map_until_they_stop() {
    let mut metadata = Metadata::of(1);
    let rows = metadata.map().points().len();
    assert_eq!(metadata.ask(advertise(forecast(), 100, 10)), Reply::Done);
    assert_eq!(metadata.map().points().len(), rows + 1);
    let told = metadata.map().revision;
    metadata.ask(advertise(forecast(), 200, 90));
    assert_eq!(metadata.map().revision, told, "that it stays longer is news to nobody");
    metadata.ask(Command::Expire { now: WallMs(150) });
    assert_eq!(metadata.map().points().len(), rows + 1, "said again it stays longer");
    metadata.ask(Command::Expire { now: WallMs(200) });
    assert_eq!(metadata.map().points().len(), rows);
    metadata.ask(advertise(forecast(), 900, 300));
    metadata.ask(Command::Withdraw { key: forecast().key(), client: OWNER });
    assert_eq!(metadata.map().points().len(), rows);
}

#[test]
fn a_row_that_is_too_long_or_speaks_for_the_cluster_is_refused() {
    let mut metadata = Metadata::of(1);
    let long = ServicePoint { data: "x".repeat(MAP_ROW_BYTES_MAX), ..forecast() };
    assert!(matches!(metadata.ask(advertise(long, 100, 1)), Reply::Refused(Refusal::TooLong { .. })));
    let own = metadata.sessions()[0].sphere.clone();
    let of_the_cluster = ServicePoint { sphere: own, ..forecast() };
    assert!(matches!(metadata.ask(advertise(of_the_cluster, 100, 1)), Reply::Refused(Refusal::ProviderTaken { .. })));
    let session = ServicePoint { service: ServiceId::known(ServiceId::SESSION), ..forecast() };
    assert!(matches!(metadata.ask(advertise(session, 100, 1)), Reply::Refused(Refusal::OfBrokers { .. })));
}

#[test]
fn nobody_changes_what_another_advertises_while_it_is_there() {
    let mut metadata = Metadata::of(1);
    metadata.ask(advertise(forecast(), 100, 1));
    let other = ClientId([9; 16]);
    let withdraw = Command::Withdraw { key: forecast().key(), client: other };
    assert!(matches!(metadata.ask(withdraw), Reply::Refused(Refusal::OfAnother { .. })));
    let take =
        |now| Command::Advertise { point: Box::new(forecast()), client: other, until: WallMs(900), now: WallMs(now) };
    assert!(matches!(metadata.ask(take(99)), Reply::Refused(Refusal::OfAnother { .. })));
    assert_eq!(metadata.ask(take(100)), Reply::Done, "its time is over");
}

#[test]
fn all_that_is_advertised_together_is_bounded_so_that_the_map_fits_a_frame() {
    let mut metadata = Metadata::of(1);
    let row = |nth: u16| {
        let host = format!("w{nth}.example:80").parse().expect("good");
        ServicePoint { host, data: "x".repeat(MAP_ROW_BYTES_MAX - 200), ..forecast() }
    };
    let taken = (0..1000).take_while(|nth| metadata.ask(advertise(row(*nth), 100, 1)) == Reply::Done).count();
    assert!((60..100).contains(&taken), "{taken}");
    assert!(metadata.map().encode().len() < CONTROL_FRAME_BYTES_MAX);
}

#[test]
fn the_state_with_a_map_survives_its_bytes() {
    let mut metadata = Metadata::of(2);
    metadata.ask(advertise(forecast(), 100, 10));
    metadata.shape(ServiceChange { new_epoch: Some(vec![MapCommand::Refetch]), ..ServiceChange::default() });
    let state = &metadata.state;
    assert_eq!(ClusterState::decode(state.facts.clone(), &state.encode()).as_ref(), Ok(state));
}
