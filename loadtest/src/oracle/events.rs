//! The table of published events: what each producer was told, and where each event lies as far as anyone has seen.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;

use anyport_protocol::ids::{Offset, PartitionId};
use serde_json::Value;

use super::{FilterId, Position};

/// Names an event by a hash of its source and id, which together are unique by CloudEvents: with a million events the
/// chance that any two share a hash is one in thirty million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventRef(u64);

impl EventRef {
    pub fn new(source: &str, id: &str) -> Self {
        Self(hash(&(source, id)))
    }

    /// Of an event in CloudEvents JSON; a missing attribute counts as empty.
    pub fn of(event: &Value) -> Self {
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        Self::new(text("source"), text("id"))
    }
}

/// Hash of an event's whole content, whatever the order of its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(NonZeroU64);

impl Digest {
    pub fn of(event: &Value) -> Self {
        Self(NonZeroU64::MIN | hash(event))
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// An event as it is handed to a producer.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    pub event: EventRef,
    pub producer: u32,
    pub key: &'a str,
    pub digest: Option<Digest>,
    pub matches: &'a [FilterId],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Awaited,
    Acked,
    Unknown,
    SurelyNot,
}

/// What was learnt when somebody said where an event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    Consistent,
    /// It was seen elsewhere before; told once per event.
    Elsewhere,
}

const NOWHERE: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    digest: Option<Digest>,
    offset: u64,
    /// One producer and key: within it, publishing order is log order.
    pub(super) lane: u32,
    partition: u16,
    pub(super) answer: Answer,
    stored_twice: bool,
}

impl Event {
    pub(super) fn position(&self) -> Option<Position> {
        (self.offset != NOWHERE)
            .then_some(Position { partition: PartitionId(self.partition), offset: Offset(self.offset) })
    }

    /// Somebody has its ack or has seen it, and it is not one that the producer was told is absent.
    pub(super) fn is_stored(&self) -> bool {
        match self.answer {
            Answer::Acked => true,
            Answer::Awaited | Answer::Unknown => self.offset != NOWHERE,
            Answer::SurelyNot => false,
        }
    }

    pub(super) fn is_altered(&self, delivered: Option<Digest>) -> bool {
        matches!((self.digest, delivered), (Some(published), Some(delivered)) if published != delivered)
    }
}

/// Events by the order of publishing; their place in it is called `nth`.
#[derive(Debug, Default)]
pub(super) struct Events {
    rows: Vec<Event>,
    nth_of: HashMap<EventRef, u32>,
    lanes: HashMap<(u32, u64), u32>,
}

impl Events {
    /// The event's place, or none if it is a retry of one already known.
    pub(super) fn add(&mut self, publication: &Publication<'_>) -> Option<u32> {
        let nth = u32::try_from(self.rows.len()).expect("memory ends long before four thousand million events");
        if self.nth_of.contains_key(&publication.event) {
            return None;
        }
        self.nth_of.insert(publication.event, nth);
        let lane_next = u32::try_from(self.lanes.len()).expect("there are no more lanes than events");
        let lane = *self.lanes.entry((publication.producer, hash(&publication.key))).or_insert(lane_next);
        self.rows.push(Event {
            digest: publication.digest,
            offset: NOWHERE,
            lane,
            partition: 0,
            answer: Answer::Awaited,
            stored_twice: false,
        });
        Some(nth)
    }

    pub(super) fn find(&self, event: EventRef) -> Option<u32> {
        self.nth_of.get(&event).copied()
    }

    pub(super) fn get(&self, nth: u32) -> &Event {
        &self.rows[nth as usize]
    }

    pub(super) fn rows(&self) -> &[Event] {
        &self.rows
    }

    pub(super) fn lanes_count(&self) -> usize {
        self.lanes.len()
    }

    /// The last word counts, except that an ack is final.
    pub(super) fn answer(&mut self, nth: u32, answer: Answer) {
        let event = &mut self.rows[nth as usize];
        if event.answer != Answer::Acked {
            event.answer = answer;
        }
    }

    pub(super) fn place(&mut self, nth: u32, position: Position) -> Placing {
        let event = &mut self.rows[nth as usize];
        match event.position() {
            None => {
                event.partition = position.partition.0;
                event.offset = position.offset.0;
                Placing::Consistent
            }
            Some(known) if known == position || event.stored_twice => Placing::Consistent,
            Some(_) => {
                event.stored_twice = true;
                Placing::Elsewhere
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_24_bytes() {
        assert_eq!(size_of::<Event>(), 24);
    }

    #[test]
    fn a_digest_ignores_the_order_of_members_but_not_their_values() {
        let parse = |text: &str| Digest::of(&serde_json::from_str(text).expect("literal JSON"));
        assert_eq!(parse(r#"{"a":1,"b":{"c":2,"d":3}}"#), parse(r#"{"b":{"d":3,"c":2},"a":1}"#));
        assert_ne!(parse(r#"{"a":1}"#), parse(r#"{"a":2}"#));
    }
}
