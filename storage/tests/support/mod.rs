//! What the stories of this crate's tests share: a store in a temporary folder, and one partition played by hand.
#![allow(dead_code, reason = "each test file uses its share")]

use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyport_protocol::{Nonce, Number, Offset, PartitionId, ProducerId, WallMs};
use anyport_storage::*;
use tempfile::TempDir;

pub const PARTITION: PartitionId = PartitionId(0);

pub fn options() -> StoreOptions {
    StoreOptions { partitions: 2, registry_shards: 1, write_buffer_bytes: 8 << 20, ..StoreOptions::default() }
}

pub fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}

pub fn open(path: &Path) -> Store {
    Store::open(path, options()).expect("open store")
}

/// A `Done` and what it is told.
pub fn done() -> (Done, mpsc::Receiver<Result<(), StoreError>>) {
    let (told, outcome) = mpsc::channel();
    (Box::new(move |result| told.send(result).unwrap_or_default()), outcome)
}

/// Waits for what a `Done` is told.
pub fn wait(act: impl FnOnce(Done)) -> Result<(), StoreError> {
    let (done, outcome) = done();
    act(done);
    outcome.recv().expect("told in the end")
}

pub fn append(log: &GroupLog, entries: Vec<LogEntry>) {
    wait(|done| log.append(entries, done).expect("append")).expect("durable");
}

pub fn id(index: u64) -> LogId {
    LogId { term: 1, node: 1, index }
}

pub fn entry(index: u64, data: EntryData) -> LogEntry {
    LogEntry { id: id(index), payload: Payload::Data(data) }
}

pub fn nonce(n: u8) -> Nonce {
    Nonce::from_bytes([n; 16])
}

pub fn producer(n: u8) -> ProducerId {
    ProducerId::from_bytes([n; 16])
}

/// An event whose bytes tell which one it is.
pub fn event(number: u64, bytes: usize) -> Vec<u8> {
    let mut event = number.to_le_bytes().to_vec();
    event.resize(bytes.max(8), (number % 251) as u8);
    event
}

pub fn batch(nonce: Nonce, first: u64, numbers: std::ops::Range<u64>, bytes: usize, wall: u64) -> EntryData {
    let mut framed = Vec::new();
    for number in numbers.clone() {
        let event = event(number, bytes);
        framed.extend((event.len() as u32).to_le_bytes());
        framed.extend(event);
    }
    let mut builder = BatchBuilder::new();
    let count = (numbers.end - numbers.start) as u32;
    builder.push(producer(1), Number(numbers.start), count, &framed).expect("well framed");
    builder.finish(nonce, Offset(first), WallMs(wall))
}

/// Plays Raft and the sequencer for one partition: appends, waits until durable, applies.
pub struct Player {
    pub log: GroupLog,
    pub machine: PartitionMachine,
    pub reader: PartitionReader,
    pub index: u64,
    pub nonce: Nonce,
}

impl Player {
    pub fn of(store: &Store) -> Self {
        let log = store.log(GroupId::Partition(PARTITION));
        let (machine, reader) = store.partition(PARTITION).expect("partition");
        let index = log.last().map_or(1, |last| last.index + 1);
        Self { log, machine, reader, index, nonce: nonce(0) }
    }

    pub fn play(&mut self, data: EntryData) -> PartitionEffect {
        self.play_payload(Payload::Data(data))
    }

    pub fn play_payload(&mut self, payload: Payload) -> PartitionEffect {
        let entry = LogEntry { id: id(self.index), payload };
        append(&self.log, vec![entry.clone()]);
        self.index += 1;
        self.machine.apply(&[entry]).expect("apply")[0]
    }

    pub fn open(&mut self, n: u8) -> PartitionEffect {
        self.nonce = nonce(n);
        self.play(EntryData::open(self.nonce, WallMs(0)))
    }

    /// Stores that many events at the tail, whose numbers are their offsets.
    pub fn publish(&mut self, count: u64, bytes: usize, wall: u64) -> u64 {
        let tail = self.reader.bounds().tail.0;
        let effect = self.play(batch(self.nonce, tail, tail..tail + count, bytes, wall));
        assert!(matches!(effect, PartitionEffect::Stored(range) if range.len() == count), "{effect:?}");
        self.index - 1
    }

    /// Reads to the tail and checks that every event is the one its offset names.
    pub fn read_all(&self, from: u64) -> u64 {
        read_all(&self.reader, from)
    }
}

pub fn read_all(reader: &PartitionReader, from: u64) -> u64 {
    let mut next = Offset(from);
    while next < reader.bounds().tail {
        let chunk = reader.read(next, 64 << 10).expect("read");
        assert_eq!(chunk.range.start, next);
        for (offset, event) in chunk.events() {
            assert_eq!(offset, next);
            assert_eq!(event[..8], offset.0.to_le_bytes(), "the event of offset {offset}");
            next = next.plus(1);
        }
        assert_eq!(next, chunk.range.end);
        assert!(!chunk.range.is_empty());
    }
    next.0 - from
}

/// Copies a store as a killed process leaves it: what was handed to the operating system, and no clean end.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("create folder");
    for found in std::fs::read_dir(from).expect("list folder") {
        let found = found.expect("list folder").path();
        let target = to.join(found.file_name().expect("a listed file has a name"));
        if found.is_dir() {
            copy(&found, &target);
        } else if std::fs::copy(&found, &target).is_err() {
            assert!(!found.exists(), "only a file that has just been deleted cannot be copied");
        }
    }
}

/// Files of the store with this ending, largest first.
pub fn files(path: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(path.join("store"))
        .expect("list store")
        .map(|found| found.expect("list store").path())
        .filter(|found| found.extension().is_some_and(|extension| extension == ending))
        .collect();
    files.sort_by_key(|file| std::cmp::Reverse(std::fs::metadata(file).map_or(0, |meta| meta.len())));
    files
}

/// Flips the bits of one byte.
pub fn damage(file: &Path, at: u64) {
    let mut bytes = std::fs::read(file).expect("read file to damage");
    let at = usize::try_from(at).expect("small file");
    bytes[at] ^= 0xFF;
    std::fs::write(file, bytes).expect("write damaged file");
}
