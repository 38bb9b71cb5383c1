//! How fast one partition stores and replays 256-byte events, with no network and no consensus above it.
//!
//! `cargo run --release -p anyport-storage --example store_speed [FOLDER]`: FOLDER (default: the system's temporary folder) decides
//! which disk is measured.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use anyport_protocol::{Nonce, Number, Offset, PartitionId, ProducerId, WallMs};
use anyport_storage::{
    BatchBuilder, EntryData, GroupId, GroupLog, LogEntry, LogId, PartitionMachine, PartitionReader, Payload, Store,
    StoreOptions,
};

const EVENTS: u64 = 2_000_000;
const EVENT_BYTES: u32 = 256;
const EVENTS_PER_BATCH: u32 = 100;
const BATCHES_PER_ENTRY: u8 = 10;
const PARTITION: PartitionId = PartitionId(0);

fn main() {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("create folder");
    let store = Store::open(folder.path(), StoreOptions::default()).expect("open store");
    let (mut machine, reader) = store.partition(PARTITION).expect("open partition");
    fill(&store.log(GroupId::Partition(PARTITION)), &mut machine);
    for chunk_bytes in [16 << 10, 64 << 10, 256 << 10, 1 << 20] {
        replay(&reader, chunk_bytes);
    }
}

/// One entry at a time, each waited for: what one group does alone.
fn fill(log: &GroupLog, machine: &mut PartitionMachine) {
    let nonce = Nonce::from_bytes([1; 16]);
    let event = [EVENT_BYTES.to_le_bytes().as_slice(), &[7; EVENT_BYTES as usize]].concat();
    let framed = event.repeat(EVENTS_PER_BATCH as usize);
    let started = Instant::now();
    store(log, machine, 1, EntryData::open(nonce, WallMs(0)));
    let per_entry = u64::from(EVENTS_PER_BATCH) * u64::from(BATCHES_PER_ENTRY);
    for (turn, index) in (0..EVENTS / per_entry).zip(2..) {
        let mut builder = BatchBuilder::new();
        for producer in 0..BATCHES_PER_ENTRY {
            let number = Number(turn * u64::from(EVENTS_PER_BATCH));
            let producer = ProducerId::from_bytes([producer; 16]);
            builder.push(producer, number, EVENTS_PER_BATCH, &framed).expect("well framed");
        }
        store(log, machine, index, builder.finish(nonce, Offset(turn * per_entry), WallMs(turn)));
    }
    println!("store                  {:>12.0} events/s", EVENTS as f64 / started.elapsed().as_secs_f64());
}

fn store(log: &GroupLog, machine: &mut PartitionMachine, index: u64, data: EntryData) {
    let entry = LogEntry { id: LogId { term: 1, node: 1, index }, payload: Payload::Data(data) };
    let (told, outcome) = mpsc::channel();
    let done = Box::new(move |result| told.send(result).unwrap_or_default());
    log.append(vec![entry.clone()], done).expect("append");
    outcome.recv().expect("told").expect("durable");
    machine.apply(&[entry]).expect("apply");
}

fn replay(reader: &PartitionReader, chunk_bytes: usize) {
    let started = Instant::now();
    let (mut next, mut events, mut bytes) = (Offset::ZERO, 0u64, 0u64);
    while next < reader.bounds().tail {
        let chunk = reader.read(next, chunk_bytes).expect("read");
        for (_, event) in chunk.events() {
            events += 1;
            bytes += event.len() as u64;
        }
        next = chunk.range.end;
    }
    assert_eq!((events, bytes), (EVENTS, EVENTS * u64::from(EVENT_BYTES)));
    let rate = events as f64 / started.elapsed().as_secs_f64();
    println!("replay, {:>4} KiB chunks {rate:>12.0} events/s", chunk_bytes >> 10);
}
