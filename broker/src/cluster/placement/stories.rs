//! What becomes of a cluster as brokers come and go.

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::Command;

use super::model::Cluster;
use super::plan;

fn brokers(replicas: &[ReplicaId]) -> Vec<u32> {
    replicas.iter().map(|replica| replica.broker().0).collect()
}

#[test]
fn a_broker_alone_has_everything() {
    let cluster = Cluster::of(1, 12);
    assert_eq!(cluster.load(BrokerId(0)), 12);
    assert_eq!(plan(&cluster.state), []);
}

#[test]
fn a_second_broker_learns_and_a_third_makes_all_of_them_vote() {
    let mut cluster = Cluster::of(2, 12);
    for (_, assignment) in cluster.placed() {
        assert_eq!((brokers(&assignment.voters), brokers(&assignment.learners)), (vec![0], vec![1]));
    }
    cluster.join("");
    cluster.work();
    assert!(cluster.placed().all(|(_, assignment)| assignment.voters.len() == 3 && assignment.learners.is_empty()));
    assert_eq!([0, 1, 2].map(|id| cluster.leads(BrokerId(id))), [4; 3]);
}

#[test]
fn a_fourth_broker_takes_its_share_and_nothing_else_moves() {
    let mut cluster = Cluster::of(3, 12);
    let before = cluster.replicas();
    let fourth = cluster.join("");
    cluster.work();
    let gained: Vec<_> = cluster.replicas().difference(&before).copied().collect();
    assert_eq!(gained.len(), 9, "3/4 of 12");
    assert!(gained.iter().all(|(_, broker)| *broker == fourth));
    assert_eq!([0, 1, 2, 3].map(|id| cluster.load(BrokerId(id))), [9; 4]);
    assert_eq!([0, 1, 2, 3].map(|id| cluster.leads(BrokerId(id))), [3; 4]);
}

#[test]
fn a_broker_that_is_away_keeps_its_replicas_and_leads_nothing() {
    let mut cluster = Cluster::of(4, 12);
    let before = cluster.replicas();
    cluster.away(BrokerId(1));
    cluster.work();
    assert_eq!((cluster.replicas(), cluster.leads(BrokerId(1))), (before.clone(), 0));
    cluster.back(BrokerId(1));
    cluster.work();
    assert_eq!((cluster.replicas(), cluster.leads(BrokerId(1))), (before, 3));
}

#[test]
fn what_a_removed_broker_had_is_placed_on_the_others_and_nothing_else_moves() {
    let mut cluster = Cluster::of(5, 20);
    let before = cluster.replicas();
    let had = cluster.load(BrokerId(2));
    cluster.away(BrokerId(2));
    cluster.remove(BrokerId(2));
    cluster.work();
    assert_eq!((cluster.load(BrokerId(2)), cluster.replicas().difference(&before).count()), (0, had));
    assert!(cluster.placed().all(|(_, assignment)| assignment.voters.len() == 3));
    assert_eq!(cluster.metadata().voters.len(), 3);
    assert_eq!(cluster.metadata().replica_of(BrokerId(2)), None);
}

#[test]
fn a_drained_broker_is_emptied_and_filled_again() {
    let mut cluster = Cluster::of(4, 12);
    cluster.drain(BrokerId(3), true);
    cluster.work();
    assert_eq!((cluster.load(BrokerId(3)), cluster.leads(BrokerId(3))), (0, 0));
    assert!(brokers(&cluster.metadata().learners).contains(&3), "it goes on learning who is where");
    cluster.drain(BrokerId(3), false);
    cluster.work();
    assert_eq!((cluster.load(BrokerId(3)), cluster.leads(BrokerId(3))), (9, 3));
}

#[test]
fn who_should_go_stays_while_there_is_no_place_to_go_to() {
    let mut cluster = Cluster::of(3, 12);
    let fourth = cluster.join("");
    cluster.away(fourth);
    cluster.drain(BrokerId(0), true);
    cluster.work();
    assert!(cluster.placed().all(|(_, assignment)| assignment.voters.len() == 3 && assignment.leader != BrokerId(0)));
    cluster.back(fourth);
    cluster.work();
    assert_eq!((cluster.load(BrokerId(0)), cluster.load(fourth)), (0, 12));
}

