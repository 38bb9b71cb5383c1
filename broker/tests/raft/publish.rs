//! Publishing survives stops and crashes, and stores every event once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyport_broker::cluster::GroupOptions;
use anyport_broker::partition::FreeSpace;
use anyport_protocol::message::publish::Published;
use anyport_protocol::{Code, Offset, Outcome, PartitionId, ProducerId};
use futures_util::future::join_all;

use crate::support::{PRODUCER, TestGroups, already_at, batch, options, read_all, stored_at};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acked_before_a_stop_is_there_after_it_and_not_stored_again() {
    let broker = TestGroups::start(options()).await;
    let partition = broker.partition();
    let outcomes = join_all((0..1000).map(|number| partition.publish(batch(PRODUCER, number, 1, "t")))).await;
    let expected: Vec<_> = (0..1000).map(stored_at).collect();
    assert_eq!(outcomes, expected);

    drop(partition);
    let broker = broker.restart().await;
    let partition = broker.partition();
    assert_eq!(partition.bounds().tail, Offset(1000));
    assert_eq!(partition.publish(batch(PRODUCER, 999, 1, "t")).await, already_at(999));
    assert_eq!(partition.publish(batch(PRODUCER, 3, 1, "t")).await, Published::AlreadyStored { first: None });
    let Published::Refused(fault) = partition.publish(batch(PRODUCER, 1001, 1, "t")).await else { panic!("a hole") };
    assert_eq!((fault.code(), fault.value), (Some(Code::OutOfSequence), Some(1000)));
    assert_eq!(partition.publish(batch(PRODUCER, 1000, 2, "t")).await, stored_at(1000));
    assert_eq!(partition.bounds().tail, Offset(1002));
    assert_eq!(read_all(&partition).len(), 1002);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_synced_just_before_a_crash_is_not_stored_again_when_it_is_sent_again() {
    let broker = TestGroups::start(options()).await;
    let partition = broker.partition();
    assert_eq!(partition.publish(batch(PRODUCER, 0, 10, "t")).await, stored_at(0));
    broker.die_after_the_next_sync();
    let outcome = partition.publish(batch(PRODUCER, 10, 10, "t")).await;
    let Published::Refused(fault) = outcome else { panic!("nobody could know of it: {outcome:?}") };
    assert_eq!(fault.code().map(Code::outcome), Some(Outcome::Maybe));
    assert_eq!(partition.bounds().tail, Offset(10), "it was not applied");
    assert!(broker.groups.ready_probe()().is_err());

    drop(partition);
    let broker = broker.recover().await;
    let partition = broker.partition();
    assert_eq!(partition.publish(batch(PRODUCER, 10, 10, "t")).await, already_at(10));
    assert_eq!(partition.publish(batch(PRODUCER, 20, 1, "t")).await, stored_at(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_producers_publish_at_once_and_each_event_has_an_offset_of_its_own() {
    let broker = TestGroups::start(GroupOptions { partitions: 2, ..options() }).await;
    let publishers = (0..16u8).map(|id| {
        let partition = broker.groups.partition(PartitionId(u16::from(id % 2))).expect("it has all");
        tokio::spawn(async move {
            let producer = ProducerId::from_bytes([id; 16]);
            let sent = (0..50).map(|at| partition.publish(batch(producer, at * 5, 5, "t")));
            (id % 2, join_all(sent).await)
        })
    });
    let mut firsts = [Vec::new(), Vec::new()];
    for publisher in join_all(publishers).await {
        let (partition, outcomes) = publisher.expect("publish");
        let stored = outcomes.into_iter().map(|outcome| match outcome {
            Published::Stored { first } => first.0,
            other => panic!("{other:?}"),
        });
        firsts[usize::from(partition)].extend(stored);
    }
    for mut firsts in firsts {
        firsts.sort_unstable();
        assert_eq!(firsts, (0..400).map(|at| at * 5).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_free_space_mark_publishes_are_refused_until_there_is_room_again() {
    let free = Arc::new(AtomicU64::new(99));
    let probe = Arc::clone(&free);
    let free_space = Some(FreeSpace::new(move || Ok(probe.load(Ordering::Relaxed))));
    let broker = TestGroups::start(GroupOptions { free_space, free_space_mark_bytes: 100, ..options() }).await;
    let partition = broker.partition();
    let Published::Refused(fault) = partition.publish(batch(PRODUCER, 0, 1, "t")).await else { panic!("no room") };
    assert!(fault.is(Code::StorageFull) && fault.retry());
    free.store(100, Ordering::Relaxed);
    // Looked at each second; a publisher comes back when it was told to.
    let stored = async {
        while partition.publish(batch(PRODUCER, 0, 1, "t")).await != stored_at(0) {
            tokio::time::sleep(Duration::from_millis(fault.retry_after_ms.unwrap_or(0).into())).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), stored).await.expect("taken again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_its_budget_a_partition_refuses_and_nothing_later_overtakes() {
    let broker = TestGroups::start(GroupOptions { leader_budget_bytes: 64 << 10, ..options() }).await;
    let partition = broker.partition();
    let mut next = 0;
    let mut refused = 0;
    while next < 2000 {
        let outcomes = join_all((next..2000).map(|number| partition.publish(batch(PRODUCER, number, 1, "t")))).await;
        let stored = outcomes.iter().take_while(|outcome| matches!(outcome, Published::Stored { .. })).count();
        for outcome in &outcomes[stored..] {
            let Published::Refused(fault) = outcome else { panic!("overtook a refused one: {outcome:?}") };
            assert!(fault.is(Code::RetryAfter) || fault.is(Code::OutOfSequence), "{fault}");
            refused += 1;
        }
        next += stored as u64;
    }
    assert!(refused > 0, "the budget was met");
    assert_eq!(partition.bounds().tail, Offset(2000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_answers_everybody_who_waits() {
    let broker = TestGroups::start(options()).await;
    let partition = broker.partition();
    let sent: Vec<_> = (0..500).map(|number| partition.publish(batch(PRODUCER, number, 1, "t"))).collect();
    broker.groups.shutdown().await;
    let outcomes = join_all(sent).await;
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Published::Stored { .. })),
        "taken before the stop, so stored"
    );
    let Published::Refused(fault) = partition.publish(batch(PRODUCER, 500, 1, "t")).await else { panic!("stopped") };
    assert!(fault.is(Code::ShuttingDown));
}
