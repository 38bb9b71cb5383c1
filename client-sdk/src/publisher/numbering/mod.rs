//! The numbers of one producer in one partition: what is sent next, and what an answer means.
//!
//! ```text
//!   base                                  numbers grow ->
//!    | Sent (or Stored, if answered early) ... | Waiting ... |
//! ```
//! A batch is sent with the number that follows from those before it, so a batch that is refused for good leaves no hole, and one
//! sent again is stored once. An answer "stored" settles its batch whichever attempt it belongs to; a refusal counts for the
//! latest attempt only. After a refusal nothing is sent past a batch whose fate from before that refusal is still open: hence the
//! generation.
//!
//! Where numbers mean the same events in every process, an earlier one may have cut batches elsewhere: of a batch that the broker has a
//! part of only the rest is sent.
//!
//! Inputs: `handle_batch`, `handle_answer`, `handle_disconnected`, `handle_over`. Output: `next_to_send`, until it says None; what
//! the inputs return are batches whose fate is known.

mod batch;
mod segment;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyport_protocol::event::framed;
use anyport_protocol::message::publish::Published;
use anyport_protocol::{Code, Fault, Number, Offset, Outcome, PartitionId, ProducerId};
use bytes::Bytes;

pub(crate) use batch::{Batch, BatchResult, Settled, Stored};

use crate::PublishError;

/// Batches of one partition sent and not answered: enough to keep the broker busy over a round trip.
pub(crate) const IN_FLIGHT_MAX: usize = 4;

/// For a refusal that names no time.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Whose the numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// The publisher's own: where they can be used no longer it goes on under another id.
    Own,
    /// Of a source: in every process the same number is the same event.
    OfSource,
    /// Of a segment of an outbox: where they can be used no longer the segment is written anew. An earlier process or connection may
    /// have sent it.
    OfSegment { maybe_sent: bool },
}

/// A batch to send, and its name until it is answered.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) attempt: Attempt,
    pub(crate) producer: ProducerId,
    pub(crate) first: Number,
    pub(crate) count: u32,
    pub(crate) framed: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    id: u64,
    attempt: u32,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    batch: Batch,
    state: State,
    attempts: u32,
    /// An attempt's fate was never told.
    doubtful: bool,
    /// So many events at its beginning were stored by an earlier process.
    done: u32,
    refused_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Waiting,
    Sent {
        generation: u32,
        producer: ProducerId,
        first: Number,
    },
    /// Settled, but one before it is not.
    Stored,
}

impl Entry {
    fn new(id: u64, batch: Batch) -> Self {
        Self { id, batch, state: State::Waiting, attempts: 0, doubtful: false, done: 0, refused_since: None }
    }

    /// How many events are sent.
    fn count(&self) -> u32 {
        self.batch.count - self.done
    }

    fn framed(&self) -> Bytes {
        let done = framed::iter(&self.batch.framed).take(self.done as usize).flatten();
        let done_bytes = done.map(|event| framed::OVERHEAD_BYTES + event.len()).sum::<usize>();
        self.batch.framed.slice(done_bytes..)
    }
}

#[derive(Debug)]
pub(crate) struct Numbering {
    partition: PartitionId,
    producer: ProducerId,
    numbers: Numbers,
    patience: Duration,
    /// The first number that is not settled.
    base: Number,
    entries: VecDeque<Entry>,
    next_id: u64,
    generation: u32,
    hold_until: Option<Instant>,
    /// Of a segment: nothing more of it can be sent under these numbers.
    stuck: bool,
    /// Of a segment: what may have been sent before is given up for this.
    doubted: Option<PublishError>,
    over: Option<PublishError>,
}

impl Numbering {
    pub(crate) fn new(partition: PartitionId, producer: ProducerId, numbers: Numbers, patience: Duration) -> Self {
        Self {
            partition,
            producer,
            numbers,
            patience,
            base: Number(0),
            entries: VecDeque::new(),
            next_id: 0,
            generation: 0,
            hold_until: None,
            stuck: false,
            doubted: None,
            over: None,
        }
    }

    /// The broker has everything below `base` from an earlier process. Only before the first batch.
    pub(crate) fn handle_resume_point(&mut self, base: Number) {
        assert!(self.entries.is_empty(), "a source that numbers its events asks before it sends");
        self.base = base;
    }

