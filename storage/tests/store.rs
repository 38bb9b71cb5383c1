//! Stories of the whole store: killed, damaged, failing, closed, too new, too short.

mod support;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyport_protocol::{LogEpoch, Offset, WallMs};
use anyport_storage::*;
use support::*;

fn relaxed(interval: Duration) -> StoreOptions {
    StoreOptions { sync: SyncMode::Relaxed { interval }, ..options() }
}

/// Fails a step from its n-th time on.
fn failing(step: Step, nth: usize) -> StoreOptions {
    failing_by(step, nth, || io::Error::other("as the test wants"))
}

fn failing_by(step: Step, nth: usize, error: impl Fn() -> io::Error + Send + Sync + 'static) -> StoreOptions {
    let taken = AtomicUsize::new(0);
    let inject = move |at: Step| {
        if at == step && taken.fetch_add(1, Ordering::SeqCst) + 1 >= nth {
            return Err(error());
        }
        Ok(())
    };
    StoreOptions { inject: Some(Arc::new(inject)), ..options() }
}

fn refused(path: &Path) -> OpenError {
    Store::open(path, options()).expect_err("refused")
}

#[test]
fn a_killed_store_has_everything_that_was_acked() {
    let (folder, copies) = (folder(), folder());
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    for turn in 1..=20u64 {
        player.publish(30, 200, turn);
        let copied = copies.path().join(turn.to_string());
        copy(folder.path(), &copied);
        let reopened = Player::of(&open(&copied));
        assert_eq!(reopened.log.last(), player.log.last());
        // Applying is not synced: what it did may be missing, and is done again from the log.
        let mut again = reopened;
        let from = again.machine.applied().map_or(0, |applied| applied.index + 1);
        let rest = again.log.entries(from..u64::MAX, usize::MAX).expect("entries");
        again.machine.apply(&rest).expect("apply");
        assert_eq!(again.reader.bounds(), player.reader.bounds());
        assert_eq!(again.read_all(0), turn * 30);
        assert_eq!(again.reader.producer(producer(1)), player.reader.producer(producer(1)));
    }
}

#[test]
fn what_was_synced_and_not_told_is_there_after_a_kill() {
    let (folder, copies) = (folder(), folder());
    let (from, to) = (folder.path().to_owned(), copies.path().join("copy"));
    let syncs = AtomicUsize::new(0);
    let inject = {
        let to = to.clone();
        move |step: Step| {
            // The first sync is the store's own, at its start.
            if step == Step::AfterSync && syncs.fetch_add(1, Ordering::SeqCst) == 1 {
                copy(&from, &to);
            }
            Ok(())
        }
    };
    let options = StoreOptions { inject: Some(Arc::new(inject)), ..options() };
    let store = Store::open(folder.path(), options).expect("open store");
    append(&store.log(GroupId::Metadata), vec![entry(1, EntryData::open(nonce(1), WallMs(0)))]);
    assert_eq!(open(&to).log(GroupId::Metadata).last(), Some(id(1)));
}

#[test]
fn dropping_a_store_without_closing_it_loses_nothing() {
    let folder = folder();
    for turn in 0..5 {
        let mut player = Player::of(&open(folder.path()));
        assert_eq!(player.read_all(0), turn * 10);
        player.open(turn as u8 + 1);
        player.publish(10, 100, turn);
    }
}

