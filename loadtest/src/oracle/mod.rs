//! Knows what was published and what every client must see, and says at the end what went wrong.
//!
//! A test tells the oracle each thing as it happens; the oracle does no I/O and reads no clock. Tell it of an event
//! *before* handing it to the publisher, and for one producer and key in the order they are handed over: that order is
//! what is checked. Every word of the verdict, following the promises of the design:
//!
//! | word         | meaning                                                                                                   | clean |
//! | ------------ | --------------------------------------------------------------------------------------------------------- | ----- |
//! | published    | distinct events told; the same event told again is a retry of the same one                                |   -   |
//! | acked        | the producer was told *stored*. An ack is final                                                           |   -   |
//! | unknown      | told *maybe stored*, or not answered. A subscription may see it once or not at all; but once any reader   |   -   |
//! |              | has seen it, it is stored, and owed to every subscription that matches                                    |       |
//! | surely not   | the producer was told *not stored*                                                                        |   -   |
//! | matched      | stored, passes the filter, and lies in the subscription's range of offsets                                |   -   |
//! | live, replayed | deliveries of matching events by the way they came; allowed redeliveries count again                    |   -   |
//! | lost         | matched, but never delivered, or delivered only to a process that ended before it began to ack; and no    |   0   |
//! |              | `Gap` or `Omitted` covers its offset. An undeclared gap is therefore a loss                               |       |
//! | gap          | as lost, but a `Gap` covers it                                                                            |  any  |
//! | omitted      | as lost, but an `Omitted` covers it                                                                       |  any  |
//! | duplicated   | delivered to a process that had it already, or after its ack was confirmed; or stored at two offsets.     |   0   |
//! |              | A new reader (the last process crashed, ended or was taken over) may see again what was not acked         |       |
//! | reordered    | delivered at an offset below one that this process has passed in that partition, live or in replay; or,   |   0   |
//! |              | in the log: an event of one producer and key that lies before, or in another partition than, its elder    |       |
//! | unexpected   | delivered, but never published, or surely not stored, or not matching, or outside the subscription's range |  0   |
//! | unjustified  | a `Gap` over offsets that the log still has (see [`Oracle::log_lost`]); an `Omitted` that the client has  |   0   |
//! |              | not chosen (see [`Oracle::may_omit`]) or whose count cannot be true                                       |       |
//! | altered      | delivered with other content than was published                                                           |   0   |
//! | diverged     | two events claim one offset of one partition                                                              |   0   |
//!
//! What it cannot know it does not judge: an event of unknown place (acked without position, seen by nobody) is owed by
//! a subscription that ends, or that starts at named positions after its publishing, only once its place is known; and
//! no `Gap` excuses it.
//!
//! Memory: 24 bytes and one index row per event, 4 bytes per filter match, 1 byte per match of each subscription.

mod events;
mod history;
mod ranges;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyport_protocol::ids::{Offset, OffsetRange, PartitionId};
use serde_json::Value;

pub use self::events::{Digest, EventRef, Publication};
use self::history::History;
pub use self::verdict::{Defect, Defects, Evidence, SubscriptionVerdict, Verdict};
pub(crate) use table::grouped;

/// Where an event lies in the logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub partition: PartitionId,
    pub offset: Offset,
}

/// One offset per partition; a partition that is not named counts from 0.
pub type Positions = BTreeMap<PartitionId, Offset>;

/// From where a subscription is owed events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// The positions that the broker named in its answer.
    At(Positions),
}

/// How a delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Live,
    Replay,
}

/// One event as a client received it.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    pub event: EventRef,
    pub position: Position,
    pub via: Via,
    /// Checked against what was published when both are known.
    pub digest: Option<Digest>,
}

/// A declared filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FilterId(usize);

/// A declared subscription: one incarnation, for a new one owes from a start of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId(usize);

/// One application process that reads one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reader(usize);

#[derive(Clone)]
struct Predicate(Arc<dyn Fn(&Value) -> bool + Send + Sync>);

impl fmt::Debug for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Predicate")
    }
}

#[derive(Debug, Default)]
struct State {
    filters: Arc<Vec<Predicate>>,
    history: History,
}

/// Shared by all tasks of a test; each call holds the lock for a few table look-ups, [`Oracle::verdict`] for one pass.
#[derive(Debug, Default)]
pub struct Oracle {
    state: Mutex<State>,
}

impl Oracle {
    pub fn new() -> Self {
        Self::default()
    }

