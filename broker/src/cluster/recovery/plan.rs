//! What recovery would do, from what is left: a function of values.

use std::collections::BTreeMap;

use anyport_protocol::message::admin::{GroupRecovery, RecoverPlan, Survivor};
use anyport_protocol::{BrokerId, ClusterId, ReplicaId};
use anyport_storage::GroupId;
use anyport_storage::metadata::{Assignment, ClusterState};
use xxhash_rust::xxh3::xxh3_128;

use super::{Survey, Surveyed};
use crate::cluster::report;

/// The groups that have lost their majority, and what would become of each.
pub(super) fn plan(cluster: ClusterId, state: &ClusterState, surveys: &BTreeMap<BrokerId, Survey>) -> RecoverPlan {
    let of_group = |(group, assignment): (&GroupId, &Assignment)| {
        let is_its = |replica: &&Surveyed| replica.group == *group && !assignment.damaged.contains(&replica.replica);
        let left = surveys.values().flat_map(|survey| &survey.replicas).filter(is_its).collect::<Vec<_>>();
        recovery(*group, assignment, &left)
    };
    let groups: Vec<_> = state.assignments.iter().filter_map(of_group).collect();
    let named = rmp_serde::to_vec_named(&groups).expect("plain data");
    RecoverPlan { cluster, token: format!("{:032x}", xxh3_128(&named)), groups }
}

/// None of a group that has its majority.
fn recovery(group: GroupId, assignment: &Assignment, left: &[&Surveyed]) -> Option<GroupRecovery> {
    // By Raft's own order of logs: it has every entry that one of the others knows to be committed.
    let furthest = left.iter().max_by_key(|replica| (replica.last_term, replica.last_index, replica.replica));
    let configs = match furthest.filter(|replica| !replica.voters.is_empty()) {
        Some(replica) => replica.voters.clone(),
        // A copy that has nothing yet does not know who the others are.
        None => {
            vec![if assignment.settled.is_empty() { assignment.voters.clone() } else { assignment.settled.clone() }]
        }
    };
    let is_left = |voter: &ReplicaId| left.iter().any(|replica| replica.replica == *voter);
    let has_majority =
        |voters: &Vec<ReplicaId>| voters.iter().filter(|voter| is_left(voter)).count() * 2 > voters.len();
    // One that has nothing, and was just placed because nothing was left, has yet to begin its group.
    let has_begun = furthest.is_some_and(|replica| !replica.voters.is_empty());
    if has_begun && configs.iter().all(has_majority) {
        return None;
    }
    let mut lost: Vec<_> = configs.into_iter().flatten().filter(|voter| !is_left(voter)).collect();
    lost.sort_unstable();
    lost.dedup();
    Some(GroupRecovery {
        group: report::name(group),
        may_lose: furthest.map_or_else(String::new, |chosen| may_lose(group, chosen, &lost)),
        lost,
        survivors: left.iter().map(|replica| survivor(replica)).collect(),
        chosen: furthest.map(|replica| replica.replica),
    })
}

fn survivor(replica: &Surveyed) -> Survivor {
    let Surveyed { replica, last_term, last_index, committed, tail, .. } = *replica;
    Survivor { replica, last_term, last_index, committed, tail }
}

fn may_lose(group: GroupId, chosen: &Surveyed, lost: &[ReplicaId]) -> String {
    let brokers: Vec<_> = lost.iter().map(|replica| replica.broker().to_string()).collect();
    let before = match &brokers[..] {
        [one] => format!("before broker {one} was lost"),
        [first @ .., last] => format!("before brokers {} and {last} were lost", first.join(", ")),
        [] => "lately".to_owned(),
    };
    match group {
        GroupId::Partition(_) => {
            let tail = chosen.tail.unwrap_or_default();
            format!("events from {tail} on that were acknowledged {before}; clients that had come further are told so")
        }
        GroupId::Registry(_) => {
            format!(
                "what clients subscribed, unsubscribed and acknowledged shortly {before}: they may get events again, or have to subscribe again"
            )
        }
        GroupId::Metadata => format!("changes of brokers and of who has which copy shortly {before}"),
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::{Offset, PartitionId};

    use super::*;

    const GROUP: GroupId = GroupId::Partition(PartitionId(0));

    fn replica(broker: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(broker), 1)
    }

    fn replicas(brokers: &[u32]) -> Vec<ReplicaId> {
        brokers.iter().map(|broker| replica(*broker)).collect()
    }

    fn assignment(voters: &[u32]) -> Assignment {
        let (voters, settled) = (replicas(voters), replicas(voters));
        Assignment { version: 1, voters, learners: Vec::new(), leader: BrokerId(0), settled, damaged: Vec::new() }
    }

    fn surveyed(broker: u32, last: (u64, u64), voters: &[&[u32]]) -> Surveyed {
        Surveyed {
            group: GROUP,
            replica: replica(broker),
            last_term: last.0,
            last_index: last.1,
            committed: 3,
            tail: Some(Offset(last.1 * 10)),
            voters: voters.iter().map(|voters| replicas(voters)).collect(),
        }
    }

    fn recovered(voters: &[u32], left: &[Surveyed]) -> Option<GroupRecovery> {
        recovery(GROUP, &assignment(voters), &left.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_group_that_has_its_majority_is_not_touched() {
        let voters: &[&[u32]] = &[&[0, 1, 2]];
        assert_eq!(recovered(&[0, 1, 2], &[surveyed(0, (1, 5), voters), surveyed(2, (1, 5), voters)]), None);
        let lost = recovered(&[0, 1, 2], &[surveyed(0, (1, 5), voters)]).expect("one of three is none");
        assert_eq!((lost.lost, lost.chosen), (replicas(&[1, 2]), Some(replica(0))));
    }

    #[test]
    fn while_voters_change_both_majorities_are_needed() {
        let voters: &[&[u32]] = &[&[0, 1, 2], &[0, 3, 4]];
        let left = [0, 1, 2].map(|broker| surveyed(broker, (1, 5), voters));
        assert_eq!(recovered(&[0, 3, 4], &left).map(|lost| lost.lost), Some(replicas(&[3, 4])));
    }

    #[test]
    fn the_log_that_ends_last_is_gone_on_from_whoever_votes() {
        let voters: &[&[u32]] = &[&[0, 1, 2, 3, 4]];
        let left = [surveyed(0, (2, 9), voters), surveyed(1, (3, 7), voters), surveyed(9, (3, 6), voters)];
        let lost = recovered(&[0, 1, 2, 3, 4], &left).expect("two of five are none");
        assert_eq!((lost.chosen, lost.survivors.len()), (Some(replica(1)), 3));
        assert!(
            lost.may_lose.starts_with("events from 70 on that were acknowledged before brokers 2, 3 and 4 were lost")
        );
        // The only voter is lost, and a copy that has no vote is left.
        let lost = recovered(&[0], &[surveyed(1, (1, 5), &[&[0]])]).expect("a copy is no majority");
        assert_eq!((lost.lost, lost.chosen), (replicas(&[0]), Some(replica(1))));
    }

    #[test]
    fn of_which_nothing_is_left_begins_empty_where_a_copy_was_just_placed() {
        let lost = recovered(&[0, 1, 2], &[]).expect("nothing is left");
        assert_eq!((lost.lost, lost.chosen, lost.may_lose), (replicas(&[0, 1, 2]), None, String::new()));
        let lost = recovered(&[7], &[surveyed(7, (0, 0), &[])]).expect("it has nothing");
        assert_eq!((lost.lost, lost.chosen), (Vec::new(), Some(replica(7))));
    }
}