#[test]
fn a_failed_sync_poisons_the_store_and_everybody_is_told() {
    let folder = folder();
    // The first sync is the store's own, at its start.
    let store = Store::open(folder.path(), failing(Step::Sync, 3)).expect("open store");
    let log = store.log(GroupId::Metadata);
    append(&log, vec![entry(1, EntryData::open(nonce(1), WallMs(0)))]);
    assert_eq!(store.poisoned(), None);
    let (first, first_told) = done();
    log.append(vec![entry(2, EntryData::open(nonce(1), WallMs(0)))], first).expect("queued");
    let poison = match first_told.recv().expect("told") {
        Err(StoreError::Poisoned(poison)) => poison,
        other => panic!("{other:?}"),
    };
    assert_eq!(poison.step, Step::Sync);
    assert_eq!(store.poisoned(), Some(poison.clone()));
    let poisoned = StoreError::Poisoned(poison);
    let (second, second_told) = done();
    assert_eq!(log.append(vec![entry(3, EntryData::open(nonce(1), WallMs(0)))], second), Err(poisoned.clone()));
    assert!(second_told.recv().is_err());
    assert_eq!(wait(|done| log.save_vote(b"vote", done)), Err(poisoned.clone()));
    assert_eq!(store.put_local("key", b"value"), Err(poisoned.clone()));
    assert_eq!(log.save_committed(Some(id(1))), Err(poisoned.clone()));
    assert_eq!(store.close(), Err(poisoned));
}

#[test]
fn a_failed_write_poisons_the_store() {
    let folder = folder();
    let store = Store::open(folder.path(), failing(Step::Write, 2)).expect("open store");
    let log = store.log(GroupId::Metadata);
    append(&log, vec![entry(1, EntryData::open(nonce(1), WallMs(0)))]);
    let outcome = wait(|done| log.save_vote(b"vote", done));
    assert!(matches!(outcome, Err(StoreError::Poisoned(Poison { step: Step::Write, .. }))), "{outcome:?}");
}

/// Keeps a value, and fails to keep another one.
fn failed(path: &Path, options: StoreOptions) {
    let store = Store::open(path, options).expect("open store");
    store.put_local("first", b"kept").expect("put");
    assert!(matches!(store.put_local("second", b"value"), Err(StoreError::Poisoned(_))));
    assert!(store.failure_is_settled());
}

#[test]
fn a_store_whose_sync_failed_is_refused_until_somebody_takes_the_note_away() {
    let folder = folder();
    failed(folder.path(), failing(Step::Sync, 3));
    for _ in 0..2 {
        let OpenError::Distrusted { path, cause } = refused(folder.path()) else { panic!("refused otherwise") };
        assert_eq!(cause, "a sync failed: as the test wants");
        assert_eq!(path, folder.path().join("distrusted.txt"));
    }
    std::fs::remove_file(folder.path().join("distrusted.txt")).expect("remove");
    assert_eq!(open(folder.path()).local("first"), Ok(Some(b"kept".to_vec())));
}

#[test]
fn a_sync_that_fails_while_the_store_opens_costs_its_trust_too() {
    let folder = folder();
    open(folder.path()).close().expect("close");
    let failed = Store::open(folder.path(), failing(Step::Sync, 1)).expect_err("refused");
    assert!(matches!(failed, OpenError::Store(StoreError::Poisoned(_))), "{failed}");
    assert!(matches!(refused(folder.path()), OpenError::Distrusted { .. }));
}

#[test]
fn a_write_that_fails_costs_a_store_its_trust_unless_there_was_no_room() {
    let folders = [folder(), folder()];
    failed(folders[0].path(), failing_by(Step::Write, 2, || io::ErrorKind::StorageFull.into()));
    assert_eq!(open(folders[0].path()).local("first"), Ok(Some(b"kept".to_vec())));
    failed(folders[1].path(), failing(Step::Write, 2));
    assert!(matches!(refused(folders[1].path()), OpenError::Distrusted { .. }));
}

#[test]
fn a_store_that_synced_what_it_did_not_tell_is_trusted() {
    let folder = folder();
    failed(folder.path(), failing(Step::AfterSync, 3));
    assert_eq!(open(folder.path()).local("second"), Ok(Some(b"value".to_vec())));
}

#[test]
fn facts_of_the_broker_are_kept() {
    let folder = folder();
    let store = open(folder.path());
    assert_eq!(store.local("token key"), Ok(None));
    store.put_local("token key", b"secret").expect("put");
    store.put_local("token key", b"newer secret").expect("put");
    drop(store);
    assert_eq!(open(folder.path()).local("token key"), Ok(Some(b"newer secret".to_vec())));
}

