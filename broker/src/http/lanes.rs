//! Numbers for events whose producer brings none.
//!
//! A lane is a producer of the broker's own, in one partition. A request takes one for itself, so no lane has two batches under way that
//! could overtake each other, and puts it back once it knows which of its numbers are used. One that does not know (or is dropped,
//! because its client went away) does not put it back. So there are never more lanes than requests at once, and a few suffice for a
//! broker's life.

use std::sync::{Mutex, PoisonError};

use anyport_protocol::{Number, PartitionId, ProducerId};

/// A producer, and the number its next event has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) producer: ProducerId,
    pub(super) next: Number,
}

impl Lane {
    pub(super) fn fresh() -> Self {
        Self { producer: ProducerId::from_bytes(rand::random()), next: Number(0) }
    }
}

/// Lanes that nobody uses just now, by partition. The last used goes first, so that those of a rush are soon forgotten by retention.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Mutex<Vec<Lane>>>);

impl Lanes {
    pub(super) fn new(partitions: u16) -> Self {
        Self((0..partitions).map(|_| Mutex::default()).collect())
    }

    pub(super) fn take(&self, partition: PartitionId) -> Lane {
        self.with(partition, Vec::pop).unwrap_or_else(Lane::fresh)
    }

    pub(super) fn put_back(&self, partition: PartitionId, lane: Lane) {
        self.with(partition, |free| free.push(lane));
    }

    fn with<T>(&self, partition: PartitionId, change: impl FnOnce(&mut Vec<Lane>) -> T) -> T {
        change(&mut self.0[usize::from(partition.0)].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_used_by_one_at_a_time_and_again_afterwards() {
        let (lanes, partition) = (Lanes::new(2), PartitionId(1));
        let (one, other) = (lanes.take(partition), lanes.take(partition));
        assert_ne!(one.producer, other.producer);
        let again = Lane { producer: one.producer, next: Number(7) };
        lanes.put_back(partition, Lane { next: Number(7), ..one });
        assert_ne!(lanes.take(PartitionId(0)).producer, again.producer);
        assert_eq!(lanes.take(partition), again);
    }
}
