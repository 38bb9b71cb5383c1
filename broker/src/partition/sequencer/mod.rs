//! The sequencer: the leader's part that gives offsets, and takes every event exactly once.
//!
//! ```text
//!         open(nonce)               its own Open applied
//!   Idle ------------> Opening -------------------------> Open
//!    ^                    |                                 |   a void, failed or overdue proposal,
//!    +--------------------+---------------------------------+   or a lost leadership
//! ```
//! A plain state machine: it never awaits and reads no clock. Inputs are `open`, `handle_*` and `end`; after any of them ask
//! [`Sequencer::poll_proposal`] and [`Sequencer::poll_answer`] until they have nothing more, and call
//! [`Sequencer::handle_time`] no later than [`Sequencer::poll_timeout`] says.
//!
//! Invariants: nothing is given an offset before the sequencer's own `Open` is applied, for only then the tail and the
//! producers' rows are those of all that can still be stored. At most two entries are proposed, in the order of their offsets;
//! the second counts on the first, so if the first is not stored the second is void, and so is everything that fills. A batch
//! is answered `Stored` only once it is applied, and a duplicate of one in flight gets that one's answer.

mod entries;
mod producers;
#[cfg(test)]
mod stories;

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use anyport_protocol::message::publish::Published;
use anyport_protocol::{Code, Fault, Nonce, Number, Offset, OffsetRange, ProducerId, WallMs};
use anyport_storage::{EntryData, ProducerRow, StoreError};
use bytes::Bytes;

use self::entries::Entries;
use self::producers::{Producer, Producers, Verdict};

/// Raft syncs one entry of a group at a time: a second one waits ready, a third would only wait longer than it could fill.
const PROPOSED_MAX: usize = 2;

/// How long a client waits while the partition has no open sequencer: the time of a sync or two.
const NOT_OPEN_RETRY_MS: u32 = 50;
const OVER_BUDGET_RETRY_MS: u32 = 20;
const STORAGE_FULL_RETRY_MS: u32 = 1000;

/// Producers remembered whose first batch was turned away.
const TURNED_AWAY_MAX: usize = 4096;

/// Names a proposal within this process's sequencer.
pub type ProposalId = u64;

/// May a batch be taken at all? Decided before the sequencer, answered by it, so that answers keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It is none that could ever be taken.
    Refused(Fault),
    /// The leader side holds as many bytes as it may.
    OverBudget,
    /// The disk is filled to the mark.
    StorageFull,
}

/// A producer's batch as it arrives. `W` is whoever waits for the outcome.
#[derive(Debug)]
pub struct Arrival<W> {
    pub producer: ProducerId,
    pub first_number: Number,
    pub count: u32,
    /// `count` times length and event, checked. Looked at only if the batch is admitted.
    pub framed: Bytes,
    pub admission: Admission,
    pub waiter: W,
}

/// An entry to be given to Raft, after all that came before it.
#[derive(Debug)]
pub struct Proposal {
    pub id: ProposalId,
    pub data: EntryData,
}

#[derive(Debug)]
enum State<W> {
    Idle,
    Opening { nonce: Nonce, proposed: Option<(ProposalId, Instant)> },
    Open(Open<W>),
}

/// What is forgotten when the sequencer ends.
#[derive(Debug)]
struct Open<W> {
    nonce: Nonce,
    entries: Entries<W>,
    producers: Producers,
}

#[derive(Debug)]
pub struct Sequencer<W> {
    state: State<W>,
    /// A proposal that takes longer ends the sequencer.
    overdue: Duration,
    next_proposal: ProposalId,
    answers: VecDeque<(W, Published)>,
    /// Producers whose very first batch was not taken, of which the store knows nothing: their later batches, already on the
    /// way, are out of sequence. Without it they would look like those of a producer whose row is gone, which is final.
    turned_away: HashSet<ProducerId>,
}

impl<W> Sequencer<W> {
    pub fn new(overdue: Duration) -> Self {
        Self { state: State::Idle, overdue, next_proposal: 0, answers: VecDeque::new(), turned_away: HashSet::new() }
    }

    /// Begins anew with a nonce that was never used before. Whoever waits on an earlier life is told.
    pub fn open(&mut self, nonce: Nonce) {
        self.end();
        self.state = State::Opening { nonce, proposed: None };
    }

    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Nobody waits for anything.
    pub fn is_quiet(&self) -> bool {
        self.answers.is_empty() && !matches!(&self.state, State::Open(open) if !open.entries.is_empty())
    }

