//! One partition of a subscription: its chain, its acks, and how far the application is.

use anyport_protocol::message::{FeedState, LostEnd};
use anyport_protocol::{Cursor, Offset, PartitionId};

use super::chain::Chain;
use super::cover::Cover;

#[derive(Debug)]
pub(super) struct Feed {
    pub(super) partition: PartitionId,
    pub(super) chain: Chain,
    pub(super) cover: Cover,
    /// From here delivery is guaranteed.
    pub(super) start: Cursor,
    /// As it was when the session began.
    pub(super) tail: Offset,
    /// Durable at the broker.
    pub(super) confirmed: Cursor,
    /// Events below the tail that the application has not taken.
    pub(super) queued_below_tail: usize,
    /// The application has not been told of it.
    untold: Option<LostEnd>,
}

impl Feed {
    /// Before its first session, which is then handled like every other.
    pub(super) fn new(state: &FeedState, own: Cursor) -> Self {
        let position = state.position.max(own);
        Self {
            partition: state.partition,
            chain: Chain::new(position),
            cover: Cover::new(position),
            start: state.start,
            tail: state.tail,
            confirmed: state.acked,
            queued_below_tail: 0,
            untold: None,
        }
    }

    /// The same feed from behind its last ack, or from `own` if that is further.
    pub(super) fn begin_again(&self, own: Cursor) -> Self {
        let cursor = self.cursor().offset;
        // Of an earlier epoch only what is kept can be begun from.
        let kept = self.untold.map_or(cursor, |lost| cursor.min(lost.range.start));
        let position = self.at(kept).max(own);
        let mut next = Self {
            chain: Chain::new(position),
            cover: Cover::new(position),
            queued_below_tail: 0,
            untold: None,
            ..*self
        };
        next.handle_lost(self.untold);
        next
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.chain.handle_disconnected();
    }

    /// The next session goes on from the larger of both positions. What the registry has beyond ours is done with.
    pub(super) fn handle_session(&mut self, state: &FeedState) {
        self.chain.handle_resumed(state.position);
        self.cover.handle_resumed(self.chain.position());
        self.confirmed = self.confirmed.max(state.acked);
        self.tail = state.tail;
        self.handle_lost(state.lost);
    }

    /// The cursor stays in the old epoch until the application has been told, so that it is told again if it ends before.
    fn handle_lost(&mut self, lost: Option<LostEnd>) {
        if let Some(lost) = lost {
            self.cover.handle_expected(place_of(lost));
            self.untold = Some(lost);
        }
    }

    /// What the application is to be told of the log's end, and the place that is passed with it.
    pub(super) fn untold(&self) -> Option<(LostEnd, Cursor)> {
        self.untold.map(|lost| (lost, place_of(lost)))
    }

    /// The application was told of what stands at this place. Returns whether the cursor has moved.
    pub(super) fn handle_told(&mut self, at: Cursor) -> bool {
        self.untold.take_if(|lost| place_of(*lost) == at);
        self.cover.handle_ack(at)
    }

    /// The place of an offset in the log as it is now.
    pub(super) fn at(&self, offset: Offset) -> Cursor {
        Cursor { offset, ..self.chain.position() }
    }

    pub(super) fn handle_queued(&mut self, offset: Offset) {
        self.cover.handle_expected(self.at(offset));
        self.queued_below_tail += usize::from(offset < self.tail);
    }

    pub(super) fn handle_taken(&mut self, offset: Offset) {
        self.queued_below_tail -= usize::from(offset < self.tail);
    }

    pub(super) fn cursor(&self) -> Cursor {
        self.cover.cursor()
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.cursor() > self.confirmed
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.chain.position().offset >= self.tail && self.queued_below_tail == 0
    }
}

/// Behind everything of its epoch, and before all of the next.
fn place_of(lost: LostEnd) -> Cursor {
    Cursor { epoch: lost.epoch, offset: lost.range.end }
}
