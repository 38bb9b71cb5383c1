//! Hostile bytes for everything that is read from the store: entries of all groups, rows, records, snapshots and the mark.
//!
//! Checksums are made good first, since what is behind them is judged here: bytes that a broken program wrote have good ones, too.

// One driver for the whole project; it lives with the first of its users.
#[path = "../../../protocol/tests/fuzz/driver/mod.rs"]
mod driver;
mod rows;

pub(crate) use driver::Outcome;
use driver::{Target, fuzz};

use crate::{metadata, partition, registry};

type Reader = fn(&[u8]) -> Outcome;

/// A reader and golden bytes of what it reads. The first byte of an input says which reader it is for.
const READERS: [(Reader, &[u8]); 14] = [
    (rows::keys, b"0123456789"),
    (rows::sealed, include_bytes!("../../tests/golden/record-part0.bin")),
    (rows::record_head, include_bytes!("../../tests/golden/record-part0.bin").split_at(5).1),
    (rows::mark, include_bytes!("../../tests/golden/synced.mark")),
    (partition::fuzz::position, include_bytes!("../../tests/golden/partition-position.bin")),
    (partition::fuzz::producer_row, include_bytes!("../../tests/golden/producer-row.bin")),
    (partition::fuzz::offset_row, include_bytes!("../../tests/golden/offset-row.bin")),
    (partition::fuzz::snapshot, include_bytes!("../../tests/golden/partition-snapshot.bin").split_at(5).1),
    (registry::fuzz::record, include_bytes!("../../tests/golden/registry/record-2.bin").split_at(5).1),
    (metadata::fuzz::command, include_bytes!("../../tests/golden/metadata/create-1.bin")),
    (metadata::fuzz::facts, include_bytes!("../../tests/golden/metadata/facts-1-timing.bin")),
    (metadata::fuzz::snapshot, include_bytes!("../../tests/golden/metadata/snapshot-2.bin").split_at(5).1),
    (metadata::fuzz::snapshot_of_version_1, include_bytes!("../../tests/golden/metadata/snapshot-1.bin").split_at(5).1),
    (metadata::fuzz::cluster, include_bytes!("../../tests/golden/metadata/cluster-1.bin")),
];

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/fuzz/regressions");

fn stored_row(bytes: &[u8]) -> Outcome {
    let Some((reader, body)) = bytes.split_first() else { return Outcome::exactly(0) };
    let reader = usize::from(*reader) % READERS.len();
    Outcome::exactly(reader).and(READERS[reader].0(body))
}

/// What MessagePack allocates at once for a list that announces a length, and a few copies of the input.
fn memory_max(bytes: usize) -> usize {
    (4 << 20) + 64 * bytes
}

#[test]
fn a_hostile_row_is_refused_or_survives() {
    let seeds = (0..).zip(READERS).map(|(reader, (_, golden))| [&[reader], golden].concat()).collect();
    let (name, run, input_bytes_max) = ("stored-row", stored_row as Reader, 4 << 10);
    fuzz(&Target { name, run, seeds, words: vec![], input_bytes_max, memory_max, regressions: REGRESSIONS });
}

#[test]
fn a_hostile_partition_entry_is_refused_or_survives() {
    let (name, run, seeds) = ("partition-entry", partition::fuzz::entry as Reader, partition::fuzz::entries());
    fuzz(&Target { name, run, seeds, words: vec![], input_bytes_max: 8 << 10, memory_max, regressions: REGRESSIONS });
}

#[test]
fn hostile_registry_commands_are_refused_or_obeyed_within_the_rules() {
    let seeds: [&[u8]; 3] = [
        include_bytes!("../../tests/golden/registry/commands-1.bin"),
        include_bytes!("../../tests/golden/registry/commands-1-tombstones.bin"),
        include_bytes!("../../tests/golden/registry/commands-1-end.bin"),
    ];
    let (name, run, seeds) =
        ("registry-commands", registry::fuzz::commands as Reader, seeds.map(<[u8]>::to_vec).to_vec());
    fuzz(&Target { name, run, seeds, words: vec![], input_bytes_max: 8 << 10, memory_max, regressions: REGRESSIONS });
}
