//! The metadata on a real store: what is created stays, and moves whole to another replica.

use std::sync::Arc;

use anyport_protocol::{ClusterId, ReplicaId};
use bytes::Bytes;
use proptest::prelude::*;
use rocksdb::WriteBatch;
use tempfile::TempDir;

use super::properties::any_step;
use super::*;
use crate::column::Column;
use crate::keys::{self, Tag};
use crate::{DamageAt, EntryData, GroupId, LogEntry, LogId, Payload, Store, StoreError, StoreOptions};

struct Replica {
    folder: TempDir,
    store: Store,
    machine: MetadataMachine,
}

impl Replica {
    fn new() -> Self {
        Self::open(tempfile::tempdir().expect("a temporary folder"))
    }

    fn open(folder: TempDir) -> Self {
        let store = Store::open(&folder.path().join("store"), StoreOptions::default()).expect("open store");
        let machine = store.metadata().expect("metadata");
        Self { folder, store, machine }
    }

    fn restarted(self) -> Self {
        let Self { folder, store, machine } = self;
        drop(machine);
        store.close().expect("close");
        Self::open(folder)
    }

    /// What another replica is that has installed the snapshot of this one.
    fn moved(self) -> Self {
        let bytes = self.machine.snapshot().expect("applied").encode();
        let mut other = Self::new();
        other.machine.install(MetadataSnapshot::decode(&bytes).expect("readable")).expect("install");
        other
    }
}

fn facts(cluster: u8) -> ClusterFacts {
    ClusterFacts { cluster: ClusterId::from_bytes([cluster; 16]), ..ClusterFacts::example() }
}

fn id(index: u64) -> LogId {
    LogId { term: 1, node: 1, index }
}

fn members(index: u64) -> LogEntry {
    LogEntry { id: id(index), payload: Payload::Membership(Bytes::from_static(b"one member")) }
}

fn blank(index: u64) -> LogEntry {
    LogEntry { id: id(index), payload: Payload::Blank }
}

fn data(index: u64, bytes: Vec<u8>) -> LogEntry {
    LogEntry { id: id(index), payload: Payload::Data(EntryData::from_bytes(bytes.into())) }
}

fn create(index: u64, cluster: u8) -> LogEntry {
    data(index, Command::Create(facts(cluster)).encode())
}

fn created(cluster: u8) -> Option<Reply> {
    Some(Reply::Created(facts(cluster)))
}

#[test]
fn who_creates_a_second_time_is_told_what_was_created_first() {
    let mut replica = Replica::new();
    assert_eq!(replica.machine.facts(), None);
    let replies = replica.machine.apply(&[members(1), blank(2), create(3, 1), create(4, 2)]);
    assert_eq!(replies, Ok(vec![None, None, created(1), created(1)]));
    assert_eq!(replica.machine.apply(&[create(5, 3)]), Ok(vec![created(1)]));
    assert_eq!(replica.machine.facts(), Some(&facts(1)));
}

#[test]
fn a_restart_keeps_the_facts_and_the_position() {
    let mut replica = Replica::new();
    replica.machine.apply(&[members(1), create(2, 1)]).expect("apply");
    let mut replica = replica.restarted();
    assert_eq!(replica.machine.facts(), Some(&facts(1)));
    assert_eq!(replica.machine.applied(), Some(id(2)));
    assert_eq!(replica.machine.membership(), Some((id(1), Bytes::from_static(b"one member"))));
    assert_eq!(replica.machine.apply(&[create(3, 2)]), Ok(vec![created(1)]));
}

#[test]
fn a_turn_that_cannot_be_understood_changes_nothing() {
    let mut replica = Replica::new();
    let failed = replica.machine.apply(&[create(1, 1), data(2, vec![9])]);
    let why = FormatError::UnknownVersion { version: 9 };
    assert_eq!(failed, Err(StoreError::BadMetadata { index: 2, why }));
    let failed = replica.machine.apply(&[create(1, 1), create(3, 1)]);
    assert_eq!(failed, Err(StoreError::NotNext { group: GroupId::Metadata, index: 3, expected: 2 }));
    let replica = replica.restarted();
    assert_eq!((replica.machine.applied(), replica.machine.facts()), (None, None));
}

