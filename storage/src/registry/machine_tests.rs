//! A shard on a real store: what is applied is there after a restart, and moves whole to another replica.

use anyport_protocol::{ClientId, Cursor, Incarnation, LogEpoch, Nonce, Offset, PartitionId, SessionEpoch, WallMs};
use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::column::Column;
use crate::{DamageAt, EntryData, LogEntry, LogId, Payload, Store, StoreError, StoreOptions};

const NOW: WallMs = WallMs(1_000_000);
const NAME: &str = "quakes";

struct Shard {
    folder: TempDir,
    store: Store,
    machine: RegistryMachine,
}

impl Shard {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = store(&folder);
        let machine = store.registry(1).expect("shard");
        Self { folder, store, machine }
    }

    fn restarted(self) -> Self {
        let Self { folder, store: old, machine } = self;
        drop(machine);
        old.close().expect("close");
        let store = store(&folder);
        let machine = store.registry(1).expect("shard");
        Self { folder, store, machine }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("snapshot")
    }

    fn next_index(&self) -> u64 {
        self.machine.applied().map_or(1, |id| id.index + 1)
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        let entry = entry(self.next_index(), data(commands));
        self.machine.apply(&[entry]).expect("apply").remove(0)
    }

    fn record(&self, client: u8) -> Option<ClientRecord> {
        self.machine.reader().record(id(client)).expect("read")
    }
}

fn store(folder: &TempDir) -> Store {
    Store::open(&folder.path().join("store"), StoreOptions::default()).expect("open store")
}

fn id(client: u8) -> ClientId {
    ClientId::from_bytes([client; 16])
}

fn entry(index: u64, payload: Payload) -> LogEntry {
    LogEntry { id: LogId { term: 1, node: 1, index }, payload }
}

fn data(commands: Vec<Command>) -> Payload {
    Payload::Data(EntryData::from_bytes(CommandBatch { commands }.encode().into()))
}

fn register(client: u8) -> Command {
    Command::Register { client: id(client), now: NOW }
}

fn open(client: u8, epoch: u64) -> Command {
    Command::Open { client: id(client), epoch: SessionEpoch(epoch), nonce: Nonce::from_bytes([1; 16]), now: NOW }
}

fn subscribe(client: u8, inactive_expiry_secs: u64) -> Command {
    Command::Subscribe {
        client: id(client),
        epoch: SessionEpoch(1),
        name: NAME.parse().expect("a good name"),
        filter: "TRUE".into(),
        starts: vec![Cursor::default(); 8],
        seek: false,
        inactive_expiry_secs,
        expired: None,
        temporary: false,
        now: NOW,
    }
}

fn expire(client: u8) -> Command {
    let (name, incarnation) = (NAME.parse().expect("a good name"), Incarnation(1));
    Command::Expire { client: id(client), name, incarnation, unused_since: NOW, now: NOW }
}

fn ack(client: u8, offset: u64) -> Command {
    let cursor = Cursor { epoch: LogEpoch(0), offset: Offset(offset) };
    let cursors = vec![(Incarnation(1), vec![(PartitionId(3), cursor)])];
    Command::Cursors { client: id(client), epoch: SessionEpoch(1), cursors, now: NOW }
}

/// Registered, its session open, subscribed for an hour of absence.
fn arrival(client: u8) -> Vec<Command> {
    vec![register(client), open(client, 1), subscribe(client, 3600)]
}

#[test]
fn commands_of_one_turn_see_the_ones_before_them_and_every_entry_is_answered() {
    let mut shard = Shard::new();
    let entries = [
        entry(1, Payload::Membership(Bytes::from_static(b"one member"))),
        entry(2, Payload::Blank),
        entry(3, data(vec![register(1), open(1, 1), register(2)])),
        entry(4, data(vec![subscribe(1, 60), ack(1, 9), ack(2, 9)])),
    ];
    let replies = shard.machine.apply(&entries).expect("apply");
    assert_eq!(replies.iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 3, 3]);
    assert_eq!(replies[3][1], Reply::CursorsApplied { ignored: vec![] });
    assert!(matches!(replies[3][2], Reply::Refused(Refusal::NotOpen { .. })));

    let record = shard.record(1).expect("registered");
    assert_eq!(record.subscriptions[0].cursors[3].offset, Offset(9));
    assert_eq!(shard.record(3), None);
}