    /// Declares a filter. All filters come before the first event, because events are not kept to be matched later.
    pub fn filter(&self, predicate: impl Fn(&Value) -> bool + Send + Sync + 'static) -> FilterId {
        let mut state = self.lock();
        let too_late = state.history.any_published();
        let id = state.history.add_filter();
        Arc::make_mut(&mut state.filters).push(Predicate(Arc::new(predicate)));
        drop(state);
        assert!(!too_late, "filters are declared before the first event is published");
        id
    }

    /// An event is about to be handed to this producer. The filters run outside the lock.
    pub fn published(&self, producer: u32, event: &Value) -> EventRef {
        let filters = Arc::clone(&self.lock().filters);
        let matches: Vec<FilterId> =
            filters.iter().enumerate().filter(|(_, filter)| (filter.0)(event)).map(|(at, _)| FilterId(at)).collect();
        let reference = EventRef::of(event);
        self.published_as(&Publication {
            event: reference,
            producer,
            key: crate::workload::partition_key(event),
            digest: Some(Digest::of(event)),
            matches: &matches,
        });
        reference
    }

    /// As [`Oracle::published`], for a test that knows which filters match and has no JSON at hand.
    pub fn published_as(&self, publication: &Publication<'_>) {
        self.lock().history.publish(publication);
    }

    /// The producer was told that the event is stored, and where if the answer said so.
    pub fn acked(&self, event: EventRef, position: Option<Position>) {
        let known = self.lock().history.ack(event, position);
        assert!(known, "an ack of an event that this test never published: {event:?}");
    }

    /// The producer was told that the event is maybe stored.
    pub fn unknown(&self, event: EventRef) {
        let known = self.lock().history.answer(event, events::Answer::Unknown);
        assert!(known, "an answer about an event that this test never published: {event:?}");
    }

    /// The producer was told that the event is surely not stored.
    pub fn surely_not(&self, event: EventRef) {
        let known = self.lock().history.answer(event, events::Answer::SurelyNot);
        assert!(known, "an answer about an event that this test never published: {event:?}");
    }

    /// Tell it when the broker has answered: what is published from then on is certainly owed.
    pub fn subscribe(&self, name: &str, filter: FilterId, start: Start) -> SubscriptionId {
        self.lock().history.subscribe(name, filter, start)
    }

    /// The subscription ends at these positions (filter change, seek, expiry): nothing from them on belongs to it.
    pub fn ends_at(&self, subscription: SubscriptionId, end: Positions) {
        self.lock().history.subscription(subscription).end = Some(end);
    }

    /// The client chose an option by which events may be left out.
    pub fn may_omit(&self, subscription: SubscriptionId) {
        self.lock().history.subscription(subscription).may_omit = true;
    }

    /// A process begins to read the subscription. A second one declares that the first has crashed, ended or been taken
    /// over; what the first still hands out of its own memory is checked for order only. A reconnect is no new reader.
    pub fn reader(&self, subscription: SubscriptionId) -> Reader {
        self.lock().history.reader(subscription)
    }

    /// Events reached the application, in this order.
    pub fn delivered(&self, reader: Reader, deliveries: &[Delivery]) {
        let mut state = self.lock();
        for delivery in deliveries {
            state.history.deliver(reader, delivery);
        }
    }

    /// The application is about to ack: from here a crash leaves it open whether the event comes again.
    pub fn ack_begun(&self, reader: Reader, event: EventRef) {
        self.lock().history.ack_begun(reader, event);
    }

    /// The broker has confirmed the ack: the event must never come again.
    pub fn ack_confirmed(&self, reader: Reader, event: EventRef) {
        self.lock().history.ack_confirmed(reader, event);
    }

    /// The client was told that the log no longer has this range.
    pub fn gap(&self, reader: Reader, partition: PartitionId, range: OffsetRange) {
        self.lock().history.gap(reader, partition, range);
    }

    /// The client was told that so many events of this range were left out by an option it chose.
    pub fn omitted(&self, reader: Reader, partition: PartitionId, range: OffsetRange, count: u64) {
        self.lock().history.omitted(reader, partition, range, count);
    }

    /// The log truly no longer has this range (trimmed, or lost by an operator's decision): a `Gap` within it is
    /// justified.
    pub fn log_lost(&self, partition: PartitionId, range: OffsetRange) {
        self.lock().history.log_lost(partition, range);
    }

    /// Events that this subscription is still owed: what a test waits for before it asks for the verdict.
    pub fn outstanding(&self, subscription: SubscriptionId) -> u64 {
        self.lock().history.outstanding(subscription)
    }

    /// Judges everything told so far; what is still on its way counts as lost.
    pub fn verdict(&self) -> Verdict {
        self.lock().history.verdict()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
