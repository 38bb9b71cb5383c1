//! What a partition and those who follow it say to each other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{Offset, OffsetRange};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Asks to be told of what is stored from `position` on.
#[derive(Debug)]
pub struct FollowRequest {
    pub feed: FeedId,
    pub position: Offset,
    pub filter: Filter,
    pub window: Arc<LiveWindow>,
    /// Bounded by the window: without room in it the follower leaves.
    pub sink: mpsc::UnboundedSender<Live>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FollowAnswer {
    /// The position was the tail. The first frame may be in the sink before this answer is read.
    Following(FollowerId),
    /// The tail is elsewhere: below it there is something to read, above it nothing is stored yet.
    Behind { tail: Offset },
    /// The partition has stopped.
    Gone,
}

/// Names one stay of a feed at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerId(pub(crate) u64);

impl FollowerId {
    /// One that was never used in this process.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What a follower is told, each beginning where the last one ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Live {
    /// All events of `covers` that pass the filter; there is at least one. `bytes` were taken from the window.
    Frame { feed: FeedId, follower: FollowerId, covers: OffsetRange, events: Arc<[(Offset, Bytes)]>, bytes: usize },
    /// Nothing below `upto` passes the filter that was not sent before.
    Progress { feed: FeedId, follower: FollowerId, upto: Offset },
    /// The last message: everything below `evaluated` was sent or does not pass.
    Left { feed: FeedId, follower: FollowerId, evaluated: Offset },
}

impl Live {
    pub fn feed(&self) -> FeedId {
        match self {
            Self::Frame { feed, .. } | Self::Progress { feed, .. } | Self::Left { feed, .. } => *feed,
        }
    }
}

/// Bytes of live frames that one subscription may have queued; shared by its feeds.
pub struct LiveWindow(AtomicI64);

impl LiveWindow {
    pub fn new(bytes: i64) -> Self {
        Self(AtomicI64::new(bytes))
    }

    /// Takes the bytes if there is room for any: one frame may overdraw, so that none is too large.
    pub fn take(&self, bytes: usize) -> bool {
        let bytes = as_balance(bytes);
        let room = self.0.fetch_sub(bytes, Ordering::Relaxed) > 0;
        if !room {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
        room
    }

    pub fn give_back(&self, bytes: usize) {
        self.0.fetch_add(as_balance(bytes), Ordering::Relaxed);
    }
}

fn as_balance(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("a frame fits in memory")
}

impl fmt::Debug for LiveWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LiveWindow({} bytes left)", self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_may_overdraw_the_window_and_the_next_finds_no_room() {
        let window = LiveWindow::new(100);
        assert!(window.take(500));
        assert!(!window.take(1));
        window.give_back(500);
        assert!(window.take(1));
    }
}
