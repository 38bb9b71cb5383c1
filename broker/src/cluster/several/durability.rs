//! What a replica says is on its disk.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyport_protocol::BrokerId;
use anyport_protocol::message::publish::Published;
use anyport_storage::{EntryData, LogId};
use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest};
use openraft::{EntryPayload, Membership};

use super::super::pulse::Health;
use super::super::types::{RaftEntry, RaftVote, to_raft_id};
use super::super::wire::{self, Answer, Asked, Request};
use super::support::{Cluster, PARTITION, batch, caught_up, leads, publish, read_all, replica};

/// Long enough for a sync, were there one.
const A_WHILE: Duration = Duration::from_millis(300);

async fn ask(cluster: &Cluster, request: Request) -> Answer {
    let asked = Asked { group: PARTITION, target: replica(1, 1), request };
    let answers = cluster.node(1).inbox.call(BrokerId(0), wire::join(&[asked.encode()])).await.expect("readable");
    Answer::decode(wire::split(answers).expect("own").remove(0)).expect("own")
}

async fn one_empty_replica() -> Cluster {
    let mut cluster = Cluster::of(2);
    cluster.node_mut(1).start_partition(1).await;
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_is_given_only_once_it_is_on_the_disk() {
    let cluster = one_empty_replica().await;
    let vote = RaftVote::new(1, replica(0, 1).0);
    let request = || Request::Vote(VoteRequest { vote, last_log_id: None });
    cluster.node(1).stuck.store(true, Ordering::Relaxed);
    let asked = tokio::time::timeout(A_WHILE, ask(&cluster, request())).await;
    assert!(asked.is_err(), "{asked:?}");
    cluster.node(1).stuck.store(false, Ordering::Relaxed);
    let Answer::Vote(given) = ask(&cluster, request()).await else { panic!("a vote") };
    assert!(given.vote_granted);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_confirmed_only_once_they_are_on_the_disk() {
    let cluster = one_empty_replica().await;
    let leader = replica(0, 1).0;
    let vote = RaftVote { committed: true, ..RaftVote::new(1, leader) };
    let members = Membership::new(vec![BTreeSet::from([leader])], BTreeSet::from([leader, replica(1, 1).0]));
    let log_id = to_raft_id(LogId { term: 0, node: 0, index: 0 });
    let first = RaftEntry { log_id, payload: EntryPayload::Membership(members) };
    let append = |prev_log_id, entry| {
        Request::Append(AppendEntriesRequest { vote, prev_log_id, leader_commit: None, entries: vec![entry] })
    };
    assert_eq!(ask(&cluster, append(None, first)).await, Answer::Append(AppendEntriesResponse::Success));
    // The vote is on the disk by now, so that only the entry is waited for.
    let data = EntryPayload::Normal(EntryData::from_bytes(Bytes::from_static(b"event")));
    let next = || RaftEntry { log_id: to_raft_id(LogId { term: 1, node: leader, index: 1 }), payload: data.clone() };
    cluster.node(1).stuck.store(true, Ordering::Relaxed);
    let asked = tokio::time::timeout(A_WHILE, ask(&cluster, append(Some(log_id), next()))).await;
    assert!(asked.is_err(), "{asked:?}");
    cluster.node(1).stuck.store(false, Ordering::Relaxed);
    let again = ask(&cluster, append(Some(log_id), next())).await;
    assert_eq!(again, Answer::Append(AppendEntriesResponse::Success));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_acked_that_only_the_leader_has_on_its_disk() {
    let cluster = Cluster::with_partition(3).await;
    publish(&cluster, &[0, 1, 2], 0, 10).await;
    let leader = cluster.leader().await;
    let followers: Vec<_> = cluster.nodes.values().filter(|node| node.id != leader.id).collect();
    followers.iter().for_each(|node| node.stuck.store(true, Ordering::Relaxed));
    let published = leader.handle().publish(batch(1, 1, 10)).await;
    assert!(matches!(published, Published::Refused(_)), "{published:?}");
    // One disk that works again is a majority.
    followers[0].stuck.store(false, Ordering::Relaxed);
    publish(&cluster, &[0, 1, 2], 1, 10).await;
    assert_eq!(read_all(cluster.leader().await.handle()).len(), 2);
    followers[1].stuck.store(false, Ordering::Relaxed);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_broker_is_stuck_is_replaced_though_it_has_nothing_to_sync() {
    let cluster = Cluster::with_partition(3).await;
    let old = cluster.leader().await;
    let others: Vec<_> = cluster.nodes.keys().copied().filter(|id| *id != old.id.0).collect();
    old.stuck.store(true, Ordering::Relaxed);
    old.health.send_replace(Health::Stuck { at: "the committer".to_owned() });
    let leader = cluster.leader_among(&others).await;
    publish(&cluster, &others, 0, 10).await;
    old.stuck.store(false, Ordering::Relaxed);
    old.health.send_replace(Health::Well);
    caught_up(old, leader).await;
    assert!(leads(leader), "the one that is well again leaves it in peace");
    cluster.shutdown().await;
}
