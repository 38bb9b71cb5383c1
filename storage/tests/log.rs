//! Stories of one group's log.

mod support;

use anyport_storage::*;
use bytes::Bytes;
use proptest::prelude::*;
use support::*;

fn small(term: u64, index: u64) -> LogEntry {
    let data = EntryData::from_bytes(Bytes::from(format!("entry {index} of term {term}")));
    LogEntry { id: LogId { term, node: 1, index }, payload: Payload::Data(data) }
}

fn smalls(term: u64, range: std::ops::Range<u64>) -> Vec<LogEntry> {
    range.map(|index| small(term, index)).collect()
}

fn log(store: &Store) -> GroupLog {
    store.log(GroupId::Metadata)
}

#[test]
fn entries_are_readable_when_append_returns_and_after_a_restart() {
    let folder = folder();
    let store = open(folder.path());
    let entries = vec![
        LogEntry { id: id(0), payload: Payload::Membership("members".into()) },
        LogEntry { id: id(1), payload: Payload::Blank },
        LogEntry { id: id(2), payload: Payload::Data(EntryData::from_bytes(Bytes::from(vec![7; 100_000]))) },
        LogEntry { id: id(3), payload: Payload::Data(EntryData::from_bytes(Bytes::new())) },
    ];
    let (done, durable) = done();
    log(&store).append(entries.clone(), done).expect("append");
    assert_eq!(log(&store).entries(0..4, usize::MAX), Ok(entries.clone()));
    durable.recv().expect("told").expect("durable");
    store.close().expect("close");

    let log = log(&open(folder.path()));
    assert_eq!(log.last(), Some(id(3)));
    assert_eq!(log.entries(0..u64::MAX, usize::MAX), Ok(entries.clone()));
    assert_eq!(log.entries(1..3, usize::MAX).as_deref(), Ok(&entries[1..3]));
    assert_eq!(log.entries(4..9, usize::MAX), Ok(vec![]));
}

#[test]
fn a_read_is_complete_from_its_start_and_bounded_in_bytes() {
    let folder = folder();
    let store = Store::open(folder.path(), StoreOptions { tail_cache_bytes: 2000, ..options() }).expect("open store");
    let log = log(&store);
    append(&log, smalls(1, 0..100));
    append(&log, smalls(1, 100..105));
    assert_eq!(log.entries(0..200, usize::MAX), Ok(smalls(1, 0..105)), "partly from disk, partly cached");
    assert_eq!(log.entries(50..200, 0), Ok(smalls(1, 50..51)), "at least one");
    assert_eq!(log.entries(104..200, 0), Ok(smalls(1, 104..105)), "at least one, cached");
    let some = log.entries(90..200, 100).expect("entries");
    assert_eq!(some, smalls(1, 90..90 + some.len() as u64));
    assert!(some.len() > 1 && some.iter().map(LogEntry::len_bytes).sum::<usize>() <= 100);
}

#[test]
fn an_entry_out_of_turn_is_refused() {
    let folder = folder();
    let store = open(folder.path());
    let log = log(&store);
    append(&log, smalls(1, 0..3));
    let (done, told) = done();
    let group = GroupId::Metadata;
    assert_eq!(log.append(smalls(1, 4..5), done), Err(StoreError::NotNext { group, index: 4, expected: 3 }));
    assert!(told.recv().is_err(), "what was refused is never told");
    assert_eq!(log.last(), Some(id(2)));
}

#[test]
fn what_is_appended_after_a_truncation_replaces_what_was_there() {
    let folder = folder();
    let store = open(folder.path());
    let kept = log(&store);
    append(&kept, smalls(1, 0..10));
    wait(|done| kept.truncate(4, done)).expect("truncate");
    assert_eq!(kept.last(), Some(id(3)));
    append(&kept, smalls(2, 4..6));
    let expected = [smalls(1, 0..4), smalls(2, 4..6)].concat();
    assert_eq!(kept.entries(0..100, usize::MAX), Ok(expected.clone()));
    drop((kept, store));
    let log = log(&open(folder.path()));
    assert_eq!(log.entries(0..100, usize::MAX), Ok(expected));
    assert_eq!(log.last(), Some(LogId { term: 2, node: 1, index: 5 }));
}

