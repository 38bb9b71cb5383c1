//! One subscription between the broker and the application: frames come in, deliveries go out, acks come back, cursors result.
//!
//! Behind one lock, held for lines. Inputs from the connection: `handle_session`, `handle_frame`, `handle_acked`, `handle_notice`,
//! `handle_over`. Inputs from the application: `pop`, `ack`. Outputs for the driver: `poll_credit`, `poll_reopens`, `poll_cursors`.
//! What is queued is bounded by the credit given to the broker. Whoever waits for a change leaves a waker.

use std::collections::VecDeque;
use std::iter;
use std::task::Waker;
use std::time::{Duration, Instant};

use anyport_protocol::limits::{FRAME_BYTES_MAX, INACTIVE_EXPIRY_SECS_DEFAULT};
use anyport_protocol::message::SubscriptionState;
use anyport_protocol::message::feed::{FeedContent, FeedFrame};
use anyport_protocol::{Cursor, Incarnation, PartitionId, SubscriptionName};
use bytes::Bytes;

use super::chain::Link;
use super::feed::Feed;
use super::{Batch, Delivery, Notice};
use crate::Error;

/// Bytes of events that may be here and not yet taken by the application.
const WINDOW_BYTES: u64 = 4 << 20;

/// What a broker may send beyond its credit: the frames it was composing when the credit ended, live and replayed.
const OVERDRAFT_BYTES: u64 = 4 * FRAME_BYTES_MAX as u64;

/// What framing adds to each event of a delivery frame; it counts as credit.
const EVENT_HEADER_BYTES: u64 = 8;

/// Cursors that moved only because nothing matched are worth a commit of their own after so long.
const PROGRESS_AFTER: Duration = Duration::from_secs(180);

#[derive(Debug)]
pub(crate) struct Inbox {
    name: SubscriptionName,
    filter: String,
    incarnation: Incarnation,
    /// Where an earlier process had got to.
    own: Vec<Cursor>,
    /// None before the first session.
    feeds: Vec<Feed>,
    queue: VecDeque<Item>,
    queued_bytes: u64,
    /// Since this session began: counted as the broker counts.
    received_bytes: u64,
    granted_bytes: u64,
    /// Acks wait to be sent.
    acks_due: bool,
    cursors_sent_at: Instant,
    inactive_expiry: Duration,
    /// Nobody takes deliveries any more; cursors are still sent.
    abandoned: bool,
    over: Option<Error>,
    /// Frames of a session that has not been heard to be open. Its answer says where they belong, and streams are not ordered: they
    /// wait for it. Bounded by the credit given with the request.
    early: Option<Vec<(FeedFrame, bool)>>,
    /// The application has been told that it is over.
    is_end_told: bool,
    wakers: Vec<Waker>,
}

#[derive(Debug)]
enum Item {
    Event(Delivery),
    /// The place that the application passes with it, if it has one in a feed.
    Notice(Notice, Option<(PartitionId, Cursor)>),
}

impl Inbox {
    /// Of a subscription that the broker is asked to resume: its frames may come before the answer that says where they belong. `own`
    /// is where the client itself has got to, by partition, if it knows.
    pub(crate) fn awaiting(
        name: SubscriptionName,
        filter: String,
        incarnation: Incarnation,
        own: Vec<Cursor>,
        now: Instant,
    ) -> Self {
        Self {
            name,
            filter,
            incarnation,
            own,
            feeds: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            received_bytes: 0,
            granted_bytes: 0,
            acks_due: false,
            cursors_sent_at: now,
            inactive_expiry: Duration::from_secs(INACTIVE_EXPIRY_SECS_DEFAULT),
            abandoned: false,
            over: None,
            early: Some(Vec::new()),
            is_end_told: false,
            wakers: Vec::new(),
        }
    }

    pub(crate) fn new(state: &SubscriptionState, own: Vec<Cursor>, now: Instant) -> Self {
        let mut inbox = Self::awaiting(state.name.clone(), state.filter.clone(), state.incarnation, own, now);
        inbox.handle_session(state, now);
        inbox
    }

    pub(crate) fn name(&self) -> &SubscriptionName {
        &self.name
    }

    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    pub(crate) fn over(&self) -> Option<&Error> {
        self.over.as_ref()
    }

    /// Why it is over, for the application, which knows from now on.
    pub(crate) fn tell_over(&mut self) -> Option<Error> {
        self.is_end_told |= self.over.is_some();
        self.over.clone()
    }