#[test]
fn a_closed_store_takes_no_writes() {
    let folder = folder();
    let store = open(folder.path());
    let log = store.log(GroupId::Metadata);
    let mut player = Player::of(&store);
    player.open(1);
    let other = store.clone();
    store.close().expect("close");
    assert_eq!(wait(|done| log.save_vote(b"vote", done)), Err(StoreError::Closed));
    assert_eq!(other.put_local("key", b"value"), Err(StoreError::Closed));
    assert_eq!(log.save_committed(None), Err(StoreError::Closed));
    assert_eq!(player.machine.apply(&[]), Err(StoreError::Closed));
}

#[test]
fn free_space_is_known() {
    let folder = folder();
    assert!(open(folder.path()).free_bytes().expect("statvfs") > 0);
}

#[test]
fn a_store_is_opened_by_one_process_at_a_time() {
    let folder = folder();
    let _store = open(folder.path());
    assert!(matches!(refused(folder.path()), OpenError::Engine { .. }));
}

#[test]
fn another_layout_is_refused() {
    let folder = folder();
    drop(open(folder.path()));
    let wider = StoreOptions { partitions: 4, ..options() };
    let refused = Store::open(folder.path(), wider).expect_err("refused");
    assert!(matches!(refused, OpenError::Layout { what: "partitions", stored: 2, asked: 4, .. }), "{refused}");
}

#[test]
fn a_store_of_a_newer_format_is_refused() {
    let folder = folder();
    open(folder.path()).close().expect("close");
    let mark = folder.path().join("synced.mark");
    let mut bytes = std::fs::read(&mark).expect("read mark");
    bytes[9] += 1;
    let crc = crc32c::crc32c(&bytes[..56]).to_le_bytes();
    bytes[56..].copy_from_slice(&crc);
    std::fs::write(&mark, bytes).expect("write mark");
    let refused = refused(folder.path());
    assert!(matches!(refused, OpenError::NewerFormat { found: 2, known: 1, .. }), "{refused}");
}

#[test]
fn a_store_without_its_mark_is_refused() {
    let folder = folder();
    open(folder.path()).close().expect("close");
    std::fs::remove_file(folder.path().join("synced.mark")).expect("remove");
    assert!(matches!(refused(folder.path()), OpenError::MarkMissing { .. }));
}

#[test]
fn a_damaged_mark_is_refused() {
    let folder = folder();
    open(folder.path()).close().expect("close");
    damage(&folder.path().join("synced.mark"), 14);
    assert!(matches!(refused(folder.path()), OpenError::MarkDamaged { .. }));
}

/// A cleanly stopped store with a thousand events, none of which is in an SST yet.
fn with_events(path: &Path) {
    let store = open(path);
    let mut player = Player::of(&store);
    player.open(1);
    for turn in 0..10 {
        player.publish(100, 300, turn);
    }
    drop(player);
    store.close().expect("close");
}

#[test]
fn a_store_that_lost_its_end_is_refused() {
    let folder = folder();
    with_events(folder.path());
    let wal = files(folder.path(), "log").remove(0);
    let length = std::fs::metadata(&wal).expect("size").len();
    let file = std::fs::OpenOptions::new().write(true).open(&wal).expect("open");
    file.set_len(length - 1000).expect("cut");
    let refused = refused(folder.path());
    assert!(matches!(refused, OpenError::ShortOfMark { store, mark } if store < mark), "{refused}");
}

#[test]
fn a_store_that_lost_everything_but_its_mark_is_refused() {
    let folder = folder();
    with_events(folder.path());
    std::fs::remove_dir_all(folder.path().join("store")).expect("remove");
    assert!(matches!(refused(folder.path()), OpenError::ShortOfMark { store: 0, .. }));
}