#[test]
fn truncate_and_append_may_be_queued_without_waiting() {
    let folder = folder();
    let store = Store::open(folder.path(), StoreOptions { tail_cache_bytes: 0, ..options() }).expect("open store");
    let log = log(&store);
    append(&log, smalls(1, 0..3));
    let mut last = None;
    for term in 2..50 {
        let (truncated, _) = done();
        log.truncate(1, truncated);
        let (appended, told) = done();
        log.append(smalls(term, 1..5), appended).expect("append");
        assert_eq!(log.entries(1..9, usize::MAX), Ok(smalls(term, 1..5)));
        last = Some(told);
    }
    last.expect("the loop ran").recv().expect("told").expect("durable");
    assert_eq!(log.entries(1..9, usize::MAX), Ok(smalls(49, 1..5)), "now from disk");
}

#[test]
fn a_log_can_be_truncated_to_nothing_and_begun_elsewhere() {
    let folder = folder();
    let store = open(folder.path());
    let kept = log(&store);
    append(&kept, smalls(1, 5..10));
    wait(|done| kept.truncate(0, done)).expect("truncate");
    assert_eq!(kept.last(), None);
    append(&kept, smalls(2, 3..4));
    drop((kept, store));
    assert_eq!(log(&open(folder.path())).entries(0..9, usize::MAX), Ok(smalls(2, 3..4)));
}

#[test]
fn a_purge_is_remembered_and_what_is_left_is_complete() {
    let folder = folder();
    let store = open(folder.path());
    let kept = log(&store);
    append(&kept, smalls(1, 0..100));
    wait(|done| kept.purge(id(59), done)).expect("purge");
    wait(|done| kept.purge(id(20), done)).expect("an older purge is no error");
    assert_eq!(kept.last_purged(), Some(id(59)));
    assert_eq!(kept.entries(0..100, usize::MAX), Ok(smalls(1, 60..100)));
    drop((kept, store));
    let store = open(folder.path());
    assert_eq!(log(&store).last_purged(), Some(id(59)));
    assert_eq!(log(&store).entries(0..100, usize::MAX), Ok(smalls(1, 60..100)));
}

#[test]
fn a_purge_of_everything_leaves_its_id_as_the_last() {
    let folder = folder();
    let store = open(folder.path());
    append(&log(&store), smalls(1, 0..10));
    wait(|done| log(&store).purge(id(50), done)).expect("purge beyond the end, as a snapshot does");
    assert_eq!((log(&store).last(), log(&store).last_purged()), (Some(id(50)), Some(id(50))));
    drop(store);
    let store = open(folder.path());
    assert_eq!(log(&store).last(), Some(id(50)));
    append(&log(&store), smalls(1, 51..53));
    assert_eq!(log(&store).entries(0..100, usize::MAX), Ok(smalls(1, 51..53)));
}

#[test]
fn votes_and_commits_are_kept() {
    let folder = folder();
    let store = open(folder.path());
    assert_eq!((log(&store).vote(), log(&store).committed()), (Ok(None), Ok(None)));
    wait(|done| log(&store).save_vote(b"vote 1", done)).expect("vote");
    wait(|done| log(&store).save_vote(b"vote 2", done)).expect("vote");
    append(&log(&store), smalls(1, 0..5));
    log(&store).save_committed(Some(id(3))).expect("committed");
    store.close().expect("close");
    let store = open(folder.path());
    assert_eq!(log(&store).vote(), Ok(Some(b"vote 2".to_vec())));
    assert_eq!(log(&store).committed(), Ok(Some(id(3))));
    log(&store).save_committed(Some(id(9))).expect("committed");
    assert_eq!(log(&store).committed(), Ok(None), "the log does not reach it");
    log(&store).save_committed(None).expect("committed");
    assert_eq!(log(&store).committed(), Ok(None));
}

#[test]
fn groups_do_not_see_each_other() {
    let folder = folder();
    let store = open(folder.path());
    append(&store.log(GroupId::Registry(0)), smalls(1, 0..3));
    append(&store.log(GroupId::Partition(PARTITION)), smalls(2, 0..2));
    assert_eq!(log(&store).last(), None);
    assert_eq!(store.log(GroupId::Registry(0)).entries(0..9, usize::MAX), Ok(smalls(1, 0..3)));
    assert_eq!(store.log(GroupId::Partition(PARTITION)).entries(0..9, usize::MAX), Ok(smalls(2, 0..2)));
    let stranger = anyport_protocol::PartitionId(9);
    assert_eq!(
        store.partition(stranger).map(|_| ()),
        Err(StoreError::NoSuchGroup { group: GroupId::Partition(stranger) })
    );
}