#[test]
fn what_was_applied_is_there_after_a_restart() {
    let mut shard = Shard::new();
    let members = Bytes::from_static(b"one member");
    shard.machine.apply(&[entry(1, Payload::Membership(members.clone()))]).expect("apply");
    shard.apply(arrival(1));
    shard.apply(vec![ack(1, 70)]);
    let record = shard.record(1);

    let shard = shard.restarted();
    assert_eq!(shard.record(1), record);
    assert_eq!(shard.machine.applied(), Some(LogId { term: 1, node: 1, index: 3 }));
    assert_eq!(shard.machine.membership(), Some((LogId { term: 1, node: 1, index: 1 }, members)));
}

#[test]
fn shards_do_not_see_each_other() {
    let mut shard = Shard::new();
    shard.apply(arrival(1));
    let other = shard.store.registry(2).expect("shard");
    assert_eq!(other.reader().record(id(1)), Ok(None));
    assert_eq!(other.applied(), None);
}

#[test]
fn a_turn_that_cannot_be_understood_changes_nothing() {
    let mut shard = Shard::new();
    let newer = Payload::Data(EntryData::from_bytes(Bytes::from_static(&[9])));
    let failed = shard.machine.apply(&[entry(1, data(vec![register(1)])), entry(2, newer)]);
    let why = BatchError::UnknownVersion { version: 9 };
    assert_eq!(failed, Err(StoreError::BadCommands { shard: 1, index: 2, why }));
    assert_eq!((shard.record(1), shard.machine.applied()), (None, None));
}

#[test]
fn an_entry_out_of_turn_is_refused() {
    let mut shard = Shard::new();
    shard.apply(vec![register(1)]);
    for index in [1, 3] {
        let failed = shard.machine.apply(&[entry(index, Payload::Blank)]);
        assert!(matches!(failed, Err(StoreError::NotNext { expected: 2, .. })), "{index}");
    }
}

#[test]
fn a_damaged_row_is_an_error_that_names_its_client() {
    let mut shard = Shard::new();
    shard.apply(arrival(1));
    let engine = shard.machine.reader().engine;
    let mut row = shard.record(1).expect("registered").encode(id(1));
    row[20] ^= 1;
    engine.db().put_cf(&engine.column(Column::Registry), rows::key(1, id(1)), row).expect("put");

    let is_named = |error: &StoreError| matches!(error, StoreError::Damaged(DamageAt::Client { shard: 1, client, .. }) if *client == id(1));
    assert!(shard.machine.reader().record(id(1)).is_err_and(|error| is_named(&error)));
    let index = shard.next_index();
    assert!(shard.machine.apply(&[entry(index, data(vec![ack(1, 5)]))]).is_err_and(|error| is_named(&error)));
    assert!(shard.machine.reader().expired(NOW, None, 10).is_err_and(|error| is_named(&error)));
    assert!(matches!(shard.machine.snapshot_to(&shard.path()), Err(SnapshotError::Store(error)) if is_named(&error)));
}

#[test]
fn a_snapshot_replaces_everything_the_shard_held() {
    let mut old = Shard::new();
    old.machine.apply(&[entry(1, Payload::Membership(Bytes::from_static(b"both")))]).expect("apply");
    old.apply(arrival(1));
    old.apply(arrival(2));
    let written = old.machine.snapshot_to(&old.path()).expect("snapshot");
    assert_eq!((written.clients, written.applied), (2, old.machine.applied()));
    old.apply(vec![ack(1, 99)]);

    let mut new = Shard::new();
    new.apply(arrival(7));
    let mut beside = new.store.registry(2).expect("shard");
    beside.apply(&[entry(1, data(vec![register(8)]))]).expect("apply");
    assert_eq!(new.machine.install_from(&old.path()).expect("install"), written);

    drop(beside);
    let new = new.restarted();
    assert_eq!(new.record(7), None);
    assert_eq!(new.record(2), old.record(2));
    assert_eq!(new.record(1).expect("registered").subscriptions[0].cursors[3].offset, Offset(0), "as it was then");
    assert_eq!((new.machine.applied(), new.machine.membership()), (written.applied, written.membership));
    let beside = new.store.registry(2).expect("shard");
    assert!(beside.reader().record(id(8)).expect("read").is_some());
}

