//! The task that moves one subscription: it owns the subscription's feeds, its two outgoing streams and its credit.
//!
//! Live frames go out on one stream and replayed ones on another of lower priority, so that a replay can be reset at once. For each
//! feed one operation (a read, or joining the partition) is under way at a time, and few reads for all: feeds take turns. A partition
//! that does not answer holds up nobody else.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use anyport_protocol::filter::Filter;
use anyport_protocol::message::StreamKind;
use anyport_protocol::message::feed::FeedId;
use anyport_protocol::{Fault, Offset, OffsetRange, PartitionId};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tracing::Instrument;
use tracing::field::Empty;

use super::delivery::{Command, DeliveryOptions, Trouble};
use super::outbox::Outbox;
use super::read::{Caught, Frames, write_frames};
use super::{Feed, Wish};
use crate::net::{Connection, WriteError};
use crate::partition::{FollowAnswer, FollowRequest, FollowerId, Live, LiveWindow};
use crate::serving::Way;
use crate::spans::number;

/// Bytes of the log that one turn reads. Large enough that hopping to a reading thread does not show, small enough that a
/// cancelled replay stops soon and that many readers fit in memory.
const CHUNK_BYTES: usize = 256 << 10;

/// Live frames that one subscription may have queued in memory before its feeds fall behind.
const LIVE_WINDOW_BYTES: i64 = 512 << 10;

/// Reads under way. With one, a broker that does not answer would hold up feeds of other partitions.
const READS_MAX: usize = 2;

const LIVE_PRIORITY: i32 = 1;
const REPLAY_PRIORITY: i32 = 0;

/// An operation on one feed, done elsewhere.
type Pending = Pin<Box<dyn Future<Output = (usize, Outcome)> + Send>>;

enum Outcome {
    Read(Result<Caught, Fault>),
    Follow { position: Offset, answer: FollowAnswer },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Join,
}

pub(super) struct DeliveryTask {
    filter: Filter,
    connection: Connection,
    troubles: mpsc::UnboundedSender<Trouble>,
    inbox: mpsc::Receiver<Command>,

    feeds: Vec<(Feed, Way)>,
    /// By feed: what is under way for it.
    under_way: Vec<Option<Operation>>,
    by_partition: HashMap<PartitionId, usize>,
    /// Whose turn is next.
    turn: usize,
    pending: FuturesUnordered<Pending>,
    /// Live frames of feeds that are joining: the answer must be heard before them. Bounded by the window.
    held: Vec<Live>,

    credit_bytes: u64,
    sent_bytes: u64,

    window: Arc<LiveWindow>,
    live_in: mpsc::UnboundedReceiver<Live>,
    live_sink: mpsc::UnboundedSender<Live>,
    live: Outbox,
    replay: Outbox,
}

impl DeliveryTask {
    pub(super) fn new(options: DeliveryOptions, inbox: mpsc::Receiver<Command>) -> Self {
        let (live_sink, live_in) = mpsc::unbounded_channel();
        let incarnation = options.incarnation;
        let feeds: Vec<_> = options
            .positions
            .into_iter()
            .map(|(partition, position)| {
                (Feed::new(FeedId { incarnation, partition: partition.id() }, position), partition)
            })
            .collect();
        Self {
            filter: options.filter,
            connection: options.connection,
            troubles: options.troubles,
            inbox,
            under_way: vec![None; feeds.len()],
            by_partition: feeds.iter().enumerate().map(|(index, (_, partition))| (partition.id(), index)).collect(),
            feeds,
            turn: 0,
            pending: FuturesUnordered::new(),
            held: Vec::new(),
            credit_bytes: 0,
            sent_bytes: 0,
            window: Arc::new(LiveWindow::new(LIVE_WINDOW_BYTES)),
            live_in,
            live_sink,
            live: Outbox::new(StreamKind::Live, LIVE_PRIORITY),
            replay: Outbox::new(StreamKind::Replay, REPLAY_PRIORITY),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.start_next();
            let look_again = self.look_again();
            tokio::select! {
                biased;
                command = self.inbox.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                written = self.live.write_some(&self.connection), if !self.live.is_empty() => {
                    if !self.on_written(&written) { return }
                }
                Some(live) = self.live_in.recv(), if self.live.waiting_bytes() < CHUNK_BYTES => self.on_live(live),
                written = self.replay.write_some(&self.connection), if !self.replay.is_empty() => {
                    if !self.on_written(&written) { return }
                }
                Some((feed, outcome)) = self.pending.next(), if !self.pending.is_empty() => self.on_outcome(feed, outcome),
                () = sleep_until(look_again), if look_again.is_some() => {}
            }
        }
    }

