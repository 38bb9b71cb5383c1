//! From acks to a cursor: the contiguous prefix of covered offsets whose events are all acked.
//!
//! Inputs: `handle_covered`, `handle_expected` (what must be acked before the cursor passes it), `handle_ack`. Output: `cursor`, which
//! only moves forward. One outstanding event costs 16 bytes.

use std::collections::VecDeque;

use anyport_protocol::Offset;

#[derive(Clone, Debug)]
pub(crate) struct Cover {
    /// Handed on and not yet part of the cursor, in order of offset.
    outstanding: VecDeque<Outstanding>,
    covered: Offset,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    offset: Offset,
    acked: bool,
}

impl Cover {
    pub(crate) fn new(covered: Offset) -> Self {
        Self { outstanding: VecDeque::new(), covered }
    }

    /// Something at `offset`, above all before it, must be acked.
    pub(crate) fn handle_expected(&mut self, offset: Offset) {
        debug_assert!(self.outstanding.back().is_none_or(|last| last.offset < offset), "a feed goes forward");
        self.outstanding.push_back(Outstanding { offset, acked: false });
    }

    /// Everything below `upto` is either expected by now or needs no ack.
    pub(crate) fn handle_covered(&mut self, upto: Offset) {
        self.covered = self.covered.max(upto);
    }

    /// Returns whether the cursor has moved. Acks of what is not outstanding (repeated, or of long ago) change nothing.
    pub(crate) fn handle_ack(&mut self, offset: Offset) -> bool {
        let at = self.outstanding.partition_point(|outstanding| outstanding.offset < offset);
        match self.outstanding.get_mut(at) {
            Some(outstanding) if outstanding.offset == offset => outstanding.acked = true,
            _ => return false,
        }
        while self.outstanding.front().is_some_and(|first| first.acked) {
            self.outstanding.pop_front();
        }
        at == 0
    }

    /// Everything below is done with.
    pub(crate) fn cursor(&self) -> Offset {
        self.outstanding.front().map_or(self.covered, |first| first.offset)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn cover(expected: &[u64], covered: u64) -> Cover {
        let mut cover = Cover::new(Offset(0));
        expected.iter().for_each(|offset| cover.handle_expected(Offset(*offset)));
        cover.handle_covered(Offset(covered));
        cover
    }

    #[test]
    fn the_cursor_stays_before_the_first_event_not_acked() {
        let mut cover = cover(&[3, 5, 9], 20);
        assert_eq!(cover.cursor(), Offset(3));
        assert!(!cover.handle_ack(Offset(5)));
        assert_eq!(cover.cursor(), Offset(3));
        assert!(cover.handle_ack(Offset(3)));
        assert_eq!(cover.cursor(), Offset(9));
        assert!(cover.handle_ack(Offset(9)));
        assert_eq!(cover.cursor(), Offset(20));
    }

    #[test]
    fn where_nothing_matches_the_cursor_follows_by_itself() {
        let mut cover = cover(&[], 100);
        assert_eq!(cover.cursor(), Offset(100));
        cover.handle_covered(Offset(50));
        assert_eq!(cover.cursor(), Offset(100));
    }

    #[test]
    fn acks_of_anything_else_change_nothing() {
        let mut cover = cover(&[3], 10);
        assert!(!cover.handle_ack(Offset(4)));
        assert!(cover.handle_ack(Offset(3)));
        assert!(!cover.handle_ack(Offset(3)));
        assert_eq!(cover.cursor(), Offset(10));
    }

    proptest! {
        #[test]
        fn the_cursor_is_the_first_offset_not_acked(
            expected in prop::collection::btree_set(0u64..100, 0..40),
            acks in prop::collection::vec(0u64..100, 0..80),
        ) {
            let mut cover = cover(&expected.iter().copied().collect::<Vec<_>>(), 100);
            let mut left: BTreeSet<u64> = expected;
            for ack in acks {
                let before = cover.cursor();
                let moved = cover.handle_ack(Offset(ack));
                left.remove(&ack);
                prop_assert_eq!(cover.cursor(), Offset(left.first().copied().unwrap_or(100)));
                prop_assert_eq!(moved, cover.cursor() != before);
            }
        }
    }
}
