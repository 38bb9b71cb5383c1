//! Batches, and what becomes of them.

use std::sync::Arc;

use anyport_protocol::event::framed;
use anyport_protocol::{Offset, PartitionId};
use bytes::{Buf, Bytes};

use crate::PublishError;
use crate::publisher::receipt::BatchReceipt;

/// Events of one partition, framed for the wire.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) framed: Bytes,
    pub(crate) count: u32,
    pub(crate) receipt: Arc<BatchReceipt>,
}

impl Batch {
    /// The first so many events, and the others.
    pub(super) fn split(self, at: u32) -> (Self, Self) {
        let first = framed::iter(&self.framed).take(at as usize).flatten();
        let first_bytes = first.map(|event| framed::OVERHEAD_BYTES + event.len()).sum();
        let [mut head, mut tail] = [self.framed.clone(), self.framed];
        head.truncate(first_bytes);
        tail.advance(first_bytes);
        let of = |framed, count| Self { framed, count, receipt: Arc::default() };
        let (head, tail) = (of(head, at), of(tail, self.count - at));
        for (place, follower) in self.receipt.take_followers() {
            match place.checked_sub(at) {
                None => head.receipt.add_follower(place, follower),
                Some(place) => tail.receipt.add_follower(place, follower),
            }
        }
        (head, tail)
    }
}

/// How a batch ended.
pub(crate) type BatchResult = Result<Stored, PublishError>;

/// Where a batch was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) partition: PartitionId,
    /// Unknown if an earlier attempt did it and the broker has forgotten where.
    pub(crate) first: Option<Offset>,
    /// So many at the beginning were stored by an earlier process, nobody knows where: `first` is the offset of the next.
    pub(crate) known_from: u32,
}

impl Stored {
    /// Of the one event at this place of the batch.
    pub(crate) fn at_place(self, place: u32) -> Self {
        let after_first = place.checked_sub(self.known_from);
        // A broker may answer anything; an offset that there cannot be is none.
        let first = self.first.zip(after_first).and_then(|(first, after)| first.0.checked_add(after.into()));
        Self { first: first.map(Offset), known_from: 0, ..self }
    }
}

/// A batch and what became of it.
pub(crate) type Settled = (Batch, BatchResult);
