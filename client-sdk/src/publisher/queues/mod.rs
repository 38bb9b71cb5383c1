//! What a publisher holds: per partition an open batch that fills, and batches under way. Behind one lock, held for lines.
//!
//! An open batch is sent as soon as there is room for it, as in a group commit: what arrives during a round trip makes the next
//! batch, and no timer runs. Bytes are bounded by `room_bytes`.
//!
//! Called by whoever publishes: `push`, `is_full`. By the publisher's task: `next_to_send`, `handle_*`. What either must do
//! afterwards (wake the other) is returned or left in `wakers`.
//!
//! With an outbox they hold the events of one segment at a time: its keeper calls `begin_segment` and `push_stored`, and looks at
//! `progress` when the task tells it to.

mod outbox;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use anyport_protocol::event::framed;
use anyport_protocol::limits::{BATCH_EVENTS_MAX, ENTRY_BYTES_TARGET};
use anyport_protocol::message::publish::Published;
use anyport_protocol::{Number, Outcome, PartitionId, ProducerId};
use bytes::Bytes;

use super::PublisherOptions;
use super::numbering::{Attempt, Batch, IN_FLIGHT_MAX, Numbering, Numbers, Sending, Settled};
use super::receipt::{BatchReceipt, Receipt};
use outbox::OfOutbox;
pub(crate) use outbox::Progress;

use crate::PublishError;

/// Batches that may be under way whatever their size: one being committed, one to be next. More must be worth their overhead.
const SMALL_IN_FLIGHT_MAX: usize = 2;
const WORTH_SENDING_BYTES: usize = 64 << 10;

/// What a publisher has done so far, in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishCounts {
    pub accepted: u64,
    pub acked: u64,
    /// Surely not stored.
    pub refused: u64,
    /// Maybe stored.
    pub unknown: u64,
}

#[derive(Debug)]
pub(crate) struct Queues {
    partitions: Vec<PartitionQueue>,
    /// Whose turn is next.
    turn: usize,
    bytes: usize,
    room_bytes: usize,
    requests: HashMap<u32, (usize, Attempt)>,
    next_request: u32,
    pub(super) counts: PublishCounts,
    /// The first failure that `flush` has not reported yet.
    failure: Option<PublishError>,
    /// Waiting for room.
    wakers: Vec<Waker>,
    /// Why nothing can be published any more.
    over: Option<PublishError>,
    outbox: Option<OfOutbox>,
}

#[derive(Debug)]
struct PartitionQueue {
    id: PartitionId,
    numbering: Numbering,
    open: Vec<u8>,
    open_count: u32,
    open_receipt: Arc<BatchReceipt>,
}

impl Queues {
    pub(super) fn new(partitions: u16, producer: ProducerId, options: PublisherOptions) -> Self {
        let numbers = if options.producer.is_some() { Numbers::OfSource } else { Numbers::Own };
        let queue = |id| PartitionQueue {
            id: PartitionId(id),
            numbering: Numbering::new(PartitionId(id), producer, numbers, options.patience),
            open: Vec::new(),
            open_count: 0,
            open_receipt: Arc::default(),
        };
        Self {
            partitions: (0..partitions).map(queue).collect(),
            turn: 0,
            bytes: 0,
            room_bytes: options.buffer_bytes,
            requests: HashMap::new(),
            next_request: 1,
            counts: PublishCounts::default(),
            failure: None,
            wakers: Vec::new(),
            over: None,
            outbox: None,
        }
    }

    pub(super) fn over(&self) -> Option<PublishError> {
        self.over.clone()
    }

    /// Whether an event of this size must wait. A single one larger than all room is let in alone.
    pub(super) fn is_full(&self, event_bytes: usize) -> bool {
        self.bytes > 0 && self.bytes + event_bytes > self.room_bytes
    }

