//! One partition of a subscription: its chain, its acks, and how far the application is.

use anyport_protocol::message::FeedState;
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
}

impl Feed {
    pub(super) fn new(state: &FeedState, own: Cursor) -> Self {
        let position = state.position.max(own);
        Self {
            partition: state.partition,
            chain: Chain::new(position),
            cover: Cover::new(position.offset),
            start: state.start,
            tail: state.tail,
            confirmed: state.position,
            queued_below_tail: 0,
        }
    }

    /// The same feed from behind its last ack.
    pub(super) fn begin_again(&self) -> Self {
        let position = self.cursor();
        Self {
            chain: Chain::new(position),
            cover: Cover::new(position.offset),
            queued_below_tail: 0,
            partition: self.partition,
            start: self.start,
            tail: self.tail,
            confirmed: self.confirmed,
        }
    }

    pub(super) fn handle_disconnected(&mut self) {
        self.chain.handle_disconnected();
    }

    /// The next session goes on from the larger of both positions. What the registry has beyond ours is done with.
    pub(super) fn handle_session(&mut self, state: &FeedState) {
        self.chain.handle_resumed(state.position);
        self.cover.handle_covered(self.chain.position().offset);
        self.tail = state.tail;
    }

    pub(super) fn handle_queued(&mut self, offset: Offset) {
        self.cover.handle_expected(offset);
        self.queued_below_tail += usize::from(offset < self.tail);
    }

    pub(super) fn handle_taken(&mut self, offset: Offset) {
        self.queued_below_tail -= usize::from(offset < self.tail);
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { epoch: self.chain.position().epoch, offset: self.cover.cursor() }
    }

    pub(super) fn is_unconfirmed(&self) -> bool {
        self.cursor() > self.confirmed
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.chain.position().offset >= self.tail && self.queued_below_tail == 0
    }
}
