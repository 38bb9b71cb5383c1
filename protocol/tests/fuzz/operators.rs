//! One of everything that operators and brokers say to each other, and what follows from a status.

use anyport_protocol::map::{MapCommand, Policy, Selection, ServiceId};
use anyport_protocol::message::admin::{
    AdminAnswer, AdminQuestion, BrokerStatus, ClusterStatus, ClusterStatusQuestion, Done, DrainQuestion, GroupName,
    GroupRecovery, GroupStatus, RecoverPlan, RecoverPlanQuestion, RecoverQuestion, RemoveQuestion, RemovedBroker,
    ReplicaRole, ReplicaState, ReplicaStatus, SelectQuestion, ShapeQuestion, Survivor,
};
use anyport_protocol::{BrokerId, ClusterId, Offset, OffsetRange, PartitionId, ReplicaId, WallMs};

const CLUSTER: ClusterId = ClusterId(*b"sixteen random b");
const GROUP: GroupName = GroupName::Partition(PartitionId(7));
const REPLICA: ReplicaId = ReplicaId::new(BrokerId(1), 3);

/// Asks an answer everything that it can be asked.
pub fn look_at(answer: &AdminAnswer) {
    let AdminAnswer::ClusterStatus(status) = answer else { return };
    for group in &status.groups {
        let _ = (group.has_majority(), group.is_under_replicated(), group.group.to_string());
        let _ = group.replicas.iter().map(|replica| group.lag(replica)).max();
    }
    for BrokerStatus { broker, .. } in &status.brokers {
        let _ = (status.replicas_of(*broker), status.leads(*broker), status.is_drained(*broker));
    }
}

pub fn one_of_each() -> Vec<Vec<u8>> {
    let questions: [AdminQuestion; 7] = [
        ClusterStatusQuestion {}.into(),
        DrainQuestion { broker: BrokerId(2), draining: true }.into(),
        RemoveQuestion { broker: BrokerId(2) }.into(),
        RecoverPlanQuestion {}.into(),
        RecoverQuestion { token: "of the plan".into() }.into(),
        ShapeQuestion {
            service: ServiceId::known(ServiceId::SESSION),
            policy: Some(Policy::Sticky),
            by_shard: Some(true),
            new_epoch: Some(vec![MapCommand::Wait { upto_ms: 7 }]),
        }
        .into(),
        SelectQuestion { selection: Selection::LeastLoaded { at_most: 7 } }.into(),
    ];
    let answers: [AdminAnswer; 3] = [status().into(), Done {}.into(), plan().into()];
    let questions = questions.into_iter().map(|question| frame(|out| question.encode(7, out)));
    questions.chain(answers.into_iter().map(|answer| frame(|out| answer.encode(7, out)))).collect()
}

fn frame(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = Vec::new();
    encode(&mut frame);
    frame
}

fn status() -> ClusterStatus {
    let broker = BrokerStatus {
        broker: BrokerId(1),
        peer_address: "10.0.0.1:7401".into(),
        client_address: "10.0.0.1:7400".into(),
        zone: "a".into(),
        edge: false,
        joined: WallMs(1_790_000_000_123),
        draining: true,
        away_for_ms: Some(180_000),
        reached: true,
        agent: Some("anyportd/0.1.0".into()),
        start: 7,
    };
    let replica = ReplicaStatus {
        replica: REPLICA,
        role: ReplicaRole::Voter,
        state: ReplicaState::Behind,
        matched: Some(400),
        lag_events: Some(9),
    };
    let group = GroupStatus {
        group: GROUP,
        version: 4,
        preferred_leader: BrokerId(1),
        leader: Some(BrokerId(1)),
        replicas: vec![replica],
        last_index: Some(500),
        applied: Some(499),
        events: Some(OffsetRange::new(Offset(100), Offset(1_234))),
        moving: Some("a copy for broker 3".into()),
    };
    ClusterStatus {
        cluster: CLUSTER,
        created: WallMs(1_790_000_000_000),
        now: WallMs(1_790_000_000_999),
        answered_by: BrokerId(1),
        timing: "wan".into(),
        replication: 3,
        replace_after_ms: 600_000,
        brokers: vec![broker],
        groups: vec![group.clone(), GroupStatus { group: GroupName::Metadata, leader: None, ..group }],
        removed: vec![RemovedBroker { broker: BrokerId(0), at: WallMs(1_790_000_000_100) }],
    }
}

fn plan() -> RecoverPlan {
    let survivor =
        Survivor { replica: REPLICA, last_term: 3, last_index: 120, committed: 118, tail: Some(Offset(900)) };
    let group = GroupRecovery {
        group: GROUP,
        lost: vec![ReplicaId::FIRST],
        survivors: vec![survivor],
        chosen: Some(REPLICA),
        may_lose: "what was acknowledged behind 900".into(),
    };
    RecoverPlan { cluster: CLUSTER, token: "of the plan".into(), groups: vec![group] }
}
