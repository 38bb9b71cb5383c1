//! Structured mode: one event in JSON. Batched mode: an array of them.

use std::fmt;

use anyport_protocol::event::{Event, EventError};
use anyport_protocol::limits::BATCH_EVENTS_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why a request is no batch. A batch with a bad event in it is refused whole: nothing of it has been stored.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotABatch {
    #[error("not a JSON array of events: {0}")]
    NotAnArray(String),
    #[error("the batch has {count} events, the limit is {BATCH_EVENTS_MAX}")]
    TooMany { count: usize },
    #[error("event {place} of the batch: {source}")]
    BadEvent { place: usize, source: EventError },
}

/// Reads a batch and hands its events over in their order.
pub(super) fn read_batch(body: &[u8], mut event: impl FnMut(Event)) -> Result<(), NotABatch> {
    let items: Items<'_> = serde_json::from_slice(body).map_err(|error| NotABatch::NotAnArray(error.to_string()))?;
    if items.count > BATCH_EVENTS_MAX {
        return Err(NotABatch::TooMany { count: items.count });
    }
    for (place, item) in items.list.into_iter().enumerate() {
        event(Event::from_json(item.get().as_bytes()).map_err(|source| NotABatch::BadEvent { place, source })?);
    }
    Ok(())
}

/// The items of an array in their order; those past the limit are counted and not kept.
struct Items<'a> {
    list: Vec<&'a RawValue>,
    count: usize,
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ItemsVisitor)
    }
}

struct ItemsVisitor;

impl<'de> Visitor<'de> for ItemsVisitor {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Items<'de>, A::Error> {
        let mut list = Vec::new();
        while list.len() < BATCH_EVENTS_MAX {
            match array.next_element()? {
                Some(item) => list.push(item),
                None => return Ok(Items { count: list.len(), list }),
            }
        }
        let mut count = list.len();
        while array.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Items { list, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Result<Vec<String>, NotABatch> {
        let mut ids = Vec::new();
        read_batch(body.as_bytes(), |event| ids.push(event.id().to_owned()))?;
        Ok(ids)
    }

    fn event(id: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
    }

    #[test]
    fn a_batch_is_read_in_its_order_and_may_be_empty() {
        assert_eq!(ids(&format!(" [{}, {}]\n", event("b"), event("a"))), Ok(vec!["b".into(), "a".into()]));
        assert_eq!(ids("[]"), Ok(vec![]));
    }

    #[test]
    fn a_bad_event_is_named_by_its_place() {
        let source = EventError::MissingAttribute { name: "specversion" };
        assert_eq!(ids(&format!("[{}, {{}}]", event("a"))), Err(NotABatch::BadEvent { place: 1, source }));
        for no_event in ["1", "null", "[]"] {
            let refused = ids(&format!("[{no_event}]"));
            assert!(matches!(refused, Err(NotABatch::BadEvent { place: 0, .. })), "{no_event}: {refused:?}");
        }
    }

    #[test]
    fn what_is_no_array_is_no_batch() {
        for body in [&event("a"), "", "[", "[] []", "\u{feff}[]"] {
            assert!(matches!(ids(body), Err(NotABatch::NotAnArray(_))), "{body}");
        }
    }

    #[test]
    fn a_batch_is_bounded_before_its_events_are_looked_at() {
        let batch = |count| format!("[{}]", vec!["1"; count].join(","));
        let count = BATCH_EVENTS_MAX + 3;
        assert_eq!(ids(&batch(count)), Err(NotABatch::TooMany { count }));
        assert!(matches!(ids(&batch(BATCH_EVENTS_MAX)), Err(NotABatch::BadEvent { place: 0, .. })));
    }
}
