//! How the cluster is: what each broker says of its own replicas, put together with what the metadata says there should be.

use std::collections::{BTreeMap, BTreeSet};

use anyport_protocol::message::admin::{
    BrokerStatus, ClusterStatus, GroupName, GroupStatus, RemovedBroker, ReplicaRole, ReplicaState, ReplicaStatus,
};
use anyport_protocol::{BrokerId, OffsetRange, ReplicaId, WallMs};
use anyport_storage::GroupId;
use anyport_storage::metadata::{Assignment, BrokerRecord, ClusterFacts, ClusterState, Timing};
use serde::{Deserialize, Serialize};

use super::group::Group;
use super::leadership::Leadership;
use super::members::LAG_ENTRIES_MAX;
use super::replicas::Running;

/// What a broker says of one replica of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ReplicaReport {
    pub(super) group: GroupId,
    pub(super) replica: ReplicaId,
    /// It leads, and hears from a majority.
    pub(super) leads: bool,
    pub(super) dead: bool,
    pub(super) last: u64,
    pub(super) applied: u64,
    /// Of a partition: what it has.
    pub(super) events: Option<OffsetRange>,
    /// Of a leader: how far it knows that each member has come.
    pub(super) matched: Vec<(ReplicaId, u64)>,
}

/// What a broker says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) agent: String,
    pub(super) replicas: Vec<ReplicaReport>,
}

pub(super) fn of_replica(group: &Group, running: Option<&Running>) -> ReplicaReport {
    let leadership = group.leadership().current();
    let progress = group.progress().unwrap_or_default();
    let matched = progress.matched.into_iter().filter_map(|(replica, at)| Some((replica, at?)));
    let bounds = running.and_then(Running::partition).map(|partition| partition.bounds());
    ReplicaReport {
        group: group.id(),
        replica: group.replica(),
        leads: matches!(leadership, Leadership::Leader { .. }),
        dead: matches!(leadership, Leadership::Stopped { .. }),
        last: group.last().unwrap_or(0),
        applied: group.applied().map_or(0, |id| id.index),
        events: bounds.map(|bounds| OffsetRange::new(bounds.head, bounds.tail)),
        matched: matched.collect(),
    }
}

/// Everything that is known of the cluster here and now.
pub(super) struct Known<'a> {
    pub(super) me: BrokerId,
    pub(super) now: WallMs,
    pub(super) facts: &'a ClusterFacts,
    pub(super) state: &'a ClusterState,
    /// What each broker that answered says of itself, this one too.
    pub(super) reports: &'a BTreeMap<BrokerId, Report>,
}

pub(super) fn status(known: &Known<'_>) -> ClusterStatus {
    let Known { me, now, facts, state, reports } = *known;
    let timing = match facts.timing {
        Timing::Lan => "lan",
        Timing::Wan => "wan",
    };
    ClusterStatus {
        cluster: facts.cluster,
        created: facts.created,
        now,
        answered_by: me,
        timing: timing.to_owned(),
        replication: facts.replication,
        replace_after_ms: facts.replace_after_ms,
        brokers: state.brokers.values().map(|record| broker(record, now, reports.get(&record.id))).collect(),
        groups: state.assignments.iter().map(|(id, assignment)| group(*id, assignment, known)).collect(),
        removed: state.removed.iter().map(|(broker, at)| RemovedBroker { broker: *broker, at: *at }).collect(),
    }
}

fn broker(record: &BrokerRecord, now: WallMs, report: Option<&Report>) -> BrokerStatus {
    BrokerStatus {
        broker: record.id,
        peer_address: record.peer_address.clone(),
        client_address: record.client_address.clone(),
        zone: record.zone.clone(),
        edge: record.edge,
        joined: record.joined,
        draining: record.draining,
        away_for_ms: record.away_since.map(|since| now.0.saturating_sub(since.0)),
        reached: report.is_some(),
        agent: report.map(|report| report.agent.clone()),
        start: record.start,
    }
}

fn group(id: GroupId, assignment: &Assignment, known: &Known<'_>) -> GroupStatus {
    let of_group = |report: &Report| report.replicas.iter().find(|replica| replica.group == id).cloned();
    let reports: BTreeMap<ReplicaId, ReplicaReport> =
        known.reports.values().filter_map(of_group).map(|report| (report.replica, report)).collect();
    let leader = reports.values().find(|report| report.leads);
    let furthest = leader.or_else(|| reports.values().max_by_key(|report| report.last));
    let all: BTreeSet<_> = assignment.replicas().chain(assignment.settled.iter().copied()).collect();
    let replicas = all.into_iter().map(|replica| {
        let report = reports.get(&replica);
        let matched = leader.and_then(|leader| matched(leader, replica)).or(report.map(|report| report.last));
        let events = |report: &ReplicaReport| report.events;
        let lag = furthest
            .and_then(events)
            .zip(report.and_then(events))
            .map(|(has, own)| has.end.0 - own.end.0.min(has.end.0));
        ReplicaStatus {
            replica,
            role: role(assignment, replica),
            state: match report {
                _ if assignment.damaged.contains(&replica) => ReplicaState::Damaged,
                Some(report) => running_state(report, matched, furthest),
                None if known.reports.contains_key(&replica.broker()) => ReplicaState::Unknown,
                None => ReplicaState::Away,
            },
            matched,
            lag_events: lag,
        }
    });
    GroupStatus {
        group: name(id),
        version: assignment.version,
        preferred_leader: assignment.leader,
        leader: leader.map(|leader| leader.replica.broker()),
        replicas: replicas.collect(),
        last_index: furthest.map(|report| report.last),
        applied: furthest.map(|report| report.applied),
        events: furthest.and_then(|report| report.events),
        moving: moving(assignment, leader),
    }
}