#[test]
fn everybody_is_told_in_the_order_of_submission() {
    let folder = folder();
    let store = open(folder.path());
    let (told, order) = std::sync::mpsc::channel();
    let log = log(&store);
    for at in 0..200u64 {
        let told = told.clone();
        let done: Done = Box::new(move |outcome| told.send((at, outcome)).unwrap_or_default());
        if at % 3 == 0 { log.save_vote(b"vote", done) } else { log.append(vec![], done).expect("append") }
    }
    for at in 0..200 {
        assert_eq!(order.recv(), Ok((at, Ok(()))));
    }
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Truncate(u64),
    Purge(u64),
    Reopen,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (1..8usize).prop_map(Op::Append),
        2 => (0..60u64).prop_map(Op::Truncate),
        2 => (0..60u64).prop_map(Op::Purge),
        1 => Just(Op::Reopen),
    ];
    prop::collection::vec(op, 1..30)
}

/// What a log is to be: plain entries from `start` on.
struct Model {
    start: u64,
    purged: Option<LogId>,
    entries: Vec<LogEntry>,
    term: u64,
}

impl Model {
    fn apply(&mut self, op: &Op, log: &GroupLog) {
        let end = self.start + self.entries.len() as u64;
        match *op {
            Op::Append(count) => {
                self.term += 1;
                let added = smalls(self.term, end..end + count as u64);
                append(log, added.clone());
                self.entries.extend(added);
            }
            Op::Truncate(from) => {
                wait(|done| log.truncate(from, done)).expect("truncate");
                self.entries.truncate(from.saturating_sub(self.start) as usize);
            }
            Op::Purge(upto) => {
                let upto = LogId { term: 1, node: 1, index: upto };
                wait(|done| log.purge(upto, done)).expect("purge");
                if self.purged.is_none_or(|purged| purged.index < upto.index) {
                    let gone = (upto.index + 1).saturating_sub(self.start).min(self.entries.len() as u64);
                    self.entries.drain(..gone as usize);
                    (self.purged, self.start) = (Some(upto), upto.index + 1);
                }
            }
            Op::Reopen => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_log_is_what_was_done_to_it(ops in ops(), cache in prop_oneof![Just(0usize), Just(1000), Just(1 << 20)]) {
        let folder = folder();
        let options = || StoreOptions { tail_cache_bytes: cache, partitions: 1, ..options() };
        let mut store = Store::open(folder.path(), options()).expect("open store");
        let mut model = Model { start: 0, purged: None, entries: Vec::new(), term: 0 };
        for op in ops {
            if let Op::Reopen = op {
                drop(store);
                store = Store::open(folder.path(), options()).expect("open store");
            }
            let log = log(&store);
            model.apply(&op, &log);
            let last = model.entries.last().map(|entry| entry.id).or(model.purged);
            prop_assert_eq!((log.last(), log.last_purged()), (last, model.purged));
            prop_assert_eq!(log.entries(0..u64::MAX, usize::MAX), Ok(model.entries.clone()));
        }
    }
}

#[test]
fn a_purge_gives_the_disk_back() {
    let folder = folder();
    let store =
        Store::open(folder.path(), StoreOptions { write_buffer_bytes: 2 << 20, ..options() }).expect("open store");
    let log = log(&store);
    let data = EntryData::from_bytes(Bytes::from(vec![7; 256 << 10]));
    for index in 0..160 {
        append(&log, vec![LogEntry { id: id(index), payload: Payload::Data(data.clone()) }]);
    }
    wait(|done| log.purge(id(155), done)).expect("purge");
    drop(log);
    store.close().expect("close");
    let left = || files(folder.path(), "sst").iter().map(|file| file.metadata().expect("size").len()).sum::<u64>();
    // Files go once they have left level 0, which RocksDB does when it finds the time; every start looks again.
    let starts =
        (0..200).take_while(|_| left() > 20 << 20).map(|_| open(folder.path()).close().expect("close")).count();
    assert!(left() < 20 << 20, "{} of 40 MB are left after {starts} starts", left());
}
