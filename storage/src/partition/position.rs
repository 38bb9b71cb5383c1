//! The row that holds a partition's applied position, written in the same batch as all that was applied.
//!
//! ```text
//!  flags u8 | tail u64 | total u64 | [ row offset u64 | row total u64 ] | [ upto log id 24 | head u64 | total u64 | nonce 16 ]
//!             bit 0: the first bracket (the last offset row written), bit 1: the second (where the log was trimmed)
//! ```
//! Integers are little endian.

use anyport_protocol::{Nonce, Offset};

use super::entry::{BadEntry, Fields};
use super::view::TrimPoint;
use crate::log::LogId;

const ROW: u8 = 1;
const TRIM: u8 = 2;

/// Where the last offset row stands: the next one comes a certain way after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LastRow {
    pub(super) offset: Offset,
    pub(super) total: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) tail: Offset,
    pub(super) total: u64,
    pub(super) last_row: Option<LastRow>,
    pub(super) trim: Option<TrimPoint>,
}

impl Position {
    pub(super) fn encode(&self) -> Vec<u8> {
        let flags = if self.last_row.is_some() { ROW } else { 0 } | if self.trim.is_some() { TRIM } else { 0 };
        let mut bytes = vec![flags];
        bytes.extend(self.tail.0.to_le_bytes());
        bytes.extend(self.total.to_le_bytes());
        if let Some(row) = self.last_row {
            bytes.extend(row.offset.0.to_le_bytes());
            bytes.extend(row.total.to_le_bytes());
        }
        if let Some(trim) = self.trim {
            bytes.extend(trim.upto.to_bytes());
            bytes.extend(trim.head.0.to_le_bytes());
            bytes.extend(trim.total.to_le_bytes());
            bytes.extend(trim.nonce.as_bytes());
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadEntry> {
        let mut fields = Fields(bytes);
        let [flags] = fields.take()?;
        let (tail, total) = (Offset(fields.u64()?), fields.u64()?);
        let mut position = Self { tail, total, last_row: None, trim: None };
        if flags & ROW != 0 {
            position.last_row = Some(LastRow { offset: Offset(fields.u64()?), total: fields.u64()? });
        }
        if flags & TRIM != 0 {
            let upto = LogId::from_bytes(&fields.take()?);
            let (head, total) = (Offset(fields.u64()?), fields.u64()?);
            position.trim = Some(TrimPoint { upto, head, total, nonce: Nonce::from_bytes(fields.take()?) });
        }
        if fields.0.is_empty() { Ok(position) } else { Err(BadEntry::Surplus { bytes: fields.0.len() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_position_is_as_it_was_first_published() {
        let nonce = Nonce::from_bytes(*b"nonce-of-sixteen");
        let upto = LogId { term: 2, node: 5, index: 4711 };
        let trim = Some(TrimPoint { upto, head: Offset(900), total: 60_000, nonce });
        let last_row = Some(LastRow { offset: Offset(1000), total: 65_536 });
        let position = Position { tail: Offset(1003), total: 70_000, last_row, trim };
        assert_eq!(position.encode(), include_bytes!("../../tests/golden/partition-position.bin"));
    }

    proptest! {
        #[test]
        fn positions_survive_their_bytes(
            tail: u64, total: u64, row: Option<(u64, u64)>, trim: Option<((u64, u64, u64), u64, u64, [u8; 16])>,
        ) {
            let trim = trim.map(|((term, node, index), head, total, nonce)| TrimPoint {
                upto: LogId { term, node, index }, head: Offset(head), total, nonce: Nonce::from_bytes(nonce),
            });
            let last_row = row.map(|(offset, total)| LastRow { offset: Offset(offset), total });
            let position = Position { tail: Offset(tail), total, last_row, trim };
            prop_assert_eq!(Position::decode(&position.encode()), Ok(position));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = Position::decode(&bytes);
        }
    }
}
