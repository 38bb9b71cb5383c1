//! The publish stream: batches one way, outcomes the other, each answer carrying its batch's request number.
//!
//! ```text
//!   batch   | producer 16 B | partition u16 | 0 u16 | count u32 | first number u64 | count x (length u32 | event) |
//!   outcome | MessagePack map of `Published`
//! ```
//! Integers are little-endian. The events are the bytes that will be stored: nobody on the way re-encodes them.

use bytes::{Buf, Bytes};
use serde::{Deserialize, Serialize};

use super::{DecodeError, push_frame};
use crate::{Fault, Number, Offset, PartitionId, ProducerId};

pub const BATCH: u16 = 200;
pub const PUBLISHED: u16 = 201;

pub const BATCH_HEADER_BYTES: usize = 32;

/// Events of one producer for one partition, numbered densely from `first_number`.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishBatch {
    pub producer: ProducerId,
    pub partition: PartitionId,
    pub count: u32,
    pub first_number: Number,
    /// `count` times length (u32 LE) and event.
    pub framed: Bytes,
}

impl PublishBatch {
    pub fn encode(&self, request: u32, out: &mut Vec<u8>) {
        push_frame(out, BATCH, request, |body| {
            body.extend_from_slice(self.producer.as_bytes());
            body.extend_from_slice(&self.partition.0.to_le_bytes());
            body.extend_from_slice(&[0, 0]);
            body.extend_from_slice(&self.count.to_le_bytes());
            body.extend_from_slice(&self.first_number.0.to_le_bytes());
            body.extend_from_slice(&self.framed);
        });
    }

    /// Takes the body apart without copying. The events themselves are not looked at.
    pub fn decode(mut body: Bytes) -> Result<Self, DecodeError> {
        if body.len() < BATCH_HEADER_BYTES {
            return Err(DecodeError::Layout("a publish batch is shorter than its header"));
        }
        let mut producer = [0; 16];
        body.copy_to_slice(&mut producer);
        let partition = PartitionId(body.get_u16_le());
        body.advance(2);
        let count = body.get_u32_le();
        let first_number = Number(body.get_u64_le());
        Ok(Self { producer: ProducerId::from_bytes(producer), partition, count, first_number, framed: body })
    }
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Published {
    /// Durable on a majority; the events have the offsets from here on.
    Stored { first: Offset },
    /// It was stored by an earlier attempt. Offsets are known for a producer's last few batches only.
    AlreadyStored { first: Option<Offset> },
    /// Surely not stored, unless the fault's code says maybe. `OutOfSequence` names the expected number as its value.
    Refused(Fault),
}

impl Published {
    pub fn encode(&self, request: u32, out: &mut Vec<u8>) {
        push_frame(out, PUBLISHED, request, |body| {
            rmp_serde::encode::write_named(body, self)
                .expect("writing to a Vec does not fail and this type has no unserializable part");
        });
    }

    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        rmp_serde::from_slice(body).map_err(|source| DecodeError::Body { name: "Published", source })
    }
}

#[cfg(test)]
mod tests {
    use super::super::HEADER_BYTES;
    use super::*;

    #[test]
    fn a_batch_survives_the_wire() {
        let batch = PublishBatch {
            producer: ProducerId::from_bytes([7; 16]),
            partition: PartitionId(3),
            count: 2,
            first_number: Number(40),
            framed: Bytes::from_static(b"\x01\0\0\0a\x01\0\0\0b"),
        };
        let mut out = Vec::new();
        batch.encode(9, &mut out);
        assert_eq!(PublishBatch::decode(Bytes::from(out.split_off(HEADER_BYTES))).expect("decode"), batch);
    }

    #[test]
    fn a_short_batch_is_an_error_and_no_panic() {
        for length in 0..BATCH_HEADER_BYTES {
            assert!(PublishBatch::decode(Bytes::from(vec![0; length])).is_err());
        }
    }

    #[test]
    fn every_outcome_survives_the_wire() {
        let fault = Fault::new(crate::Code::OutOfSequence, "expected 4").with_value(4);
        let outcomes = [
            Published::Stored { first: Offset(u64::MAX) },
            Published::AlreadyStored { first: None },
            Published::Refused(fault),
        ];
        for outcome in outcomes {
            let mut out = Vec::new();
            outcome.encode(1, &mut out);
            assert_eq!(Published::decode(&out[HEADER_BYTES..]).expect("decode"), outcome);
        }
    }
}
