//! Whatever an operator and a broker say, they say after the wire; cut short it says nothing. And the largest answer fits a frame.

use anyport_protocol::limits::{FRAME_BYTES_MAX, PARTITIONS_MAX};
use anyport_protocol::map::{MapCommand, Policy, Selection, ServiceId};
use anyport_protocol::message::HEADER_BYTES;
use anyport_protocol::message::admin::{
    AdminAnswer, AdminQuestion, BrokerStatus, ClusterStatus, ClusterStatusQuestion, Done, DrainQuestion, GroupName,
    GroupRecovery, GroupStatus, RecoverPlan, RecoverPlanQuestion, RecoverQuestion, Refused, RemoveQuestion,
    RemovedBroker, ReplicaRole, ReplicaState, ReplicaStatus, SelectQuestion, ShapeQuestion, Survivor,
};
use anyport_protocol::{BrokerId, ClusterId, Code, Fault, Offset, OffsetRange, PartitionId, ReplicaId, WallMs};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn group_name() -> impl Strategy<Value = GroupName> {
    prop_oneof![
        Just(GroupName::Metadata),
        any::<u16>().prop_map(GroupName::Registry),
        any::<u16>().prop_map(|partition| GroupName::Partition(PartitionId(partition))),
    ]
}

fn replica() -> impl Strategy<Value = ReplicaStatus> {
    let roles = prop::sample::select(vec![ReplicaRole::Voter, ReplicaRole::Learner, ReplicaRole::Leaving]);
    let states = prop::sample::select(vec![
        ReplicaState::UpToDate,
        ReplicaState::Behind,
        ReplicaState::Away,
        ReplicaState::Damaged,
        ReplicaState::Dead,
        ReplicaState::Unknown,
    ]);
    (any::<u64>(), roles, states, any::<Option<u64>>(), any::<Option<u64>>()).prop_map(
        |(replica, role, state, matched, lag_events)| ReplicaStatus {
            replica: ReplicaId(replica),
            role,
            state,
            matched,
            lag_events,
        },
    )
}

fn group() -> impl Strategy<Value = GroupStatus> {
    let numbers = any::<(u64, u32, Option<u32>, Option<u64>, Option<u64>, Option<(u64, u64)>)>();
    (group_name(), numbers, vec(replica(), 0..6), any::<Option<String>>()).prop_map(
        |(group, (version, preferred, leader, last_index, applied, events), replicas, moving)| GroupStatus {
            group,
            version,
            preferred_leader: BrokerId(preferred),
            leader: leader.map(BrokerId),
            replicas,
            last_index,
            applied,
            events: events.map(|(a, b)| OffsetRange::new(Offset(a.min(b)), Offset(a.max(b)))),
            moving,
        },
    )
}

fn broker() -> impl Strategy<Value = BrokerStatus> {
    let texts = any::<(String, String, String, Option<String>)>();
    (texts, any::<(u32, u64, u64)>(), any::<(bool, bool, bool)>(), any::<Option<u64>>()).prop_map(
        |(
            (peer_address, client_address, zone, agent),
            (broker, joined, start),
            (edge, draining, reached),
            away_for_ms,
        )| {
            BrokerStatus {
                broker: BrokerId(broker),
                peer_address,
                client_address,
                zone,
                edge,
                joined: WallMs(joined),
                draining,
                away_for_ms,
                reached,
                agent,
                start,
            }
        },
    )
}

fn status() -> impl Strategy<Value = ClusterStatus> {
    let removed =
        any::<(u32, u64)>().prop_map(|(broker, at)| RemovedBroker { broker: BrokerId(broker), at: WallMs(at) });
    let numbers = any::<([u8; 16], u64, u64, u32, u8, u64)>();
    (numbers, any::<String>(), vec(broker(), 0..5), vec(group(), 0..5), vec(removed, 0..3)).prop_map(
        |((cluster, created, now, answered_by, replication, replace_after_ms), timing, brokers, groups, removed)| {
            ClusterStatus {
                cluster: ClusterId(cluster),
                created: WallMs(created),
                now: WallMs(now),
                answered_by: BrokerId(answered_by),
                timing,
                replication,
                replace_after_ms,
                brokers,
                groups,
                removed,
            }
        },
    )
}

fn plan() -> impl Strategy<Value = RecoverPlan> {
    let survivor =
        any::<(u64, u64, u64, u64, Option<u64>)>().prop_map(|(replica, last_term, last_index, committed, tail)| {
            Survivor { replica: ReplicaId(replica), last_term, last_index, committed, tail: tail.map(Offset) }
        });
    let lost = vec(any::<u64>().prop_map(ReplicaId), 0..4);
    let chosen = option::of(any::<u64>().prop_map(ReplicaId));
    let group = (group_name(), lost, vec(survivor, 0..3), chosen, any::<String>()).prop_map(
        |(group, lost, survivors, chosen, may_lose)| GroupRecovery { group, lost, survivors, chosen, may_lose },
    );
    (any::<[u8; 16]>(), any::<String>(), vec(group, 0..4)).prop_map(|(cluster, token, groups)| RecoverPlan {
        cluster: ClusterId(cluster),
        token,
        groups,
    })
}

