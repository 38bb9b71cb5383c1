//! The task of one partition. It owns the sequencer, the followers and the tail, and is the only one that proposes batches.
//!
//! Everything it is told comes in one loop, and each turn ends with [`PartitionTask::pump`], which hands out what the sequencer
//! has to say. It waits for nothing else: proposals are queued with the group, and their fate comes back as applied entries.
//! If the group is lost the sequencer ends, and opens anew when this replica leads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyport_protocol::limits::ENTRY_BYTES_TARGET;
use anyport_protocol::{Nonce, OffsetRange};
use anyport_storage::{LogEntry, PartitionEffect, PartitionEntry, PartitionReader, Payload, ReadError};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::followers::Followers;
use super::handle::{Publisher, Request};
use super::live::{FollowAnswer, FollowRequest};
use super::sequencer::{Arrival, Proposal, ProposalId, Sequencer};
use super::wall::Wall;
use crate::cluster::{Applied, Effect, Group, Leadership, LeadershipWatch, ProposeError};

/// Between two attempts to open: a group that refuses one will refuse the next a moment later, too.
const REOPEN_PAUSE: Duration = Duration::from_millis(50);

/// How often quiet followers are told how far they have come.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// Batches taken in one turn, so that what came together goes into one entry, and that acks do not wait for long.
const BATCHES_PER_TURN: usize = 64;

type Fate = BoxFuture<'static, (ProposalId, Result<(), ProposeError>)>;

/// What the task is told by whom. All are bounded: publishes by their channel and bytes, requests by one per feed, applied
/// entries by their channel.
#[derive(Debug)]
pub(super) struct Inboxes {
    pub(super) publishes: mpsc::Receiver<Arrival<Publisher>>,
    pub(super) requests: mpsc::UnboundedReceiver<Request>,
    pub(super) applied: mpsc::Receiver<Applied>,
}

pub(super) struct PartitionTask {
    reader: PartitionReader,
    inboxes: Inboxes,
    wall: Arc<Wall>,
    /// Whether batches are being taken, for who wants to know that the broker is ready.
    open: watch::Sender<bool>,
    stop: CancellationToken,

    sequencer: Sequencer<Publisher>,
    followers: Followers,
    /// Who asked to follow from beyond the tail, but not from beyond what is applied.
    early: Vec<(FollowRequest, oneshot::Sender<FollowAnswer>)>,
    fates: FuturesUnordered<Fate>,
    /// The earliest time to open (again).
    open_after: Instant,
    progress_at: Instant,
}

/// The group once it runs, and who leads it.
struct Led {
    group: Group,
    watch: LeadershipWatch,
    leadership: Leadership,
}

impl PartitionTask {
    pub(super) fn new(
        reader: PartitionReader,
        sequencer: Sequencer<Publisher>,
        inboxes: Inboxes,
        wall: Arc<Wall>,
        open: watch::Sender<bool>,
        stop: CancellationToken,
    ) -> Self {
        let now = Instant::now();
        let followers = Followers::new(reader.bounds().tail);
        Self {
            reader,
            inboxes,
            wall,
            open,
            stop,
            sequencer,
            followers,
            early: Vec::new(),
            fates: FuturesUnordered::new(),
            open_after: now,
            progress_at: now + PROGRESS_EVERY,
        }
    }

    /// Runs until it is told to stop and nobody waits for an ack any more.
    pub(super) async fn run(mut self, group: oneshot::Receiver<Group>) {
        if let Some(group) = self.started(group).await {
            let watch = group.leadership();
            let mut led = Led { leadership: watch.current(), group, watch };
            while !self.is_done() {
                self.turn(&mut led).await;
                self.pump(&led);
            }
        }
        self.sequencer.end();
        self.tell_publishers();
        self.followers.dismiss_all();
        self.open.send_replace(false);
    }

