//! Stories of groups that are wiped, and of logs that are damaged where the rest of the store is not.

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyport_protocol::{ClientId, Offset, PartitionId, WallMs};
use anyport_storage::registry::{Command, CommandBatch};
use anyport_storage::*;
use support::*;

const GROUP: GroupId = GroupId::Partition(PARTITION);
const OTHER: PartitionId = PartitionId(1);

/// Some events in one partition, a vote, and a client in the registry.
fn fill(store: &Store) {
    let mut player = Player::of(store);
    player.open(1);
    for turn in 0..10 {
        player.publish(20, 500, turn);
    }
    wait(|done| player.log.save_vote(b"vote", done)).expect("saved");
    let mut shard = store.registry(0).expect("shard");
    shard.apply(&[register()]).expect("applied");
}

fn register() -> LogEntry {
    let client = ClientId::from_bytes([9; 16]);
    let commands = vec![Command::Register { client, now: WallMs(1) }];
    entry(0, EntryData::from_bytes(CommandBatch { commands }.encode().into()))
}

fn reset(store: &Store, group: GroupId) {
    store.reset_group(group).expect("reset");
}

/// A log that begins anew is whole: what it is given it has, also after a restart.
fn begins_anew(store: Store, path: &Path) {
    let mut player = Player::of(&store);
    assert_eq!((player.log.last(), player.log.last_purged(), player.machine.applied()), (None, None, None));
    assert_eq!(player.log.vote(), Ok(None));
    assert_eq!(player.machine.membership(), None);
    assert_eq!(player.reader.bounds(), Bounds { head: Offset(0), tail: Offset(0) });
    assert_eq!(player.reader.producer(producer(1)), Ok(None));
    // The other node's entries have other indexes than ours had.
    player.index = 3;
    player.open(2);
    player.publish(30, 300, 1);
    drop(player);
    store.close().expect("closed");
    assert_eq!(Player::of(&open(path)).read_all(0), 30);
}

#[test]
fn a_group_that_is_reset_begins_anew_and_the_others_go_on() {
    let folder = folder();
    let store = open(folder.path());
    fill(&store);
    let mut other = {
        let (log, (machine, reader)) = (store.log(GroupId::Partition(OTHER)), store.partition(OTHER).expect("other"));
        Player { log, machine, reader, index: 1, nonce: nonce(0) }
    };
    other.open(1);
    other.publish(5, 100, 1);
    reset(&store, GROUP);
    assert_eq!(other.read_all(0), 5);
    assert!(store.registry(0).expect("shard").reader().record(ClientId::from_bytes([9; 16])).expect("read").is_some());
    drop(other);
    begins_anew(store, folder.path());
}

#[test]
fn a_registry_shard_that_is_reset_knows_nobody() {
    let folder = folder();
    let store = open(folder.path());
    fill(&store);
    reset(&store, GroupId::Registry(0));
    let shard = store.registry(0).expect("shard");
    assert_eq!(shard.applied(), None);
    assert!(shard.reader().record(ClientId::from_bytes([9; 16])).expect("read").is_none());
    assert_eq!(Player::of(&store).read_all(0), 200);
}

#[test]
fn a_log_that_was_purged_is_not_purged_again_after_its_reset() {
    let folder = folder();
    let store = open(folder.path());
    fill(&store);
    let log = store.log(GROUP);
    wait(|done| log.purge(id(8), done)).expect("purged");
    drop(log);
    reset(&store, GROUP);
    begins_anew(store, folder.path());
}

#[test]
fn a_group_in_use_is_not_reset() {
    let folder = folder();
    let store = open(folder.path());
    fill(&store);
    let player = Player::of(&store);
    assert_eq!(store.reset_group(GROUP), Err(StoreError::InUse { group: GROUP }));
    let reader = player.reader.clone();
    drop(player);
    assert_eq!(store.reset_group(GROUP), Err(StoreError::InUse { group: GROUP }), "its readers use it, too");
    drop(reader);
    reset(&store, GROUP);
    let unknown = GroupId::Partition(PartitionId(77));
    assert_eq!(store.reset_group(unknown), Err(StoreError::NoSuchGroup { group: unknown }));
}

/// Copies the store at the n-th step taken from now on.
fn copying(from: &Path, to: &Path, armed: &Arc<AtomicUsize>) -> StoreOptions {
    let (from, to, armed) = (from.to_owned(), to.to_owned(), Arc::clone(armed));
    let inject = move |_: Step| {
        if armed.load(Ordering::SeqCst) > 0 && armed.fetch_sub(1, Ordering::SeqCst) == 1 {
            copy(&from, &to);
        }
        Ok::<(), io::Error>(())
    };
    StoreOptions { inject: Some(Arc::new(inject)), ..options() }
}

#[test]
fn a_crash_in_a_reset_leaves_everything_or_nothing() {
    let (mut whole, mut empty) = (0, 0);
    for step in 1..=12 {
        let (folder, copies) = (folder(), folder());
        let (armed, copied) = (Arc::new(AtomicUsize::new(0)), copies.path().join("copy"));
        let store = Store::open(folder.path(), copying(folder.path(), &copied, &armed)).expect("open");
        fill(&store);
        armed.store(step, Ordering::SeqCst);
        reset(&store, GROUP);
        if armed.swap(0, Ordering::SeqCst) > 0 || !copied.exists() {
            break;
        }
        let after = open(&copied);
        let player = Player::of(&after);
        if player.log.last().is_some() {
            assert_eq!((player.read_all(0), player.log.vote()), (200, Ok(Some(b"vote".to_vec()))), "step {step}");
            whole += 1;
        } else {
            drop(player);
            begins_anew(after, &copied);
            empty += 1;
        }
    }
    assert!(whole > 0 && empty > 1, "{whole} whole, {empty} empty");
}

#[test]
fn a_damaged_log_is_told_apart_and_wiped_where_that_is_asked_for() {
    let (folder, copies) = (folder(), folder());
    let store = open(folder.path());
    fill(&store);
    store.close().expect("closed");
    // A mark that cannot be read is damage that is found when the log is opened.
    let copied = copies.path().join("copy");
    copy(folder.path(), &copied);
    damage_purge_mark(&copied);
    let Err(OpenError::Store(StoreError::Damaged(_))) = Store::open(&copied, options()) else { panic!("refused") };
    let store = Store::open(&copied, StoreOptions { open_damaged: true, ..options() }).expect("open all the same");
    assert_eq!(store.damaged(), [GROUP]);
    assert!(matches!(store.partition(PARTITION), Err(StoreError::Damaged(_))));
    assert!(store.partition(OTHER).is_ok());
    reset(&store, GROUP);
    assert_eq!(store.damaged(), []);
    begins_anew(store, &copied);
}

/// Writes a row that is no purge mark where the partition's would be.
fn damage_purge_mark(path: &Path) {
    let names = rocksdb::DB::list_cf(&rocksdb::Options::default(), path.join("store")).expect("families");
    let db = rocksdb::DB::open_cf(&rocksdb::Options::default(), path.join("store"), names).expect("open");
    let [kind, high, low] = GROUP.code();
    let state = db.cf_handle("state").expect("there");
    db.put_cf(&state, [kind, high, low, b'p'], b"damaged").expect("written");
}