#[test]
fn damage_in_the_write_ahead_log_is_refused_wherever_it_is() {
    let (folder, copies) = (folder(), folder());
    with_events(folder.path());
    let length = std::fs::metadata(files(folder.path(), "log").remove(0)).expect("size").len();
    for turn in 0..20 {
        let copied = copies.path().join(turn.to_string());
        copy(folder.path(), &copied);
        damage(&files(&copied, "log")[0], 3 + (length - 7) * turn / 19);
        let refused = refused(&copied);
        let expected = matches!(refused, OpenError::ShortOfMark { .. } | OpenError::Engine { .. });
        assert!(expected, "damage at {turn}/19 of the log: {refused}");
    }
}

#[test]
fn damage_in_a_data_file_is_an_error_and_never_served_or_skipped() {
    let (folder, copies) = (folder(), folder());
    with_events(folder.path());
    // Opening writes what was only in the write-ahead log to data files.
    open(folder.path()).close().expect("close");
    let sizes: Vec<u64> =
        files(folder.path(), "sst").iter().map(|file| std::fs::metadata(file).expect("size").len()).collect();
    assert!(sizes[0] > 300_000, "the largest file holds the events");
    let mut found = 0;
    for turn in 0..20 {
        let copied = copies.path().join(turn.to_string());
        copy(folder.path(), &copied);
        damage(&files(&copied, "sst")[0], 100 + (sizes[0] - 4000) * turn / 19);
        found += usize::from(damage_is_noticed(&copied));
    }
    assert!(found >= 19, "nearly all of the file is events: noticed {found} of 20");
}

/// Reads everything. Whatever is served must be right.
fn damage_is_noticed(path: &Path) -> bool {
    let Ok(store) = Store::open(path, options()) else { return true };
    let Ok((_, reader)) = store.partition(PARTITION) else { return true };
    let mut next = Offset(0);
    let noticed = loop {
        match reader.read(next, 16 << 10) {
            Ok(chunk) => {
                for (offset, bytes) in chunk.events() {
                    assert_eq!(bytes, event(offset.0, 300), "the event of offset {offset}");
                    assert_eq!(offset, next);
                    next = next.plus(1);
                }
            }
            Err(ReadError::NotYet { tail }) => {
                assert_eq!((tail, next), (Offset(1000), Offset(1000)), "nothing was skipped");
                break false;
            }
            Err(ReadError::Damaged { .. }) => break true,
            Err(other) => panic!("{other}"),
        }
    };
    let read = store.log(GroupId::Partition(PARTITION)).entries(0..u64::MAX, usize::MAX);
    assert_eq!(noticed, matches!(read, Err(StoreError::Damaged(_))), "the log says the same");
    noticed
}

#[test]
fn in_relaxed_mode_a_killed_process_loses_nothing() {
    let (folder, copies) = (folder(), folder());
    let store = Store::open(folder.path(), relaxed(Duration::from_secs(3600))).expect("open store");
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(50, 200, 0);
    let copied = copies.path().join("copy");
    copy(folder.path(), &copied);
    let reopened = Store::open(&copied, relaxed(Duration::from_secs(3600))).expect("open store");
    assert_eq!(reopened.log(GroupId::Partition(PARTITION)).last(), player.log.last());
    assert_eq!(reopened.log_epoch(), LogEpoch(0), "the machine did not go down");
}

#[test]
fn in_relaxed_mode_votes_are_synced_and_appends_are_not() {
    let folder = folder();
    let syncs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&syncs);
    let inject = move |step| {
        counted.fetch_add(usize::from(step == Step::Sync), Ordering::SeqCst);
        Ok(())
    };
    let options = StoreOptions { inject: Some(Arc::new(inject)), ..relaxed(Duration::from_secs(3600)) };
    let store = Store::open(folder.path(), options).expect("open store");
    let log = store.log(GroupId::Metadata);
    let before = syncs.load(Ordering::SeqCst);
    append(&log, vec![entry(1, EntryData::open(nonce(1), WallMs(0)))]);
    assert_eq!(syncs.load(Ordering::SeqCst), before);
    wait(|done| log.save_vote(b"vote", done)).expect("vote");
    assert_eq!(syncs.load(Ordering::SeqCst), before + 1);
}