    /// While the group starts it applies what its log has. None if it did not start.
    async fn started(&mut self, mut group: oneshot::Receiver<Group>) -> Option<Group> {
        loop {
            tokio::select! {
                biased;
                Some(applied) = self.inboxes.applied.recv() => self.on_applied(applied),
                group = &mut group => return group.ok(),
            }
        }
    }

    async fn turn(&mut self, led: &mut Led) {
        let stopping = self.stop.is_cancelled();
        let wake_at = self.wake_at(led);
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !stopping => self.on_stop(),
            Some(applied) = self.inboxes.applied.recv() => self.on_applied(applied),
            Some((id, fate)) = self.fates.next(), if !self.fates.is_empty() => self.on_fate(id, fate),
            leadership = led.watch.changed() => self.on_leadership(led, leadership),
            Some(request) = self.inboxes.requests.recv() => self.on_request(request),
            Some(arrival) = self.inboxes.publishes.recv() => self.on_publish(arrival),
            // What is due is done at the end of every turn.
            () = tokio::time::sleep_until(wake_at.into()) => {}
        }
    }

    fn is_done(&self) -> bool {
        self.stop.is_cancelled() && self.inboxes.publishes.is_empty() && self.sequencer.is_quiet()
    }

    /// No more batches; those that have come are still stored, unless that takes too long.
    fn on_stop(&mut self) {
        self.inboxes.publishes.close();
    }

    fn on_publish(&mut self, first: Arrival<Publisher>) {
        let mut next = Some(first);
        for _ in 0..BATCHES_PER_TURN {
            let Some(arrival) = next else { break };
            self.take(arrival);
            next = self.inboxes.publishes.try_recv().ok();
        }
        if let Some(arrival) = next {
            self.take(arrival);
        }
    }

    fn take(&mut self, mut arrival: Arrival<Publisher>) {
        arrival.waiter.span.taken();
        let reader = &self.reader;
        // A point read, of a row that was either just written or that a bloom filter knows not to exist.
        self.sequencer.handle_batch(arrival, |producer| reader.producer(producer));
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Follow(request, answer) => self.on_follow(request, answer),
            Request::Unfollow(follower) => self.followers.unfollow(follower),
            Request::Dismiss => self.followers.dismiss_all(),
        }
    }

    fn on_follow(&mut self, request: FollowRequest, answer: oneshot::Sender<FollowAnswer>) {
        let position = request.position;
        if self.followers.tail() < position && position <= self.reader.bounds().tail {
            // It has read what is applied and on its way here: it is at the tail as soon as that has come.
            return self.early.push((request, answer));
        }
        // Who asked may have gone meanwhile, and then would never dismiss it.
        if let Err(FollowAnswer::Following(follower)) = answer.send(self.followers.follow(request)) {
            self.followers.unfollow(follower);
        }
    }

    fn on_applied(&mut self, applied: Applied) {
        match applied {
            Applied::Entry { entry, effect } => self.on_entry(&entry, effect),
            Applied::Installed => {
                self.followers.dismiss_all();
                self.followers.move_tail(self.reader.bounds().tail);
            }
        }
        for (request, answer) in std::mem::take(&mut self.early) {
            self.on_follow(request, answer);
        }
    }

    fn on_entry(&mut self, entry: &LogEntry, effect: PartitionEffect) {
        match effect {
            PartitionEffect::Opened { nonce } => self.sequencer.handle_opened(nonce, self.followers.tail()),
            PartitionEffect::Stored(range) => {
                // Acks first: a follower can wait for one evaluation longer.
                self.sequencer.handle_stored(range);
                self.tell_publishers();
                self.on_stored(range);
            }
            PartitionEffect::Void => {
                if let Some(PartitionEntry::Batch(header)) = parse(entry) {
                    metrics::counter!("anyport_void_entries_total").increment(1);
                    self.sequencer.handle_void(header.nonce);
                }
            }
            PartitionEffect::Nothing | PartitionEffect::Trimmed { .. } => {}
        }
        if !self.sequencer.is_open() {
            self.note_time(entry);
        }
    }

    /// What another leader wrote must not be followed by an earlier time.
    fn note_time(&self, entry: &LogEntry) {
        match parse(entry) {
            Some(PartitionEntry::Batch(header)) => self.wall.saw(header.wall),
            Some(PartitionEntry::Open { wall, .. } | PartitionEntry::Trim { wall, .. }) => self.wall.saw(wall),
            None => {}
        }
    }

    fn on_stored(&mut self, range: OffsetRange) {
        metrics::counter!("anyport_stored_events_total").increment(range.len());
        if self.followers.is_empty() {
            return self.followers.move_tail(range.end);
        }
        match events(&self.reader, range) {
            Ok(events) => self.followers.stored(range, events.into_iter()),
            Err(error) => {
                // They meet the damage where they read, and say so to their clients.
                tracing::error!(%range, %error, "read what was just stored");
                self.followers.dismiss_all();
                self.followers.move_tail(range.end);
            }
        }
    }

    fn on_fate(&mut self, id: ProposalId, fate: Result<(), ProposeError>) {
        if let Err(error) = fate {
            tracing::debug!(%error, "a proposal failed");
            self.sequencer.handle_failed(id);
        }
    }

    fn on_leadership(&mut self, led: &mut Led, leadership: Leadership) {
        if leadership == led.leadership {
            return;
        }
        tracing::debug!(group = %led.group.id(), ?leadership, "leadership");
        led.leadership = leadership;
        self.sequencer.end();
    }

    fn on_time(&mut self, now: Instant) {
        self.sequencer.handle_time(now);
        if now >= self.progress_at {
            self.progress_at = now + PROGRESS_EVERY;
            self.followers.tell_progress();
        }
    }

    fn wants_to_open(&self, led: &Led) -> bool {
        self.sequencer.is_idle() && matches!(led.leadership, Leadership::Leader { .. }) && !self.stop.is_cancelled()
    }

    fn wake_at(&self, led: &Led) -> Instant {
        let open = self.wants_to_open(led).then_some(self.open_after);
        let overdue = self.sequencer.poll_timeout();
        [open, overdue].into_iter().flatten().fold(self.progress_at, Instant::min)
    }

    /// Does everything the sequencer wants done.
    fn pump(&mut self, led: &Led) {
        let now = Instant::now();
        self.on_time(now);
        if self.wants_to_open(led) && now >= self.open_after {
            self.open_after = now + REOPEN_PAUSE;
            self.sequencer.open(Nonce::from_bytes(rand::random()));
        }
        while let Some(Proposal { id, data }) = self.sequencer.poll_proposal(now, self.wall.now()) {
            #[cfg(feature = "otel")]
            self.sequencer.waiters(id).for_each(|publisher| publisher.span.proposed());
            let fate = led.group.submit(data);
            self.fates.push(Box::pin(async move { (id, fate.await.map(|(_, _): (_, Effect)| ())) }));
        }
        self.tell_publishers();
        self.open
            .send_if_modified(|open| std::mem::replace(open, self.sequencer.is_open()) != self.sequencer.is_open());
    }

    fn tell_publishers(&mut self) {
        while let Some((publisher, published)) = self.sequencer.poll_answer() {
            publisher.tell(published);
        }
    }
}

fn parse(entry: &LogEntry) -> Option<PartitionEntry> {
    let Payload::Data(data) = &entry.payload else { return None };
    PartitionEntry::parse(data).ok()
}

/// The events of a range that was just applied. They are slices of the entry, which the tail cache still has.
fn events(
    reader: &PartitionReader,
    range: OffsetRange,
) -> Result<Vec<(anyport_protocol::Offset, bytes::Bytes)>, ReadError> {
    let mut events = Vec::with_capacity(usize::try_from(range.len()).unwrap_or(0));
    let mut from = range.start;
    while from < range.end {
        let chunk = reader.read(from, ENTRY_BYTES_TARGET)?;
        events.extend(chunk.events().take_while(|(offset, _)| *offset < range.end));
        from = chunk.range.end;
    }
    Ok(events)
}
