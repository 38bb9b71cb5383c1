//! Hostile bytes for what is stored of a partition.

use anyport_protocol::event::framed;
use anyport_protocol::{Nonce, Number, Offset, ProducerId, WallMs};
use bytes::Bytes;

use super::entry::RecordCount;
use super::offsets::OffsetRow;
use super::position::Position;
use super::{BatchBuilder, BatchHeader, PartitionEntry, PartitionSnapshot, ProducerRow, Record};
use crate::EntryData;
use crate::fuzz::Outcome;
use crate::sealed;

const NONCE: Nonce = Nonce(*b"nonce-of-sixteen");
const WALL: WallMs = WallMs(1_700_000_000_000);

/// The parts of an entry, framed one behind the other.
pub(crate) fn entry(bytes: &[u8]) -> Outcome {
    let parts = framed::iter(bytes).map_while(Result::ok).map(Bytes::copy_from_slice).collect();
    let data = EntryData::from_parts(parts);
    let entry = PartitionEntry::parse(&data);
    let records = match &entry {
        Ok(PartitionEntry::Open { nonce, wall }) => {
            assert_eq!(EntryData::open(*nonce, *wall), data);
            Ok(0)
        }
        Ok(PartitionEntry::Trim { upto, wall }) => {
            assert_eq!(EntryData::trim(*upto, *wall), data);
            Ok(0)
        }
        Ok(PartitionEntry::Batch(header)) => {
            assert_eq!(header.encode(), data.parts()[0]);
            events(header, &data.parts()[1..])
        }
        Err(_) => Ok(0),
    };
    Outcome::of_result(&entry).and(Outcome::of_result(&records))
}

/// Reads the records of a batch as a replay does: the events they hold are those the header counts, one after the other.
fn events(header: &BatchHeader, records: &[Bytes]) -> Result<u64, &'static str> {
    let mut next = header.first;
    for record in records {
        let (head, framed) = RecordCount::split(record).expect("parsing has found a head");
        let first = header.first.plus(u64::from(head.first_delta));
        assert_eq!(first, next, "records follow each other without a hole");
        let record = Record::checked(first, head.count, record.slice_ref(framed))?;
        next = record.end();
    }
    assert_eq!(next, header.first.plus(u64::from(header.count)));
    Ok(next.0 - header.first.0)
}

pub(crate) fn entries() -> Vec<Vec<u8>> {
    let mut batch = BatchBuilder::new();
    for (producer, events) in [(b'A', [&b"first"[..], b""]), (b'B', [&b"third"[..], &[7; 300]])] {
        let mut run = Vec::new();
        events.iter().for_each(|event| framed::push(&mut run, event));
        batch.push(ProducerId::from_bytes([producer; 16]), Number(7), 2, &run).expect("well framed");
    }
    let entries = [EntryData::open(NONCE, WALL), EntryData::trim(4711, WALL), batch.finish(NONCE, Offset(1000), WALL)];
    let framed = |data: EntryData| {
        let mut out = Vec::new();
        data.parts().iter().for_each(|part| framed::push(&mut out, part));
        out
    };
    entries.map(framed).to_vec()
}

pub(crate) fn position(bytes: &[u8]) -> Outcome {
    let position = Position::decode(bytes);
    if let Ok(position) = &position {
        assert_eq!(Position::decode(&position.encode()), Ok(*position));
    }
    Outcome::of_result(&position)
}

pub(crate) fn producer_row(body: &[u8]) -> Outcome {
    let row = ProducerRow::decode(body);
    if let Ok(row) = &row {
        assert_eq!(row.encode(), body);
    }
    Outcome::of_result(&row)
}

pub(crate) fn offset_row(body: &[u8]) -> Outcome {
    let row = OffsetRow::decode(Offset(9), body);
    if let Ok(row) = &row {
        assert_eq!(row.encode(), body);
    }
    Outcome::of_result(&row)
}

pub(crate) fn snapshot(body: &[u8]) -> Outcome {
    let mut bytes = Vec::new();
    sealed::seal(b"partition snapshot", &[body], &mut bytes);
    let snapshot = PartitionSnapshot::decode(&bytes);
    if let Ok(snapshot) = &snapshot {
        assert_eq!(snapshot.encode(), bytes);
    }
    Outcome::of_result(&snapshot)
}
