//! A partition on several brokers.

use std::collections::BTreeSet;

use anyport_protocol::BrokerId;
use anyport_protocol::message::publish::Published;
use tokio::time::{Duration, Instant};

use super::super::leadership::Leadership;
use super::support::{
    Cluster, PARTITION, batch, becomes, caught_up, change, eventually, leads, publish, read_all, replica, replicas,
};

const ALL: [u32; 3] = [0, 1, 2];

fn others(than: u32) -> Vec<u32> {
    ALL.into_iter().filter(|id| *id != than).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acked_is_at_every_replica_and_survives_its_leader() {
    let mut cluster = Cluster::with_partition(3).await;
    for number in 0..20 {
        publish(&cluster, &ALL, number, 10).await;
    }
    let leader = cluster.leader().await.id.0;
    drop(cluster.stop(leader).await);
    let left = others(leader);
    for number in 20..40 {
        publish(&cluster, &left, number, 10).await;
    }
    let (a, b) = (cluster.node(left[0]), cluster.node(left[1]));
    caught_up(a, b).await;
    let events = read_all(a.handle());
    assert_eq!(events, read_all(b.handle()));
    assert_eq!(events.len(), 40, "each once");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_no_majority_answers_refuses_within_seconds_and_loses_nothing() {
    let cluster = Cluster::with_partition(3).await;
    publish(&cluster, &ALL, 0, 10).await;
    let old = cluster.leader().await;
    let (old_id, term) = (old.id.0, old.group().leadership().current());
    cluster.wires.cut(BrokerId(old_id));
    // May have been proposed before anybody noticed, and then nobody knows.
    let asked = Instant::now();
    let published = old.handle().publish(batch(1, 1, 10)).await;
    assert!(matches!(published, Published::Refused(_)), "{published:?}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    becomes(old.group(), |now| matches!(now, Leadership::Isolated { .. })).await;
    // From now on the answer is there at once, and sure.
    let Published::Refused(fault) = old.handle().publish(batch(1, 1, 10)).await else { panic!("refused") };
    assert!(fault.retry() && fault.code().is_some_and(|code| code.outcome() == anyport_protocol::Outcome::SurelyNot));
    let left = others(old_id);
    for number in 1..10 {
        publish(&cluster, &left, number, 10).await;
    }
    cluster.wires.mend();
    let new = cluster.leader_among(&left).await;
    caught_up(old, new).await;
    assert_eq!(read_all(old.handle()), read_all(new.handle()));
    assert_eq!(read_all(new.handle()).len(), 10);
    assert_ne!(new.group().leadership().current(), term);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_cut_off_does_not_depose_the_leader_when_it_returns() {
    let cluster = Cluster::with_partition(3).await;
    let leader = cluster.leader().await;
    let (id, leadership) = (leader.id.0, leader.group().leadership().current());
    let cut = others(id)[0];
    cluster.wires.cut(BrokerId(cut));
    // Longer than two elections would take.
    let until = Instant::now() + Duration::from_secs(4);
    let mut number = 0;
    while Instant::now() < until {
        publish(&cluster, &[id], number, 10).await;
        number += 1;
    }
    cluster.wires.mend();
    publish(&cluster, &[id], number, 10).await;
    caught_up(cluster.node(cut), leader).await;
    assert_eq!(leader.group().leadership().current(), leadership, "the same term");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_isolated_only_until_the_others_are_back() {
    let mut cluster = Cluster::with_partition(3).await;
    publish(&cluster, &ALL, 0, 10).await;
    let leader = cluster.leader().await.id.0;
    let left = others(leader);
    let folders = [cluster.stop(left[0]).await, cluster.stop(left[1]).await];
    becomes(cluster.node(leader).group(), |now| matches!(now, Leadership::Isolated { .. })).await;
    for (id, folder) in left.iter().zip(folders) {
        cluster.start(*id, folder).await;
    }
    for number in 1..5 {
        publish(&cluster, &ALL, number, 10).await;
    }
    let now = cluster.leader().await;
    assert_eq!(read_all(now.handle()).len(), 5);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_that_starts_again_goes_on_where_it_was() {
    let mut cluster = Cluster::with_partition(3).await;
    for number in 0..10 {
        publish(&cluster, &ALL, number, 10).await;
    }
    let mut folders = Vec::new();
    for id in ALL {
        folders.push(cluster.stop(id).await);
    }
    for (id, folder) in ALL.into_iter().zip(folders) {
        cluster.start(id, folder).await;
    }
    for number in 5..20 {
        publish(&cluster, &ALL, number, 10).await;
    }
    assert_eq!(read_all(cluster.leader().await.handle()).len(), 20, "what is published again is stored once");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_broker_learns_becomes_a_voter_and_takes_the_place_of_another() {
    let mut cluster = Cluster::with_partition(3).await;
    for number in 0..50 {
        publish(&cluster, &ALL, number, 100).await;
    }
    cluster.add(3);
    cluster.node_mut(3).start_partition(1).await;
    let leader = cluster.leader().await;
    let id = leader.id.0;
    leader.group().add_learner(replica(3, 1)).await.expect("added");
    caught_up(cluster.node(3), leader).await;
    let staying = others(others(id)[0]);
    let wanted: BTreeSet<_> = replicas(&staying).into_iter().chain([replica(3, 1)]).collect();
    change(leader.group(), wanted.clone(), BTreeSet::new()).await;
    publish(&cluster, &[id], 50, 100).await;
    caught_up(cluster.node(3), leader).await;
    assert_eq!(read_all(cluster.node(3).handle()), read_all(leader.handle()));
    eventually("the news at the new voter", || (cluster.node(3).group().members().voters == wanted).then_some(()))
        .await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_that_lags_does_not_become_a_voter() {
    let mut cluster = Cluster::with_partition(1).await;
    for number in 0..100 {
        publish(&cluster, &[0], number, 10).await;
    }
    cluster.add(1);
    let leader = cluster.node(0).group();
    let refused = leader.change_members(replicas(&[0, 1]), BTreeSet::new()).await;
    assert!(matches!(refused, Err(super::super::ChangeError::Lags { .. })), "{refused:?}");
    let members = leader.members();
    assert_eq!((members.voters, members.learners), (replicas(&[0]), replicas(&[1])));
    // Acks do not wait for it.
    publish(&cluster, &[0], 100, 10).await;
    cluster.node_mut(1).start_partition(1).await;
    change(cluster.node(0).group(), replicas(&[0, 1]), BTreeSet::new()).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_to_a_former_generation_of_a_replica_reaches_nobody() {
    let mut cluster = Cluster::with_partition(3).await;
    publish(&cluster, &ALL, 0, 10).await;
    let leader = cluster.leader().await.id.0;
    let other = others(leader)[0];
    let node = cluster.node_mut(other);
    node.stop_partition().await;
    // The group still counts the first generation among its voters.
    node.start_partition(2).await;
    for number in 1..5 {
        publish(&cluster, &[leader], number, 10).await;
    }
    let stranger = cluster.node(other).group();
    assert!(!leads(cluster.node(other)));
    assert_eq!(stranger.id(), PARTITION);
    let progress = cluster.node(leader).group().progress().expect("it leads");
    assert!(progress.lag(replica(other, 1)).is_none_or(|lag| lag > 0), "{progress:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_steps_back_is_followed_by_the_one_that_stands() {
    let cluster = Cluster::with_partition(3).await;
    publish(&cluster, &ALL, 0, 10).await;
    let old = cluster.leader().await;
    let next = cluster.node(others(old.id.0)[0]);
    caught_up(next, old).await;
    old.group().heartbeats(false);
    assert!(!leads(old), "it takes nothing from that moment");
    let taken = Instant::now();
    while !leads(next) {
        next.group().elect().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(taken.elapsed() < Duration::from_secs(10), "it leads");
    }
    old.group().heartbeats(true);
    publish(&cluster, &[next.id.0], 1, 10).await;
    assert_eq!(read_all(next.handle()).len(), 2);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_slower_than_the_engine_waits_still_carries_a_group() {
    let cluster = Cluster::with_partition(3).await;
    publish(&cluster, &ALL, 0, 10).await;
    cluster.wires.delay(Duration::from_millis(400));
    for number in 1..4 {
        publish(&cluster, &ALL, number, 10).await;
    }
    let leader = cluster.leader().await;
    assert_eq!(read_all(leader.handle()).len(), 4);
    cluster.wires.mend();
    cluster.shutdown().await;
}
