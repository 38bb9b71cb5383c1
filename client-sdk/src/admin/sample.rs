//! Hand-made statuses for tests of what is told of them.

use anyport_protocol::message::admin::{
    BrokerStatus, ClusterStatus, GroupName, GroupStatus, ReplicaRole, ReplicaState, ReplicaStatus,
};
use anyport_protocol::{BrokerId, ClusterId, Offset, OffsetRange, PartitionId, ReplicaId, WallMs};

/// All is well: three copies of each group where there are three brokers, leaders in turn.
pub(crate) fn cluster(brokers: u32, partitions: u16) -> ClusterStatus {
    let names = std::iter::once(GroupName::Metadata)
        .chain((0..4).map(GroupName::Registry))
        .chain((0..partitions).map(|partition| GroupName::Partition(PartitionId(partition))));
    ClusterStatus {
        cluster: ClusterId([0x11; 16]),
        created: WallMs(1_000_000_000),
        now: WallMs(1_090_000_000),
        answered_by: BrokerId(0),
        timing: "lan".into(),
        replication: 3,
        replace_after_ms: 600_000,
        brokers: (0..brokers).map(broker).collect(),
        groups: names.map(|name| group(name, brokers)).collect(),
        removed: Vec::new(),
    }
}

fn broker(number: u32) -> BrokerStatus {
    BrokerStatus {
        broker: BrokerId(number),
        peer_address: format!("10.0.0.{number}:7401"),
        client_address: format!("10.0.0.{number}:7400"),
        zone: ["a", "b", "c"][number as usize % 3].into(),
        edge: false,
        joined: WallMs(1_000_000_000),
        draining: false,
        away_for_ms: None,
        reached: true,
        agent: Some("anyportd/0.1.0".into()),
        start: 7,
    }
}

fn group(name: GroupName, brokers: u32) -> GroupStatus {
    let place = match name {
        GroupName::Metadata => 0,
        GroupName::Registry(shard) => u32::from(shard),
        GroupName::Partition(partition) => u32::from(partition.0),
    };
    let voters = if brokers < 3 { 1 } else { 3 };
    let replicas = if name == GroupName::Metadata { brokers } else { voters };
    let replica = |broker| ReplicaStatus {
        replica: ReplicaId::new(BrokerId(broker), 1),
        role: if broker < voters { ReplicaRole::Voter } else { ReplicaRole::Learner },
        state: ReplicaState::UpToDate,
        matched: Some(500),
        lag_events: Some(0),
    };
    let leader = BrokerId(place % voters.min(2));
    let is_partition = matches!(name, GroupName::Partition(_));
    GroupStatus {
        group: name,
        version: 2,
        preferred_leader: leader,
        leader: Some(leader),
        replicas: (0..replicas).map(replica).collect(),
        last_index: Some(500),
        applied: Some(500),
        events: is_partition.then_some(OffsetRange::new(Offset(100), Offset(1_234))),
        moving: None,
    }
}

/// A broker whose lease has ended; others lead what it led.
pub(crate) fn away(status: &mut ClusterStatus, broker: u32, for_ms: u64) {
    let record = &mut status.brokers[broker as usize];
    (record.away_for_ms, record.reached, record.agent) = (Some(for_ms), false, None);
    for group in &mut status.groups {
        for replica in &mut group.replicas {
            if replica.replica.broker() == BrokerId(broker) {
                replica.state = ReplicaState::Away;
            }
        }
        if group.leader == Some(BrokerId(broker)) {
            group.leader = Some(BrokerId((broker + 1) % 2));
        }
    }
}