fn question() -> impl Strategy<Value = AdminQuestion> {
    prop_oneof![
        Just(ClusterStatusQuestion {}.into()),
        any::<(u32, bool)>().prop_map(|(broker, draining)| DrainQuestion { broker: BrokerId(broker), draining }.into()),
        any::<u32>().prop_map(|broker| RemoveQuestion { broker: BrokerId(broker) }.into()),
        Just(RecoverPlanQuestion {}.into()),
        any::<String>().prop_map(|token| RecoverQuestion { token }.into()),
        any::<(bool, Option<bool>)>().prop_map(|(begins, by_shard)| {
            let new_epoch = begins.then(|| vec![MapCommand::Refetch, MapCommand::Wait { upto_ms: 7 }]);
            let (service, policy) = (ServiceId::known(ServiceId::SESSION), Some(Policy::Nearest));
            ShapeQuestion { service, policy, by_shard, new_epoch }.into()
        }),
        any::<u16>().prop_map(|at_most| SelectQuestion { selection: Selection::LeastLoaded { at_most } }.into()),
    ]
}

fn answer() -> impl Strategy<Value = AdminAnswer> {
    prop_oneof![
        Just(Refused { fault: Fault::new(Code::NoMajority, "two of three are away") }.into()),
        Just(Done {}.into()),
        plan().prop_map(AdminAnswer::from),
        status().prop_map(AdminAnswer::from),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_question_is_the_same_after_the_wire_and_nothing_when_cut(question in question(), cut in any::<prop::sample::Index>()) {
        let mut frame = Vec::new();
        question.encode(1, &mut frame);
        let (number, body) = (u16::from_le_bytes([frame[4], frame[5]]), &frame[HEADER_BYTES..]);
        prop_assert_eq!(AdminQuestion::decode(number, body).expect("decode"), question);
        prop_assert!(AdminQuestion::decode(number, &body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn an_answer_is_the_same_after_the_wire_and_nothing_when_cut(answer in answer(), cut in any::<prop::sample::Index>()) {
        let mut frame = Vec::new();
        answer.encode(1, &mut frame);
        let (number, body) = (u16::from_le_bytes([frame[4], frame[5]]), &frame[HEADER_BYTES..]);
        prop_assert_eq!(AdminAnswer::decode(number, body).expect("decode"), answer);
        prop_assert!(AdminAnswer::decode(number, &body[..cut.index(body.len())]).is_err());
    }

    #[test]
    fn what_follows_from_a_status_can_be_asked_of_any(status in status()) {
        for group in &status.groups {
            let _ = (group.has_majority(), group.is_under_replicated(), group.group.to_string());
            let _ = group.replicas.iter().map(|replica| group.lag(replica)).max();
        }
        for broker in &status.brokers {
            let _ = (status.replicas_of(broker.broker), status.leads(broker.broker), status.is_drained(broker.broker));
        }
    }
}

/// As many brokers and partitions as there may be, every group with a voter that comes and one that goes.
#[test]
fn the_largest_status_fits_a_frame() {
    let replica = |broker| ReplicaStatus {
        replica: ReplicaId::new(BrokerId(broker), u32::MAX),
        role: ReplicaRole::Leaving,
        state: ReplicaState::UpToDate,
        matched: Some(u64::MAX),
        lag_events: Some(u64::MAX),
    };
    let group = |group, replicas| GroupStatus {
        group,
        version: u64::MAX,
        preferred_leader: BrokerId(u32::MAX),
        leader: Some(BrokerId(u32::MAX)),
        replicas: (0..replicas).map(replica).collect(),
        last_index: Some(u64::MAX),
        applied: Some(u64::MAX),
        events: Some(OffsetRange::new(Offset(u64::MAX - 1), Offset(u64::MAX))),
        moving: Some("x".repeat(80)),
    };
    let name = |partition| GroupName::Partition(PartitionId(partition));
    let groups = (0..PARTITIONS_MAX + 4).map(|partition| group(name(partition), 4));
    let broker = BrokerStatus {
        broker: BrokerId(u32::MAX),
        peer_address: "p".repeat(260),
        client_address: "c".repeat(260),
        zone: "z".repeat(64),
        edge: true,
        joined: WallMs(u64::MAX),
        draining: true,
        away_for_ms: Some(u64::MAX),
        reached: true,
        agent: Some("anyportd/1.100.1000".into()),
        start: u64::MAX,
    };
    let status = ClusterStatus {
        cluster: ClusterId([255; 16]),
        created: WallMs(u64::MAX),
        now: WallMs(u64::MAX),
        answered_by: BrokerId(u32::MAX),
        timing: "lan".into(),
        replication: 3,
        replace_after_ms: u64::MAX,
        brokers: vec![broker; 64],
        groups: std::iter::once(group(GroupName::Metadata, 65)).chain(groups).collect(),
        removed: vec![RemovedBroker { broker: BrokerId(u32::MAX), at: WallMs(u64::MAX) }; 1000],
    };
    let mut frame = Vec::new();
    AdminAnswer::from(status).encode(1, &mut frame);
    assert!(frame.len() <= FRAME_BYTES_MAX / 2, "{} bytes", frame.len());
}
