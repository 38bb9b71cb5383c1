//! What has been given offsets and is not stored yet: entries that fill, and entries proposed.

use std::collections::VecDeque;
use std::time::Instant;

use anyport_protocol::limits::ENTRY_BYTES_TARGET;
use anyport_protocol::message::publish::Published;
use anyport_protocol::{Nonce, Number, Offset, OffsetRange, ProducerId, WallMs};
use anyport_storage::{BadFraming, BatchBuilder, EntryData};

use super::ProposalId;

/// A batch with offsets, and who waits for it.
#[derive(Debug)]
pub(super) struct Waiting<W> {
    pub(super) producer: ProducerId,
    pub(super) first_number: Number,
    offset: Offset,
    waiter: W,
    /// Duplicates that came meanwhile, each with what it is told once the batch is stored.
    others: Vec<(W, Published)>,
}

impl<W> Waiting<W> {
    /// Everybody who waits, with the answer for the case that the batch is stored.
    pub(super) fn into_waiters(self) -> impl Iterator<Item = (W, Published)> {
        std::iter::once((self.waiter, Published::Stored { first: self.offset })).chain(self.others)
    }
}

/// An entry being filled. Its first offset is fixed: everything before it is in entries that go first.
#[derive(Debug)]
struct Filling<W> {
    first: Offset,
    builder: BatchBuilder,
    batches: Vec<Waiting<W>>,
}

/// An entry that Raft has.
#[derive(Debug)]
struct Proposed<W> {
    id: ProposalId,
    at: Instant,
    range: OffsetRange,
    batches: Vec<Waiting<W>>,
}

/// All entries with offsets that are not stored, in the order of their offsets.
#[derive(Debug)]
pub(super) struct Entries<W> {
    /// Everything below is stored.
    stored: Offset,
    /// The next offset to be given.
    next: Offset,
    proposed: VecDeque<Proposed<W>>,
    /// The last one is still being filled; the others were full before one could be proposed. Bounded by the byte budget.
    filling: VecDeque<Filling<W>>,
}

impl<W> Entries<W> {
    pub(super) fn new(tail: Offset) -> Self {
        Self { stored: tail, next: tail, proposed: VecDeque::new(), filling: VecDeque::new() }
    }

    pub(super) fn stored(&self) -> Offset {
        self.stored
    }

    pub(super) fn proposed(&self) -> usize {
        self.proposed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.proposed.is_empty() && self.filling.is_empty()
    }

    pub(super) fn oldest_proposed_at(&self) -> Option<Instant> {
        self.proposed.front().map(|entry| entry.at)
    }

    pub(super) fn holds_proposal(&self, id: ProposalId) -> bool {
        self.proposed.iter().any(|entry| entry.id == id)
    }

    /// Who waits for the batches of a proposal; not for duplicates of them.
    #[cfg(feature = "otel")]
    pub(super) fn waiters(&mut self, id: ProposalId) -> impl Iterator<Item = &mut W> {
        let entries = self.proposed.iter_mut().filter(move |entry| entry.id == id);
        entries.flat_map(|entry| &mut entry.batches).map(|batch| &mut batch.waiter)
    }

    /// Gives a batch the next offsets. Returns the first of them; if the framing is wrong nothing is changed.
    pub(super) fn add(
        &mut self,
        producer: ProducerId,
        first_number: Number,
        count: u32,
        framed: &[u8],
        waiter: W,
    ) -> Result<Offset, (BadFraming, W)> {
        let offset = self.next;
        let full = |entry: &Filling<W>| entry.builder.bytes() + framed.len() > ENTRY_BYTES_TARGET;
        if self.filling.back().is_none_or(full) {
            self.filling.push_back(Filling { first: offset, builder: BatchBuilder::new(), batches: Vec::new() });
        }
        let entry = self.filling.back_mut().expect("one was just made sure of");
        if let Err(bad) = entry.builder.push(producer, first_number, count, framed) {
            if entry.batches.is_empty() {
                self.filling.pop_back();
            }
            return Err((bad, waiter));
        }
        entry.batches.push(Waiting { producer, first_number, offset, waiter, others: Vec::new() });
        self.next = offset.plus(u64::from(count));
        Ok(offset)
    }

    /// Lets somebody wait for the batch that holds this offset, which is not stored yet.
    pub(super) fn wait(&mut self, at: Offset, waiter: W, answer: Published) {
        let proposed = self.proposed.iter_mut().map(|entry| &mut entry.batches);
        let filling = self.filling.iter_mut().map(|entry| &mut entry.batches);
        let batches = proposed.chain(filling).filter(|batches| batches.first().is_some_and(|first| first.offset <= at));
        let batches = batches.last().expect("an offset that was given and is not stored lies in an entry");
        let after = batches.partition_point(|batch| batch.offset <= at);
        batches[after - 1].others.push((waiter, answer));
    }

    /// Hands out the next entry, which counts as proposed from now on.
    pub(super) fn propose(&mut self, id: ProposalId, nonce: Nonce, at: Instant, wall: WallMs) -> Option<EntryData> {
        let Filling { first, builder, batches } = self.filling.pop_front()?;
        let range = OffsetRange::new(first, first.plus(u64::from(builder.events())));
        self.proposed.push_back(Proposed { id, at, range, batches });
        Some(builder.finish(nonce, first, wall))
    }

    /// The oldest proposed entry is stored: these are its batches.
    pub(super) fn land(&mut self, range: OffsetRange) -> Vec<Waiting<W>> {
        let entry = self.proposed.pop_front().expect("only proposed entries have this sequencer's nonce");
        assert_eq!(entry.range, range, "entries are stored in the order and at the offsets they were proposed");
        self.stored = range.end;
        entry.batches
    }

    /// Everything that will not be stored, or not known to be.
    pub(super) fn into_batches(self) -> impl Iterator<Item = Waiting<W>> {
        let proposed = self.proposed.into_iter().flat_map(|entry| entry.batches);
        proposed.chain(self.filling.into_iter().flat_map(|entry| entry.batches))
    }
}
