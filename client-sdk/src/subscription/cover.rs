//! From acks to a cursor: the contiguous prefix of what is covered whose events are all acked.
//!
//! Inputs: `handle_covered`, `handle_expected` (what must be acked before the cursor passes it), `handle_ack`, `handle_resumed`. Output:
//! `cursor`, which only moves forward. One outstanding event costs 16 bytes.
//!
//! Places are cursors, not offsets: where a log has lost its end, the same offsets come again in the next epoch, for other events.
//! In the order of cursors all of the old epoch stands before all of the new, so an old event not acked holds the cursor back.

use std::collections::VecDeque;

use anyport_protocol::{Cursor, LogEpoch, Offset};

#[derive(Clone, Debug)]
pub(crate) struct Cover {
    /// Handed on and not yet part of the cursor, in order.
    outstanding: VecDeque<Outstanding>,
    covered: Cursor,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    offset: Offset,
    epoch: LogEpoch,
    acked: bool,
}

impl Outstanding {
    fn at(self) -> Cursor {
        Cursor { epoch: self.epoch, offset: self.offset }
    }
}

impl Cover {
    pub(crate) fn new(covered: Cursor) -> Self {
        Self { outstanding: VecDeque::new(), covered }
    }

    /// Something at this place, above all before it, must be acked. Only a broker that breaks the protocol says of a place further back
    /// that its log has lost it: then nothing waits for that.
    pub(crate) fn handle_expected(&mut self, at: Cursor) {
        if self.outstanding.back().is_none_or(|last| last.at() < at) {
            self.outstanding.push_back(Outstanding { offset: at.offset, epoch: at.epoch, acked: false });
        }
    }

    /// Everything below `upto` is either expected by now or needs no ack.
    pub(crate) fn handle_covered(&mut self, upto: Cursor) {
        self.covered = self.covered.max(upto);
    }

    /// The feed goes on at `position`. In a later epoch that may be further back: what lies beyond is not in the log any more, so
    /// nobody can be given it again and nothing waits for its acks.
    pub(crate) fn handle_resumed(&mut self, position: Cursor) {
        if position.epoch > self.covered.epoch {
            self.outstanding.retain(|outstanding| outstanding.offset < position.offset);
        }
        self.handle_covered(position);
    }

    /// Returns whether the cursor has moved. Acks of what is not outstanding (repeated, or of long ago) change nothing.
    pub(crate) fn handle_ack(&mut self, at: Cursor) -> bool {
        let index = self.outstanding.partition_point(|outstanding| outstanding.at() < at);
        match self.outstanding.get_mut(index) {
            Some(outstanding) if outstanding.at() == at => outstanding.acked = true,
            _ => return false,
        }
        while self.outstanding.front().is_some_and(|first| first.acked) {
            self.outstanding.pop_front();
        }
        index == 0
    }

    /// Everything below is done with.
    pub(crate) fn cursor(&self) -> Cursor {
        self.outstanding.front().map_or(self.covered, |first| first.at())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(offset: u64) -> Cursor {
        in_epoch(0, offset)
    }

    fn in_epoch(epoch: u32, offset: u64) -> Cursor {
        Cursor { epoch: LogEpoch(epoch), offset: Offset(offset) }
    }

    fn cover(expected: &[u64], covered: u64) -> Cover {
        let mut cover = Cover::new(at(0));
        expected.iter().for_each(|offset| cover.handle_expected(at(*offset)));
        cover.handle_covered(at(covered));
        cover
    }

    #[test]
    fn the_cursor_stays_before_the_first_event_not_acked() {
        let mut cover = cover(&[3, 5, 9], 20);
        assert_eq!(cover.cursor(), at(3));
        assert!(!cover.handle_ack(at(5)));
        assert_eq!(cover.cursor(), at(3));
        assert!(cover.handle_ack(at(3)));
        assert_eq!(cover.cursor(), at(9));
        assert!(cover.handle_ack(at(9)));
        assert_eq!(cover.cursor(), at(20));
    }

    #[test]
    fn where_nothing_matches_the_cursor_follows_by_itself() {
        let mut cover = cover(&[], 100);
        assert_eq!(cover.cursor(), at(100));
        cover.handle_covered(at(50));
        assert_eq!(cover.cursor(), at(100));
    }

    #[test]
    fn acks_of_anything_else_change_nothing() {
        let mut cover = cover(&[3], 10);
        assert!(!cover.handle_ack(at(4)));
        assert!(cover.handle_ack(at(3)));
        assert!(!cover.handle_ack(at(3)));
        assert_eq!(cover.cursor(), at(10));
    }

    #[test]
    fn what_a_log_has_lost_holds_nothing_back_and_what_it_kept_does() {
        let mut cover = cover(&[3, 9], 20);
        cover.handle_resumed(in_epoch(1, 5));
        cover.handle_expected(in_epoch(1, 9));
        cover.handle_covered(in_epoch(1, 12));
        assert_eq!(cover.cursor(), at(3), "kept, handed on and not acked");
        assert!(!cover.handle_ack(at(9)), "gone; the event at this offset now is another");
        assert!(cover.handle_ack(at(3)));
        assert_eq!(cover.cursor(), in_epoch(1, 9));
        assert!(cover.handle_ack(in_epoch(1, 9)));
        assert_eq!(cover.cursor(), in_epoch(1, 12));
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
                let moved = cover.handle_ack(at(ack));
                left.remove(&ack);
                prop_assert_eq!(cover.cursor(), at(left.first().copied().unwrap_or(100)));
                prop_assert_eq!(moved, cover.cursor() != before);
            }
        }
    }
}
