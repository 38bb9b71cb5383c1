//! Stories of one partition: what is stored, what is void, what is read, what is trimmed.

mod support;

use anyport_protocol::{Number, Offset, OffsetRange, WallMs};
use anyport_storage::*;
use support::*;

fn stored(start: u64, end: u64) -> PartitionEffect {
    PartitionEffect::Stored(OffsetRange::new(Offset(start), Offset(end)))
}

#[test]
fn events_come_back_in_order_from_the_tail_cache_and_from_disk() {
    let folder = folder();
    let store =
        Store::open(folder.path(), StoreOptions { tail_cache_bytes: 64 << 10, ..options() }).expect("open store");
    let mut player = Player::of(&store);
    assert_eq!(player.open(1), PartitionEffect::Opened { nonce: nonce(1) });
    for size in [1, 100, 300, 3, 90] {
        player.publish(size, 300, 10);
    }
    assert_eq!(player.read_all(0), 494);
    for from in [0, 1, 63, 64, 65, 100, 101, 400, 493] {
        assert_eq!(player.read_all(from), 494 - from);
    }
    assert_eq!(player.reader.read(Offset(494), 1), Err(ReadError::NotYet { tail: Offset(494) }));
}

#[test]
fn a_small_read_takes_one_record_and_begins_where_it_was_asked_to() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(1000, 300, 10);
    let chunk = player.reader.read(Offset(500), 1).expect("read");
    assert_eq!(chunk.records.len(), 1);
    assert!(chunk.bytes() <= 16 << 10);
    assert_eq!(chunk.events().next().map(|(offset, _)| offset), Some(Offset(500)));
}

#[test]
fn an_event_over_16_kib_has_a_record_of_its_own() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(3, 100, 1);
    player.publish(3, 100_000, 2);
    player.publish(3, 100, 3);
    assert_eq!(player.reader.read(Offset(4), 1).expect("read").records[0].count, 1);
    assert_eq!(player.read_all(0), 9);
}

#[test]
fn a_batch_of_an_older_opening_is_void_and_takes_no_offset() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    assert_eq!(player.play(batch(nonce(1), 0, 0..5, 50, 0)), PartitionEffect::Void, "nothing was opened");
    player.open(1);
    player.publish(5, 50, 0);
    player.open(2);
    assert_eq!(player.play(batch(nonce(1), 5, 5..10, 50, 0)), PartitionEffect::Void, "of an older opening");
    assert_eq!(player.play(batch(nonce(2), 6, 5..10, 50, 0)), PartitionEffect::Void, "not at the tail");
    assert_eq!(player.play(batch(nonce(2), 4, 4..10, 50, 0)), PartitionEffect::Void, "below the tail");
    let row = player.reader.producer(producer(1)).expect("read").expect("row");
    assert_eq!(row.next, Number(5), "a void batch changes no row");
    assert_eq!(player.play(batch(nonce(2), 5, 5..10, 50, 0)), stored(5, 10));
    assert_eq!(player.read_all(0), 10);
}

#[test]
fn a_log_of_which_the_end_is_not_applied_leads_to_the_tail_that_it_then_has() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(5, 10, 0);
    let ahead = [
        batch(nonce(1), 5, 5..8, 10, 0),
        batch(nonce(1), 5, 5..6, 10, 0),
        batch(nonce(9), 8, 8..9, 10, 0),
        EntryData::open(nonce(2), WallMs(0)),
        batch(nonce(1), 8, 8..20, 10, 0),
        batch(nonce(2), 8, 8..10, 10, 0),
    ];
    assert_eq!(player.reader.tail_of_log(), Ok(Offset(5)));
    let entries: Vec<_> = (player.index..).zip(ahead).map(|(index, data)| entry(index, data)).collect();
    append(&player.log, entries.clone());
    assert_eq!((player.reader.tail_of_log(), player.reader.bounds().tail), (Ok(Offset(10)), Offset(5)));
    player.machine.apply(&entries).expect("apply");
    assert_eq!((player.reader.tail_of_log(), player.reader.bounds().tail), (Ok(Offset(10)), Offset(10)));
}

#[test]
fn an_opening_that_comes_twice_voids_nothing_of_its_own() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(5, 50, 0);
    assert_eq!(player.open(1), PartitionEffect::Opened { nonce: nonce(1) });
    player.publish(5, 50, 0);
    assert_eq!(player.read_all(0), 10);
}