    pub(crate) fn is_end_told(&self) -> bool {
        self.is_end_told
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// A new session is open: frames come from the positions of `state` on.
    pub(crate) fn handle_session(&mut self, state: &SubscriptionState, now: Instant) {
        self.inactive_expiry = Duration::from_secs(state.inactive_expiry_secs);
        if self.feeds.is_empty() {
            let own = self.own.iter().copied().chain(iter::repeat(Cursor::default()));
            self.feeds = state.feeds.iter().zip(own).map(|(feed, own)| Feed::new(feed, own)).collect();
            // What an earlier process acked and could not say.
            self.ask_for_cursors();
        }
        for state in &state.feeds {
            if let Some(feed) = self.feed(state.partition) {
                feed.handle_session(state);
            }
        }
        let queue = &self.queue;
        for feed in &mut self.feeds {
            let below_tail = queue.iter().filter(|item| match item {
                Item::Event(event) => event.partition == feed.partition && event.offset < feed.tail,
                Item::Notice(..) => false,
            });
            feed.queued_below_tail = below_tail.count();
        }
        self.begin_session(state);
        for (frame, replayed) in self.early.take().unwrap_or_default() {
            self.take_frame(frame, replayed, now);
        }
    }

    fn begin_session(&mut self, state: &SubscriptionState) {
        self.notice(Notice::Resumed { waiting_max: state.waiting_max() });
        for feed in &self.feeds {
            if let Some((lost, place)) = feed.untold() {
                let notice = Notice::Gap { partition: feed.partition, epoch: lost.epoch, range: lost.range };
                self.queue.push_back(Item::Notice(notice, Some((feed.partition, place))));
            }
        }
    }

    /// The connection is gone, and nothing more comes from it. In the next session credit counts from zero.
    pub(crate) fn handle_disconnected(&mut self, reason: &str) {
        self.handle_credit_lost();
        self.feeds.iter_mut().for_each(Feed::handle_disconnected);
        self.early = Some(Vec::new());
        self.acks_due |= self.feeds.iter().any(Feed::is_unconfirmed);
        self.notice(Notice::Reconnecting { reason: reason.to_owned() });
    }

    /// Credit that was given has reached nobody.
    pub(crate) fn handle_credit_lost(&mut self) {
        self.received_bytes = 0;
        self.granted_bytes = 0;
    }

    /// False if the broker sends more than it was allowed to.
    #[must_use]
    pub(crate) fn handle_frame(&mut self, frame: FeedFrame, replayed: bool, now: Instant) -> bool {
        self.received_bytes += credit_bytes(&frame.content);
        if self.received_bytes > self.granted_bytes + OVERDRAFT_BYTES {
            return false;
        }
        match &mut self.early {
            Some(early) => early.push((frame, replayed)),
            None => self.take_frame(frame, replayed, now),
        }
        true
    }

    fn take_frame(&mut self, frame: FeedFrame, replayed: bool, now: Instant) {
        if self.abandoned || self.over.is_some() {
            return;
        }
        let link = Link { covers: frame.covers, content: frame.content, replayed };
        let Some(feed) = self.feed(frame.feed.partition) else { return };
        let links = feed.chain.handle_frame(link, now);
        for link in links {
            self.take(frame.feed.partition, link);
        }
        self.wake();
    }

    fn take(&mut self, partition: PartitionId, link: Link) {
        let (incarnation, range) = (self.incarnation, link.covers);
        let Some(feed) = self.feeds.iter_mut().find(|feed| feed.partition == partition) else { return };
        let Cursor { epoch, .. } = feed.chain.position();
        let notice = match link.content {
            FeedContent::Events(events) => {
                for (offset, event) in events {
                    feed.handle_queued(offset);
                    self.queued_bytes += event_bytes(&event);
                    let replayed = link.replayed;
                    let delivery = Delivery { partition, epoch, offset, event, replayed, incarnation };
                    self.queue.push_back(Item::Event(delivery));
                }
                None
            }
            FeedContent::Gap => Some(Notice::Gap { partition, epoch, range }),
            FeedContent::Omitted { count } => Some(Notice::Omitted { partition, range, count }),
        };
        if let Some(notice) = notice {
            // Passed only when the application has been told.
            let place = feed.at(range.start);
            feed.cover.handle_expected(place);
            self.queue.push_back(Item::Notice(notice, Some((partition, place))));
        }
        feed.cover.handle_covered(feed.at(range.end));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Deliveries and notices in order, at most `max` deliveries. None if there is nothing, by now.
    pub(crate) fn pop(&mut self, max: usize) -> Option<Batch> {
        let mut batch = Batch::default();
        while let Some(item) = self.queue.front() {
            if matches!(item, Item::Event(_)) && batch.deliveries.len() >= max {
                break;
            }
            match self.queue.pop_front().expect("there is a front") {
                Item::Event(event) => {
                    self.queued_bytes -= event_bytes(&event.event);
                    if let Some(feed) = self.feed(event.partition) {
                        feed.handle_taken(event.offset);
                    }
                    batch.deliveries.push(event);
                }
                Item::Notice(notice, place) => {
                    if let Some((partition, place)) = place {
                        self.acks_due |= self.feed(partition).is_some_and(|feed| feed.handle_told(place));
                    }
                    self.is_end_told |= matches!(notice, Notice::SubscriptionExpired);
                    batch.notices.push(notice);
                }
            }
        }
        if self.is_caught_up() {
            self.wake();
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Returns whether a cursor has moved.
    pub(crate) fn ack(&mut self, delivery: &Delivery) -> bool {
        // An ack of another life of the subscription, before a seek or a change of its filter, means other events.
        if delivery.incarnation != self.incarnation {
            return false;
        }
        let moved = self.feed(delivery.partition).is_some_and(|feed| feed.cover.handle_ack(delivery.at()));
        self.acks_due |= moved;
        moved
    }

    /// Sends what is known of cursors, even if only by progress.
    pub(crate) fn ask_for_cursors(&mut self) {
        self.acks_due |= self.feeds.iter().any(Feed::is_unconfirmed);
    }

    pub(crate) fn cursors(&self) -> Vec<Cursor> {
        self.feeds.iter().map(Feed::cursor).collect()
    }

    /// What the cursors would be if these were acked too.
    pub(crate) fn cursors_after(&self, deliveries: &[Delivery]) -> Vec<Cursor> {
        let cursor = |feed: &Feed| {
            let mut cover = feed.cover.clone();
            let own = deliveries.iter().filter(|delivery| delivery.partition == feed.partition);
            own.filter(|delivery| delivery.incarnation == self.incarnation).for_each(|delivery| {
                cover.handle_ack(delivery.at());
            });
            cover.cursor()
        };
        self.feeds.iter().map(cursor).collect()
    }

    /// From here the next session goes on: up to where frames have come, if there is somebody who has them.
    pub(crate) fn positions(&self) -> Vec<Cursor> {
        if self.abandoned {
            return self.cursors();
        }
        self.feeds.iter().map(|feed| feed.chain.position()).collect()
    }

    /// From where delivery is guaranteed.
    pub(crate) fn starts(&self) -> Vec<(PartitionId, Cursor)> {
        self.feeds.iter().map(|feed| (feed.partition, feed.start)).collect()
    }

    pub(crate) fn is_confirmed(&self, cursors: &[Cursor]) -> bool {
        self.feeds.iter().zip(cursors).all(|(feed, cursor)| feed.confirmed >= *cursor)
    }

    pub(crate) fn has_acks_due(&self) -> bool {
        self.acks_due
    }

    /// When to ask `poll_cursors` although nothing is acked: for progress after some minutes, and in any case often enough that
    /// the subscription does not count as unused.
    pub(crate) fn cursors_due_at(&self) -> Instant {
        let unused = self.inactive_expiry / 3;
        let moved = self.feeds.iter().any(Feed::is_unconfirmed);
        self.cursors_sent_at + if moved { unused.min(PROGRESS_AFTER) } else { unused }
    }

    /// Every cursor that moved, if it is time to send them.
    pub(crate) fn poll_cursors(&mut self, now: Instant) -> Option<Vec<(PartitionId, Cursor)>> {
        if !self.acks_due && now < self.cursors_due_at() {
            return None;
        }
        self.acks_due = false;
        self.cursors_sent_at = now;
        Some(self.moved_cursors())
    }

    pub(crate) fn moved_cursors(&self) -> Vec<(PartitionId, Cursor)> {
        let moved = self.feeds.iter().filter(|feed| feed.is_unconfirmed());
        moved.map(|feed| (feed.partition, feed.cursor())).collect()
    }

    /// These cursors are durable.
    pub(crate) fn handle_acked(&mut self, cursors: &[(PartitionId, Cursor)]) {
        for (partition, cursor) in cursors {
            if let Some(feed) = self.feed(*partition) {
                feed.confirmed = feed.confirmed.max(*cursor);
            }
        }
        self.wake();
    }

    /// How many bytes the broker may have sent since the session began, if that is enough more than before to be said.
    pub(crate) fn poll_credit(&mut self) -> Option<u64> {
        let parked: usize = self.feeds.iter().map(|feed| feed.chain.parked_bytes()).sum();
        let held = self.queued_bytes + parked as u64;
        let total = self.received_bytes + WINDOW_BYTES.saturating_sub(held);
        let is_wanted = !self.abandoned && self.over.is_none();
        if !is_wanted || total < self.granted_bytes + WINDOW_BYTES / 2 {
            return None;
        }
        self.granted_bytes = total;
        Some(total)
    }

    /// Whether `poll_credit` would say something.
    pub(crate) fn is_credit_due(&self) -> bool {
        self.received_bytes + WINDOW_BYTES.saturating_sub(self.queued_bytes) >= self.granted_bytes + WINDOW_BYTES / 2
    }

    pub(crate) fn poll_reopens(&mut self, now: Instant) -> Vec<(PartitionId, Cursor)> {
        let reopen = |feed: &mut Feed| feed.chain.poll_reopen(now).map(|position| (feed.partition, position));
        self.feeds.iter_mut().filter_map(reopen).collect()
    }

    pub(crate) fn patience_ends(&self) -> Option<Instant> {
        self.feeds.iter().filter_map(|feed| feed.chain.patience_ends()).min()
    }

    /// The application has taken everything up to the tails as they were when the session began. Never between two sessions: the tails of
    /// the last one say nothing of what has come since.
    pub(crate) fn is_caught_up(&self) -> bool {
        self.early.is_none() && self.feeds.iter().all(Feed::is_caught_up)
    }

    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        self.queue.clear();
        self.queued_bytes = 0;
    }

    /// What a new owner of the subscription starts from, in the same session: behind the last ack, so unacked events come again, or
    /// from `own` where that is further.
    pub(crate) fn begin_again(&self, state: &SubscriptionState, own: &[Cursor], now: Instant) -> Self {
        let mut next = Self::awaiting(self.name.clone(), self.filter.clone(), self.incarnation, Vec::new(), now);
        let own = own.iter().copied().chain(iter::repeat(Cursor::default()));
        next.feeds = self.feeds.iter().zip(own).map(|(feed, own)| feed.begin_again(own)).collect();
        next.early = None;
        next.inactive_expiry = self.inactive_expiry;
        next.begin_session(state);
        next.received_bytes = self.received_bytes;
        next.granted_bytes = self.granted_bytes;
        next.acks_due = self.acks_due;
        next.ask_for_cursors();
        next
    }

    /// The subscription has ended, with a last notice.
    pub(crate) fn handle_over(&mut self, cause: Error, notice: Option<Notice>) {
        if self.over.is_none() {
            self.over = Some(cause);
            // Whoever goes on with the subscription will deliver these.
            self.abandon();
            notice.into_iter().for_each(|notice| self.notice(notice));
            self.wake();
        }
    }

    fn notice(&mut self, notice: Notice) {
        let is_of_connection =
            |item: &Item| matches!(item, Item::Notice(Notice::Reconnecting { .. } | Notice::Resumed { .. }, _));
        // A connection that comes and goes while nobody looks leaves its latest news only.
        while matches!(notice, Notice::Reconnecting { .. }) && self.queue.back().is_some_and(is_of_connection) {
            self.queue.pop_back();
        }
        self.queue.push_back(Item::Notice(notice, None));
        self.wake();
    }

    pub(crate) fn wait(&mut self, waker: &Waker) {
        if !self.wakers.iter().any(|known| known.will_wake(waker)) {
            self.wakers.push(waker.clone());
        }
    }

    fn wake(&mut self) {
        self.wakers.drain(..).for_each(Waker::wake);
    }

    fn feed(&mut self, partition: PartitionId) -> Option<&mut Feed> {
        // Feeds stand in order of partition; only a broker that breaks the protocol leaves some out.
        self.feeds.get_mut(usize::from(partition.0)).filter(|feed| feed.partition == partition)
    }
}

fn event_bytes(event: &Bytes) -> u64 {
    event.len() as u64 + EVENT_HEADER_BYTES
}

fn credit_bytes(content: &FeedContent) -> u64 {
    match content {
        FeedContent::Events(events) => events.iter().map(|(_, event)| event_bytes(event)).sum(),
        FeedContent::Gap | FeedContent::Omitted { .. } => 0,
    }
}

#[cfg(test)]
#[path = "inbox_stories.rs"]
mod stories;
