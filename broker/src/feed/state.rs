//! One feed as a state machine.
//!
//! Ask [`Feed::wish`] what it wants, do it, and report the outcome by the matching `handle_*`. It never awaits and never reads
//! a clock. Its invariant: frames go out as a chain, each beginning at `position`, which only moves forward (but for `reopen`).

use std::time::{Duration, Instant};

use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{Offset, OffsetRange};

use crate::partition::FollowerId;

/// How soon to look again when the position is above the local tail, or the log could not be read. Nothing tells the feed when
/// either changes, and both are rare.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Feed {
    id: FeedId,
    position: Offset,
    state: State,
}

#[derive(Debug, PartialEq)]
enum State {
    /// The tail is not known to have been reached.
    Behind,
    /// All that is stored has been read; the partition may say that more has come since.
    AtTail,
    Following(FollowerId),
    Waiting {
        until: Instant,
    },
}

/// What a feed wants done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Read { from: Offset },
    Follow { position: Offset },
    LookAgain { at: Instant },
    Nothing,
}

impl Feed {
    pub fn new(id: FeedId, position: Offset) -> Self {
        Self { id, position, state: State::Behind }
    }

    pub fn id(&self) -> FeedId {
        self.id
    }

    pub fn position(&self) -> Offset {
        self.position
    }

    pub fn follower(&self) -> Option<FollowerId> {
        if let State::Following(follower) = self.state { Some(follower) } else { None }
    }

    pub fn wish(&self, now: Instant) -> Wish {
        match self.state {
            State::Behind => Wish::Read { from: self.position },
            State::AtTail => Wish::Follow { position: self.position },
            State::Waiting { until } if now >= until => Wish::Follow { position: self.position },
            State::Waiting { until } => Wish::LookAgain { at: until },
            State::Following(_) => Wish::Nothing,
        }
    }

    /// A read from the present position covered `range`. A range that begins elsewhere is of a time before a reopen.
    /// Returns whether its frames may be sent.
    pub fn handle_read(&mut self, range: OffsetRange) -> bool {
        if range.start != self.position || self.state != State::Behind {
            return false;
        }
        if range.is_empty() {
            self.state = State::AtTail;
        }
        self.position = range.end;
        true
    }

    /// The log could not be read.
    pub fn handle_unreadable(&mut self, now: Instant) {
        self.state = State::Waiting { until: now + LOOK_AGAIN };
    }

    /// The partition follows from `position` on. Returns false when the feed has moved meanwhile: dismiss the follower.
    #[must_use]
    pub fn handle_following(&mut self, follower: FollowerId, position: Offset) -> bool {
        let still_wanted = self.position == position && matches!(self.state, State::AtTail | State::Waiting { .. });
        if still_wanted {
            self.state = State::Following(follower);
        }
        still_wanted
    }

    /// The partition's tail is elsewhere: there is more to read, or the position is above all that is here. A position above
    /// the tail waits; it is never clamped or called a gap.
    pub fn handle_not_at_tail(&mut self, tail: Offset, now: Instant) {
        self.state = if tail > self.position { State::Behind } else { State::Waiting { until: now + LOOK_AGAIN } };
    }

    /// A live frame has come. Returns whether it is the next of the chain; one of an earlier follower is not.
    pub fn handle_live(&mut self, follower: FollowerId, covers: OffsetRange) -> bool {
        if self.state != State::Following(follower) {
            return false;
        }
        assert_eq!(covers.start, self.position, "live frames of one follower chain from the position it was given");
        self.position = covers.end;
        true
    }

    /// The follower has left; everything below `evaluated` has been sent or does not match. Returns the range that no frame
    /// has covered yet.
    pub fn handle_left(&mut self, follower: FollowerId, evaluated: Offset) -> Option<OffsetRange> {
        if self.state != State::Following(follower) {
            return None;
        }
        let covers = OffsetRange::new(self.position, evaluated.max(self.position));
        self.position = covers.end;
        self.state = State::Behind;
        (!covers.is_empty()).then_some(covers)
    }

