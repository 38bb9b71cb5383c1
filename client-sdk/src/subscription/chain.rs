//! One feed as the client sees it: frames become a chain.
//!
//! ```text
//!            taken              position      hole           parked
//!   [ ...........................|             .......[ ahead )[ ahead )
//! ```
//! A frame is taken only at `position`; of one that begins earlier, what is already here is cut off. A frame that begins later is
//! parked: QUIC orders nothing between streams, so a live frame often overtakes the end of a replay. If the hole before it does not
//! fill in time, or too much is parked, the feed must be begun anew at `position`. Each time that did not help it waits twice as long:
//! on a slow line what was asked for again is still on its way, and asking more often would only send it more often.
//!
//! Inputs: `handle_frame`, `handle_disconnected`, `handle_resumed`. Outputs: what `handle_frame` returns; `poll_reopen`, to be asked when `patience_ends`.
//! Invariant: every offset is taken exactly once, in order.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use anyport_protocol::message::feed::FeedContent;
use anyport_protocol::{Cursor, Offset, OffsetRange};

/// What overtook arrives within a round trip or two; longer means that it will not come by itself.
const PATIENCE: Duration = Duration::from_millis(500);

/// What a line of a few kilobits a second needs for one frame.
const PATIENCE_MAX: Duration = Duration::from_secs(32);

/// What a parked frame costs beside its events: those without events must not pile up either.
const LINK_OVERHEAD_BYTES: usize = 128;

/// Four times what a broker keeps queued for one subscription's live frames.
const PARKED_BYTES_MAX: usize = 2 << 20;

#[derive(Debug)]
pub(crate) struct Chain {
    position: Cursor,
    parked: BTreeMap<Offset, Link>,
    parked_bytes: usize,
    /// Since when the chain waits for a hole to fill, or for an answer to the last reopen.
    waiting_since: Option<Instant>,
    patience: Duration,
    reopen_now: bool,
}

/// The next piece of the chain.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Link {
    pub(crate) covers: OffsetRange,
    pub(crate) content: FeedContent,
    pub(crate) replayed: bool,
}

impl Link {
    fn bytes(&self) -> usize {
        let events = match &self.content {
            FeedContent::Events(events) => events.iter().map(|(_, event)| event.len()).sum(),
            FeedContent::Gap | FeedContent::Omitted { .. } => 0,
        };
        LINK_OVERHEAD_BYTES + events
    }

    /// The part from `position` on.
    fn cut(mut self, position: Offset) -> Self {
        if self.covers.start < position {
            self.covers = OffsetRange::new(position, self.covers.end);
            if let FeedContent::Events(events) = &mut self.content {
                events.retain(|(offset, _)| *offset >= position);
            }
        }
        self
    }
}

impl Chain {
    pub(crate) fn new(position: Cursor) -> Self {
        Self {
            position,
            parked: BTreeMap::new(),
            parked_bytes: 0,
            waiting_since: None,
            patience: PATIENCE,
            reopen_now: false,
        }
    }

    /// Everything below is taken; the next link begins here.
    pub(crate) fn position(&self) -> Cursor {
        self.position
    }

    pub(crate) fn parked_bytes(&self) -> usize {
        self.parked_bytes
    }

    /// Returns what is now next, in order: usually the frame itself, nothing at a hole, more when a hole has filled.
    pub(crate) fn handle_frame(&mut self, frame: Link, now: Instant) -> VecDeque<Link> {
        let mut links = VecDeque::new();
        if frame.covers.start > self.position.offset {
            self.park(frame, now);
            return links;
        }
        self.take(frame, &mut links);
        while let Some(next) = self.parked.first_entry()
            && *next.key() <= self.position.offset
        {
            let link = next.remove();
            self.parked_bytes -= link.bytes();
            self.take(link, &mut links);
        }
        if !links.is_empty() {
            self.waiting_since = (!self.parked.is_empty()).then_some(now);
            self.patience = PATIENCE;
        }
        links
    }