#[test]
fn a_snapshot_takes_the_place_of_all_another_replica_has() {
    let mut source = Replica::new();
    assert_eq!(source.machine.snapshot(), None);
    source.machine.apply(&[members(1), create(2, 1), blank(3)]).expect("apply");
    let bytes = source.machine.snapshot().expect("applied").encode();

    let mut target = Replica::new();
    target.machine.apply(&[create(1, 2)]).expect("apply");
    target.machine.install(MetadataSnapshot::decode(&bytes).expect("readable")).expect("install");
    let mut target = target.restarted();
    assert_eq!(target.machine.snapshot(), source.machine.snapshot());
    assert_eq!(target.machine.apply(&[create(4, 2)]), Ok(vec![created(1)]));
}

#[test]
fn an_empty_snapshot_leaves_nothing_of_what_was_there() {
    let mut replica = Replica::new();
    replica.machine.apply(&[members(1), create(2, 2)]).expect("apply");
    let empty = MetadataSnapshot { at: id(7), membership: None, state: Arc::default() };
    replica.machine.install(empty.clone()).expect("install");
    assert_eq!(replica.restarted().machine.snapshot(), Some(empty));
}

#[test]
fn facts_that_cannot_be_read_are_damage_and_never_taken_for_none() {
    let mut replica = Replica::new();
    replica.machine.apply(&[create(1, 1)]).expect("apply");
    let mut batch = WriteBatch::default();
    let engine = &replica.machine.engine;
    engine.put(&mut batch, Column::State, &keys::group_row(GroupId::Metadata, Tag::Facts), &[&[1, 0xc0]]);
    engine.write(batch).expect("write");
    let opened = replica.store.metadata().map(|machine| machine.applied());
    assert!(matches!(opened, Err(StoreError::Damaged(DamageAt::Facts { .. }))), "{opened:?}");
}

fn as_the_first_versions_left_it() -> Replica {
    let mut replica = Replica::new();
    replica.machine.apply(&[members(1), create(2, 1)]).expect("apply");
    let engine = &replica.machine.engine;
    let mut batch = WriteBatch::default();
    batch.delete_cf(&engine.column(Column::State), keys::group_row(GroupId::Metadata, Tag::Cluster));
    engine.write(batch).expect("write");
    replica.restarted()
}

#[test]
fn a_store_that_has_only_the_facts_is_of_a_cluster_whose_broker_has_yet_to_announce_itself() {
    let replica = as_the_first_versions_left_it();
    let state = replica.machine.state();
    assert_eq!(*state, ClusterState::created(facts(1)));
    let groups = 1 + usize::from(facts(1).partitions) + usize::from(facts(1).registry_shards);
    assert_eq!((state.brokers.len(), state.assignments.len()), (0, groups));
    assert!(state.assignments.values().all(|first| first.voters == [ReplicaId::FIRST] && first.is_settled()));
}

#[test]
fn a_cluster_that_cannot_be_read_is_damage_and_never_taken_for_a_new_one() {
    let mut replica = Replica::new();
    replica.machine.apply(&[create(1, 1)]).expect("apply");
    let mut batch = WriteBatch::default();
    let engine = &replica.machine.engine;
    engine.put(&mut batch, Column::State, &keys::group_row(GroupId::Metadata, Tag::Cluster), &[&[1, 0xc0]]);
    engine.write(batch).expect("write");
    let opened = replica.store.metadata().map(|machine| machine.applied());
    assert!(matches!(opened, Err(StoreError::Damaged(DamageAt::Cluster { .. }))), "{opened:?}");
}

/// What a machine is to do besides applying the next command.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Apply,
    Restart,
    MoveToAnother,
}

proptest! {
    // Each case opens stores.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn replicas_agree_whatever_restarts_and_snapshots_lie_between(
        steps in prop::collection::vec((any_step(), 0..12u8), 1..40)
    ) {
        let mut expected = ClusterState::created(facts(1));
        let mut replica = Replica::new();
        replica.machine.apply(&[create(1, 1)]).expect("apply");
        let mut waiting = Vec::new();
        for (index, (step, turn)) in (2..).zip(&steps) {
            let command = step.command(&expected);
            let (changed, reply) = decide(&expected, &command);
            expected = changed.unwrap_or(expected);
            waiting.push((data(index, command.encode()), Some(reply)));
            let turn = match turn {
                0..6 => continue,
                6..10 => Turn::Apply,
                10 => Turn::Restart,
                _ => Turn::MoveToAnother,
            };
            let (entries, replies): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
            prop_assert_eq!(replica.machine.apply(&entries), Ok(replies));
            replica = match turn {
                Turn::Apply => replica,
                Turn::Restart => replica.restarted(),
                Turn::MoveToAnother => replica.moved(),
            };
            prop_assert_eq!(&*replica.machine.state(), &expected);
        }
    }
}