#[test]
fn the_log_epoch_grows_when_the_machine_went_down_in_relaxed_mode() {
    let folder = folder();
    let other_boot = |flags: u8| {
        let mark = folder.path().join("synced.mark");
        let mut bytes = std::fs::read(&mark).expect("read mark");
        bytes[10] = flags;
        bytes[20..56].copy_from_slice(&[b'x'; 36]);
        let crc = crc32c::crc32c(&bytes[..56]).to_le_bytes();
        bytes[56..].copy_from_slice(&crc);
        std::fs::write(&mark, bytes).expect("write mark");
    };
    let epoch = || Store::open(folder.path(), options()).expect("open store").log_epoch();
    assert_eq!(epoch(), LogEpoch(0));
    const CLEAN: u8 = 1;
    const RELAXED: u8 = 2;
    other_boot(0);
    assert_eq!(epoch(), LogEpoch(0), "synced always");
    other_boot(CLEAN | RELAXED);
    assert_eq!(epoch(), LogEpoch(0), "stopped cleanly");
    other_boot(RELAXED);
    assert_eq!(epoch(), LogEpoch(1));
    assert_eq!(epoch(), LogEpoch(1), "once");
}

#[test]
fn a_store_that_was_put_back_begins_a_later_epoch_than_any_it_knows_of() {
    let folder = folder();
    let epoch = |new_epoch| {
        let options = StoreOptions { new_epoch, ..options() };
        Store::open(folder.path(), options).expect("open store").log_epoch()
    };
    assert_eq!(epoch(Some(LogEpoch(500))), LogEpoch(500));
    assert_eq!(epoch(None), LogEpoch(500), "it is kept");
    assert_eq!(epoch(Some(LogEpoch(500))), LogEpoch(501), "twice within a minute");
}

#[test]
fn in_relaxed_mode_the_interval_syncs_without_further_writes() {
    let folder = folder();
    let (stepped, steps) = std::sync::mpsc::channel();
    let inject = move |step| {
        stepped.send(step).unwrap_or_default();
        Ok(())
    };
    let options = StoreOptions { inject: Some(Arc::new(inject)), ..relaxed(Duration::from_millis(1)) };
    let store = Store::open(folder.path(), options).expect("open store");
    while steps.try_recv().is_ok() {}
    append(&store.log(GroupId::Metadata), vec![entry(1, EntryData::open(nonce(1), WallMs(0)))]);
    assert!(steps.iter().any(|step| step == Step::Sync), "comes by itself");
}

#[test]
fn a_mark_that_cannot_be_written_poisons_the_store() {
    let folder = folder();
    let store = Store::open(folder.path(), failing(Step::Mark, 1)).expect("open store");
    store.put_local("key", b"value").expect("put");
    let outcome = store.close();
    assert!(matches!(outcome, Err(StoreError::Poisoned(Poison { step: Step::Mark, .. }))), "{outcome:?}");
}

#[test]
fn callbacks_may_ask_the_log_that_calls_them() {
    let folder = folder();
    let store = open(folder.path());
    let log = store.log(GroupId::Metadata);
    let asked = log.clone();
    let (told, last) = std::sync::mpsc::channel();
    let done: Done = Box::new(move |_| told.send(asked.last()).unwrap_or_default());
    log.append(vec![entry(1, EntryData::open(nonce(1), WallMs(0)))], done).expect("append");
    assert_eq!(last.recv(), Ok(Some(id(1))));
    store.close().expect("close");
    let asked = log.clone();
    let (told, last) = std::sync::mpsc::channel();
    log.truncate(0, Box::new(move |outcome| told.send((asked.last().is_some(), outcome)).unwrap_or_default()));
    assert!(matches!(last.recv(), Ok((_, Err(StoreError::Closed)))));
}
