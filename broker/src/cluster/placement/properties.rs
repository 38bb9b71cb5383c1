//! What holds of every plan, whatever has become of the brokers.

use std::collections::BTreeSet;

use anyport_protocol::{BrokerId, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::{Assignment, Command};
use proptest::prelude::*;

use super::model::Cluster;
use super::{Standing, plan, standing};

#[derive(Clone, Debug)]
enum Step {
    Join {
        zone: u8,
        edge: bool,
    },
    /// Of the brokers there are, one.
    Away(prop::sample::Index),
    Back(prop::sample::Index),
    Drain(prop::sample::Index, bool),
    Remove(prop::sample::Index),
    /// A plan is made and taken, and the groups of a set bit do what they are told.
    Plan {
        settled: u32,
    },
}

fn steps(zones: u8) -> impl Strategy<Value = Vec<Step>> {
    let broker = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => (0..zones, prop::bool::weighted(0.1)).prop_map(|(zone, edge)| Step::Join { zone, edge }),
        3 => broker().prop_map(Step::Away),
        2 => broker().prop_map(Step::Back),
        2 => (broker(), any::<bool>()).prop_map(|(broker, draining)| Step::Drain(broker, draining)),
        2 => broker().prop_map(Step::Remove),
        8 => any::<u32>().prop_map(|settled| Step::Plan { settled }),
        4 => Just(Step::Plan { settled: u32::MAX }),
    ];
    prop::collection::vec(step, 0..50)
}

const BROKERS_MAX: usize = 12;

fn take(cluster: &mut Cluster, step: &Step) {
    let brokers: Vec<_> = cluster.state.brokers.keys().copied().collect();
    match step {
        Step::Join { zone, edge } if brokers.len() < BROKERS_MAX => drop(cluster.join_as(&zone.to_string(), *edge)),
        Step::Join { .. } => {}
        Step::Away(which) => cluster.away(*which.get(&brokers)),
        Step::Back(which) => cluster.back(*which.get(&brokers)),
        Step::Drain(which, draining) => cluster.drain(*which.get(&brokers), *draining),
        Step::Remove(which) => cluster.remove(*which.get(&brokers)),
        Step::Plan { settled } => {
            check_plan(cluster);
            cluster.plan();
            let groups: Vec<_> = cluster.state.assignments.keys().copied().collect();
            for (at, group) in groups.into_iter().enumerate() {
                if settled >> (at % 32) & 1 == 1 {
                    cluster.settle(group);
                }
            }
        }
    }
}

/// What holds of a plan in whatever state.
fn check_plan(cluster: &Cluster) {
    let (state, commands) = (&cluster.state, plan(&cluster.state));
    assert_eq!(plan(state), commands);
    let mut groups = BTreeSet::new();
    for command in &commands {
        let Command::Assign { group, voters, learners, leader, .. } = command else { panic!("{command:?}") };
        assert!(groups.insert(*group), "{group} is changed twice");
        let present = &state.assignments[group];
        let is_lost = |replica: ReplicaId| state.removed.contains_key(&replica.broker());
        assert!(present.is_settled() || present.replicas().any(is_lost), "{group} is changing");
        for broker in voters.iter().chain(learners).filter(|broker| present.replica_of(**broker).is_none()) {
            let learns_metadata = *group == GroupId::Metadata && learners.contains(broker);
            assert!(learns_metadata || standing(state, *broker) == Standing::Host, "{broker} is given {group}");
        }
        let is_host = |broker: &BrokerId| standing(state, *broker) == Standing::Host;
        assert!(is_host(leader) || !voters.iter().any(is_host), "{leader} is to lead {group}");
    }
}

/// What holds once every group does as it is told and every broker is there, except those that drain.
fn check_end(cluster: &Cluster) {
    let state = &cluster.state;
    let hosts: Vec<_> =
        state.brokers.keys().copied().filter(|broker| standing(state, *broker) == Standing::Host).collect();
    let wanted = usize::from(state.facts.as_ref().expect("created").replication);
    let voters = if hosts.len() < 3 { 1 } else { wanted.min(hosts.len() - (1 - hosts.len() % 2)) };
    for (group, assignment) in cluster.placed() {
        assert_eq!(assignment.voters.len(), voters, "{group}");
        assert_eq!(assignment.learners.len(), usize::from(hosts.len() == 2), "{group}");
        assert!(assignment.replicas().all(|replica| hosts.contains(&replica.broker())), "{group}: {assignment:?}");
        check_zones(cluster, &hosts, group, assignment);
    }
    check_even(cluster, &hosts);
    let metadata = cluster.metadata();
    assert_eq!(metadata.voters.len(), [1, 1, 1, 3, 3, 5][hosts.len().min(5)]);
    let all: BTreeSet<_> = metadata.replicas().map(ReplicaId::broker).collect();
    assert_eq!(all, state.brokers.keys().copied().collect());
}

