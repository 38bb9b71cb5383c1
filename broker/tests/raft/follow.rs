//! Reading to the tail and following from there loses nothing and repeats nothing, however much is published meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyport_broker::partition::{FollowAnswer, FollowRequest, Live, LiveWindow, PartitionHandle};
use anyport_protocol::event::EncodedEvent;
use anyport_protocol::filter::Filter;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{Incarnation, Offset, OffsetRange, PartitionId, ProducerId};
use anyport_storage::ReadError;
use futures_util::future::join_all;
use tokio::sync::mpsc;

use crate::support::{TestGroups, batch, options, read_all, stored_at};

/// A feed as small as can be: it reads what is stored, and follows when there is nothing more to read.
struct MiniFeed {
    partition: PartitionHandle,
    filter: Filter,
    position: Offset,
    seen: Vec<u64>,
    follows: usize,
    window: Arc<LiveWindow>,
}

impl MiniFeed {
    fn new(partition: PartitionHandle, filter: &str, window_bytes: i64) -> Self {
        let (filter, window) = (Filter::compile(filter).expect("compiles"), Arc::new(LiveWindow::new(window_bytes)));
        Self { partition, filter, position: Offset(0), seen: Vec::new(), follows: 0, window }
    }

    /// Goes on until everything below `end` is covered.
    async fn run(mut self, end: Offset) -> Self {
        while self.position < end {
            if !self.read() {
                self.follow(end).await;
            }
        }
        self
    }

    fn read(&mut self) -> bool {
        match self.partition.reader().read(self.position, 4096) {
            Ok(chunk) => {
                let events: Vec<_> = chunk.events().collect();
                self.cover(
                    chunk.range,
                    events.iter().filter(|(_, event)| self.passes(event)).map(|(at, _)| at.0).collect(),
                );
                true
            }
            Err(ReadError::NotYet { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn passes(&self, event: &[u8]) -> bool {
        self.filter.passes(&EncodedEvent::check(event).expect("published"))
    }

    fn cover(&mut self, range: OffsetRange, offsets: Vec<u64>) {
        assert_eq!(range.start, self.position, "frames chain");
        self.position = range.end;
        self.seen.extend(offsets);
    }

    async fn follow(&mut self, end: Offset) {
        let (sink, mut live) = mpsc::unbounded_channel();
        let request = FollowRequest {
            feed: FeedId { incarnation: Incarnation(1), partition: PartitionId(0) },
            position: self.position,
            filter: self.filter.clone(),
            window: Arc::clone(&self.window),
            sink,
        };
        let follower = match self.partition.follow(request).await {
            FollowAnswer::Following(follower) => follower,
            FollowAnswer::Behind { tail } => {
                // The task may be a moment behind what can be read, never further than that.
                assert_ne!(tail, self.position);
                return tokio::task::yield_now().await;
            }
            FollowAnswer::Gone => panic!("the partition runs"),
        };
        self.follows += 1;
        while self.position < end {
            match live.recv().await.expect("the last message is that it left") {
                Live::Frame { follower: id, covers, events, bytes, .. } => {
                    assert_eq!(id, follower);
                    self.window.give_back(bytes);
                    self.cover(covers, events.iter().map(|(offset, _)| offset.0).collect());
                }
                Live::Progress { upto, .. } => self.cover(OffsetRange::new(self.position, upto), Vec::new()),
                Live::Left { evaluated, .. } => {
                    return self.cover(OffsetRange::new(self.position, evaluated.max(self.position)), Vec::new());
                }
            }
        }
        self.partition.unfollow(follower);
    }
}

const PRODUCERS: u8 = 4;
const BATCHES: u64 = 200;
const PER_BATCH: u32 = 3;
const END: Offset = Offset(PRODUCERS as u64 * BATCHES * PER_BATCH as u64 + 1);

async fn publish_all(partition: PartitionHandle) {
    let publishers = (0..PRODUCERS).map(|id| {
        let partition = partition.clone();
        tokio::spawn(async move {
            for at in 0..BATCHES {
                let event_type = if at % 3 == 0 { "rare" } else { "common" };
                let first = at * u64::from(PER_BATCH);
                partition.publish(batch(ProducerId::from_bytes([id; 16]), first, PER_BATCH, event_type)).await;
            }
        })
    });
    join_all(publishers).await;
    // Everybody matches the last one, so that nobody waits for a notice of progress.
    let last = partition.publish(batch(ProducerId::from_bytes([99; 16]), 0, 1, "last")).await;
    assert_eq!(last, stored_at(END.0 - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_while_others_publish_loses_nothing_and_repeats_nothing() {
    let broker = TestGroups::start(options()).await;
    let partition = broker.partition();
    let publishing = tokio::spawn(publish_all(partition.clone()));
    // Roomy windows stay at the tail, small ones fall behind again and again.
    let feeds = [("", 1 << 20), ("", 300), ("type IN ('rare', 'last')", 1 << 20), ("type IN ('rare', 'last')", 1)].map(
        |(filter, window_bytes)| {
            let feed = MiniFeed::new(partition.clone(), filter, window_bytes);
            tokio::spawn(tokio::time::timeout(Duration::from_secs(60), feed.run(END)))
        },
    );
    publishing.await.expect("publish");
    let mut seen = Vec::new();
    for feed in feeds {
        let feed = feed.await.expect("run").expect("in time");
        assert!(feed.follows > 0);
        seen.push(feed.seen);
    }
    assert_eq!(seen[0], (0..END.0).collect::<Vec<_>>());
    assert_eq!(seen[1], seen[0]);
    let stored = read_all(&partition).into_iter();
    let rare = stored.filter(|(_, event)| EncodedEvent::check(event).is_ok_and(|event| event.event_type() != "common"));
    assert_eq!(seen[2], rare.map(|(offset, _)| offset.0).collect::<Vec<_>>());
    assert_eq!(seen[3], seen[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_are_told_when_the_partition_stops() {
    let broker = TestGroups::start(options()).await;
    let partition = broker.partition();
    let feed = tokio::spawn(MiniFeed::new(partition.clone(), "type = 'never'", 100).run(Offset(3)));
    partition.publish(batch(ProducerId::from_bytes([1; 16]), 0, 3, "t")).await;
    // It has read them, or is told on leaving that none passes.
    broker.groups.shutdown().await;
    let feed = tokio::time::timeout(Duration::from_secs(10), feed).await.expect("in time").expect("run");
    assert_eq!((feed.position, feed.seen), (Offset(3), vec![]));
}