    fn take(&mut self, link: Link, links: &mut VecDeque<Link>) {
        if link.covers.end > self.position.offset {
            let link = link.cut(self.position.offset);
            self.position.offset = link.covers.end;
            links.push_back(link);
        }
    }

    fn park(&mut self, link: Link, now: Instant) {
        self.parked_bytes += link.bytes();
        if let Some(before) = self.parked.insert(link.covers.start, link) {
            self.parked_bytes -= before.bytes();
        }
        self.waiting_since.get_or_insert(now);
        while self.parked_bytes > PARKED_BYTES_MAX
            && let Some((_, last)) = self.parked.pop_last()
        {
            self.parked_bytes -= last.bytes();
            self.reopen_now = true;
        }
    }

    /// When to ask `poll_reopen` if nothing has arrived by then.
    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        self.waiting_since.map(|since| since + self.patience)
    }

    /// Where the feed must be begun anew, if it must.
    pub(crate) fn poll_reopen(&mut self, now: Instant) -> Option<Cursor> {
        let overdue = self.patience_ends().is_some_and(|end| now >= end);
        if !overdue && !self.reopen_now {
            return None;
        }
        self.reopen_now = false;
        self.waiting_since = Some(now);
        self.patience = (self.patience * 2).min(PATIENCE_MAX);
        Some(self.position)
    }

    /// The connection is gone. What is parked came from it, and will come again.
    pub(crate) fn handle_disconnected(&mut self) {
        *self = Self::new(self.position);
    }

    /// A new session begins the feed at `position`: never further back, but where a later log epoch began.
    pub(crate) fn handle_resumed(&mut self, position: Cursor) {
        *self = Self::new(self.position.max(position));
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::LogEpoch;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn at(offset: u64) -> Cursor {
        Cursor { epoch: LogEpoch(0), offset: Offset(offset) }
    }

    fn range(start: u64, end: u64) -> OffsetRange {
        OffsetRange::new(Offset(start), Offset(end))
    }

    /// A frame with an event at every even offset.
    fn frame(start: u64, end: u64) -> Link {
        let events = (start..end).filter(|offset| offset % 2 == 0);
        let events = events.map(|offset| (Offset(offset), Bytes::from(offset.to_string()))).collect();
        Link { covers: range(start, end), content: FeedContent::Events(events), replayed: false }
    }

    fn gap(start: u64, end: u64) -> Link {
        Link { covers: range(start, end), content: FeedContent::Gap, replayed: true }
    }

    #[test]
    fn frames_at_the_position_are_taken_as_they_come() {
        let now = Instant::now();
        let mut chain = Chain::new(at(10));
        assert_eq!(chain.handle_frame(frame(10, 20), now), [frame(10, 20)]);
        assert_eq!(chain.handle_frame(gap(20, 25), now), [gap(20, 25)]);
        assert_eq!(chain.position(), at(25));
        assert_eq!(chain.patience_ends(), None);
    }

    #[test]
    fn what_is_already_here_is_cut_off() {
        let now = Instant::now();
        let mut chain = Chain::new(at(10));
        assert_eq!(chain.handle_frame(frame(0, 10), now), []);
        assert_eq!(chain.handle_frame(frame(4, 14), now), [frame(10, 14)]);
        assert_eq!(chain.handle_frame(gap(0, 16), now), [gap(14, 16)]);
    }

    #[test]
    fn a_live_frame_that_overtook_a_replay_waits_for_it() {
        let now = Instant::now();
        let mut chain = Chain::new(at(0));
        assert_eq!(chain.handle_frame(frame(20, 30), now), []);
        assert_eq!(chain.handle_frame(frame(0, 10), now), [frame(0, 10)]);
        assert_eq!(chain.handle_frame(frame(10, 22), now), [frame(10, 22), frame(22, 30)]);
        assert_eq!(chain.parked_bytes(), 0);
        assert_eq!(chain.poll_reopen(now + PATIENCE), None);
    }

    #[test]
    fn a_hole_that_stays_makes_the_feed_begin_anew_at_the_position() {
        let now = Instant::now();
        let mut chain = Chain::new(at(10));
        chain.handle_frame(frame(12, 20), now);
        assert_eq!(chain.poll_reopen(now), None);
        let late = now + PATIENCE;
        assert_eq!(chain.poll_reopen(late), Some(at(10)));
        assert_eq!(chain.poll_reopen(late), None, "one reopen at a time");
        assert_eq!(chain.handle_frame(frame(10, 12), late), [frame(10, 12), frame(12, 20)]);
    }

    #[test]
    fn too_much_ahead_is_dropped_and_asked_for_again() {
        let now = Instant::now();
        let mut chain = Chain::new(at(0));
        let large = |start| Link {
            covers: range(start, start + 1),
            content: FeedContent::Events(vec![(Offset(start), Bytes::from(vec![0; PARKED_BYTES_MAX / 2]))]),
            replayed: true,
        };
        for start in 1..4 {
            assert_eq!(chain.handle_frame(large(start), now), []);
        }
        assert!(chain.parked_bytes() <= PARKED_BYTES_MAX);
        assert_eq!(chain.poll_reopen(now), Some(at(0)));
    }

    #[test]
    fn frames_without_events_do_not_pile_up_ahead_either() {
        let now = Instant::now();
        let mut chain = Chain::new(at(0));
        for start in 1..100_000 {
            chain.handle_frame(gap(start, start + 1), now);
        }
        assert!(chain.parked.len() <= PARKED_BYTES_MAX / LINK_OVERHEAD_BYTES);
        assert_eq!(chain.poll_reopen(now), Some(at(0)));
    }

    #[test]
    fn patience_grows_while_asking_again_does_not_help() {
        let start = Instant::now();
        let mut chain = Chain::new(at(0));
        chain.handle_frame(frame(10, 20), start);
        let mut asked = Vec::new();
        for millis in 0..8_000 {
            let now = start + Duration::from_millis(millis);
            asked.extend(chain.poll_reopen(now).map(|_| millis));
        }
        assert_eq!(asked, [500, 1_500, 3_500, 7_500]);
        chain.handle_frame(frame(0, 5), start);
        assert_eq!(chain.patience_ends(), Some(start + PATIENCE), "what arrives restores it");
    }

    #[test]
    fn a_new_session_never_moves_the_position_back() {
        let mut chain = Chain::new(at(10));
        chain.handle_frame(frame(12, 14), Instant::now());
        chain.handle_resumed(at(8));
        assert_eq!((chain.position(), chain.parked_bytes(), chain.patience_ends()), (at(10), 0, None));
        chain.handle_resumed(at(30));
        assert_eq!(chain.position(), at(30));
    }

    #[test]
    fn a_new_session_goes_back_to_where_a_later_log_epoch_began() {
        let mut chain = Chain::new(at(10));
        let began = Cursor { epoch: LogEpoch(1), offset: Offset(8) };
        chain.handle_resumed(began);
        assert_eq!(chain.position(), began);
    }

    proptest! {
        /// Whatever the order and however often frames come, every offset up to the position is taken once and in order.
        #[test]
        fn every_offset_is_taken_once_and_in_order(frames in prop::collection::vec((0u64..60, 1u64..20), 0..60)) {
            let now = Instant::now();
            let mut chain = Chain::new(at(0));
            let mut taken = Vec::new();
            let mut covered = 0;
            for (start, length) in frames {
                for link in chain.handle_frame(frame(start, start + length), now) {
                    prop_assert_eq!(link.covers.start.0, covered);
                    covered = link.covers.end.0;
                    let FeedContent::Events(events) = link.content else { unreachable!("only events were sent") };
                    taken.extend(events.into_iter().map(|(offset, _)| offset.0));
                }
            }
            prop_assert_eq!(covered, chain.position().offset.0);
            let expected: Vec<u64> = (0..covered).filter(|offset| offset % 2 == 0).collect();
            prop_assert_eq!(taken, expected);
        }
    }
}
