//! The rule of numbers: which batch of a producer comes next, and where its last few lie.

use std::collections::{HashMap, VecDeque};

use anyport_protocol::{Number, Offset, ProducerId};
use anyport_storage::ProducerRow;

/// Batches remembered per producer once they are stored; those in flight are remembered in any case.
const RECENT_MAX: usize = 8;

/// Producers remembered. Past it those with nothing in flight are forgotten and read from the store when they come again.
const PRODUCERS_MAX: usize = 16 << 10;

/// What the rule says of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It begins where the producer's last one ended.
    Next,
    /// All its events have offsets: the last one `last`, and if it was one batch then too, the first one `first`. None if that is
    /// too long ago to be remembered, so it is stored.
    Duplicate { first: Option<Offset>, last: Option<Offset> },
    /// Some of its events have offsets, the last of those `last`; `expected` has none.
    Overlap { expected: Number, last: Option<Offset> },
    /// Events before it are missing, from `expected` on; `last` is the offset of the one before those, as above.
    Above { expected: Number, last: Option<Offset> },
}

/// A batch that has offsets, stored or in flight.
#[derive(Clone, Copy, Debug)]
struct Assigned {
    first: Number,
    count: u32,
    offset: Offset,
}

/// One producer as the sequencer must see it: what is in flight counts as stored, because if it is not, the sequencer ends.
#[derive(Debug, Default)]
pub(super) struct Producer {
    next: Number,
    recent: VecDeque<Assigned>,
    in_flight: u32,
}

impl Producer {
    pub(super) fn from_row(row: ProducerRow) -> Self {
        let recent = row.recent.into_iter().map(|(first, count, offset)| Assigned { first, count, offset });
        Self { next: row.next, recent: recent.collect(), in_flight: 0 }
    }

    pub(super) fn judge(&self, first: Number, count: u32) -> Verdict {
        let (end, expected) = (first.plus(u64::from(count)), self.next);
        if first == expected {
            return Verdict::Next;
        }
        let last = expected.0.checked_sub(1).and_then(|last| self.offset_of(Number(last)));
        if first > expected {
            return Verdict::Above { expected, last };
        }
        if end > expected {
            return Verdict::Overlap { expected, last };
        }
        let last = self.offset_of(Number(end.0 - 1));
        // Events of one batch have consecutive offsets; cut otherwise than at first, they may not.
        let unbroken = |first: &Offset| last == Some(first.plus(u64::from(count) - 1));
        Verdict::Duplicate { first: self.offset_of(first).filter(unbroken), last }
    }

    fn offset_of(&self, number: Number) -> Option<Offset> {
        let holds = |batch: &&Assigned| batch.first <= number && number < batch.first.plus(u64::from(batch.count));
        self.recent.iter().rev().find(holds).map(|batch| batch.offset.plus(number.0 - batch.first.0))
    }

    /// Notes the offset given to the next `count` events. What lies below `stored` is stored.
    fn assign(&mut self, count: u32, offset: Offset, stored: Offset) {
        self.recent.push_back(Assigned { first: self.next, count, offset });
        while self.recent.len() > RECENT_MAX && self.recent.front().is_some_and(|oldest| oldest.offset < stored) {
            self.recent.pop_front();
        }
        self.next = self.next.plus(u64::from(count));
        self.in_flight += 1;
    }
}

/// The producers that one life of the sequencer has met.
#[derive(Debug, Default)]
pub(super) struct Producers {
    known: HashMap<ProducerId, Producer>,
}

impl Producers {
    pub(super) fn get(&self, id: &ProducerId) -> Option<&Producer> {
        self.known.get(id)
    }

    /// Remembers what was read of a producer. One that has something in flight is never forgotten, so what the store said of
    /// it when it was read is still all there is to know.
    pub(super) fn learn(&mut self, id: ProducerId, producer: Producer) -> &Producer {
        self.make_room(&id);
        self.known.entry(id).or_insert(producer)
    }

    pub(super) fn assign(&mut self, id: ProducerId, count: u32, offset: Offset, stored: Offset) {
        self.make_room(&id);
        self.known.entry(id).or_default().assign(count, offset, stored);
    }

    /// Before another one is remembered. Those with nothing in flight can be read again.
    fn make_room(&mut self, id: &ProducerId) {
        if self.known.len() >= PRODUCERS_MAX && !self.known.contains_key(id) {
            self.known.retain(|_, producer| producer.in_flight > 0);
        }
    }

    /// A batch of this producer is stored.
    pub(super) fn landed(&mut self, id: &ProducerId) {
        if let Some(producer) = self.known.get_mut(id) {
            producer.in_flight -= 1;
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producer() -> Producer {
        let recent = vec![(Number(10), 10, Offset(100)), (Number(20), 10, Offset(500))];
        Producer::from_row(ProducerRow { next: Number(30), recent, last_index: 7 })
    }

    #[test]
    fn only_the_next_number_is_taken() {
        assert_eq!(producer().judge(Number(30), 5), Verdict::Next);
        let above = Verdict::Above { expected: Number(30), last: Some(Offset(509)) };
        assert_eq!(producer().judge(Number(31), 5), above);
    }

    #[test]
    fn a_duplicate_is_told_its_offset_while_it_is_remembered() {
        let told = |first, last| Verdict::Duplicate { first, last };
        assert_eq!(producer().judge(Number(20), 10), told(Some(Offset(500)), Some(Offset(509))));
        assert_eq!(producer().judge(Number(12), 3), told(Some(Offset(102)), Some(Offset(104))));
        assert_eq!(producer().judge(Number(0), 10), told(None, None));
    }

    #[test]
    fn a_duplicate_cut_otherwise_than_at_first_is_not_told_offsets_it_does_not_have() {
        let across = producer().judge(Number(15), 10);
        assert_eq!(across, Verdict::Duplicate { first: None, last: Some(Offset(504)) });
    }

    #[test]
    fn a_batch_that_begins_too_low_and_ends_too_high_overlaps() {
        let overlap = producer().judge(Number(25), 10);
        assert_eq!(overlap, Verdict::Overlap { expected: Number(30), last: Some(Offset(509)) });
    }

    #[test]
    fn batches_in_flight_are_remembered_however_many_they_are() {
        let mut producer = Producer::default();
        for batch in 0..50 {
            producer.assign(2, Offset(batch * 2), Offset::ZERO);
        }
        assert_eq!(producer.judge(Number(0), 2), Verdict::Duplicate { first: Some(Offset(0)), last: Some(Offset(1)) });
        producer.assign(2, Offset(100), Offset(100));
        assert_eq!(producer.recent.len(), RECENT_MAX);
    }

    #[test]
    fn too_many_producers_are_forgotten_unless_something_of_theirs_is_in_flight() {
        let id = |number: usize| ProducerId::from_bytes((number as u128).to_be_bytes());
        let mut producers = Producers::default();
        producers.assign(id(usize::MAX), 1, Offset(0), Offset(0));
        for number in 0..PRODUCERS_MAX {
            producers.learn(id(number), Producer::default());
        }
        assert_eq!(producers.len(), 2, "all but the last learnt and the one in flight were forgotten");
        assert!(producers.get(&id(usize::MAX)).is_some());
    }
}
