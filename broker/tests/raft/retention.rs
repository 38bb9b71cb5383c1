//! What is too old or too much is forgotten everywhere: by readers, by the log, and by the next start.

use std::time::Duration;

use anyport_broker::cluster::GroupOptions;
use anyport_broker::partition::{PartitionHandle, Retention};
use anyport_protocol::Offset;
use anyport_storage::ReadError;

use crate::support::{PRODUCER, TestGroups, batch, options, read_all, stored_at};

fn keeping(age: Option<Duration>, bytes: Option<u64>) -> GroupOptions {
    GroupOptions { retention: Retention { age, bytes, check_every: Duration::from_millis(20) }, ..options() }
}

async fn publish(partition: &PartitionHandle, batches: std::ops::Range<u64>) {
    for at in batches {
        assert_eq!(partition.publish(batch(PRODUCER, at * 100, 100, "t")).await, stored_at(at * 100));
    }
}

async fn head_reaches(partition: &PartitionHandle, least: u64) -> Offset {
    let reached = async {
        while partition.bounds().head < Offset(least) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        partition.bounds().head
    };
    tokio::time::timeout(Duration::from_secs(20), reached).await.expect("trimmed in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_bytes_move_the_head_and_a_read_below_it_says_so() {
    let broker = TestGroups::start(keeping(None, Some(64 << 10))).await;
    let partition = broker.partition();
    publish(&partition, 0..100).await;
    let head = head_reaches(&partition, 5000).await;
    let below = partition.reader().read(Offset(0), 1000);
    assert!(matches!(below, Err(ReadError::Trimmed { head: told }) if told >= head), "{below:?}");
    let few = async {
        while partition.reader().retained_bytes() > 96 << 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), few).await.expect("in time");

    drop(partition);
    let broker = broker.restart().await;
    let partition = broker.partition();
    assert!(partition.bounds().head >= head);
    publish(&partition, 100..110).await;
    assert_eq!(read_all(&partition).last().map(|(offset, _)| *offset), Some(Offset(10_999)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_old_is_forgotten_and_its_log_purged() {
    let broker = TestGroups::start(keeping(Some(Duration::from_millis(200)), None)).await;
    let partition = broker.partition();
    publish(&partition, 0..50).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    publish(&partition, 50..51).await;
    head_reaches(&partition, 4000).await;
    broker.log_is_purged().await;
    // The trimmed log is all the next start has.
    drop(partition);
    let broker = broker.restart().await;
    let partition = broker.partition();
    publish(&partition, 51..52).await;
    assert_eq!(partition.bounds().tail, Offset(5200));
}
