//! Sets of offsets, kept as sorted ranges that neither touch nor overlap.

use std::collections::BTreeMap;

use anyport_protocol::ids::{OffsetRange, PartitionId};

use super::Position;

#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    by_partition: BTreeMap<PartitionId, Vec<OffsetRange>>,
}

impl Ranges {
    pub(super) fn insert(&mut self, partition: PartitionId, mut range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        let ranges = self.by_partition.entry(partition).or_default();
        let first = ranges.partition_point(|other| other.end < range.start);
        let last = ranges.partition_point(|other| other.start <= range.end);
        if first < last {
            range.start = range.start.min(ranges[first].start);
            range.end = range.end.max(ranges[last - 1].end);
        }
        ranges.splice(first..last, [range]);
    }

    pub(super) fn contains(&self, position: Position) -> bool {
        self.covers(position.partition, OffsetRange::new(position.offset, position.offset.plus(1)))
    }

    pub(super) fn covers(&self, partition: PartitionId, range: OffsetRange) -> bool {
        let ranges = self.by_partition.get(&partition).map_or(&[][..], Vec::as_slice);
        let at = ranges.partition_point(|other| other.end < range.end);
        range.is_empty() || ranges.get(at).is_some_and(|other| other.start <= range.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyport_protocol::ids::Offset;

    fn range(start: u64, end: u64) -> OffsetRange {
        OffsetRange::new(Offset(start), Offset(end))
    }

    #[test]
    fn ranges_that_touch_become_one_and_holes_stay_holes() {
        let mut ranges = Ranges::default();
        let p = PartitionId(1);
        for (start, end) in [(10, 20), (40, 50), (20, 30), (5, 10), (60, 60)] {
            ranges.insert(p, range(start, end));
        }
        assert!(ranges.covers(p, range(5, 30)));
        assert!(ranges.covers(p, range(45, 50)));
        assert!(!ranges.covers(p, range(29, 31)));
        assert!(!ranges.covers(PartitionId(2), range(5, 6)));
        let holds = |offset| ranges.contains(Position { partition: p, offset: Offset(offset) });
        assert_eq!([4, 5, 29, 30, 40, 50, 60].map(holds), [false, true, true, false, true, false, false]);
    }
}
