//! The queues of an outbox: they hold the events of one segment at a time, which its keeper puts there.

use std::collections::HashMap;
use std::time::Duration;

use anyport_protocol::event::framed;
use anyport_protocol::{Number, PartitionId, ProducerId};
use bytes::Bytes;
use tokio::sync::watch;

use super::{PartitionQueue, Queues};
use crate::PublishError;
use crate::outbox::{Refused, Waiting};
use crate::publisher::PublisherOptions;
use crate::publisher::numbering::{Batch, BatchResult, Numbering, Numbers};
use crate::publisher::receipt::Follower;

/// An outbox waits as long as its broker is full.
const FOR_EVER: Duration = Duration::MAX;

/// What its keeper wants to know.
#[derive(Debug)]
pub(super) struct OfOutbox {
    waiting: watch::Sender<Waiting>,
    refused: Vec<Refused>,
    /// Of the present segment, since its file was last told.
    settled: u64,
}

/// How far a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Sending,
    Settled,
    /// Some of it cannot be sent under the segment's numbers. Nothing else is left, or something is.
    Stuck {
        alone: bool,
    },
}

/// An event of a segment that is neither stored nor refused.
#[derive(Debug)]
pub(crate) struct Unsettled {
    pub(crate) event: Bytes,
    pub(crate) follower: Follower,
}

impl Queues {
    /// Of an outbox: nothing is sent before its first segment begins.
    pub(crate) fn of_outbox(partitions: u16, waiting: watch::Sender<Waiting>) -> Self {
        let queues = Self::new(partitions, ProducerId([0; 16]), PublisherOptions::default());
        Self { outbox: Some(OfOutbox { waiting, refused: Vec::new(), settled: 0 }), ..queues }
    }

    /// The segment before is settled or taken out. Of this one the first events of each partition are done with: so many.
    pub(crate) fn begin_segment(&mut self, producer: ProducerId, done: &[u64], maybe_sent: bool) {
        self.requests.clear();
        self.bytes = 0;
        self.take_settled();
        let numbers = Numbers::OfSegment { maybe_sent };
        for (queue, done) in self.partitions.iter_mut().zip(done) {
            debug_assert!(queue.open_count == 0 && queue.numbering.is_empty(), "the segment before is done with");
            queue.numbering = Numbering::new(queue.id, producer, numbers, FOR_EVER);
            queue.numbering.handle_resume_point(Number(*done));
        }
    }

    /// Takes an event of the segment, and who is to be told of its fate. Returns whether its batch could be sent now.
    pub(crate) fn push_stored(&mut self, partition: PartitionId, event: &[u8], follower: Follower) -> bool {
        let (receipt, sendable) = self.push(partition, event);
        receipt.add_follower(follower);
        sendable
    }

    pub(crate) fn progress(&self) -> Progress {
        let is_stuck = |queue: &PartitionQueue| queue.numbering.is_stuck();
        let is_done = |queue: &PartitionQueue| queue.open_count == 0 && queue.numbering.is_empty();
        match self.partitions.iter().any(is_stuck) {
            true => Progress::Stuck { alone: self.partitions.iter().all(|queue| is_stuck(queue) || is_done(queue)) },
            false if self.partitions.iter().all(is_done) => Progress::Settled,
            false => Progress::Sending,
        }
    }

    /// What was refused for good since it was asked last.
    pub(crate) fn take_refused(&mut self) -> Vec<Refused> {
        self.outbox.as_mut().map(|outbox| std::mem::take(&mut outbox.refused)).unwrap_or_default()
    }

    /// Takes out what is left of the segment, in order. What is not may be refused: ask after it.
    pub(crate) fn take_unsettled(&mut self) -> Vec<Unsettled> {
        let mut unsettled = Vec::new();
        for index in 0..self.partitions.len() {
            let queue = &mut self.partitions[index];
            let closed = queue.close();
            let (stored, batches) = queue.numbering.take_unsettled();
            self.settle(closed);
            self.settle(stored);
            for batch in batches {
                let mut followers: HashMap<u32, Follower> = batch.receipt.take_followers().into_iter().collect();
                for (place, event) in (0..).zip(framed::iter(&batch.framed).flatten()) {
                    let follower = followers.remove(&place).unwrap_or_default();
                    unsettled.push(Unsettled { event: batch.framed.slice_ref(event), follower });
                }
            }
        }
        unsettled
    }

    /// How many events of the segment are settled of which the segment's file does not say so. From now on it does.
    pub(crate) fn take_settled(&mut self) -> u64 {
        self.outbox.as_mut().map_or(0, |outbox| std::mem::take(&mut outbox.settled))
    }
}

impl OfOutbox {
    pub(super) fn handle_settled(&mut self, batch: &Batch, result: &BatchResult) {
        if let Err(PublishError::Refused { fault, outcome }) = result {
            let refused =
                |event| Refused { event: batch.framed.slice_ref(event), fault: fault.clone(), outcome: *outcome };
            self.refused.extend(framed::iter(&batch.framed).flatten().map(refused));
        } else if result.is_err() {
            // The client has ended. What it has not sent waits for another.
            return;
        }
        self.settled += u64::from(batch.count);
        self.waiting.send_modify(|waiting| waiting.handle_settled(batch.count.into(), result.as_ref().err()));
    }
}