fn matched(leader: &ReplicaReport, replica: ReplicaId) -> Option<u64> {
    if leader.replica == replica {
        return Some(leader.last);
    }
    leader.matched.iter().find(|(member, _)| *member == replica).map(|(_, at)| *at)
}

fn role(assignment: &Assignment, replica: ReplicaId) -> ReplicaRole {
    if assignment.voters.contains(&replica) {
        ReplicaRole::Voter
    } else if assignment.learners.contains(&replica) {
        ReplicaRole::Learner
    } else {
        ReplicaRole::Leaving
    }
}

/// Of a replica that its broker has. One that has died is not rebuilt: only what is found damaged at a start is.
fn running_state(report: &ReplicaReport, matched: Option<u64>, furthest: Option<&ReplicaReport>) -> ReplicaState {
    let last = furthest.map_or(0, |report| report.last);
    match matched {
        _ if report.dead => ReplicaState::Dead,
        Some(matched) if matched + LAG_ENTRIES_MAX >= last => ReplicaState::UpToDate,
        _ => ReplicaState::Behind,
    }
}

fn moving(assignment: &Assignment, leader: Option<&ReplicaReport>) -> Option<String> {
    let coming = assignment.replicas().filter(|replica| !assignment.settled.contains(replica));
    let progress = |replica: ReplicaId| {
        let has = leader.and_then(|leader| matched(leader, replica)).unwrap_or(0);
        let of = leader.map_or(0, |leader| leader.last);
        format!("broker {} copies: {has} of {of} entries", replica.broker())
    };
    let coming: Vec<_> = coming.map(progress).collect();
    match (coming.is_empty(), assignment.is_settled()) {
        (false, _) => Some(coming.join("; ")),
        (true, false) => Some("old copies leave".to_owned()),
        (true, true) => None,
    }
}

pub(super) fn name(id: GroupId) -> GroupName {
    match id {
        GroupId::Metadata => GroupName::Metadata,
        GroupId::Registry(shard) => GroupName::Registry(shard),
        GroupId::Partition(partition) => GroupName::Partition(partition),
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::ClusterId;

    use super::*;

    fn of(broker: u32) -> ReplicaId {
        ReplicaId::new(BrokerId(broker), 1)
    }

    fn facts() -> ClusterFacts {
        ClusterFacts {
            cluster: ClusterId([7; 16]),
            partitions: 1,
            registry_shards: 1,
            created: WallMs(0),
            token_key: Vec::new(),
            timing: Timing::Lan,
            replication: 3,
            replace_after_ms: 600_000,
        }
    }

    fn said(broker: u32, dead: bool) -> (BrokerId, Report) {
        let replica = ReplicaReport {
            group: GroupId::Registry(0),
            replica: of(broker),
            leads: broker == 0,
            dead,
            last: 10,
            applied: 10,
            events: None,
            matched: Vec::new(),
        };
        (BrokerId(broker), Report { agent: String::new(), replicas: vec![replica] })
    }

    #[test]
    fn why_a_replica_is_of_no_use_is_told_apart() {
        let assignment = Assignment {
            version: 1,
            voters: vec![of(0), of(1), of(2)],
            learners: vec![of(3)],
            leader: BrokerId(0),
            settled: vec![of(0), of(1), of(2), of(4)],
            damaged: vec![of(4)],
        };
        let has_none = Report { agent: String::new(), replicas: Vec::new() };
        let reports = BTreeMap::from([said(0, false), said(1, true), (BrokerId(2), has_none), said(4, false)]);
        let (facts, state) = (facts(), ClusterState::default());
        let known = Known { me: BrokerId(0), now: WallMs(0), facts: &facts, state: &state, reports: &reports };
        let states: Vec<_> =
            group(GroupId::Registry(0), &assignment, &known).replicas.iter().map(|replica| replica.state).collect();
        use ReplicaState::{Away, Damaged, Dead, Unknown, UpToDate};
        assert_eq!(states, [UpToDate, Dead, Unknown, Away, Damaged]);
    }
}