#[test]
fn a_damaged_snapshot_touches_nothing() {
    let mut old = Shard::new();
    old.apply(arrival(1));
    old.machine.snapshot_to(&old.path()).expect("snapshot");
    let mut bytes = std::fs::read(old.path()).expect("read");
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    std::fs::write(old.path(), bytes).expect("write");

    let mut new = Shard::new();
    new.apply(arrival(7));
    let before = (new.record(7), new.machine.applied());
    assert!(matches!(new.machine.install_from(&old.path()), Err(SnapshotError::Damaged { rows: 1, .. })));
    assert_eq!((new.record(7), new.machine.applied()), before);
    assert_eq!(new.record(1), None);
}

#[test]
fn a_tombstone_outlives_a_restart_and_moves_with_a_snapshot() {
    let mut shard = Shard::new();
    shard.apply([arrival(1), vec![expire(1)]].concat());
    let mut shard = shard.restarted();
    let expired =
        Reply::Refused(Refusal::Expired { name: NAME.parse().expect("a good name"), incarnation: Incarnation(1) });
    assert_eq!(shard.apply(vec![subscribe(1, 3600)]), std::slice::from_ref(&expired));
    shard.machine.snapshot_to(&shard.path()).expect("snapshot");

    let mut other = Shard::new();
    other.machine.install_from(&shard.path()).expect("install");
    assert_eq!(other.record(1), shard.record(1));
    assert_eq!(other.apply(vec![subscribe(1, 3600)]), [expired]);
}

#[test]
fn a_row_of_the_first_format_is_read_moves_with_a_snapshot_and_is_rewritten_by_its_client() {
    const ROW: &[u8] = include_bytes!("../../tests/golden/registry/record-1.bin");
    let client = ClientId(*b"client of a day.");
    let shard = Shard::new();
    let engine = shard.machine.reader().engine;
    let row_of = |engine: &crate::engine::Engine| {
        let row = engine.db().get_cf(&engine.column(Column::Registry), rows::key(1, client)).expect("get");
        row.expect("a row")
    };
    engine.db().put_cf(&engine.column(Column::Registry), rows::key(1, client), ROW).expect("put");
    shard.machine.snapshot_to(&shard.path()).expect("snapshot");

    let mut other = Shard::new();
    other.machine.install_from(&shard.path()).expect("install");
    let engine = other.machine.reader().engine;
    assert_eq!(row_of(&engine), ROW, "a snapshot rewrites nothing");
    let nonce = Nonce::from_bytes([1; 16]);
    other.apply(vec![Command::Open { client, epoch: SessionEpoch(500), nonce, now: NOW }]);
    assert_eq!(row_of(&engine)[0], 2);
    let record = other.machine.reader().record(client).expect("read").expect("registered");
    assert_eq!((record.epoch, record.subscriptions.len(), record.tombstones), (SessionEpoch(500), 1, vec![]));
}

#[test]
fn expired_subscriptions_are_found_a_few_clients_at_a_time() {
    let mut shard = Shard::new();
    for client in 1..=5 {
        let inactive_expiry_secs = if client == 4 { 60 } else { 120 };
        shard.apply(vec![register(client), open(client, 1), subscribe(client, inactive_expiry_secs)]);
    }
    let reader = shard.machine.reader();
    let at = |secs: u64| WallMs(NOW.0 + secs * 1000);
    let name = NAME.parse().expect("a good name");
    let fourth = ExpiredSubscription { client: id(4), name, incarnation: Incarnation(1), last_used: NOW };

    let first = reader.expired(at(60), None, 3).expect("scan");
    assert_eq!(first, ExpiryScan { found: vec![], scanned_to: Some(id(3)) });
    let second = reader.expired(at(60), first.scanned_to, 3).expect("scan");
    assert_eq!(second, ExpiryScan { found: vec![fourth], scanned_to: None });

    let clients = |scan: ExpiryScan| scan.found.into_iter().map(|found| found.client).collect::<Vec<_>>();
    assert_eq!(clients(reader.expired(at(120), None, 2).expect("scan")), [id(1), id(2)]);
    assert_eq!(clients(reader.expired(at(120), Some(id(2)), 2).expect("scan")), [id(3), id(4)]);
}