#[test]
fn a_cluster_that_is_drained_whole_stays_as_it_is() {
    let mut cluster = Cluster::of(3, 12);
    (0..3).for_each(|id| cluster.drain(BrokerId(id), true));
    assert_eq!(plan(&cluster.state), []);
}

#[test]
fn every_zone_has_a_replica_before_any_has_two() {
    let mut cluster = Cluster::new(12, 3, "a");
    for zone in ["a", "a", "b"] {
        cluster.join(zone);
        cluster.work();
    }
    assert_eq!(cluster.load(BrokerId(3)), 12, "the only one of its zone");
    let fifth = cluster.join("c");
    cluster.work();
    assert_eq!((cluster.load(BrokerId(3)), cluster.load(fifth)), (12, 12));
    assert_eq!([0, 1, 2].map(|id| cluster.load(BrokerId(id))), [4; 3]);
}

#[test]
fn the_metadata_has_up_to_five_voters_and_everybody_else_learns_it() {
    let mut cluster = Cluster::of(1, 2);
    for (count, voters) in [(2, 1), (3, 3), (4, 3), (5, 5), (6, 5)] {
        cluster.join("");
        cluster.work();
        let metadata = cluster.metadata();
        assert_eq!((metadata.voters.len(), metadata.replicas().count()), (voters, count));
    }
    let edge = cluster.join_as("", true);
    cluster.work();
    assert!(brokers(&cluster.metadata().learners).contains(&edge.0));
    assert_eq!(cluster.load(edge), 0);
}

#[test]
fn a_replica_that_was_built_anew_votes_again() {
    let mut cluster = Cluster::of(3, 2);
    let group = GroupId::Registry(0);
    let replica = cluster.state.assignments[&group].voters[1];
    cluster.ask(Command::Rebuild { group, replica });
    cluster.work();
    assert_eq!(cluster.state.assignments[&group].voters.len(), 3);
}

#[test]
fn a_group_that_is_still_changing_is_left_alone() {
    let mut cluster = Cluster::of(3, 12);
    cluster.join("");
    cluster.settle_all();
    assert!(!cluster.plan().is_empty());
    cluster.drain(BrokerId(0), true);
    let busy: Vec<_> =
        cluster.placed().filter(|(_, assignment)| !assignment.is_settled()).map(|(group, _)| group).collect();
    assert!(!busy.is_empty());
    for command in plan(&cluster.state) {
        assert!(matches!(command, Command::Assign { group, .. } if !busy.contains(&group)));
    }
}

#[test]
fn a_change_that_waits_for_a_broker_that_was_removed_is_not_waited_for() {
    let mut cluster = Cluster::of(4, 12);
    let fifth = cluster.join("");
    cluster.settle_all();
    cluster.plan();
    assert!(cluster.load(fifth) > 0);
    cluster.remove(fifth);
    cluster.plan();
    assert_eq!(cluster.load(fifth), 0);
}

#[test]
fn who_is_away_gets_no_vote_it_did_not_have() {
    let mut cluster = Cluster::of(2, 12);
    cluster.away(BrokerId(1));
    cluster.join("");
    cluster.work();
    assert!(cluster.placed().all(|(_, assignment)| brokers(&assignment.voters) == [0]));
    cluster.back(BrokerId(1));
    cluster.work();
    assert!(cluster.placed().all(|(_, assignment)| assignment.voters.len() == 3));
}

#[test]
fn a_group_that_has_lost_every_voter_is_left_for_a_person_to_look_at() {
    let mut cluster = Cluster::of(2, 12);
    cluster.remove(BrokerId(0));
    // But for the metadata: whoever plans leads it, so somebody has recovered it.
    let [Command::Assign { group: GroupId::Metadata, voters, .. }] = &plan(&cluster.state)[..] else {
        panic!("{:?}", plan(&cluster.state));
    };
    assert_eq!(voters, &[BrokerId(1)]);
}