    pub(super) fn wait_for_room(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    /// Takes an event. Returns whether its batch could be sent now.
    pub(super) fn push(&mut self, partition: PartitionId, event: &[u8]) -> (Receipt, bool) {
        let queue = &mut self.partitions[usize::from(partition.0)];
        let is_complete =
            queue.open.len() + event.len() > ENTRY_BYTES_TARGET || queue.open_count as usize == BATCH_EVENTS_MAX;
        if is_complete {
            let settled = queue.close();
            self.settle(settled);
        }
        let queue = &mut self.partitions[usize::from(partition.0)];
        framed::push(&mut queue.open, event);
        let receipt = Receipt::new(Arc::clone(&queue.open_receipt), queue.open_count);
        queue.open_count += 1;
        self.counts.accepted += 1;
        self.bytes += framed::OVERHEAD_BYTES + event.len();
        (receipt, is_complete || queue.may_send_open())
    }

    /// The next batch to write, with its request number; partitions take turns.
    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<(u32, PartitionId, Sending)> {
        for step in 0..self.partitions.len() {
            let index = (self.turn + step) % self.partitions.len();
            let queue = &mut self.partitions[index];
            if queue.may_send_open() {
                let settled = queue.close();
                self.settle(settled);
            }
            let queue = &mut self.partitions[index];
            if let Some(sending) = queue.numbering.next_to_send(now) {
                let id = queue.id;
                self.turn = index + 1;
                return Some((self.request(index, sending.attempt), id, sending));
            }
        }
        None
    }

    fn request(&mut self, index: usize, attempt: Attempt) -> u32 {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        self.requests.insert(request, (index, attempt));
        request
    }

    /// A request number that belongs to no batch.
    pub(super) fn free_request(&mut self) -> u32 {
        let request = self.next_request;
        self.next_request = self.next_request.wrapping_add(1).max(1);
        request
    }

    pub(crate) fn handle_answer(&mut self, request: u32, answer: Published, now: Instant, fresh: ProducerId) {
        let Some((index, attempt)) = self.requests.remove(&request) else { return };
        let settled = self.partitions[index].numbering.handle_answer(attempt, answer, now, fresh);
        self.settle(settled);
    }

    pub(crate) fn handle_disconnected(&mut self) {
        self.requests.clear();
        self.partitions.iter_mut().for_each(|queue| queue.numbering.handle_disconnected());
    }

    pub(crate) fn handle_over(&mut self, cause: &PublishError) {
        self.over = Some(cause.clone());
        for index in 0..self.partitions.len() {
            let mut settled = self.partitions[index].close();
            settled.extend(self.partitions[index].numbering.handle_over(cause));
            self.settle(settled);
        }
    }

    pub(super) fn handle_resume_point(&mut self, partition: PartitionId, base: Number) {
        self.partitions[usize::from(partition.0)].numbering.handle_resume_point(base);
    }

    /// When to look for something to send although nothing has happened.
    pub(super) fn hold_until(&self) -> Option<Instant> {
        self.partitions.iter().filter_map(|queue| queue.numbering.hold_until()).min()
    }

    /// Of every batch that is not settled.
    pub(super) fn receipts(&self) -> Vec<Arc<BatchReceipt>> {
        let open = self.partitions.iter().filter(|queue| queue.open_count > 0).map(|queue| &queue.open_receipt);
        let closed = self.partitions.iter().flat_map(|queue| queue.numbering.batches()).map(|batch| &batch.receipt);
        open.chain(closed).cloned().collect()
    }

    pub(super) fn take_failure(&mut self) -> Option<PublishError> {
        self.failure.take()
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        std::mem::take(&mut self.wakers)
    }

    fn settle(&mut self, settled: Vec<Settled>) {
        for (batch, result) in settled {
            let events = u64::from(batch.count);
            self.bytes -= batch.framed.len();
            if let Some(outbox) = &mut self.outbox {
                outbox.handle_settled(&batch, &result);
            }
            match &result {
                Ok(_) => self.counts.acked += events,
                Err(error) => {
                    match error.outcome() {
                        Outcome::SurelyNot => self.counts.refused += events,
                        Outcome::Maybe => self.counts.unknown += events,
                    }
                    self.failure.get_or_insert_with(|| error.clone());
                }
            }
            batch.receipt.settle(result);
        }
    }
}

impl PartitionQueue {
    fn may_send_open(&self) -> bool {
        if self.open_count == 0 || self.numbering.is_waiting() {
            return false;
        }
        let in_flight = self.numbering.in_flight();
        in_flight < SMALL_IN_FLIGHT_MAX || (in_flight < IN_FLIGHT_MAX && self.open.len() >= WORTH_SENDING_BYTES)
    }