    /// Starts what feeds want. They are asked in turn, so that none waits for another.
    fn start_next(&mut self) {
        if self.credit_bytes <= self.sent_bytes {
            return;
        }
        let now = Instant::now();
        let room = self.replay.waiting_bytes() < CHUNK_BYTES;
        let mut reads = self.under_way.iter().filter(|under_way| **under_way == Some(Operation::Read)).count();
        let first = self.turn;
        for index in (first..first + self.feeds.len()).map(|turn| turn % self.feeds.len()) {
            if self.under_way[index].is_some() {
                continue;
            }
            match self.feeds[index].0.wish(now) {
                Wish::Read { from } if room && reads < READS_MAX => {
                    self.pending.push(self.read(index, from));
                    self.under_way[index] = Some(Operation::Read);
                    self.turn = index + 1;
                    reads += 1;
                }
                Wish::Follow { position } => {
                    self.pending.push(self.follow(index, position));
                    self.under_way[index] = Some(Operation::Join);
                }
                _ => {}
            }
        }
        if self.replay.is_empty() && self.feeds.iter().all(|(feed, _)| feed.follower().is_some()) {
            self.replay.finish();
        }
    }

    fn look_again(&self) -> Option<Instant> {
        let now = Instant::now();
        let waits = self.feeds.iter().filter_map(|(feed, _)| match feed.wish(now) {
            Wish::LookAgain { at } => Some(at),
            _ => None,
        });
        waits.min()
    }

    fn read(&self, index: usize, from: Offset) -> Pending {
        let (feed, partition) = &self.feeds[index];
        let (id, partition, filter) = (feed.id(), partition.clone(), self.filter.clone());
        let (at, first) = (i64::from(id.partition.0), number(from.0));
        let span = tracing::debug_span!("replay", partition = at, from = first, upto = Empty, events = Empty);
        let read = async move {
            let caught = partition.read(id, &filter, from, CHUNK_BYTES).await;
            if let Ok(caught) = &caught {
                let span = tracing::Span::current();
                span.record("upto", number(caught.covers.end.0)).record("events", number(caught.frames.events));
            }
            (index, Outcome::Read(caught))
        };
        Box::pin(read.instrument(span))
    }

    fn follow(&self, index: usize, position: Offset) -> Pending {
        let (feed, partition) = &self.feeds[index];
        let request = FollowRequest {
            feed: feed.id(),
            position,
            filter: self.filter.clone(),
            window: Arc::clone(&self.window),
            sink: self.live_sink.clone(),
        };
        let partition = partition.clone();
        Box::pin(async move { (index, Outcome::Follow { position, answer: partition.follow(request).await }) })
    }

    fn on_outcome(&mut self, index: usize, outcome: Outcome) {
        let now = Instant::now();
        let has_credit = self.sent_bytes < self.credit_bytes;
        self.under_way[index] = None;
        let (feed, partition) = &mut self.feeds[index];
        match outcome {
            // The client paused, or live frames took the credit, while this was read: it will be read again.
            Outcome::Read(Ok(_)) if !has_credit => {}
            Outcome::Read(Ok(caught)) => {
                if feed.handle_read(caught.covers) && !caught.covers.is_empty() {
                    self.queue_replay(caught.frames);
                }
            }
            Outcome::Read(Err(fault)) => {
                feed.handle_unreadable(now);
                let trouble = Trouble { incarnation: feed.id().incarnation, partition: partition.id(), fault };
                // The session listens for as long as it has deliveries.
                let _ = self.troubles.send(trouble);
            }
            Outcome::Follow { position, answer } => match answer {
                FollowAnswer::Following(follower) if feed.handle_following(follower, position) => {}
                FollowAnswer::Following(unwanted) => partition.unfollow(unwanted),
                FollowAnswer::Behind { tail } => feed.handle_not_at_tail(tail, now),
                FollowAnswer::Gone => feed.handle_unreadable(now),
            },
        }
        let held = std::mem::take(&mut self.held);
        held.into_iter().for_each(|live| self.on_live(live));
    }