    /// Returns the batch if nothing can be published any more.
    pub(crate) fn handle_batch(&mut self, batch: Batch) -> Option<Settled> {
        if let Some(over) = &self.over {
            return Some((batch, Err(over.clone().with_outcome(Outcome::SurelyNot))));
        }
        let id = self.next_id;
        self.next_id += 1;
        let doubtful = self.numbers == Numbers::OfSegment { maybe_sent: true };
        if let Some(doubted) = self.doubted.as_ref().filter(|_| doubtful) {
            return Some((batch, Err(doubted.clone())));
        }
        self.entries.push_back(Entry { doubtful, ..Entry::new(id, batch) });
        None
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.state, State::Sent { .. })).count()
    }

    /// Whether the youngest batch has not been sent yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.entries.back().is_some_and(|youngest| youngest.state == State::Waiting)
    }

    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.entries.iter().filter(|entry| entry.state != State::Stored).map(|entry| &entry.batch)
    }

    /// When to ask `next_to_send` again although nothing has happened.
    pub(crate) fn hold_until(&self) -> Option<Instant> {
        self.hold_until
    }

    pub(crate) fn next_to_send(&mut self, now: Instant) -> Option<Sending> {
        if self.stuck || self.hold_until.is_some_and(|until| now < until) || self.in_flight() >= IN_FLIGHT_MAX {
            return None;
        }
        self.hold_until = None;
        let at = self.entries.iter().position(|entry| entry.state == State::Waiting)?;
        let settled_or_current = |entry: &Entry| match entry.state {
            State::Sent { generation, .. } => generation == self.generation,
            State::Stored | State::Waiting => true,
        };
        if !self.entries.range(..at).all(settled_or_current) {
            return None;
        }
        let first = self.base.plus(self.entries.range(..at).map(|entry| u64::from(entry.count())).sum());
        let entry = &mut self.entries[at];
        entry.attempts += 1;
        entry.state = State::Sent { generation: self.generation, producer: self.producer, first };
        Some(Sending {
            attempt: Attempt { id: entry.id, attempt: entry.attempts },
            producer: self.producer,
            first,
            count: entry.count(),
            framed: entry.framed(),
        })
    }

    /// `fresh` becomes the producer's id if the old one can no longer be used.
    pub(crate) fn handle_answer(
        &mut self,
        attempt: Attempt,
        answer: Published,
        now: Instant,
        fresh: ProducerId,
    ) -> Vec<Settled> {
        let Some(at) = self.entries.iter().position(|entry| entry.id == attempt.id) else { return Vec::new() };
        match (answer, self.entries[at].state) {
            (_, State::Stored) => Vec::new(),
            (Published::Stored { first }, _) => self.settle_stored(at, Some(first)),
            (Published::AlreadyStored { first }, _) => self.settle_stored(at, first),
            (Published::Refused(fault), State::Sent { producer, first, .. })
                if self.entries[at].attempts == attempt.attempt =>
            {
                self.handle_refusal(at, fault, now, fresh, (producer, first))
            }
            (Published::Refused(_), _) => Vec::new(),
        }
    }

    fn handle_refusal(
        &mut self,
        at: usize,
        fault: Fault,
        now: Instant,
        fresh: ProducerId,
        sent: (ProducerId, Number),
    ) -> Vec<Settled> {
        let (producer, first) = sent;
        match (fault.code(), fault.value) {
            (Some(Code::OutOfSequence), Some(expected)) => self.handle_out_of_sequence(at, first, Number(expected)),
            (Some(Code::ProducerUnknown), _) if self.numbers == Numbers::Own => {
                let at = if producer == self.producer { self.begin_anew(fresh, at) } else { at };
                if self.entries[at].doubtful { self.give_up(at, fault) } else { self.send_again(at) }
            }
            _ if fault.retry() => self.handle_retryable(at, fault, now, fresh),
            _ => self.handle_final(at, fault, fresh),
        }
    }

    /// What the broker expects tells what it has: everything below, of this producer, is stored.
    fn handle_out_of_sequence(&mut self, at: usize, first: Number, expected: Number) -> Vec<Settled> {
        let end = first.plus(u64::from(self.entries[at].count()));
        if expected >= end {
            return self.settle_stored(at, None);
        }
        if expected > first {
            return self.settle_below(at, first, expected);
        }
        if expected < self.base {
            // Acked events are gone: a relaxed broker's machine has crashed. What follows must be numbered from what is left.
            tracing::warn!(expected = expected.0, base = self.base.0, "the log lost events of this publisher");
            match self.numbers {
                Numbers::Own => self.base = expected,
                Numbers::OfSource => {
                    let outcome = Outcome::Maybe;
                    return self.handle_over(&PublishError::Interleaved { expected: expected.0, outcome });
                }
                Numbers::OfSegment { .. } => self.stuck = true,
            }
        }
        self.send_again(at)
    }

    /// An earlier process has cut its batches elsewhere: of this one the broker has a part, and so it has all before.
    fn settle_below(&mut self, at: usize, first: Number, expected: Number) -> Vec<Settled> {
        let mut settled = Vec::new();
        for before in (0..at).rev() {
            if self.entries[before].state != State::Stored {
                settled.extend(self.settle_stored(before, None));
            }
        }
        let stored = u32::try_from(expected.0 - first.0).expect("within the batch");
        self.entries[0].done += stored;
        self.base = expected;
        settled.extend(self.send_again(0));
        settled
    }

    fn handle_retryable(&mut self, at: usize, fault: Fault, now: Instant, fresh: ProducerId) -> Vec<Settled> {
        let entry = &mut self.entries[at];
        entry.doubtful |= fault.code().is_some_and(|code| code.outcome() == Outcome::Maybe);
        let since = *entry.refused_since.get_or_insert(now);
        if fault.is(Code::StorageFull) && now.duration_since(since) >= self.patience {
            return self.handle_final(at, fault, fresh);
        }
        let wait = fault.retry_after_ms.map_or(RETRY_AFTER, |ms| Duration::from_millis(ms.into()));
        self.hold_until = Some(now + wait);
        self.send_again(at)
    }

    fn handle_final(&mut self, at: usize, fault: Fault, fresh: ProducerId) -> Vec<Settled> {
        let outcome = fault.code().map_or(Outcome::Maybe, Code::outcome);
        match self.numbers {
            Numbers::Own => {}
            Numbers::OfSource => return self.handle_over(&PublishError::Refused { fault, outcome }),
            Numbers::OfSegment { .. } => return self.handle_final_in_segment(at, &fault, outcome),
        }
        if self.entries[at].doubtful || outcome == Outcome::Maybe {
            // Its numbers may be taken. Those after it must not be mistaken for it.
            self.entries[at].doubtful = true;
            let at = self.begin_anew(fresh, at);
            return self.give_up(at, fault);
        }
        self.generation += 1;
        self.give_up(at, fault)
    }

    fn send_again(&mut self, at: usize) -> Vec<Settled> {
        self.generation += 1;
        self.entries[at].state = State::Waiting;
        Vec::new()
    }

    /// From here on under another id, from number 0. Returns where the entry at `at` is now.
    fn begin_anew(&mut self, fresh: ProducerId, at: usize) -> usize {
        self.generation += 1;
        self.producer = fresh;
        self.base = Number(0);
        let stored_before = self.entries.range(..at).filter(|entry| entry.state == State::Stored).count();
        self.entries.retain(|entry| entry.state != State::Stored);
        at - stored_before
    }

    fn give_up(&mut self, at: usize, fault: Fault) -> Vec<Settled> {
        let entry = self.entries.remove(at).expect("the caller has found it there");
        let outcome = if entry.doubtful { Outcome::Maybe } else { Outcome::SurelyNot };
        vec![(entry.batch, Err(PublishError::Refused { fault, outcome }))]
    }

    fn settle_stored(&mut self, at: usize, first: Option<Offset>) -> Vec<Settled> {
        let entry = &mut self.entries[at];
        entry.state = State::Stored;
        let stored = Stored { partition: self.partition, first, known_from: entry.done };
        let settled = (entry.batch.clone(), Ok(stored));
        // The bytes are not needed again, even if the entry must stay to be counted.
        entry.batch.framed = Bytes::new();
        while let Some(front) = self.entries.front()
            && front.state == State::Stored
        {
            self.base = self.base.plus(front.count().into());
            self.entries.pop_front();
        }
        vec![settled]
    }

    /// What was sent and not answered may have been stored; it will be sent again.
    pub(crate) fn handle_disconnected(&mut self) {
        self.generation += 1;
        self.hold_until = None;
        for entry in &mut self.entries {
            entry.refused_since = None;
            if matches!(entry.state, State::Sent { .. }) {
                entry.state = State::Waiting;
                entry.doubtful = true;
            }
        }
    }

    /// Nothing more can be published.
    pub(crate) fn handle_over(&mut self, cause: &PublishError) -> Vec<Settled> {
        self.over.get_or_insert_with(|| cause.clone());
        let settle = |entry: Entry| {
            let sent = matches!(entry.state, State::Sent { .. }) || entry.doubtful;
            let outcome = if sent { Outcome::Maybe } else { Outcome::SurelyNot };
            (entry.batch, Err(cause.clone().with_outcome(outcome)))
        };
        self.entries.drain(..).filter(|entry| entry.state != State::Stored).map(settle).collect()
    }
}

#[cfg(test)]
mod stories;