    /// Takes a batch or answers it. `row` reads a producer's row from what is applied; it is asked for producers that have
    /// nothing in flight.
    pub fn handle_batch(
        &mut self,
        arrival: Arrival<W>,
        row: impl FnOnce(ProducerId) -> Result<Option<ProducerRow>, StoreError>,
    ) {
        let (producer, first_number) = (arrival.producer, arrival.first_number);
        if let Admission::Refused(fault) = arrival.admission {
            self.turn_away(producer, first_number);
            return self.answer(arrival.waiter, refused(fault));
        }
        let State::Open(open) = &mut self.state else {
            self.turn_away(producer, first_number);
            return self.answer(arrival.waiter, not_open());
        };
        let known = match open.known(producer, row) {
            Ok(known) => known,
            Err(error) => {
                return self.answer(arrival.waiter, refused(Fault::new(Code::StoreFailed, error.to_string())));
            }
        };
        let begins = first_number == Number(0);
        let Some(known) = known else {
            return match (begins, self.turned_away.contains(&producer)) {
                (true, _) => self.take(arrival),
                (false, true) => self.answer(arrival.waiter, out_of_sequence(Number(0), first_number)),
                (false, false) => self.answer(arrival.waiter, producer_unknown(producer)),
            };
        };
        let verdict = known.judge(first_number, arrival.count);
        // Kept, it would one day hide that what the producer stored is forgotten.
        self.turned_away.remove(&producer);
        match verdict {
            Verdict::Next => self.take(arrival),
            Verdict::Duplicate { first, last } => {
                self.answer_with(last, arrival.waiter, Published::AlreadyStored { first });
            }
            // Whoever is told what comes next takes all before it for stored, so it must be.
            Verdict::Above { expected, last } | Verdict::Overlap { expected, last } => {
                self.answer_with(last, arrival.waiter, out_of_sequence(expected, first_number));
            }
        }
    }

    /// The batch comes next: it gets its offsets, unless it is not admitted.
    fn take(&mut self, arrival: Arrival<W>) {
        let Arrival { producer, first_number, count, framed, admission, waiter } = arrival;
        if let Some(fault) = admission.fault() {
            self.turn_away(producer, first_number);
            return self.answer(waiter, refused(fault));
        }
        let State::Open(open) = &mut self.state else { unreachable!("only an open sequencer takes batches") };
        match open.entries.add(producer, first_number, count, &framed, waiter) {
            Ok(offset) => {
                open.producers.assign(producer, count, offset, open.entries.stored());
                self.turned_away.remove(&producer);
            }
            Err((bad, waiter)) => {
                self.turn_away(producer, first_number);
                self.answer(waiter, refused(Fault::new(Code::BadEvent, bad.to_string())));
            }
        }
    }

    /// Answers together with the batch that holds `last`, at once if that is stored.
    fn answer_with(&mut self, last: Option<Offset>, waiter: W, answer: Published) {
        match &mut self.state {
            State::Open(open) if last.is_some_and(|last| last >= open.entries.stored()) => {
                let at = last.expect("just compared");
                // One that came twice is told what the one it repeats is told.
                let answer = match answer {
                    Published::AlreadyStored { first: Some(first) } => Published::Stored { first },
                    answer => answer,
                };
                open.entries.wait(at, waiter, answer);
            }
            _ => self.answer(waiter, answer),
        }
    }

    fn answer(&mut self, waiter: W, answer: Published) {
        self.answers.push_back((waiter, answer));
    }

    fn turn_away(&mut self, producer: ProducerId, first_number: Number) {
        if first_number == Number(0) {
            if self.turned_away.len() >= TURNED_AWAY_MAX {
                self.turned_away.clear();
            }
            self.turned_away.insert(producer);
        }
    }

    /// An `Open` was applied; the next offset is `tail`. If it is not this sequencer's, another one has taken over.
    pub fn handle_opened(&mut self, nonce: Nonce, tail: Offset) {
        match &self.state {
            State::Opening { nonce: own, .. } if *own == nonce => {
                self.state = State::Open(Open { nonce, entries: Entries::new(tail), producers: Producers::default() });
            }
            // An Open of an earlier life, proposed before ours.
            State::Opening { .. } | State::Idle => {}
            State::Open(_) => self.end(),
        }
    }

    /// A batch entry was applied and is valid. Once this sequencer is open, only its own can be.
    pub fn handle_stored(&mut self, range: OffsetRange) {
        let State::Open(open) = &mut self.state else { return };
        for batch in open.entries.land(range) {
            open.producers.landed(&batch.producer);
            self.answers.extend(batch.into_waiters());
        }
    }

