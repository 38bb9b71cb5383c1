//! The events of one request, sorted by partition and cut into batches as the SDK cuts them.

use std::collections::BTreeMap;

use anyport_protocol::PartitionId;
use anyport_protocol::event::{EncodedEvent, framed};
use anyport_protocol::limits::ENTRY_BYTES_TARGET;
use anyport_protocol::partitioner::{partition_key, partition_of};
use bytes::Bytes;

/// Events of one partition that are stored together or not at all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Portion {
    /// As [`framed`] has it.
    pub(super) framed: Bytes,
    /// Which of the request's events these are.
    pub(super) places: Vec<usize>,
}

impl Portion {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.places.len()).expect("a request has at most BATCH_EVENTS_MAX events")
    }
}

#[derive(Debug, Default)]
struct Filling {
    closed: Vec<Portion>,
    framed: Vec<u8>,
    places: Vec<usize>,
}

impl Filling {
    fn push(&mut self, event: &[u8], place: usize) {
        if !self.places.is_empty() && self.framed.len() + event.len() > ENTRY_BYTES_TARGET {
            self.close();
        }
        framed::push(&mut self.framed, event);
        self.places.push(place);
    }

    fn close(&mut self) {
        let framed = std::mem::take(&mut self.framed).into();
        self.closed.push(Portion { framed, places: std::mem::take(&mut self.places) });
    }
}

/// Takes events in their order.
#[derive(Debug)]
pub(super) struct Sorter {
    partitions: u16,
    by_partition: BTreeMap<PartitionId, Filling>,
    count: usize,
}

impl Sorter {
    pub(super) fn new(partitions: u16) -> Self {
        Self { partitions, by_partition: BTreeMap::new(), count: 0 }
    }

    /// The bytes of a valid event.
    pub(super) fn push(&mut self, event: &[u8]) {
        let checked = EncodedEvent::check(event).expect("an event that was just encoded");
        let partition = partition_of(partition_key(&checked), self.partitions);
        self.by_partition.entry(partition).or_default().push(event, self.count);
        self.count += 1;
    }

    pub(super) fn finish(self) -> Sorted {
        let closed = self.by_partition.into_iter().map(|(partition, mut filling)| {
            filling.close();
            (partition, filling.closed)
        });
        Sorted { by_partition: closed.collect(), count: self.count }
    }
}

#[derive(Debug)]
pub(super) struct Sorted {
    /// The portions of each partition that has any, in the order of their events.
    pub(super) by_partition: BTreeMap<PartitionId, Vec<Portion>>,
    /// How many events there are.
    pub(super) count: usize,
}

#[cfg(test)]
mod tests {
    use anyport_protocol::event::Event;

    use super::*;

    fn sorted(partitions: u16, events: impl IntoIterator<Item = Event>) -> Sorted {
        let mut sorter = Sorter::new(partitions);
        events.into_iter().for_each(|event| sorter.push(&event.encode()));
        sorter.finish()
    }

    fn event(key: usize, data_bytes: usize) -> Event {
        let event = Event::builder("1", "/s", "t").subject(format!("k{key}"));
        event.binary(vec![0; data_bytes]).build().expect("valid")
    }

    #[test]
    fn every_event_is_in_its_partition_once_and_in_its_order() {
        let sorted = sorted(8, (0..100).map(|n| event(n % 10, 1)));
        assert!(sorted.by_partition.len() > 1);
        let mut seen: Vec<usize> = Vec::new();
        for (partition, portions) in &sorted.by_partition {
            let [portion] = &portions[..] else { panic!("small events make one portion, not {portions:?}") };
            assert!(portion.places.is_sorted());
            let events: Vec<_> = framed::iter(&portion.framed).map(|event| event.expect("framed")).collect();
            assert_eq!(events.len() as u32, portion.count());
            for (event, place) in events.iter().zip(&portion.places) {
                let event = EncodedEvent::check(event).expect("an event");
                assert_eq!(event.subject(), Some(format!("k{}", place % 10).as_str()));
                assert_eq!(partition_of(partition_key(&event), 8), *partition);
            }
            seen.extend(&portion.places);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..100));
    }

    #[test]
    fn a_portion_is_no_larger_than_an_entry_unless_one_event_is() {
        let sizes = [100 << 10, 100 << 10, 100 << 10, 300 << 10, 1];
        let sorted = sorted(1, sizes.into_iter().map(|size| event(0, size)));
        let places: Vec<_> =
            sorted.by_partition[&PartitionId(0)].iter().map(|portion| portion.places.clone()).collect();
        assert_eq!(places, [vec![0, 1], vec![2], vec![3], vec![4]]);
        assert_eq!(sorted.count, 5);
    }

    #[test]
    fn a_request_without_events_goes_nowhere() {
        assert!(sorted(8, []).by_partition.is_empty());
    }
}