#[test]
fn void_entries_are_passed_over_when_reading_from_disk() {
    let folder = folder();
    let mut player = Player::of(&open(folder.path()));
    player.open(1);
    for turn in 2..40u8 {
        player.publish(30, 200, 0);
        let tail = player.reader.bounds().tail.0;
        player.play(batch(nonce(99), tail, 0..200, 200, 0));
        player.play_payload(Payload::Blank);
        player.open(turn);
        player.play(batch(nonce(turn - 1), tail, 0..10, 200, 0));
    }
    drop(player);
    let reopened = Player::of(&open(folder.path()));
    assert_eq!(reopened.read_all(0), 38 * 30);
    for from in (0..38 * 30).step_by(17) {
        reopened.read_all(from);
    }
}

#[test]
fn entries_applied_together_do_what_they_do_alone() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    let entries = vec![
        entry(1, EntryData::open(nonce(1), WallMs(0))),
        entry(2, batch(nonce(1), 0, 0..100, 300, 1)),
        entry(3, batch(nonce(1), 100, 100..200, 300, 2)),
        LogEntry { id: id(4), payload: Payload::Membership("members".into()) },
        entry(5, EntryData::trim(2, WallMs(3))),
        entry(6, batch(nonce(1), 200, 200..300, 300, 3)),
    ];
    append(&player.log, entries.clone());
    let trimmed = PartitionEffect::Trimmed { head: Offset(100), upto: id(2) };
    let expected = [
        PartitionEffect::Opened { nonce: nonce(1) },
        stored(0, 100),
        stored(100, 200),
        PartitionEffect::Nothing,
        trimmed,
        stored(200, 300),
    ];
    assert_eq!(player.machine.apply(&entries).expect("apply"), expected);
    assert_eq!(player.machine.membership(), Some((id(4), "members".into())));
    assert_eq!(player.read_all(100), 200);
}

#[test]
fn a_trim_moves_the_head_and_drops_what_only_it_remembered() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    let first = player.publish(100, 300, 10);
    let second = player.publish(100, 300, 20);
    let full = player.reader.retained_bytes();
    assert_eq!(
        player.play(EntryData::trim(first, WallMs(30))),
        PartitionEffect::Trimmed { head: Offset(100), upto: id(first) }
    );
    assert_eq!(player.reader.bounds(), Bounds { head: Offset(100), tail: Offset(200) });
    assert_eq!(player.reader.retained_bytes(), full / 2);
    assert_eq!(player.reader.read(Offset(99), 1), Err(ReadError::Trimmed { head: Offset(100) }));
    assert_eq!(player.read_all(100), 100);
    assert!(player.reader.producer(producer(1)).expect("read").is_some(), "its last entry is retained");

    player.play(EntryData::trim(second, WallMs(30)));
    assert_eq!(player.reader.bounds(), Bounds { head: Offset(200), tail: Offset(200) });
    assert_eq!(player.reader.producer(producer(1)), Ok(None), "its last entry is gone");
    assert_eq!(player.reader.retained_bytes(), 0);
    player.publish(10, 300, 40);
    assert_eq!(player.read_all(200), 10, "the first row after the trim is found");
}

#[test]
fn a_trim_that_names_no_valid_retained_batch_does_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    let valid = player.publish(100, 300, 10);
    player.play(batch(nonce(9), 100, 0..10, 300, 10));
    let void = player.index - 1;
    // As long as the valid one and at the same place, so that only its nonce tells it from that.
    player.play(batch(nonce(9), 0, 0..100, 300, 10));
    let twin = player.index - 1;
    for upto in [0, 1, void, twin, player.index, 10_000] {
        assert_eq!(player.play(EntryData::trim(upto, WallMs(0))), PartitionEffect::Void, "upto {upto}");
    }
    assert!(matches!(player.play(EntryData::trim(valid, WallMs(0))), PartitionEffect::Trimmed { .. }));
    assert_eq!(player.play(EntryData::trim(valid, WallMs(0))), PartitionEffect::Void, "trimmed already");
}

#[test]
fn reading_goes_on_after_the_purge_that_follows_a_trim() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    let indexes: Vec<u64> = (0..40).map(|turn| player.publish(50, 1000, turn)).collect();
    player.play(EntryData::trim(indexes[19], WallMs(99)));
    wait(|done| player.log.purge(id(indexes[19]), done)).expect("purge");
    assert_eq!(player.read_all(1000), 1000);
    drop((player, store));
    let player = Player::of(&open(folder.path()));
    assert_eq!(player.reader.bounds(), Bounds { head: Offset(1000), tail: Offset(2000) });
    assert_eq!(player.read_all(1000), 1000);
}

