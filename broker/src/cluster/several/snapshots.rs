//! Replicas that are brought what the log no longer has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyport_protocol::{ClientId, WallMs};
use anyport_storage::EntryData;
use anyport_storage::registry::{Command, CommandBatch};
use bytes::Bytes;

use super::super::group::Group;
use super::support::{Cluster, PARTITION, SHARD, caught_up, change, eventually, publish, read_all, replica, replicas};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_replica_of_a_trimmed_partition_gets_all_retained_events() {
    let mut cluster = Cluster::with_partition(1).await;
    for number in 0..60 {
        publish(&cluster, &[0], number, 20_000).await;
    }
    let leader = cluster.node(0);
    let upto = leader.handle().reader().trim_candidate(None, Some(600_000)).expect("readable").expect("too many bytes");
    leader.group().propose(EntryData::trim(upto, WallMs(1))).await.expect("applied");
    eventually("the purge", || leader.store.log(PARTITION).last_purged()).await;
    cluster.add(1);
    cluster.node_mut(1).start_partition(1).await;
    change(cluster.node(0).group(), replicas(&[0, 1]), BTreeSet::new()).await;
    publish(&cluster, &[0], 60, 10).await;
    let (old, new) = (cluster.node(0), cluster.node(1));
    caught_up(new, old).await;
    let events = read_all(new.handle());
    assert_eq!(events, read_all(old.handle()));
    assert!((20..60).contains(&events.len()), "{}", events.len());
    assert_eq!(new.handle().bounds(), old.handle().bounds());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_lagged_behind_the_purged_log_is_brought_back() {
    let mut cluster = Cluster::with_partition(3).await;
    publish(&cluster, &[0, 1, 2], 0, 10).await;
    let leader = cluster.leader().await.id.0;
    let away = (0..3).find(|id| *id != leader).expect("another");
    let folder = cluster.stop(away).await;
    for number in 1..60 {
        publish(&cluster, &[leader], number, 20_000).await;
    }
    let node = cluster.node(leader);
    let upto = node.handle().reader().trim_candidate(None, Some(600_000)).expect("readable").expect("too many bytes");
    node.group().propose(EntryData::trim(upto, WallMs(1))).await.expect("applied");
    eventually("the purge", || node.store.log(PARTITION).last_purged()).await;
    cluster.start(away, folder).await;
    let (node, back) = (cluster.node(leader), cluster.node(away));
    eventually("the lagging replica", || (back.handle().bounds() == node.handle().bounds()).then_some(())).await;
    assert_eq!(read_all(back.handle()), read_all(node.handle()));
    cluster.shutdown().await;
}

/// A shard whose log is purged and whose rows fill a file of several pieces.
async fn a_large_shard() -> Cluster {
    let mut cluster = Cluster::of(2);
    cluster.node_mut(0).start_shard(1).await;
    let leader = cluster.node(0).shard_group();
    leader.initialize().await.expect("the first member");
    eventually("a leader", || leader.leadership().is_leader().then_some(())).await;
    for batch in 0..40u32 {
        register(leader, batch).await;
    }
    leader.trim(leader.applied().expect("some").index).await.expect("purged");
    cluster.node_mut(1).start_shard(1).await;
    cluster
}

async fn register(leader: &Group, batch: u32) {
    let client = |n: u32| ClientId::from_bytes(u128::from(batch * 1000 + n).to_be_bytes());
    let commands = (0..1000).map(|n| Command::Register { client: client(n), now: WallMs(1) }).collect();
    let entry = EntryData::from_bytes(CommandBatch { commands }.encode().into());
    leader.propose(entry).await.expect("applied");
}

fn clients(cluster: &Cluster, id: u32) -> u64 {
    let path = cluster.node(id).folder.path().join("copy.snapshot");
    cluster.node(id).store.registry(0).expect("open").reader().snapshot_to(&path).expect("written").clients
}

async fn both_have_all(cluster: Cluster) {
    change(cluster.node(0).shard_group(), replicas(&[0, 1]), BTreeSet::new()).await;
    register(cluster.node(0).shard_group(), 40).await;
    let (leader, follower) = (cluster.node(0).shard_group(), cluster.node(1).shard_group());
    eventually("the last entry", || (follower.applied() == leader.applied()).then_some(())).await;
    assert_eq!([clients(&cluster, 0), clients(&cluster, 1)], [41_000; 2]);
    let left = std::fs::read_dir(cluster.node(1).folder.path().join("snapshots")).expect("the folder");
    assert_eq!(left.count(), 0, "what came is gone");
    assert!(cluster.node(1).store.log(SHARD).last_purged().is_some());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_cut_off_goes_on_where_it_was() {
    let cluster = a_large_shard().await;
    let (sent, pieces) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    cluster.wires.tamper(move |body| {
        counted.fetch_add(body.len() as u64, Ordering::Relaxed);
        // The question, one piece, and no more; and once again later.
        let cut = [3, 6].contains(&pieces.fetch_add(1, Ordering::Relaxed));
        (!cut).then_some(body)
    });
    cluster.node(0).shard_group().add_learner(replica(1, 1)).await.expect("added");
    let path = cluster.node(0).folder.path().join("whole.snapshot");
    cluster.node(0).store.registry(0).expect("open").reader().snapshot_to(&path).expect("written");
    let whole = std::fs::metadata(&path).expect("there").len();
    both_have_all(cluster).await;
    let sent = sent.load(Ordering::Relaxed);
    assert!(whole > 1 << 20, "some pieces: {whole}");
    assert!(sent < whole + 3 * (512 << 10), "{sent} bytes for {whole}: what was there is not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_with_a_flipped_bit_is_refused_and_sent_again() {
    let cluster = a_large_shard().await;
    let pieces = AtomicU64::new(0);
    cluster.wires.tamper(move |body| {
        if pieces.fetch_add(1, Ordering::Relaxed) != 2 {
            return Some(body);
        }
        let mut flipped = body.to_vec();
        *flipped.last_mut().expect("some") ^= 1;
        Some(Bytes::from(flipped))
    });
    both_have_all(cluster).await;
}