fn zone(cluster: &Cluster, broker: BrokerId) -> String {
    cluster.state.brokers[&broker].zone.clone()
}

fn check_zones(cluster: &Cluster, hosts: &[BrokerId], group: GroupId, assignment: &Assignment) {
    let replicas: Vec<_> = assignment.replicas().map(|replica| zone(cluster, replica.broker())).collect();
    let used: BTreeSet<_> = replicas.iter().collect();
    let all: BTreeSet<_> = hosts.iter().map(|host| zone(cluster, *host)).collect();
    assert_eq!(used.len(), replicas.len().min(all.len()), "{group} is in {replicas:?} of {all:?}");
}

/// No broker has two more than another one that could take one of them, be it a lead or a replica.
fn check_even(cluster: &Cluster, hosts: &[BrokerId]) {
    for (more, fewer) in hosts.iter().flat_map(|more| hosts.iter().map(|fewer| (*more, *fewer))) {
        for (group, assignment) in cluster.placed() {
            let has = |broker| assignment.replica_of(broker).is_some();
            let votes = |broker| assignment.voters.iter().any(|voter| voter.broker() == broker);
            if cluster.leads(more) >= cluster.leads(fewer) + 2 {
                assert!(assignment.leader != more || !votes(fewer), "{fewer} could lead {group} for {more}");
            }
            if cluster.load(more) >= cluster.load(fewer) + 2 && has(more) && !has(fewer) {
                assert_ne!(zone(cluster, more), zone(cluster, fewer), "{fewer} could have {group} for {more}");
                let others = assignment.replicas().map(ReplicaId::broker).filter(|other| *other != more);
                let zones: Vec<_> = others.map(|other| zone(cluster, other)).collect();
                let of = |broker| zones.iter().filter(|other| **other == zone(cluster, broker)).count();
                assert!(of(fewer) > of(more), "{fewer} could have {group} for {more}");
            }
        }
    }
}

fn finish(cluster: &mut Cluster) {
    let brokers: Vec<_> = cluster.state.brokers.keys().copied().collect();
    brokers.into_iter().for_each(|broker| cluster.back(broker));
    cluster.settle_all();
    check_plan(cluster);
    cluster.work();
}

/// Whether some group has no voter left, or nobody may have a replica: then there is nothing that a plan could do.
fn is_beyond_help(cluster: &Cluster) -> bool {
    let is_lost = |voter: &ReplicaId| cluster.state.removed.contains_key(&voter.broker());
    let brokers = cluster.state.brokers.keys();
    cluster.state.assignments.values().any(|assignment| assignment.voters.iter().all(is_lost))
        || !brokers.into_iter().any(|broker| standing(&cluster.state, *broker) == Standing::Host)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_replicas_come_to_stand_well(
        zones in 1..5u8, groups in 2..20u16, replication in prop::sample::select(vec![3, 5]), seed in any::<u8>(), steps in steps(4)
    ) {
        let mut cluster = Cluster::new(groups, replication, &(seed % zones).to_string());
        for step in steps {
            let step = match step {
                Step::Join { zone, edge } => Step::Join { zone: zone % zones, edge },
                other => other,
            };
            take(&mut cluster, &step);
        }
        finish(&mut cluster);
        if !is_beyond_help(&cluster) {
            check_end(&cluster);
        }
    }

    #[test]
    fn who_joins_takes_its_share_and_nothing_else_moves(brokers in 3..12u32, groups in 2..40u16) {
        let mut cluster = Cluster::of(brokers, groups);
        let before = cluster.replicas();
        let joined = cluster.join("");
        cluster.work();
        let gained: Vec<_> = cluster.replicas().difference(&before).copied().collect();
        prop_assert!(gained.iter().all(|(_, broker)| *broker == joined));
        let (replicas, brokers) = (usize::from(groups) * 3, brokers as usize + 1);
        prop_assert!((replicas / brokers..=replicas.div_ceil(brokers)).contains(&gained.len()), "{}", gained.len());
        for broker in cluster.state.brokers.keys() {
            prop_assert!((replicas / brokers..=replicas.div_ceil(brokers)).contains(&cluster.load(*broker)));
            let groups = usize::from(groups);
            prop_assert!((groups / brokers..=groups.div_ceil(brokers)).contains(&cluster.leads(*broker)));
        }
    }

    #[test]
    fn what_is_lost_is_placed_anew_and_little_else_moves(brokers in 4..12u32, groups in 2..40u16, lost in any::<prop::sample::Index>()) {
        let mut cluster = Cluster::of(brokers, groups);
        let lost = BrokerId(u32::try_from(lost.index(brokers as usize)).expect("few"));
        let (before, had) = (cluster.replicas(), cluster.load(lost));
        cluster.remove(lost);
        cluster.work();
        let gained = cluster.replicas().difference(&before).count();
        prop_assert!((had..=had + 1).contains(&gained), "{gained} for {had}");
    }
}