#[test]
fn a_time_is_found_as_the_first_offset_at_or_after_it() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    assert_eq!(player.reader.offset_at(WallMs(5)), Ok(Offset(0)));
    player.open(1);
    for turn in 1..=60 {
        player.publish(10, 100, turn * 100);
    }
    for turn in 1..=60u64 {
        let first = Ok(Offset((turn - 1) * 10));
        assert_eq!(player.reader.offset_at(WallMs(turn * 100)), first);
        assert_eq!(player.reader.offset_at(WallMs(turn * 100 - 50)), first);
    }
    assert_eq!(player.reader.offset_at(WallMs(6001)), Ok(Offset(600)));
    let candidate =
        player.reader.trim_candidate(Some(WallMs(3000)), None).expect("search").expect("something is older");
    player.play(EntryData::trim(candidate, WallMs(6100)));
    let head = player.reader.bounds().head;
    assert_eq!(head, Offset(290));
    assert_eq!(player.reader.offset_at(WallMs(0)), Ok(head));
    assert_eq!(player.reader.offset_at(WallMs(3000)), Ok(Offset(290)));
}

#[test]
fn an_offset_tells_when_it_was_appended_and_a_trimmed_one_when_the_head_was() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    assert_eq!(player.reader.appended_at(Offset(0)), Ok(None));
    player.open(1);
    for turn in 1..=60 {
        player.publish(10, 100, turn * 100);
    }
    for offset in 0..600 {
        assert_eq!(player.reader.appended_at(Offset(offset)), Ok(Some(WallMs((offset / 10 + 1) * 100))));
    }
    assert_eq!(player.reader.appended_at(Offset(600)), Ok(None));
    let candidate =
        player.reader.trim_candidate(Some(WallMs(3000)), None).expect("search").expect("something is older");
    player.play(EntryData::trim(candidate, WallMs(6100)));
    let head = player.reader.bounds().head;
    assert_eq!(head, Offset(290));
    assert_eq!(player.reader.appended_at(Offset(7)), Ok(Some(WallMs(3000))));
}

#[test]
fn retention_by_age_and_by_bytes_never_takes_more_than_it_may() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    assert_eq!(player.reader.trim_candidate(Some(WallMs(u64::MAX)), Some(0)), Ok(None), "nothing to trim");
    player.open(1);
    for turn in 1..=100 {
        player.publish(100, 300, turn);
    }
    let all = player.reader.retained_bytes();
    assert_eq!(player.reader.trim_candidate(None, Some(all)), Ok(None));
    assert_eq!(player.reader.trim_candidate(Some(WallMs(1)), None), Ok(None));
    for keep in [all / 2, all / 3, 1000, 0] {
        if let Some(upto) = player.reader.trim_candidate(None, Some(keep)).expect("search") {
            assert!(matches!(player.play(EntryData::trim(upto, WallMs(200))), PartitionEffect::Trimmed { .. }));
        }
        let left = player.reader.retained_bytes();
        assert!(left >= keep && left <= keep + 64_000, "asked to keep {keep}, {left} are left");
        let head = player.reader.bounds().head.0;
        player.read_all(head);
    }
    let youngest = player.reader.trim_candidate(Some(WallMs(101)), None).expect("search");
    assert_eq!(youngest, Some(101), "the batch of turn 100 has index 101");
}

#[test]
fn the_last_few_events_grow_old_too() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    // Too few for the index of offsets to have more than the first of them.
    for turn in 1..=3 {
        player.publish(2, 100, turn * 100);
    }
    for (older_than, head) in [(100, 0), (101, 2), (300, 4), (301, 6)] {
        if let Some(upto) = player.reader.trim_candidate(Some(WallMs(older_than)), None).expect("search") {
            player.play(EntryData::trim(upto, WallMs(400)));
        }
        assert_eq!(player.reader.bounds().head, Offset(head));
    }
}

#[test]
fn a_snapshot_is_of_the_trim_index_and_not_of_today() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    assert_eq!(player.machine.snapshot(), Ok(None));
    player.play_payload(Payload::Membership("one".into()));
    player.open(1);
    let upto = player.publish(100, 300, 10);
    player.open(2);
    player.play_payload(Payload::Membership("two".into()));
    player.publish(100, 300, 10);
    player.play(EntryData::trim(upto, WallMs(20)));
    let expected =
        PartitionSnapshot { at: id(upto), head: Offset(100), nonce: nonce(1), membership: Some((id(1), "one".into())) };
    assert_eq!(player.machine.snapshot(), Ok(Some(expected.clone())));
    drop((player, store));
    let player = Player::of(&open(folder.path()));
    assert_eq!(player.machine.snapshot(), Ok(Some(expected)));
    assert_eq!(player.machine.membership(), Some((id(5), "two".into())));
}

