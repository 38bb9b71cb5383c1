//! What a cluster is created with is kept for life.

use anyport_broker::cluster::GroupOptions;
use anyport_protocol::{ClientId, WallMs};
use anyport_storage::registry::Command;

use crate::support::{TestGroups, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_facts_of_a_cluster_outlive_every_stop_and_a_crash() {
    let broker = TestGroups::start(GroupOptions { partitions: 2, ..options() }).await;
    let facts = broker.groups.facts.clone();
    assert_eq!((facts.partitions, facts.registry_shards), (2, 1));
    assert_eq!(facts.cluster, broker.proposed, "the first proposal stands");

    let broker = broker.restart().await;
    assert_ne!(broker.proposed, facts.cluster, "another one is proposed at every start");
    assert_eq!(broker.groups.facts, facts);

    broker.die_after_the_next_sync();
    let client = ClientId::from_bytes([1; 16]);
    broker.groups.registry.apply(Command::Register { client, now: WallMs(1) }).await.expect_err("it died");
    assert_eq!(broker.recover().await.groups.facts, facts);
}
