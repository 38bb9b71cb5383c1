//! Everything a test has told, in the form in which it can be judged.

use anyport_protocol::ids::{OffsetRange, PartitionId};

use super::events::{Answer, Events, Placing};
use super::ranges::Ranges;
use super::subscription::{Belonging, Omission, Progress, Subscription};
use super::verdict::{Defect, Defects};
use super::{Delivery, EventRef, FilterId, Position, Publication, Reader, Start, SubscriptionId};

#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) events: Events,
    /// By filter: the events that pass it, in publishing order, hence sorted.
    pub(super) matches: Vec<Vec<u32>>,
    pub(super) subscriptions: Vec<Subscription>,
    readers: Vec<Progress>,
    pub(super) lost_by_log: Ranges,
    /// Defects of the log itself, which no single subscription owns.
    pub(super) log_defects: Defects,
}

impl History {
    pub(super) fn any_published(&self) -> bool {
        !self.events.rows().is_empty()
    }

    pub(super) fn add_filter(&mut self) -> FilterId {
        self.matches.push(Vec::new());
        FilterId(self.matches.len() - 1)
    }

    pub(super) fn publish(&mut self, publication: &Publication<'_>) {
        let Some(nth) = self.events.add(publication) else { return };
        for filter in publication.matches {
            self.matches[filter.0].push(nth);
        }
    }

    pub(super) fn ack(&mut self, event: EventRef, position: Option<Position>) -> bool {
        let Some(nth) = self.events.find(event) else { return false };
        self.events.answer(nth, Answer::Acked);
        if let Some(position) = position {
            self.place(nth, position);
        }
        true
    }

    pub(super) fn answer(&mut self, event: EventRef, answer: Answer) -> bool {
        let nth = self.events.find(event);
        if let Some(nth) = nth {
            self.events.answer(nth, answer);
        }
        nth.is_some()
    }

    pub(super) fn subscribe(&mut self, name: &str, filter: FilterId, start: Start) -> SubscriptionId {
        let published = u32::try_from(self.events.rows().len()).expect("checked when events are added");
        self.subscriptions.push(Subscription::new(name, filter, start, published));
        SubscriptionId(self.subscriptions.len() - 1)
    }

    pub(super) fn subscription(&mut self, id: SubscriptionId) -> &mut Subscription {
        &mut self.subscriptions[id.0]
    }

    pub(super) fn reader(&mut self, subscription: SubscriptionId) -> Reader {
        let reader = Reader(self.readers.len());
        self.readers.push(Progress::new(subscription));
        self.subscription(subscription).replace_reader(reader);
        reader
    }

    pub(super) fn deliver(&mut self, reader: Reader, delivery: &Delivery) {
        let position = delivery.position;
        let id = self.readers[reader.0].subscription;
        let Some(nth) = self.events.find(delivery.event) else {
            return self.subscription(id).defects.note(Defect::Unexpected, None, Some(position));
        };
        self.place(nth, position);
        let altered = self.events.get(nth).is_altered(delivery.digest);
        let slot = self.slot(id, nth);
        let subscription = &mut self.subscriptions[id.0];
        if altered {
            subscription.defects.note(Defect::Altered, Some(nth), Some(position));
        }
        let Some(slot) = slot else {
            return subscription.defects.note(Defect::Unexpected, Some(nth), Some(position));
        };
        if !subscription.deliver(reader, slot, delivery.via) {
            subscription.defects.note(Defect::Duplicated, Some(nth), Some(position));
        } else if !self.readers[reader.0].advance(position) {
            subscription.defects.note(Defect::Reordered, Some(nth), Some(position));
        }
    }

    /// Acks of what is no match are left alone: its delivery has been reported as unexpected.
    pub(super) fn ack_begun(&mut self, reader: Reader, event: EventRef) {
        if let Some((id, slot)) = self.slot_of(reader, event) {
            self.subscription(id).ack_begun(slot);
        }
    }

    pub(super) fn ack_confirmed(&mut self, reader: Reader, event: EventRef) {
        if let Some((id, slot)) = self.slot_of(reader, event) {
            self.subscription(id).ack_confirmed(slot);
        }
    }

    pub(super) fn gap(&mut self, reader: Reader, partition: PartitionId, range: OffsetRange) {
        let progress = &mut self.readers[reader.0];
        progress.pass(partition, range.end);
        let subscription = &mut self.subscriptions[progress.subscription.0];
        subscription.gaps.insert(partition, range);
        subscription.gaps_told.push((partition, range));
    }

    pub(super) fn omitted(&mut self, reader: Reader, partition: PartitionId, range: OffsetRange, count: u64) {
        // The reader has not passed the range: it may also hold events that are delivered.
        let subscription = self.subscription(self.readers[reader.0].subscription);
        subscription.omitted.insert(partition, range);
        subscription.omissions.push(Omission { partition, range, count });
    }

    pub(super) fn log_lost(&mut self, partition: PartitionId, range: OffsetRange) {
        self.lost_by_log.insert(partition, range);
    }

    pub(super) fn outstanding(&self, id: SubscriptionId) -> u64 {
        let subscription = &self.subscriptions[id.0];
        let missing = self.matches[subscription.filter.0].iter().enumerate().filter(|&(slot, &nth)| {
            let event = self.events.get(nth);
            subscription.fate(slot).is_missing()
                && event.is_stored()
                && subscription.belonging(nth, event) == Belonging::Owed
                && !event
                    .position()
                    .is_some_and(|at| subscription.gaps.contains(at) || subscription.omitted.contains(at))
        });
        missing.count() as u64
    }

    fn place(&mut self, nth: u32, position: Position) {
        if self.events.place(nth, position) == Placing::Elsewhere {
            self.log_defects.note(Defect::Duplicated, Some(nth), Some(position));
        }
    }

    fn slot_of(&self, reader: Reader, event: EventRef) -> Option<(SubscriptionId, usize)> {
        let id = self.readers[reader.0].subscription;
        Some((id, self.slot(id, self.events.find(event)?)?))
    }

    fn slot(&self, id: SubscriptionId, nth: u32) -> Option<usize> {
        self.matches[self.subscriptions[id.0].filter.0].binary_search(&nth).ok()
    }
}