#[test]
fn a_new_replica_is_fed_by_a_snapshot_and_the_retained_log() {
    let (old_folder, new_folder) = (folder(), folder());
    let old_store = open(old_folder.path());
    let mut old = Player::of(&old_store);
    old.open(1);
    let upto = old.publish(100, 300, 10);
    old.publish(50, 300, 20);
    old.play(batch(nonce(7), 150, 0..10, 300, 20));
    old.publish(50, 300, 30);
    old.play(EntryData::trim(upto, WallMs(40)));
    let snapshot = old.machine.snapshot().expect("snapshot").expect("trimmed");
    let snapshot = PartitionSnapshot::decode(&snapshot.encode()).expect("own bytes");

    let new_store = open(new_folder.path());
    let mut new = Player::of(&new_store);
    wait(|done| new.machine.install(snapshot, done).expect("install")).expect("synced");
    wait(|done| new.log.purge(id(upto), done)).expect("purge");
    assert_eq!(new.reader.bounds(), Bounds { head: Offset(100), tail: Offset(100) });
    assert_eq!(new.log.last(), Some(id(upto)));
    let rest = old.log.entries(upto + 1..u64::MAX, usize::MAX).expect("entries");
    append(&new.log, rest.clone());
    new.machine.apply(&rest).expect("apply");
    assert_eq!(new.reader.bounds(), old.reader.bounds());
    assert_eq!(new.read_all(100), 100);
    assert_eq!(new.reader.producer(producer(1)), old.reader.producer(producer(1)));
    assert_eq!(new.machine.snapshot(), old.machine.snapshot());
    drop((new, new_store));
    let new = Player::of(&open(new_folder.path()));
    assert_eq!(new.read_all(100), 100);
}

#[test]
fn an_old_snapshot_changes_nothing() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    player.publish(10, 100, 0);
    let old = PartitionSnapshot { at: id(1), head: Offset(0), nonce: nonce(1), membership: None };
    wait(|done| player.machine.install(old, done).expect("install")).expect("synced");
    assert_eq!(player.read_all(0), 10);
}

#[test]
fn entries_are_applied_in_order_or_not_at_all() {
    let folder = folder();
    let store = open(folder.path());
    let mut player = Player::of(&store);
    player.open(1);
    let skipped = entry(9, batch(nonce(1), 0, 0..1, 10, 0));
    let group = GroupId::Partition(PARTITION);
    assert_eq!(player.machine.apply(&[skipped]), Err(StoreError::NotNext { group, index: 9, expected: 2 }));
}

#[test]
fn readers_are_not_disturbed_by_writing_trimming_and_purging() {
    let folder = folder();
    let store =
        Store::open(folder.path(), StoreOptions { tail_cache_bytes: 100_000, ..options() }).expect("open store");
    let mut player = Player::of(&store);
    player.open(1);
    let reader = player.reader.clone();
    let finished = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2u64 {
            let (reader, finished) = (reader.clone(), &finished);
            scope.spawn(move || read_until(&reader, seed, || finished.load(std::sync::atomic::Ordering::SeqCst)));
        }
        for turn in 0..300u64 {
            player.publish(40, 300, turn);
            if turn % 7 == 6
                && let Some(upto) = player.reader.trim_candidate(None, Some(300_000)).expect("search")
                && let PartitionEffect::Trimmed { upto, .. } = player.play(EntryData::trim(upto, WallMs(turn)))
            {
                wait(|done| player.log.purge(upto, done)).expect("purge");
            }
        }
        finished.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    let head = player.reader.bounds().head.0;
    assert!(head > 0);
    assert_eq!(player.read_all(head), 12_000 - head);
}

/// Reads here and there. Whatever is served must be right, and what is refused must be trimmed or not yet there.
fn read_until(reader: &PartitionReader, seed: u64, finished: impl Fn() -> bool) {
    let mut from = seed;
    while !finished() {
        match reader.read(Offset(from), 20_000) {
            Ok(chunk) => {
                for (offset, bytes) in chunk.events() {
                    assert_eq!(bytes, event(offset.0, 300), "the event of offset {offset}");
                }
                from = chunk.range.end.0;
            }
            Err(ReadError::Trimmed { head }) => from = head.0,
            Err(ReadError::NotYet { .. }) => from = reader.bounds().head.0 + seed,
            Err(other) => panic!("{other}"),
        }
        reader.offset_at(WallMs(from / 40)).expect("search");
    }
}