    /// Falls behind: what the follower still says is not taken any more. Returns the follower to dismiss.
    pub fn fall_behind(&mut self) -> Option<FollowerId> {
        let follower = self.follower();
        self.state = State::Behind;
        follower
    }

    /// Begins anew at `position`, because the client says so. Returns the follower to dismiss.
    pub fn reopen(&mut self, position: Offset) -> Option<FollowerId> {
        self.position = position;
        self.fall_behind()
    }
}

#[cfg(test)]
mod tests {
    use anyport_protocol::{Incarnation, PartitionId};

    use super::*;

    const FOLLOWER: FollowerId = FollowerId(7);

    fn range(start: u64, end: u64) -> OffsetRange {
        OffsetRange::new(Offset(start), Offset(end))
    }

    fn feed(position: u64) -> Feed {
        Feed::new(FeedId { incarnation: Incarnation(1), partition: PartitionId(0) }, Offset(position))
    }

    fn following(position: u64) -> Feed {
        let mut feed = feed(position);
        assert!(feed.handle_read(range(position, position)));
        assert!(feed.handle_following(FOLLOWER, Offset(position)));
        feed
    }

    #[test]
    fn a_feed_reads_until_the_tail_and_then_follows() {
        let now = Instant::now();
        let mut feed = feed(5);
        assert_eq!(feed.wish(now), Wish::Read { from: Offset(5) });
        assert!(feed.handle_read(range(5, 9)));
        assert_eq!(feed.wish(now), Wish::Read { from: Offset(9) });
        assert!(feed.handle_read(range(9, 9)));
        assert_eq!(feed.wish(now), Wish::Follow { position: Offset(9) });
        assert!(feed.handle_following(FOLLOWER, Offset(9)));
        assert_eq!(feed.wish(now), Wish::Nothing);
        assert!(feed.handle_live(FOLLOWER, range(9, 12)));
        assert_eq!(feed.position(), Offset(12));
    }

    #[test]
    fn events_that_came_between_reading_and_following_are_read() {
        let now = Instant::now();
        let mut feed = feed(9);
        feed.handle_read(range(9, 9));
        feed.handle_not_at_tail(Offset(11), now);
        assert_eq!(feed.wish(now), Wish::Read { from: Offset(9) });
    }

    #[test]
    fn a_position_above_the_tail_waits() {
        let now = Instant::now();
        let mut feed = feed(100);
        feed.handle_read(range(100, 100));
        feed.handle_not_at_tail(Offset(40), now);
        assert_eq!(feed.wish(now), Wish::LookAgain { at: now + LOOK_AGAIN });
        assert_eq!(feed.wish(now + LOOK_AGAIN), Wish::Follow { position: Offset(100) });
        assert_eq!(feed.position(), Offset(100));
    }

    #[test]
    fn frames_of_an_earlier_follower_are_not_taken() {
        let mut feed = following(10);
        assert_eq!(feed.fall_behind(), Some(FOLLOWER));
        assert!(!feed.handle_live(FOLLOWER, range(10, 12)));
        assert_eq!(feed.handle_left(FOLLOWER, Offset(12)), None);
        assert_eq!(feed.position(), Offset(10));
    }

    #[test]
    fn a_read_of_before_a_reopen_is_not_taken() {
        let mut feed = feed(10);
        feed.reopen(Offset(4));
        assert!(!feed.handle_read(range(10, 20)));
        assert!(feed.handle_read(range(4, 20)));
    }

    #[test]
    fn a_follower_that_comes_after_a_reopen_is_dismissed() {
        let mut feed = feed(10);
        feed.handle_read(range(10, 10));
        feed.reopen(Offset(4));
        assert!(!feed.handle_following(FOLLOWER, Offset(10)));
        assert_eq!(feed.wish(Instant::now()), Wish::Read { from: Offset(4) });
    }

    #[test]
    fn leaving_covers_what_was_evaluated_without_a_match() {
        let mut feed = following(10);
        assert_eq!(feed.handle_left(FOLLOWER, Offset(15)), Some(range(10, 15)));
        assert_eq!(feed.wish(Instant::now()), Wish::Read { from: Offset(15) });
    }
}