    /// Returns what is settled by it, because nothing more can be published.
    fn close(&mut self) -> Vec<Settled> {
        if self.open_count == 0 {
            return Vec::new();
        }
        let receipt = std::mem::take(&mut self.open_receipt);
        // The next batch will be about as large.
        let next = Vec::with_capacity(self.open.len());
        let framed = Bytes::from(std::mem::replace(&mut self.open, next));
        let batch = Batch { framed, count: self.open_count, receipt };
        self.open_count = 0;
        self.numbering.handle_batch(batch).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::Offset;

    use super::*;

    const PARTITION: PartitionId = PartitionId(1);

    fn queues(buffer_bytes: usize) -> Queues {
        Queues::new(2, ProducerId([1; 16]), PublisherOptions { buffer_bytes, ..PublisherOptions::default() })
    }

    fn store(queues: &mut Queues, request: u32, first: u64) {
        queues.handle_answer(request, Published::Stored { first: Offset(first) }, Instant::now(), ProducerId([2; 16]));
    }

    #[test]
    fn what_arrives_during_a_round_trip_makes_the_next_batch() {
        let now = Instant::now();
        let mut queues = queues(1 << 20);
        let mut sent = Vec::new();
        for _ in 0..SMALL_IN_FLIGHT_MAX {
            assert!(queues.push(PARTITION, b"first").1);
            sent.push(queues.next_to_send(now).expect("nothing is in the way").0);
        }
        let receipts: Vec<_> = (0..3).map(|_| queues.push(PARTITION, b"next").0).collect();
        assert!(queues.next_to_send(now).is_none());
        store(&mut queues, sent[0], 0);
        let (request, _, sending) = queues.next_to_send(now).expect("there is room");
        assert_eq!((sending.count, sending.first), (3, Number(2)));
        store(&mut queues, request, 10);
        let offsets: Vec<_> =
            receipts.iter().map(|receipt| receipt.get().expect("settled").expect("stored").offset).collect();
        assert_eq!(offsets, [Some(Offset(10)), Some(Offset(11)), Some(Offset(12))]);
    }

    #[test]
    fn a_full_publisher_has_room_again_when_a_batch_is_stored() {
        let mut queues = queues(100);
        assert!(!queues.is_full(1000), "one event larger than all room is let in alone");
        let _receipt = queues.push(PARTITION, &[0; 90]);
        assert!(queues.is_full(10));
        let request = queues.next_to_send(Instant::now()).expect("sendable").0;
        store(&mut queues, request, 0);
        assert!(!queues.is_full(10));
        assert_eq!(queues.counts, PublishCounts { accepted: 1, acked: 1, ..PublishCounts::default() });
    }

    #[test]
    fn a_batch_is_closed_before_it_passes_its_target() {
        let mut queues = queues(64 << 20);
        let event = vec![0; ENTRY_BYTES_TARGET / 2];
        (0..3).for_each(|_| drop(queues.push(PARTITION, &event)));
        let (_, _, sending) = queues.next_to_send(Instant::now()).expect("sendable");
        assert_eq!(sending.count, 1);
    }

    #[test]
    fn at_the_end_every_receipt_is_told() {
        let mut queues = queues(1 << 20);
        let sent = queues.push(PARTITION, b"sent").0;
        queues.next_to_send(Instant::now()).expect("sendable");
        let open = queues.push(PartitionId(0), b"open").0;
        let cause = PublishError::Ended { cause: crate::Error::Closed, outcome: Outcome::Maybe };
        queues.handle_over(&cause);
        let outcome = |receipt: &Receipt| receipt.get().expect("settled").expect_err("not stored").outcome();
        assert_eq!(outcome(&sent), Outcome::Maybe);
        assert_eq!(outcome(&open), Outcome::SurelyNot);
        assert_eq!((queues.counts.unknown, queues.counts.refused), (1, 1));
        assert!(queues.take_failure().is_some());
    }
}