    /// A batch entry of this nonce was applied and is void.
    pub fn handle_void(&mut self, nonce: Nonce) {
        if matches!(&self.state, State::Open(open) if open.nonce == nonce) {
            self.end();
        }
    }

    /// Raft refused the proposal or has lost it.
    pub fn handle_failed(&mut self, id: ProposalId) {
        let ours = match &self.state {
            State::Idle => false,
            State::Opening { proposed, .. } => proposed.is_some_and(|(proposed, _)| proposed == id),
            State::Open(open) => open.entries.holds_proposal(id),
        };
        if ours {
            self.end();
        }
    }

    /// Ends the sequencer if its oldest proposal is overdue.
    pub fn handle_time(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.end();
        }
    }

    /// Drops everything. Whoever waits is told that the batch may have been stored, and to send it again.
    pub fn end(&mut self) {
        let State::Open(open) = std::mem::replace(&mut self.state, State::Idle) else { return };
        for batch in open.entries.into_batches() {
            self.turn_away(batch.producer, batch.first_number);
            self.answers.extend(batch.into_waiters().map(|(waiter, _)| (waiter, maybe_stored())));
        }
    }

    /// The next entry to propose, if one may be now.
    pub fn poll_proposal(&mut self, now: Instant, wall: WallMs) -> Option<Proposal> {
        let id = self.next_proposal;
        let data = match &mut self.state {
            State::Opening { nonce, proposed: proposed @ None } => {
                *proposed = Some((id, now));
                EntryData::open(*nonce, wall)
            }
            State::Open(open) if open.entries.proposed() < PROPOSED_MAX => {
                open.entries.propose(id, open.nonce, now, wall)?
            }
            _ => return None,
        };
        self.next_proposal += 1;
        Some(Proposal { id, data })
    }

    /// Who waits for the batches of a proposal.
    #[cfg(feature = "otel")]
    pub fn waiters(&mut self, id: ProposalId) -> impl Iterator<Item = &mut W> {
        let entries = if let State::Open(open) = &mut self.state { Some(&mut open.entries) } else { None };
        entries.into_iter().flat_map(move |entries| entries.waiters(id))
    }

    /// The next outcome to tell somebody.
    pub fn poll_answer(&mut self) -> Option<(W, Published)> {
        self.answers.pop_front()
    }

    /// When to call [`Sequencer::handle_time`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = match &self.state {
            State::Idle => None,
            State::Opening { proposed, .. } => proposed.map(|(_, at)| at),
            State::Open(open) => open.entries.oldest_proposed_at(),
        };
        oldest.map(|at| at + self.overdue)
    }
}

impl<W> Open<W> {
    fn known(
        &mut self,
        id: ProducerId,
        row: impl FnOnce(ProducerId) -> Result<Option<ProducerRow>, StoreError>,
    ) -> Result<Option<&Producer>, StoreError> {
        if self.producers.get(&id).is_some() {
            return Ok(self.producers.get(&id));
        }
        Ok(row(id)?.map(|row| self.producers.learn(id, Producer::from_row(row))))
    }
}

impl Admission {
    fn fault(self) -> Option<Fault> {
        match self {
            Self::Admitted => None,
            Self::Refused(fault) => Some(fault),
            Self::OverBudget => {
                let text = "this partition holds as much as it may before it is stored";
                Some(Fault::retry_after(Code::RetryAfter, OVER_BUDGET_RETRY_MS, text))
            }
            Self::StorageFull => {
                let text = "the disk is filled to the free-space mark";
                Some(Fault::retry_after(Code::StorageFull, STORAGE_FULL_RETRY_MS, text))
            }
        }
    }
}

fn refused(fault: Fault) -> Published {
    Published::Refused(fault)
}

fn not_open() -> Published {
    refused(Fault::retry_after(Code::NotReady, NOT_OPEN_RETRY_MS, "the partition is not open here"))
}

fn maybe_stored() -> Published {
    refused(Fault::new(Code::MaybeStored, "the sequencer ended before the outcome was known; send the batch again"))
}

fn out_of_sequence(expected: Number, first: Number) -> Published {
    let text = format!("the batch begins at number {first}, and {expected} comes next");
    refused(Fault::new(Code::OutOfSequence, text).with_value(expected.0))
}

fn producer_unknown(producer: ProducerId) -> Published {
    refused(Fault::new(Code::ProducerUnknown, format!("nothing is known here of producer {producer}")))
}
