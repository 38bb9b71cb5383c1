//! What is particular to a segment of an outbox: nothing may be left out of its numbers, and what can be sent under them no longer is
//! taken out, for a segment of other numbers.

use std::collections::VecDeque;

use anyport_protocol::{Code, Fault, Outcome, PartitionId};

use super::{Batch, Entry, Numbering, Settled, State, Stored};
use crate::PublishError;

impl Numbering {
    /// Nothing more can be sent, and nothing more is answered.
    pub(crate) fn is_stuck(&self) -> bool {
        self.stuck && self.in_flight() == 0
    }

    /// Takes out what is left of a segment. Returns also what was stored of batches that are left in part.
    pub(crate) fn take_unsettled(&mut self) -> (Vec<Settled>, Vec<Batch>) {
        let unsettled = self.entries.drain(..).filter(|entry| entry.state != State::Stored);
        let (mut settled, mut batches) = (Vec::new(), Vec::new());
        for entry in unsettled {
            let (stored, rest) = entry.split(self.partition);
            settled.extend(stored);
            batches.push(rest);
        }
        (settled, batches)
    }

    /// What is refused is given up, and the rest needs other numbers: these would leave a hole, or nobody knows what they mean.
    pub(super) fn handle_final_in_segment(&mut self, at: usize, fault: &Fault, outcome: Outcome) -> Vec<Settled> {
        if at > 0 {
            // The fate of those before it decides what may be done: it is asked again when they have theirs.
            return self.send_again(at);
        }
        self.send_again(0);
        if fault.is(Code::BadEvent) || fault.is(Code::EventTooLarge) {
            return self.handle_bad_event(fault);
        }
        self.stuck = true;
        if self.entries[0].doubtful {
            // It may be stored, and so may be what was sent with it.
            let refused = PublishError::Refused { fault: fault.clone(), outcome: Outcome::Maybe };
            let is_given_up = |entry: &Entry| entry.doubtful && entry.state != State::Stored;
            let (given_up, kept): (VecDeque<Entry>, _) = self.entries.drain(..).partition(is_given_up);
            self.entries = kept;
            self.doubted = Some(refused.clone());
            return given_up.into_iter().flat_map(|entry| self.settle_refused(entry, &refused)).collect();
        }
        if fault.is(Code::ProducerUnknown) {
            // Sent once, and that once it was refused: nothing of it is stored.
            return Vec::new();
        }
        let entry = self.entries.pop_front().expect("the refused one");
        self.settle_refused(entry, &PublishError::Refused { fault: fault.clone(), outcome })
    }

    fn settle_refused(&self, entry: Entry, refused: &PublishError) -> Vec<Settled> {
        let (stored, rest) = entry.split(self.partition);
        stored.into_iter().chain([(rest, Err(refused.clone()))]).collect()
    }

    /// One event spoils the first batch. Those before it are sent without it: their fate may be open. When they have one it comes first,
    /// and then neither it nor anything behind it can be stored under these numbers.
    fn handle_bad_event(&mut self, fault: &Fault) -> Vec<Settled> {
        let first = &self.entries[0];
        let named = fault.value.and_then(|place| u32::try_from(place).ok()).unwrap_or_default();
        let place = named.min(first.count() - 1);
        if place > 0 {
            let (head, tail) = first.batch.clone().split(first.done + place);
            let doubtful = first.doubtful;
            self.entries[0].batch = head;
            self.entries.insert(1, Entry { doubtful, ..Entry::new(self.next_id, tail) });
            self.next_id += 1;
            return Vec::new();
        }
        self.stuck = true;
        let (stored, rest) = self.entries.pop_front().expect("looked at above").split(self.partition);
        let (bad, rest) = rest.split(1);
        if rest.count > 0 {
            self.entries.push_front(Entry::new(self.next_id, rest));
            self.next_id += 1;
        }
        let refused = PublishError::Refused { fault: fault.clone(), outcome: Outcome::SurelyNot };
        stored.into_iter().chain([(bad, Err(refused))]).collect()
    }
}

impl Entry {
    /// What an earlier process has stored of the batch, and the rest.
    fn split(self, partition: PartitionId) -> (Option<Settled>, Batch) {
        if self.done == 0 {
            return (None, self.batch);
        }
        let (stored, rest) = self.batch.split(self.done);
        (Some((stored, Ok(Stored { partition, first: None, known_from: 0 }))), rest)
    }
}
