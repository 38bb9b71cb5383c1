//! A feed as small as can be, on the way to a partition: it reads what is stored, and follows when there is nothing more to read.

use std::sync::Arc;
use std::time::Duration;

use anyport_broker::Broker;
use anyport_broker::partition::{FollowAnswer, FollowRequest, Live, LiveWindow};
use anyport_broker::serving::Way;
use anyport_protocol::filter::Filter;
use anyport_protocol::limits::FRAME_BYTES_MAX;
use anyport_protocol::message::FrameBuffer;
use anyport_protocol::message::feed::{FeedContent, FeedFrame, FeedId};
use anyport_protocol::{Incarnation, Offset, OffsetRange, PartitionId};
use tokio::sync::{mpsc, watch};

/// Before it looks again where there was nobody to ask.
const PAUSE: Duration = Duration::from_millis(20);

pub struct WayReader {
    way: Way,
    filter: Filter,
    position: watch::Sender<Offset>,
    pub seen: Vec<u64>,
    window: Arc<LiveWindow>,
}

impl WayReader {
    pub fn new(broker: &Broker, filter: &str, window_bytes: i64) -> Self {
        let (filter, window) = (Filter::compile(filter).expect("compiles"), Arc::new(LiveWindow::new(window_bytes)));
        let way = broker.partitions.way(PartitionId(0));
        Self { way, filter, position: watch::Sender::new(Offset(0)), seen: Vec::new(), window }
    }

    pub fn progress(&self) -> watch::Receiver<Offset> {
        self.position.subscribe()
    }

    fn at(&self) -> Offset {
        *self.position.borrow()
    }

    fn feed(&self) -> FeedId {
        FeedId { incarnation: Incarnation(1), partition: self.way.id() }
    }

    /// Goes on until everything below `end` is covered.
    pub async fn run(mut self, end: Offset) -> Self {
        while self.at() < end {
            match self.way.read(self.feed(), &self.filter, self.at(), 1000).await {
                Ok(caught) if caught.covers.is_empty() => self.follow(end).await,
                Ok(caught) => self.take(caught.covers, &caught.frames.bytes),
                Err(fault) if fault.retry() => tokio::time::sleep(PAUSE).await,
                Err(fault) => panic!("{fault}"),
            }
        }
        self
    }

    fn take(&mut self, covers: OffsetRange, bytes: &[u8]) {
        let mut buffer = FrameBuffer::new(FRAME_BYTES_MAX);
        buffer.extend(bytes);
        while let Some((header, body)) = buffer.next_frame().expect("small") {
            let frame = FeedFrame::decode(header.message_type, body).expect("a frame");
            let FeedContent::Events(events) = frame.content else { panic!("nothing is trimmed") };
            self.cover(frame.covers, events.iter().map(|(offset, _)| offset.0));
        }
        assert_eq!(self.at(), covers.end, "the frames cover what the read says");
    }

    fn cover(&mut self, covers: OffsetRange, offsets: impl Iterator<Item = u64>) {
        assert_eq!(covers.start, self.at(), "frames chain");
        self.seen.extend(offsets);
        self.position.send_replace(covers.end);
    }

    async fn follow(&mut self, end: Offset) {
        let (sink, mut live) = mpsc::unbounded_channel();
        let request = FollowRequest {
            feed: self.feed(),
            position: self.at(),
            filter: self.filter.clone(),
            window: Arc::clone(&self.window),
            sink,
        };
        let follower = match self.way.follow(request).await {
            FollowAnswer::Following(follower) => follower,
            FollowAnswer::Behind { .. } => return tokio::task::yield_now().await,
            FollowAnswer::Gone => return tokio::time::sleep(PAUSE).await,
        };
        while self.at() < end {
            match live.recv().await.expect("the last message is that it left") {
                Live::Frame { follower: id, covers, events, bytes, .. } => {
                    assert_eq!(id, follower);
                    self.window.give_back(bytes);
                    self.cover(covers, events.iter().map(|(offset, _)| offset.0));
                }
                Live::Progress { upto, .. } => self.cover(OffsetRange::new(self.at(), upto), [].into_iter()),
                Live::Left { evaluated, .. } => {
                    let covers = OffsetRange::new(self.at(), evaluated.max(self.at()));
                    return self.cover(covers, [].into_iter());
                }
            }
        }
        self.way.unfollow(follower);
    }
}