    fn queue_replay(&mut self, frames: Frames) {
        self.sent_bytes += frames.credit_bytes;
        metrics::counter!("anyport_replayed_events_total").increment(frames.events);
        self.replay.push(frames.bytes);
    }

    fn on_live(&mut self, live: Live) {
        if self.is_joining(live.feed().partition) {
            return self.held.push(live);
        }
        match live {
            Live::Frame { feed, follower, covers, events, bytes } => {
                self.window.give_back(bytes);
                self.on_live_frame(feed, follower, covers, &events);
            }
            Live::Progress { feed, follower, upto } => {
                let Some(feed) = self.feed_of(feed.partition) else { return };
                let covers = OffsetRange::new(feed.position(), upto.max(feed.position()));
                if feed.handle_live(follower, covers) {
                    let id = feed.id();
                    self.queue_live(id, covers, &[]);
                }
            }
            Live::Left { feed, follower, evaluated } => {
                let Some(feed) = self.feed_of(feed.partition) else { return };
                let (id, uncovered) = (feed.id(), feed.handle_left(follower, evaluated));
                if let Some(covers) = uncovered {
                    self.queue_live(id, covers, &[]);
                }
            }
        }
    }

    fn on_live_frame(
        &mut self,
        id: FeedId,
        follower: FollowerId,
        covers: OffsetRange,
        events: &[(Offset, bytes::Bytes)],
    ) {
        let has_credit = self.sent_bytes < self.credit_bytes;
        let Some(feed) = self.feed_of(id.partition) else { return };
        if feed.follower() != Some(follower) {
            return;
        }
        if has_credit {
            feed.handle_live(follower, covers);
            metrics::counter!("anyport_live_events_total").increment(events.len() as u64);
            self.queue_live(id, covers, events);
        } else {
            self.fall_behind(id.partition);
        }
    }

    fn queue_live(&mut self, id: FeedId, covers: OffsetRange, events: &[(Offset, bytes::Bytes)]) {
        let mut frames = Frames::default();
        write_frames(&mut frames, id, covers, events.iter().map(|(offset, event)| (*offset, event)));
        self.sent_bytes += frames.credit_bytes;
        self.live.push(frames.bytes);
    }

    fn is_joining(&self, partition: PartitionId) -> bool {
        self.by_partition.get(&partition).is_some_and(|index| self.under_way[*index] == Some(Operation::Join))
    }

    fn feed_of(&mut self, partition: PartitionId) -> Option<&mut Feed> {
        self.by_partition.get(&partition).map(|index| &mut self.feeds[*index].0)
    }

    fn fall_behind(&mut self, partition: PartitionId) {
        let Some(index) = self.by_partition.get(&partition) else { return };
        let (feed, partition) = &mut self.feeds[*index];
        if let Some(follower) = feed.fall_behind() {
            partition.unfollow(follower);
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Credit { bytes_total } => self.credit_bytes = self.credit_bytes.max(bytes_total),
            Command::Reopen { partition, position } => {
                let Some(index) = self.by_partition.get(&partition) else { return };
                let (feed, partition) = &mut self.feeds[*index];
                if let Some(follower) = feed.reopen(position) {
                    partition.unfollow(follower);
                }
            }
        }
    }

    /// Returns false when the connection is gone.
    fn on_written(&mut self, written: &Result<(), WriteError>) -> bool {
        match written {
            Ok(()) => true,
            Err(WriteError::Stopped) => {
                self.pause();
                true
            }
            Err(WriteError::Gone(_) | WriteError::Open(_)) => false,
        }
    }

    /// The client stopped a stream: nothing more of this subscription until it gives credit anew.
    fn pause(&mut self) {
        self.credit_bytes = self.sent_bytes;
        self.live.reset();
        self.replay.reset();
        let partitions: Vec<_> = self.by_partition.keys().copied().collect();
        for partition in partitions {
            self.fall_behind(partition);
        }
    }
}

impl Drop for DeliveryTask {
    fn drop(&mut self) {
        for (feed, partition) in &self.feeds {
            if let Some(follower) = feed.follower() {
                partition.unfollow(follower);
            }
        }
        // What the client has not got is of no use to it: it resumes from what it has.
        self.replay.reset();
        self.live.reset();
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
